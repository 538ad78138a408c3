import type { Patch } from "./bundle.ts";

export const CATEGORIES = [
  "validity",
  "clock",
  "links and heads",
  "delivery",
  "slot boundary and dirty mark",
  "range and expiry line",
  "cursor and generation",
  "paging",
  "holding and limits",
  "crash order",
] as const;
export type Category = (typeof CATEGORIES)[number];

/** A bug that someone could have made: one text in one production file in place of another. */
export interface Mutant extends Patch {
  readonly name: string;
  readonly category: Category;
  readonly find: string;
}

const of = (category: Category, file: string, name: string, find: string, replace: string): Mutant => ({
  name,
  category,
  file,
  find,
  replace,
});

const CORE = "durable-objects/topic-shard/shard-core.ts";
const READS = "durable-objects/topic-shard/shard-reads.ts";
const DELIVERY = "durable-objects/topic-shard/delivery.ts";
const HEADS = "durable-objects/topic-shard/heads.ts";
const TREE = "durable-objects/topic-shard/sync-tree/shard-tree.ts";
const ROOTS = "durable-objects/topic-shard/sync-tree/tree-roots.ts";
const LISTINGS = "durable-objects/topic-shard/sync-tree/listings.ts";
const PULL = "durable-objects/peer-link/cursor-pull.ts";
const BODIES = "durable-objects/peer-link/body-exchange.ts";
const WRITER = "durable-objects/topic-shard/writer-loop.ts";
const INTAKE = "durable-objects/topic-shard/intake.ts";
const HELD = "durable-objects/topic-shard/held-events.ts";
const SYNC = "durable-objects/sync/sync-roots.ts";
const VALIDITY = "protocol/validity.ts";
const RANGE = "protocol/sync-range.ts";

const VALIDITY_MUTANTS: readonly Mutant[] = [
  of(
    "validity",
    VALIDITY,
    "seq-equal-to-a-link",
    "greatestLink && fields.seq <= seqOfId(greatestLink)",
    "greatestLink && fields.seq < seqOfId(greatestLink)",
  ),
  of(
    "validity",
    "protocol/event.ts",
    "seventeen-links",
    "value.length > MAX_LINKS)",
    "value.length > MAX_LINKS + 1)",
  ),
  of(
    "validity",
    VALIDITY,
    "class-of-longer-life",
    "fields.class !== retention.id",
    "fields.class < retention.id",
  ),
  of(
    "validity",
    VALIDITY,
    "genesis-a-slot-early",
    "fields.seq < firstSeqOf(network.genesis.createdMs)",
    "fields.seq < firstSeqOf(network.genesis.createdMs - SLOT_MS)",
  ),
];

const CLOCK_MUTANTS: readonly Mutant[] = [
  of(
    "clock",
    "protocol/hybrid-clock.ts",
    "last-seq-forgotten",
    "(greatestParent > last ? greatestParent : last) + 1n",
    "greatestParent + 1n",
  ),
  of(
    "clock",
    CORE,
    "links-far-ahead",
    "const nearMs = nowMs + MAX_AHEAD_LINKED_MS;",
    "const nearMs = nowMs + 2 * MAX_AHEAD_LINKED_MS;",
  ),
  of(
    "clock",
    VALIDITY,
    "stored-far-ahead",
    "if (aheadMs > MAX_AHEAD_STORED_MS) return",
    "if (aheadMs > 2 * MAX_AHEAD_STORED_MS) return",
  ),
  of(
    "clock",
    CORE,
    "last-seq-not-read-again",
    "if (seqOfId(id) > lastSeq) lastSeq = seqOfId(id);",
    "if (seqOfId(id) < lastSeq) lastSeq = seqOfId(id);",
  ),
  of(
    "clock",
    CORE,
    "issues-ahead-of-its-clock",
    "if (aheadMs <= MAX_AHEAD_LINKED_MS) return;",
    "if (aheadMs <= 8 * MAX_AHEAD_LINKED_MS) return;",
  ),
];

const LINK_MUTANTS: readonly Mutant[] = [
  of(
    "links and heads",
    HEADS,
    "linked-head-stays",
    "if (!isLinked(greatest)) store.addHead(topicKey, greatest);",
    "store.addHead(topicKey, greatest);",
  ),
  of(
    "links and heads",
    HEADS,
    "late-parent-is-head",
    "} else if (!store.hasUnmet(topicKey, id)) {",
    "} else if (links.length >= 0) {",
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
    CORE,
    "links-to-undelivered",
    "if (isNear && greatest.position < PENDING_BASE) heads.push(greatest.id);",
    "if (isNear) heads.push(greatest.id);",
  ),
];

const DELIVERY_MUTANTS: readonly Mutant[] = [
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
    "const flags = event.flags | mark | this.echoFlag(event);",
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
];

