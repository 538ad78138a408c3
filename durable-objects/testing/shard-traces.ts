import * as fc from "fast-check";
import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { decodeBlock, type WireEvent } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { MAX_LINKS } from "../../protocol/limits.ts";
import { headsOf } from "../topic-shard/heads.ts";
import type { ShardStore, StoredEvent } from "../topic-shard/shard-store.ts";
import { MemoryShardStore } from "./memory-shard-store.ts";
import { forgeEvent, keyOf, madeUpId, memberRecord, Node, START_MS, signers, TOPICS } from "./shard-world.ts";

/** Random lives of a shard: what its own clients publish, and what comes from peers, in any order and with gaps. */

export type Step =
  /** Another node takes an envelope: an event that may arrive here, some day. */
  | { readonly kind: "elsewhere"; origin: number; topic: number; ts: number; message: number }
  /** Another node hears of an event, so that what it publishes next links to it. */
  | { readonly kind: "gossip"; origin: number; event: number }
  /** A member links to what it likes: events of any topic, and some that nobody made. */
  | { readonly kind: "forge"; topic: number; links: number[]; madeUp: number; ts: number; message: number }
  | { readonly kind: "arrives"; event: number }
  | { readonly kind: "publish"; topic: number; ts: number; message: number }
  | { readonly kind: "wait"; ms: number }
  | { readonly kind: "overdue"; limit: number }
  /** A record says that an origin is a member, or none any more, from a time on that may lie back. */
  | { readonly kind: "record"; origin: number; admitted: boolean; agoMs: number }
  /** The open partition is closed, if there may be one more. */
  | { readonly kind: "roll" }
  /** A closed partition is dropped, if there is one. */
  | { readonly kind: "drop"; which: number };

const small = fc.nat({ max: 2 });
const place = fc.nat({ max: 63 });
const envelope = { topic: small, ts: small, message: small };
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("elsewhere" as const), origin: small, ...envelope }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("gossip" as const), origin: small, event: place }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("forge" as const),
      links: fc.array(place, { maxLength: 4 }),
      madeUp: small,
      ...envelope,
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("arrives" as const), event: place }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("publish" as const), ...envelope }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: 20_000 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("overdue" as const), limit: fc.integer({ min: 1, max: 4 }) }),
  },
);
export const traces = fc.array(step, { maxLength: 60, size: "max" });

const record: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant("record" as const),
  origin: small,
  admitted: fc.boolean(),
  agoMs: fc.nat({ max: 200 }),
});
/** The same, while members are removed and admitted again. */
export const tracesWithRecords = fc.array(
  fc.oneof({ weight: 14, arbitrary: step }, { weight: 1, arbitrary: record }),
  { maxLength: 60, size: "max" },
);

const partitionStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("roll" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), which: place }) },
);
/** The same, while partitions are closed and dropped, too. */
export const tracesWithPartitions = fc.array(
  fc.oneof(
    { weight: 14, arbitrary: step },
    { weight: 1, arbitrary: record },
    { weight: 2, arbitrary: partitionStep },
  ),
  { maxLength: 60, size: "max" },
);

export interface Known {
  readonly topic: string;
  readonly id: Bytes;
  readonly wire: WireEvent;
}

/** Everything outside the shard under test: other nodes, all events that exist, and the clock. */
export class World {
  readonly events: Known[] = [];
  nowMs = START_MS;
  readonly #origins = signers.slice(1).map((signer) => new Node(new MemoryShardStore(), signer));

  static topic = (n: number): string => TOPICS[n % TOPICS.length] as string;
  at = (n: number): Known | undefined => this.events[n % Math.max(1, this.events.length)];

  note(topic: string, event: { readonly id: Bytes } & WireEvent): void {
    if (!this.events.some(({ id }) => compareBytes(id, event.id) === 0))
      this.events.push({ topic, id: event.id, wire: event });
  }

