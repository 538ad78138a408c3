import { type Mutant, of } from "./mutant.ts";

const CORE = "durable-objects/topic-shard/shard-core.ts";
const OWN = "durable-objects/topic-shard/own-events.ts";
const READS = "durable-objects/topic-shard/shard-reads.ts";
const DELIVERY = "durable-objects/topic-shard/delivery.ts";
const HEADS = "durable-objects/topic-shard/heads.ts";
const PULL = "durable-objects/peer-link/cursor-pull.ts";
const WRITER = "durable-objects/topic-shard/writer-loop.ts";
const INTAKE = "durable-objects/topic-shard/intake.ts";
const HELD = "durable-objects/topic-shard/held-events.ts";

/** Bugs in what a shard does with events: links, delivery, limits, the order of writes. */
export const SHARD_MUTANTS: readonly Mutant[] = [
  of(
    "links and heads",
    HEADS,
    "linked-head-stays",
    "if (!isLinked(greatest)) store.links.addHead(topicKey, greatest);",
    "store.links.addHead(topicKey, greatest);",
  ),
  of(
    "links and heads",
    HEADS,
    "late-parent-is-head",
    "  if (!store.links.hasUnmet(topicKey, id)) store.links.addHead(topicKey, id);",
    "  store.links.addHead(topicKey, id);",
  ),
  of(
    "links and heads",
    HEADS,
    "one-link-removes",
    "for (const link of links) if (compareBytes(link, greatest) !== 0)",
    "for (const link of links.slice(-1)) if (compareBytes(link, greatest) !== 0)",
  ),
  of(
    "links and heads",
    OWN,
    "links-to-undelivered",
    "if (isNear && greatest.position < PENDING_BASE) heads.push(greatest.id);",
    "if (isNear) heads.push(greatest.id);",
  ),
  of(
    "delivery",
    DELIVERY,
    "delivered-with-one-parent-missing",
    "if (this.unmetLinks({ topicKey: child.topicKey, fields, retention }, nowMs).length > 0) continue;",
    "if (this.unmetLinks({ topicKey: child.topicKey, fields, retention }, nowMs).length > 1) continue;",
  ),
  of(
    "delivery",
    DELIVERY,
    "gap-too-early",
    "this.#store.pendingStoredUntil(nowMs - GAP_DELIVERY_MS, limit)",
    "this.#store.pendingStoredUntil(nowMs - GAP_DELIVERY_MS / 2, limit)",
  ),
  of(
    "delivery",
    DELIVERY,
    "echo-unmarked-when-late",
    "const flags = event.flags | mark | echo;",
    "const flags = event.flags | mark;",
  ),
  of(
    "delivery",
    "durable-objects/topic-shard/shard.ts",
    "overdue-woken-once",
    "if (againMs !== undefined) await this.ports.wakeAt(",
    "if (againMs === undefined) await this.ports.wakeAt(this.nowMs + ",
  ),
  of(
    "delivery",
    "durable-objects/topic-shard/hub-feed.ts",
    "hub-not-listened-to",
    "if (answer.position !== null) hub.sent = answer.position;",
    "hub.sent = Math.max(batch.to, answer.position ?? 0);",
  ),
  of(
    "delivery",
    READS,
    "catch-up-ends-early",
    "position: rows.at(-1)?.position ?? last };",
    "position: last };",
  ),
  of(
    "holding and limits",
    HELD,
    "one-more-is-held",
    "count.events >= this.#maxEvents",
    "count.events > this.#maxEvents",
  ),
  of(
    "holding and limits",
    INTAKE,
    "held-for-ever",
    "if (this.#held.size > 0) this.#retryHeldLater();",
    "if (this.#held.size > 1_000) this.#retryHeldLater();",
  ),
  of(
    "holding and limits",
    INTAKE,
    "relayed-again",
    "if (this.#relayed.add(event.id)) this.#parts.relay(event, hops);",
    "if (this.#relayed.add(event.id) || hops === 0) this.#parts.relay(event, hops);",
  ),
  of(
    "holding and limits",
    "durable-objects/topic-shard/shard.ts",
    "one-hop-too-many",
    "if (hops > 0) this.#pushes.relay(toWire(event), hops - 1);",
    "if (hops >= 0) this.#pushes.relay(toWire(event), hops - 1);",
  ),
  of(
    "crash order",
    WRITER,
    "answers-before-it-is-durable",
    "      await this.#storage.sync();",
    "      void this.#storage.sync();",
  ),
  of(
    "crash order",
    PULL,
    "cursor-before-the-events",
    "        const lacking = await this.#exchange.lacking(shards.flatMap(({ names }) => names));",
    "        places.move(shards);\n        const lacking = await this.#exchange.lacking(shards.flatMap(({ names }) => names));",
  ),
  of(
    "crash order",
    WRITER,
    "cache-kept-after-a-failure",
    "      this.#storage.rolledBack();",
    "      if (group.length > 1) this.#storage.rolledBack();",
  ),
  of(
    "crash order",
    CORE,
    "checkpoint-beyond-what-is-marked",
    "    this.#tree.saveMark(position);\n    this.#origins",
    "    if (isDue) this.#tree.saveMark(position + 1);\n    this.#origins",
  ),
];