const SLOT_MUTANTS: readonly Mutant[] = [
  of(
    "slot boundary and dirty mark",
    TREE,
    "newest-slot-not-dirty",
    "    if (slot < this.#asOf) {\n      this.#late.push",
    "    if (slot < this.#asOf - 1) {\n      this.#late.push",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "open-slot-forgotten",
    "      if (slot >= asOf) continue;",
    "      if (slot > asOf) continue;",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "epoch-stands-still",
    "    this.#epoch++;\n",
    "    this.#epoch += this.#noted > 0 ? 0 : 1;\n",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "due-a-slot-late",
    "due = Math.min(due, slot + 1);",
    "due = Math.min(due, slot + 2);",
  ),
  of(
    "slot boundary and dirty mark",
    TREE,
    "late-leaf-stays",
    "if (slot < this.#asOf) this.#store.tree.markLate(",
    "if (slot >= this.#asOf) this.#store.tree.markLate(",
  ),
  of(
    "slot boundary and dirty mark",
    SYNC,
    "said-while-asked-is-lost",
    "store.saveDueAsOf(shard, Math.min(dueAsOf, this.#saidMeanwhile.get(shard) ?? dueAsOf));",
    "store.saveDueAsOf(shard, dueAsOf);",
  ),
];

const RANGE_MUTANTS: readonly Mutant[] = [
  of(
    "range and expiry line",
    RANGE,
    "range-begins-a-slot-early",
    "Math.max(0, asOf - slots + MARGIN_SLOTS)",
    "Math.max(0, asOf - slots + MARGIN_SLOTS - 1)",
  ),
  of(
    "range and expiry line",
    RANGE,
    "leaves-a-slot-late",
    "slot + slots - MARGIN_SLOTS + 1",
    "slot + slots - MARGIN_SLOTS + 2",
  ),
  of(
    "range and expiry line",
    "protocol/retention.ts",
    "hidden-a-slot-early",
    "firstSeqOf(Math.floor((nowMs - retention.durationMs) / SLOT_MS) * SLOT_MS)",
    "firstSeqOf(Math.ceil((nowMs - retention.durationMs) / SLOT_MS) * SLOT_MS)",
  ),
  of(
    "range and expiry line",
    READS,
    "expired-heads-shown",
    "headsOf(this.ports.store, topicKey).filter((id) => compareBytes(id, least) >= 0)",
    "headsOf(this.ports.store, topicKey).filter((id) => compareBytes(least, id) <= 40)",
  ),
  of(
    "range and expiry line",
    ROOTS,
    "leaving-slot-not-taken-out",
    "if (oldest < this.rangeOf(id, asOf).from) yield bucket;",
    "if (oldest < this.rangeOf(id, asOf - 1).from) yield bucket;",
  ),
];

const CURSOR_MUTANTS: readonly Mutant[] = [
  of(
    "cursor and generation",
    READS,
    "cursor-behind-the-page",
    "position: page.at(-1)?.position ?? start }",
    "position: names.at(-1)?.position ?? start }",
  ),
  of(
    "cursor and generation",
    READS,
    "any-generation-is-mine",
    "const isSame = cursor !== null && equalBytes(cursor.generation, generation);",
    "const isSame = cursor !== null && cursor.generation.length === generation.length;",
  ),
  of(
    "cursor and generation",
    CORE,
    "no-new-generation",
    "if (!this.#isNewGeneration) this.#store.saveGeneration(",
    "if (this.#isNewGeneration) this.#store.saveGeneration(",
  ),
  of(
    "cursor and generation",
    PULL,
    "pull-ends-after-a-page",
    "shards.some(({ more, names }) => more && names.length > 0);",
    "shards.every(({ more, names }) => more && names.length > 0);",
  ),
];

const PAGING_MUTANTS: readonly Mutant[] = [
  of(
    "paging",
    "durable-objects/topic-shard/ancestors.ts",
    "cut-page-says-whole",
    "      return { events, more: true };",
    "      return { events, more: want.ancestors };",
  ),
  of(
    "paging",
    BODIES,
    "settled-one-too-many",
    "  return at + 1;",
    "  return Math.min(at + 2, wanted.length);",
  ),
  of(
    "paging",
    "workers/peer-api/merge-shares.ts",
    "merged-beyond-the-horizon",
    ".filter(({ id }) => !horizon || compareBytes(id, horizon) <= 0)",
    ".filter(({ id }) => !horizon || compareBytes(id, horizon) !== 0)",
  ),
  of(
    "paging",
    LISTINGS,
    "range-page-skips-one",
    "if (page.length > 0 && isFull) return { events: page.map(toWire), next: place };",
    "if (page.length > 0 && isFull) return { events: page.map(toWire), next: event };",
  ),
];

const HOLDING_MUTANTS: readonly Mutant[] = [
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
];

const CRASH_MUTANTS: readonly Mutant[] = [
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

export const MUTANTS: readonly Mutant[] = [
  ...VALIDITY_MUTANTS,
  ...CLOCK_MUTANTS,
  ...LINK_MUTANTS,
  ...DELIVERY_MUTANTS,
  ...SLOT_MUTANTS,
  ...RANGE_MUTANTS,
  ...CURSOR_MUTANTS,
  ...PAGING_MUTANTS,
  ...HOLDING_MUTANTS,
  ...CRASH_MUTANTS,
];
