import * as fc from "fast-check";
import { expect, test } from "vitest";
import { compareBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import { type HotShardStore, TieredShardStore } from "../sealed/tiered-shard-store.ts";
import { segmentOf, toSegmentEvent } from "../testing/held-segments.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { World } from "../testing/shard-traces.ts";
import { keyOf, Node, onStorage, START_MS, SUBJECT, TOPICS, wipe } from "../testing/shard-world.ts";
import { headsOf } from "./heads.ts";
import { readableFrom } from "./hot-partitions.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

/** Some of a shard's events come in files and the others one by one: what they are to the rules is the same. */

const MANY = 1e6;
const small = fc.nat({ max: 2 });
const place = fc.nat({ max: 63 });
const envelope = { topic: small, ts: small, message: small };

const elsewhere = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("elsewhere" as const), origin: small, ...envelope }),
    fc.record({ kind: fc.constant("gossip" as const), origin: small, event: place }),
    fc.record({
      kind: fc.constant("forge" as const),
      links: fc.array(place, { maxLength: 4 }),
      madeUp: small,
      ...envelope,
    }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: SLOT_MS }) }),
  ),
  { minLength: 10, maxLength: 50, size: "max" },
);

/** In which order events come, and how: `file` for those that come in a file with the next ones. */
const way = fc.record({
  order: fc.double({ min: 0, max: 1, noNaN: true }),
  how: fc.constantFrom("alone", "file", "file", "end of file"),
  restarts: fc.constantFrom(false, false, false, true),
  handsOver: fc.constantFrom(false, false, true),
});

function adopt(node: Node, wires: readonly WireEvent[], nowMs: number): number {
  const store = node.store as TieredShardStore;
  const fresh = new Map<string, VerifiedEvent>();
  for (const wire of wires) {
    const judged = node.core.judge(wire, nowMs);
    if (judged.kind === "valid" && store.positionOf(judged.event) === undefined)
      fresh.set(toHex(judged.event.id), judged.event);
  }
  const events = [...fresh.values()].sort(
    (a, b) => compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id),
  );
  if (events.length === 0) return 0;
  const byClass = [...Map.groupBy(events, ({ fields }) => fields.class).values()];
  const segments = byClass.map((each) => segmentOf(each.map(toSegmentEvent)));
  node.run((core) =>
    core.adopt(
      events,
      () => {
        for (const each of segments) store.index.addGroup([each]);
      },
      nowMs,
    ),
  );
  return events.length;
}

const seen = ({ store, core }: Node, world: World) => ({
  known: world.events.map(({ topic, id }) => store.positionOf({ topicKey: keyOf(topic), id }) !== undefined),
  heads: TOPICS.map((topic) => headsOf(store, keyOf(topic)).map(toHex)),
  linkable: TOPICS.map((topic) =>
    store.links.linkableHeads(keyOf(topic), new Uint8Array(40).fill(255), 16).map(toHex),
  ),
  missing: store.links.missingParents(MANY, null).map(({ topicKey, id }) => toHex(topicKey) + toHex(id)),
  pending: store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MANY).length,
  newest: world.events.map(({ wire }) =>
    core
      .newestOf(wire.block.slice(-32))
      .map(({ id }) => toHex(id))
      .sort(),
  ),
});

interface Way {
  readonly order: number;
  readonly how: string;
  readonly restarts: boolean;
  readonly handsOver: boolean;
}

