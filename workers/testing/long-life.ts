import { expect } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import type { ForeignSegment } from "../../durable-objects/sealed/adopting.ts";
import { envelopeOf, keyOf, signers } from "../../durable-objects/testing/shard-world.ts";
import type { EventList } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { digestOfId, seqOfId } from "../../protocol/event-id.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { expiresAtMs, SLOT_MS } from "../../protocol/retention.ts";
import { shardOf } from "../../protocol/topic.ts";
import { MemoryNode, type NodeOptions, settle, World } from "./memory-network.ts";

/** Three nodes that live for months: what is published is noted, and what is to be read follows from the classes alone. */

const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;
/** No node's clock is further from the others'. */
export const MAX_SKEW_MS = MINUTE_MS;

const CLASSES = [
  { id: 0, name: "relayed", durationMs: 0, priority: 0 },
  { id: 1, name: "days", durationMs: 3 * DAY_MS, priority: 1 },
  { id: 2, name: "month", durationMs: 30 * DAY_MS, priority: 2 },
  { id: 3, name: "quarter", durationMs: 90 * DAY_MS, priority: 3 },
  { id: 4, name: "permanent", durationMs: null, priority: 4 },
] as const;
/** Two topics of each class. */
const TOPICS = CLASSES.flatMap(({ name }) => [`${name} one`, `${name} two`]);

const network = new Network(
  {
    ...DEVELOPMENT_GENESIS,
    classes: [...CLASSES],
    prefixes: [["", 4], ...CLASSES.map(({ id, name }): [string, number] => [name, id])],
    members: signers.map(({ publicKey }) => toHex(publicKey)),
  },
  suite,
);

interface Published {
  readonly topic: string;
  readonly topicKey: Bytes;
  readonly id: Bytes;
}

export type LifeOptions = Omit<NodeOptions, "network" | "shardCount">;

export class LongLife {
  readonly world = new World();
  readonly nodes: MemoryNode[];
  readonly #options: readonly (LifeOptions & { readonly shardCount: number })[];
  readonly published: Published[] = [];
  /** Nodes whose storage is not maintained: they keep what others delete. */
  readonly idle = new Set<MemoryNode>();
  #count = 0;

