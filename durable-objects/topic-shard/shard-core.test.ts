import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import {
  absentLinks,
  delivered,
  dump,
  type Step,
  traces,
  tracesWithPartitions,
  World,
} from "../testing/shard-traces.ts";
import {
  forgeEvent,
  keyOf,
  Node,
  naiveHeads,
  newGeneration,
  onStorage,
  START_MS,
  SUBJECT,
  signers,
  TOPICS,
  wipe,
} from "../testing/shard-world.ts";
import { ECHO, GAP, PENDING_BASE, type ShardStore } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const orders = fc.array(fc.nat({ max: 1_000 }), { maxLength: 80, size: "max" });

/** Plays a trace on a shard. */
function play(trace: readonly Step[], store: ShardStore): { world: World; node: Node } {
  const world = new World();
  const node = new Node(store);
  for (const step of trace) world.apply(step, [node]);
  return { world, node };
}

/** Runs a property on a shard in SQLite, empty at the start of each run. */
const onSql = (
  numRuns: number,
  check: (trace: readonly Step[], store: ShardStore, order: number[]) => void,
) =>
  onStorage((storage) => {
    const run = (trace: readonly Step[], order: number[]) => {
      wipe(storage);
      check(trace, new SqlShardStore(storage), order);
    };
    fc.assert(fc.property(traces, orders, run), { numRuns });
  });

/** All that waits becomes overdue and is delivered. */
function flush(world: World, node: Node): void {
  world.nowMs += GAP_DELIVERY_MS;
  while (node.run((core) => core.deliverOverdue(world.nowMs, 3)) !== undefined);
}

function checkDelivery(store: ShardStore): void {
  const rows = store.deliveredAfter(0, 1e6, Number.MAX_SAFE_INTEGER);
  expect(rows.map(({ position }) => position)).toEqual(rows.map((_, i) => i + 1));
  expect(new Set(rows.map(({ topicKey, id }) => toHex(topicKey) + toHex(id))).size).toBe(rows.length);
  const envelopes = new Set<string>();
  for (const { topicKey, timeKey, block, position, flags } of rows) {
    const envelope = toHex(topicKey) + toHex(timeKey);
    expect((flags & ECHO) !== 0).toBe(envelopes.has(envelope));
    envelopes.add(envelope);
    if ((flags & GAP) !== 0) continue;
    for (const id of decodeBlock(block).links) {
      expect(store.positionOf({ topicKey, id }) ?? Number.POSITIVE_INFINITY).toBeLessThan(position);
    }
  }
}

test("SQLite and the model say and hold the same after every step, and delivery only adds at the end", () =>
  onSql(60, (trace, store) => {
    const world = new World();
    const inSql = new Node(store);
    const inModel = new Node(new MemoryShardStore());
    let before: string[] = [];
    for (const step of trace) {
      const [bySql, byModel] = world.apply(step, [inSql, inModel]);
      expect(bySql).toEqual(byModel);
      const now = dump(inSql.store);
      expect(now).toEqual(dump(inModel.store));
      expect(now.delivered.slice(0, before.length)).toEqual(before);
      before = now.delivered;
    }
  }));

test("SQLite and the model hold the same while partitions are closed and dropped", () =>
  onStorage((storage) => {
    const check = (trace: readonly Step[]) => {
      wipe(storage);
      const world = new World();
      const inSql = new Node(new SqlShardStore(storage));
      const inModel = new Node(new MemoryShardStore());
      for (const step of trace) {
        const before = inSql.store.lastPosition();
        const [bySql, byModel] = world.apply(step, [inSql, inModel]);
        expect(bySql).toEqual(byModel);
        expect(dump(inSql.store)).toEqual(dump(inModel.store));
        if (step.kind === "drop") expect(inSql.store.lastPosition()).toBe(before);
      }
      // What is in memory alone is all that a fresh core reads, though some of it was dropped.
      const fresh = inSql.freshCore();
      expect(fresh.position).toBe(inSql.core.position);
      expect(fresh.own.last).toEqual(inSql.core.own.last);
      expect(fresh.own.lastSeq).toBe(inSql.core.own.lastSeq);
      for (const { publicKey } of signers) {
        const ids = (core: typeof fresh) =>
          core
            .newestOf(publicKey)
            .map(({ id }) => toHex(id))
            .sort();
        expect(ids(fresh)).toEqual(ids(inSql.core));
      }
    };
    fc.assert(fc.property(tracesWithPartitions, check), { numRuns: 60 });
  }));

