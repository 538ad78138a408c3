import { expect, test } from "vitest";
import { toWire } from "../../protocol/event.ts";
import { CELL_BYTES, Sketch } from "../../protocol/sketch.ts";
import { bucketsOf } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { forgeEvent, keyOf, madeUpId, START_MS, TOPICS } from "../testing/shard-world.ts";
import { BodyExchange } from "./body-exchange.ts";
import { Reconciliation, type ReconciliationParts } from "./reconciliation.ts";
import { type DescentParts, RootDescent } from "./root-descent.ts";
import { MAX_RUN_MS, RunBudget } from "./run-budget.ts";

const EMPTY_COMPARE = {
  kind: "different",
  asOf: 9,
  records: new Uint8Array(32),
  count: 0,
  tags: new Uint8Array(256),
  cells: new Uint8Array(32 * CELL_BYTES),
};

/** A run of a node that has an event in one of its shards, with a peer that has nothing. */
function runWithOneEvent(count: number, own: number) {
  const asked: number[] = [];
  const event = toWire(forgeEvent({ topic: TOPICS[0] }));
  const range = {
    root: new Uint8Array(32),
    groups: new Uint8Array(2_048),
    count: 1,
    sketch: new Sketch().prefix(),
  };
  const parts = {
    url: "https://peer.example",
    suite,
    clock: new ManualClock(START_MS),
    refused: () => {},
    sync: {
      state: async () => ({ asOf: 9, newest: range.root, previous: range.root, records: new Uint8Array(32) }),
      range: async () => range,
      roots: async () => [{ bucket: bucketsOf(own, count).from, class: 1, root: range.root }],
    },
    shards: {
      count,
      at: (shard: number) => ({
        listRange: async () => {
          asked.push(shard);
          return { events: shard === own ? [event] : [], next: null };
        },
      }),
    },
    ask: async (path: string) => (path === "/peer/v1/push" ? { refused: 0, missing: [] } : EMPTY_COMPARE),
  };
  return { asked, run: () => new Reconciliation(parts as unknown as ReconciliationParts).run() };
}

test.each([
  [16, 9],
  [512, 200],
  [512, 300],
  [1_024, 700],
])("with %i shards what is in shard %i is sent to a peer that has nothing", async (count, own) => {
  const { asked, run } = runWithOneEvent(count, own);
  expect(await run()).toMatchObject({ outcome: "different", sent: 1 });
  expect(asked).toEqual([own]);
});

test("a run ends when its time is over, also while it sends nothing", async () => {
  const clock = new ManualClock(START_MS);
  let asked = 0;
  const root = new Uint8Array(32);
  const range = { root, groups: new Uint8Array(2_048), count: 1_024, sketch: new Sketch().prefix() };
  const parts = {
    url: "https://peer.example",
    suite,
    clock,
    refused: () => {},
    sync: {
      state: async () => ({ asOf: 9, newest: root, previous: root, records: root }),
      range: async () => range,
      roots: async () => Array.from({ length: 1_024 }, (_, i) => ({ bucket: i * 4, class: 1, root })),
    },
    shards: {
      count: 1_024,
      at: () => ({
        listRange: async () => {
          asked++;
          clock.step(clock.nowMs() + 100);
          return { events: [], next: null };
        },
      }),
    },
    ask: async () => EMPTY_COMPARE,
  };
  const report = await new Reconciliation(parts as unknown as ReconciliationParts).run();
  expect(report).toMatchObject({ outcome: "partial", sent: 0 });
  expect(asked).toBe(MAX_RUN_MS / 100 + 1);
});

test("a run that is cut reads no more slots, however many an answer lists", async () => {
  const groups = Array.from({ length: 128 }, (_, group) => group);
  const slots = Array.from({ length: 8_192 }, (_, slot) => ({ bucket: 0, class: 1, slot, topics: [] }));
  const clock = new ManualClock(START_MS);
  const budget = new RunBudget(clock, 3);
  const topicKey = keyOf(TOPICS[0]);
  let [read, readAfter, wanted] = [0, 0, 0];
  const shard = {
    listBuckets: async () => [
      {
        bucket: 0,
        class: 1,
        kind: "groups",
        groups: groups.map((group) => ({ group, hash: new Uint8Array(32) })),
      },
    ],
    listSlotHashes: async () => [],
    listIdsOfSlot: async (_: unknown, slot: number) => {
      read++;
      if (budget.isCut) readAfter++;
      const ids = Array.from({ length: 50 }, (_, n) => madeUpId(START_MS + slot * 100 + n));
      return { topics: [{ topicKey, ids }], next: null, rows: 0 };
    },
    want: async () => {
      if (budget.isCut) wanted++;
      return { events: [toWire(forgeEvent({ topic: TOPICS[0] }))], more: false };
    },
    lacking: async () => [],
  };
  const roots = {
    listings: [
      {
        bucket: 0,
        class: 1,
        kind: "groups",
        groups: groups.map((group) => ({ group, hash: new Uint8Array(32).fill(1) })),
      },
    ],
    next: null,
  };
  const common = {
    url: "https://peer.example",
    suite,
    clock,
    refused: () => {},
    shards: { count: 1, at: () => shard },
    ask: async (path: string) =>
      path.endsWith("roots") ? roots : path.endsWith("slots") ? { slots, next: null } : { refused: 0 },
  };
  const exchange = new BodyExchange(common as unknown as ConstructorParameters<typeof BodyExchange>[0]);
  const parts = { ...common, exchange, budget, sync: { roots: async () => [] } };
  const descent = new RootDescent(parts as unknown as DescentParts, 9_000, new Set([0]));
  await descent.run({ fetchAll: async () => {}, pushAll: async () => {} });
  expect(budget.isCut).toBe(true);
  expect(read).toBeGreaterThan(0);
  // Those of the piece that was under way.
  expect(readAfter).toBeLessThan(64);
  expect(wanted).toBe(0);
});