  /** Each node with the phase of its cron trigger. */
  constructor(options: readonly (LifeOptions & { readonly shardCount: number })[]) {
    this.#options = options;
    this.nodes = options.map((_, n) => this.#newNode(n));
  }

  #newNode(n: number): MemoryNode {
    const others = this.#options.map((_, other) => other).filter((other) => other !== n);
    return new MemoryNode(this.world, n, others, { ...(this.#options[n] as NodeOptions), network });
  }

  /** A node loses all that it has, and begins anew under its name. */
  replace(n: number): MemoryNode {
    const node = this.#newNode(n);
    this.nodes[n] = node;
    return node;
  }

  get nowMs(): number {
    return this.world.clock.nowMs();
  }

  async publish(node: MemoryNode, topic: string, message: string): Promise<void> {
    const shard = node.shards[shardOf(keyOf(topic), node.shards.length)];
    const ts = BigInt(this.nowMs) * 1_000_000n + BigInt(this.#count++);
    const [receipt] = (await shard?.publish([envelopeOf(topic, ts, message)])) ?? [];
    if (receipt && network.classOf(utf8(topic)).durationMs !== 0)
      this.published.push({ topic, topicKey: keyOf(topic), id: receipt.id });
  }

  /** What a cron trigger does. */
  async cron(node: MemoryNode): Promise<void> {
    await node.sync.state();
    if (!this.idle.has(node)) for (const shard of node.shards) await shard.maintain();
    for (const link of node.links.values()) await link.round();
    await settle();
  }

  /** Lets hours pass. Each node's trigger has another phase, and fires `perHour` times; each publishes to all topics once in so many hours. */
  async pass(hours: number, publishEveryHours = 8): Promise<void> {
    for (let hour = 0; hour < hours; hour++) {
      const startMs = this.nowMs;
      for (const [n, node] of this.nodes.entries()) {
        await this.#passTo(startMs + (7 + 17 * n) * MINUTE_MS + n * 13_333);
        if (hour % publishEveryHours === n % publishEveryHours && !this.world.away.has(node))
          for (const topic of TOPICS) await this.publish(node, topic, `${topic} of ${n} at ${startMs}`);
        await this.cron(node);
      }
      await this.#passTo(startMs + HOUR_MS);
    }
  }

  async #passTo(timeMs: number): Promise<void> {
    await this.world.pass(Math.max(0, timeMs - this.nowMs));
  }

  /** Waits until no node's clock is near a slot's end, and all have had a turn since. */
  async settleInSlot(): Promise<void> {
    const inSlot = this.nowMs % SLOT_MS;
    await this.#passTo(this.nowMs - inSlot + (inSlot > SLOT_MS / 2 ? SLOT_MS : 0) + SLOT_MS / 2);
    for (const node of this.nodes) if (!this.world.away.has(node)) await this.cron(node);
    await this.world.pass(31_000);
    await settle();
  }

  /** What the classes say that is to be read now. */
  expected(): string[] {
    return this.published
      .filter(({ topic, id }) => {
        const expiresMs = expiresAtMs(network.classOf(utf8(topic)), seqOfId(id));
        return expiresMs === null || expiresMs > this.nowMs;
      })
      .map(({ topic, id }) => `${topic} ${toHex(id)}`)
      .sort();
  }

  /** What a node's clients read, topic by topic, by cause. */
  async readable(node: MemoryNode): Promise<string[]> {
    const found: string[] = [];
    for (const topic of TOPICS) {
      const shard = node.shards[shardOf(keyOf(topic), node.shards.length)];
      for (let after: Bytes | null = null; ; ) {
        const page: EventList | undefined = await shard?.eventsByCause(
          utf8(topic),
          keyOf(topic),
          after,
          1_000,
        );
        found.push(...(page?.events ?? []).map(({ id }) => `${topic} ${toHex(id)}`));
        after = page?.events.at(-1)?.id ?? null;
        if (!page?.isFull || !after) break;
      }
    }
    return found.sort();
  }

  /** Each node reads what the classes say, and a round of anti-entropy moves nothing. */
  async check(nodes = this.nodes): Promise<void> {
    const expected = this.expected();
    for (const node of nodes) expect(await this.readable(node), node.url).toEqual(expected);
    for (const node of nodes)
      for (const [url, link] of node.links) {
        if (!nodes.some((other) => other.url === url)) continue;
        const { outcome, received, sent } = await link.sync();
        expect({ at: node.url, url, outcome, received, sent }).toEqual({
          at: node.url,
          url,
          outcome: "same",
          received: 0,
          sent: 0,
        });
      }
    for (const node of nodes) expect(await node.conduct.conductRecords()).toEqual([]);
  }

  /** By its CID, an event is found nowhere once it has expired. */
  async expectGone({ topic, id }: Published): Promise<void> {
    for (const node of this.nodes) {
      const shard = node.shards[shardOf(keyOf(topic), node.shards.length)];
      expect(await shard?.event(digestOfId(id))).toBeNull();
    }
  }

  /** How many of a node's events in files have expired more than some slots ago. */
  expiredInFiles(node: MemoryNode, slots: number): number {
    const line = this.nowMs - slots * SLOT_MS;
    let count = 0;
    for (const store of node.stores)
      for (const { class: id, to, count: events, doomedMs } of store.sealed.segments()) {
        const { durationMs } = network.retentionOf(id);
        if (doomedMs === null && durationMs !== null && to * SLOT_MS + durationMs < line) count += events;
      }
    return count;
  }
}

/** All that a node has stored, as an export has it. */
export interface Exported {
  readonly segments: readonly ForeignSegment[];
  readonly events: readonly WireEvent[];
}

export async function exportOf(node: MemoryNode): Promise<Exported> {
  const segments: ForeignSegment[] = [];
  for (const shard of node.shards)
    for (const { root, shard: at } of await shard.listSegments(0, 10_000)) {
      const read = (file: "blocks" | "messages") =>
        shard.readSegmentFile({ shard: at, root, file, offset: 0, length: 2 ** 30 });
      segments.push({ blocks: (await read("blocks")) as Bytes, messages: await read("messages") });
    }
  const events = node.stores.flatMap((store) =>
    store.namesAfter(0, 1e6).flatMap((name) => store.get(name) ?? []),
  );
  return { segments, events };
}

/** Puts an export into a node. Answers how many events were taken. */
export async function importInto(node: MemoryNode, { segments, events }: Exported): Promise<number> {
  let taken = 0;
  for (const shard of node.shards) {
    for (const segment of segments)
      taken += (await shard.adopt(segment, { asksForLarge: false, storesGone: true })).stored;
    taken += (await shard.ingest(events, "export", [])).stored;
  }
  return taken;
}