test("a fresh core knows what the old one did", () =>
  onSql(60, (trace, store) => {
    const { world, node } = play(trace, store);
    const fresh = node.freshCore();
    expect(fresh.position).toBe(node.core.position);
    expect(fresh.own.last).toEqual(node.core.own.last);
    expect(fresh.own.aheadMs(world.nowMs)).toBe(node.core.own.aheadMs(world.nowMs));
  }));

test("every event is delivered once, its parents first unless marked as a gap, each envelope once without echo", () =>
  onSql(100, (trace, store) => {
    const { world, node } = play(trace, store);
    checkDelivery(store);
    for (const name of store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, 1e6)) {
      const { topicKey } = name;
      const positions = decodeBlock(store.outline(name)?.block ?? new Uint8Array()).links.map((id) =>
        store.positionOf({ topicKey, id }),
      );
      expect(positions.filter((position) => position === undefined || position >= PENDING_BASE)).not.toEqual(
        [],
      );
    }
    flush(world, node);
    checkDelivery(store);
    const stored = TOPICS.reduce((sum, topic) => sum + node.eventsOf(topic).length, 0);
    expect(delivered(store)).toHaveLength(stored);
  }));

test("what is noted of missing parents is exactly what is missing, and nothing once all has come", () =>
  onSql(60, (trace, store) => {
    const { world, node } = play(trace, store);
    for (const { wire } of world.events) node.ingest(wire, world.nowMs);
    flush(world, node);
    const absent = TOPICS.flatMap((topic) =>
      node
        .eventsOf(topic)
        .flatMap((event) => absentLinks(store, event).map((id) => toHex(keyOf(topic)) + toHex(id))),
    );
    expect(dump(store).missing).toEqual([...new Set(absent)].sort());
    for (const event of TOPICS.flatMap((topic) => node.eventsOf(topic)))
      expect(store.links.hasUnmet(event.topicKey, event.id)).toBe(false);
  }));

test("one set of events in any order: the same heads, by their definition, and the same causal order", () =>
  onSql(100, (trace, store, order) => {
    const { world, node } = play(trace, store);
    for (const { wire } of world.events) node.ingest(wire, world.nowMs);
    const other = new Node(new MemoryShardStore());
    const shuffled = world.events.map((event, i) => ({ event, rank: order[i] ?? 0 }));
    shuffled.sort((a, b) => a.rank - b.rank);
    for (const [i, { event }] of shuffled.entries()) {
      other.ingest(event.wire, world.nowMs + i * 1_000);
      if (i % 9 === 0) other.run((core) => core.deliverOverdue(world.nowMs + i * 1_000, 2));
    }
    for (const topic of TOPICS) {
      const events = node.eventsOf(topic);
      expect(other.eventsOf(topic).map(({ id }) => toHex(id))).toEqual(events.map(({ id }) => toHex(id)));
      expect(node.headsOf(topic)).toEqual(naiveHeads(events));
      expect(other.headsOf(topic)).toEqual(naiveHeads(events));
    }
  }));

test.each([
  ["above all that was issued since", 60_000],
  ["below what was issued since", -60_000],
])("an event of this node's own that it does not know, %s, begins a generation, once", (_, aheadMs) => {
  const node = new Node(new MemoryShardStore());
  node.publish(TOPICS[0], 1, "after the loss", START_MS);
  const before = node.store.generation();
  const lost = [0, 1].map((n) =>
    forgeEvent({ topic: TOPICS[0], message: `lost ${n}`, signer: SUBJECT, timeMs: START_MS + aheadMs + n }),
  );
  for (const event of lost) {
    node.ingest(event, START_MS + 1);
    expect(node.store.generation()).toEqual(newGeneration());
  }
  expect(before).not.toEqual(newGeneration());
  const next = node.publish(TOPICS[0], 2, "next", START_MS + 2);
  for (const { id } of lost) expect(toHex(next.id) > toHex(id)).toBe(true);
  // What is known already says nothing.
  node.store.saveGeneration(before);
  node.core.reload();
  for (const event of lost) node.ingest(event, START_MS + 3);
  expect(node.store.generation()).toEqual(before);
});