  /** Applies a step to the world and to the shards under test; answers what each shard said. */
  apply(each: Step, subjects: readonly Node[]): unknown[] {
    this.nowMs += 7;
    const { nowMs } = this;
    switch (each.kind) {
      case "elsewhere": {
        const origin = this.#origins[each.origin];
        const topic = World.topic(each.topic);
        if (origin) this.note(topic, origin.publish(topic, each.ts, `m${each.message}`, nowMs));
        return [];
      }
      case "gossip": {
        const event = this.at(each.event);
        if (event) this.#origins[each.origin]?.ingest(event.wire, nowMs);
        return [];
      }
      case "record": {
        const member = signers[1 + each.origin] as Signer;
        const record = memberRecord(member, each.admitted, firstSeqOf(nowMs - each.agoMs), nowMs);
        for (const node of subjects) node.addRecords([record], nowMs);
        return subjects.map((node) => toHex(node.core.records.set.digest));
      }
      case "roll":
        return subjects.map((node) => node.run(() => rollIfRoom(node.store, nowMs)));
      case "drop":
        return subjects.map((node) => dropSome(node, each.which));
      case "forge":
        this.#forge(each);
        return [];
      case "arrives": {
        const event = this.at(each.event);
        return event ? subjects.map((node) => node.ingest(event.wire, nowMs)) : [];
      }
      case "publish": {
        const topic = World.topic(each.topic);
        const made = subjects.map((node) => node.publish(topic, each.ts, `m${each.message}`, nowMs));
        for (const event of made) this.note(topic, event);
        return made.map(({ id }) => toHex(id));
      }
      case "wait":
        this.nowMs += each.ms;
        return [];
      case "overdue":
        return subjects.map((node) => node.run((core) => core.deliverOverdue(nowMs, each.limit)));
    }
  }

  #forge({ topic, links, madeUp, ts, message }: Extract<Step, { kind: "forge" }>): void {
    const ids = links.flatMap((link) => this.at(link)?.id ?? []);
    for (let i = 0; i < madeUp; i++) ids.push(madeUpId(this.nowMs - 1, i));
    const unique = [...new Map(ids.map((id) => [toHex(id), id])).values()].sort(compareBytes);
    const newest = unique.slice(-MAX_LINKS);
    const greatest = newest.at(-1);
    const own = firstSeqOf(this.nowMs);
    const seq = greatest && seqOfId(greatest) >= own ? seqOfId(greatest) + 1n : own;
    const name = World.topic(topic);
    this.note(name, forgeEvent({ topic: name, seq, links: newest, ts, message: `m${message}` }));
  }
}

function rollIfRoom({ partitions }: ShardStore, nowMs: number): void {
  if (partitions.canRoll()) partitions.roll(nowMs);
}

/** Answers the number of the partition that was dropped, if there was one to drop. */
function dropSome(node: Node, which: number): number | undefined {
  const closed = node.store.partitions.all().slice(0, -1);
  const number = closed[which % Math.max(1, closed.length)]?.number;
  if (number !== undefined) node.run((core) => core.dropPartition(number));
  return number;
}

const MANY = 1e6;
const line = (event: { position: number; flags: number; id: Bytes }) =>
  `${event.position} ${event.flags} ${toHex(event.id)}`;

export const delivered = (store: ShardStore): string[] => store.namesAfter(0, MANY).map(line);

/** The partitions with what is in them. */
const partitionsOf = ({ partitions }: ShardStore) =>
  partitions.all().map((each) => {
    const all = (classId: number) =>
      partitions.eventsOf(each.number, classId, null, MANY, Number.MAX_SAFE_INTEGER);
    return {
      ...each,
      events: partitions.classesOf(each.number).map((classId) => [classId, all(classId).map(line)]),
    };
  });

/** All that a store tells of itself, in a form that can be compared. */
export function dump(store: ShardStore) {
  return {
    delivered: delivered(store),
    pending: store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MANY).map(line),
    heads: TOPICS.map((topic) => headsOf(store, keyOf(topic)).map(toHex)),
    missing: store.links.missingParents(MANY, null).map(({ topicKey, id }) => toHex(topicKey) + toHex(id)),
    ends: [store.lastPosition(), store.lastPending(), store.firstPendingMs()],
    checkpoint: store.checkpoint(),
    partitions: partitionsOf(store),
  };
}

/** Which of an event's links are stored nowhere here. */
export const absentLinks = (store: ShardStore, { topicKey, block }: StoredEvent): Bytes[] =>
  decodeBlock(block).links.filter((id) => store.positionOf({ topicKey, id }) === undefined);