function live(hot: HotShardStore, steps: Parameters<World["apply"]>[0][], ways: readonly Way[]): void {
  const world = new World();
  for (const step of steps) world.apply(step, []);
  world.nowMs += SLOT_MS;
  const [plain, adopting] = [new Node(new MemoryShardStore()), new Node(new TieredShardStore(hot))];
  const order = world.events
    .map(({ wire }, i) => ({ wire, way: ways[i % ways.length] as Way }))
    .sort((a, b) => a.way.order - b.way.order);
  let file: WireEvent[] = [];
  for (const { wire, way } of order) {
    plain.ingest(wire, world.nowMs);
    if (way.restarts) adopting.core = adopting.freshCore();
    if (way.handsOver) adopting.run((core) => core.handOver(newestAsOf(world.nowMs)));
    if (way.how === "alone") adopting.ingest(wire, world.nowMs);
    else file.push(wire);
    if (way.how !== "end of file") continue;
    adopt(adopting, file, world.nowMs);
    file = [];
  }
  adopt(adopting, file, world.nowMs);
  world.nowMs += GAP_DELIVERY_MS + 1;
  for (const node of [plain, adopting]) node.run((core) => core.deliverOverdue(world.nowMs, MANY));
  expect(seen(adopting, world)).toEqual(seen(plain, world));
  const asOf = newestAsOf(world.nowMs + SLOT_MS);
  const roots = [plain, adopting].map((node) => node.run((core) => core.handOver(asOf)));
  expect(roots[1]).toEqual(roots[0]);
  adopting.core = adopting.freshCore();
  expect(seen(adopting, world)).toEqual(seen(plain, world));
  const scrub = adopting.run((core) => core.beginScrub());
  while (adopting.run((core) => core.stepScrub(scrub, world.nowMs)));
  expect(scrub.report).toMatchObject({ roots: 0, heads: 0, wants: 0 });
}

test("events that come in files are known, linked, heads and compared as if they had come one by one", () => {
  fc.assert(
    fc.property(elsewhere, fc.array(way, { minLength: 5, maxLength: 20 }), (steps, ways) =>
      live(new MemoryShardStore(), steps, ways),
    ),
    { numRuns: 150, endOnFailure: true },
  );
});

test("in SQLite as well", () =>
  onStorage((storage) => {
    fc.assert(
      fc.property(elsewhere, fc.array(way, { minLength: 5, maxLength: 20 }), (steps, ways) => {
        wipe(storage);
        live(new SqlShardStore(storage), steps, ways);
      }),
      { numRuns: 40, endOnFailure: true },
    );
  }));

const scene = () => {
  const node = new Node(new TieredShardStore(new MemoryShardStore()));
  const other = new Node(new MemoryShardStore(), SUBJECT);
  return { node, other };
};

test("what this node made itself, and has lost, begins a new generation, and seqs above it", () => {
  const { node, other } = scene();
  const lost = other.publish(TOPICS[0], 1, "lost", START_MS + 40_000);
  const generation = node.core.generation;
  adopt(node, [lost], START_MS + 41_000);
  expect(equalBytes(node.core.generation, generation)).toBe(false);
  const next = node.publish(TOPICS[0], 2, "next", START_MS);
  expect(compareBytes(next.id, lost.id)).toBeGreaterThan(0);
  expect(node.headsOf(TOPICS[0])).toEqual([toHex(next.id)]);
});

test("who reads by positions is cut, and who comes afterwards is not", () => {
  const { node, other } = scene();
  node.publish(TOPICS[0], 1, "before", START_MS);
  const reader = node.store.lastPosition();
  adopt(node, [other.publish(TOPICS[1], 1, "in a file", START_MS)], START_MS);
  const from = readableFrom(node.store.partitions.all());
  expect(from).toBeGreaterThan(reader);
  expect(node.store.lastPosition()).toBe(from);
  node.core = node.freshCore();
  expect(node.publish(TOPICS[0], 2, "after", START_MS).position).toBe(from + 1);
  expect(readableFrom(node.store.partitions.all())).toBe(from);
  expect(node.store.namesAfter(from, 10)).toHaveLength(1);
});

test("what waits for an event that comes in a file is delivered with it", () => {
  const { node, other } = scene();
  const parent = other.publish(TOPICS[0], 1, "parent", START_MS);
  const child = other.publish(TOPICS[0], 2, "child", START_MS + 1);
  node.ingest(child, START_MS + 2);
  expect(node.store.firstPendingMs()).toBe(START_MS + 2);
  adopt(node, [parent], START_MS + 3);
  expect(node.store.firstPendingMs()).toBeUndefined();
  expect(node.headsOf(TOPICS[0])).toEqual([toHex(child.id)]);
});
