import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { MAX_BACK_SLOTS, newestAsOf } from "../../protocol/sync-range.ts";
import { setLogSink } from "../log.ts";
import { MemorySyncStore } from "../testing/memory-sync-store.ts";
import { type HandOverFault, onSyncStorage, SyncWorld } from "../testing/sync-world.ts";
import { SqlSyncStore } from "./sql-sync-store.ts";
import { encodeSummary } from "./summary.ts";
import type { SyncStore } from "./sync-store.ts";

// Reports that are lost on purpose are logged.
beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());

const SHARDS = 4;
type Prefix = "short" | "odd" | "kept";
type Step =
  | { readonly kind: "arrive"; shard: number; prefix: Prefix; ago: number }
  | { readonly kind: "wait"; slots: number }
  | { readonly kind: "fault"; fault: HandOverFault }
  | { readonly kind: "restart" | "ahead"; shard: number }
  | { readonly kind: "crash while asking"; turns: number }
  | { readonly kind: "die"; writes: number }
  | { readonly kind: "lose report" | "ask" };

const shard = fc.nat({ max: SHARDS - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      shard,
      prefix: fc.constantFrom("short" as const, "odd" as const, "kept" as const),
      ago: fc.oneof(fc.nat({ max: 9 }), fc.nat({ max: 90 })),
    }),
  },
  {
    weight: 4,
    // Back, too: clocks are put right.
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      slots: fc.oneof(fc.double({ min: -2, max: 3, noNaN: true }), fc.nat({ max: 90 })),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("fault" as const),
      fault: fc.constantFrom<HandOverFault>(
        "refused",
        "answer lost",
        "late event, said before",
        "late event, said after",
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("restart" as const, "ahead" as const), shard }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("crash while asking" as const),
      turns: fc.nat({ max: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("die" as const), writes: fc.integer({ min: 1, max: 9 }) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "lose report" as const }) },
  { weight: 5, arbitrary: fc.constant({ kind: "ask" as const }) },
);
const traces = fc.array(step, { maxLength: 40, size: "max" });

/** Asks until nothing is on its way any more; then all must be as the events say, and asking again costs nothing. */
async function checkAtRest(world: SyncWorld): Promise<number> {
  for (let left = 20; ; left--) {
    expect(left).toBeGreaterThan(0);
    world.clock.ring();
    await settle();
    const asked = world.asked.length;
    try {
      await world.roots.state();
    } catch (error) {
      if (world.isOver) world.crash();
      else if (!(error instanceof PennypostError)) throw error;
    }
    if (world.asked.length === asked && world.clock.isIdle) break;
  }
  const asked = world.asked.length;
  const { asOf, newest, previous } = await world.roots.state();
  expect(asOf).toBeGreaterThanOrEqual(newestAsOf(world.clock.now));
  const expected = world.expected(asOf);
  expect([toHex(newest), toHex(previous)]).toEqual([expected.newest.root, expected.previous.root]);
  for (const which of ["newest", "previous"] as const) {
    const at = which === "newest" ? asOf : asOf - 1;
    const { groups, sketch } = await world.roots.range(at);
    expect({ groups: toHex(groups), sketch: toHex(sketch) }).toEqual({
      groups: expected[which].groups,
      sketch: expected[which].sketch,
    });
  }
  expect((await world.roots.range(asOf)).count).toBe(world.countAt(asOf));
  expect(world.asked.length).toBe(asked);
  return asOf;
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await null;
}

async function play(store: SyncStore, trace: readonly Step[]): Promise<string[]> {
  const world = new SyncWorld(SHARDS, store);
  let highest = 0;
  // A clock that steps back by more is another case: sketches are right again after a scrub only.
  let newestMs = world.clock.now;
  const wait = (slots: number) => {
    newestMs = Math.max(newestMs, world.clock.now);
    const behind = (newestMs - world.clock.now) / SLOT_MS;
    world.wait(Math.max(slots, behind + 2 - MAX_BACK_SLOTS));
  };
  for (const each of trace) {
    if (each.kind === "arrive") await world.arrive(each.shard, each.prefix, each.ago);
    if (each.kind === "wait") wait(each.slots);
    if (each.kind === "fault") world.faults.push(each.fault);
    if (each.kind === "restart") await world.restartShard(each.shard);
    if (each.kind === "ahead") await world.advanceShard(each.shard, newestAsOf(world.clock.now) + 1);
    if (each.kind === "lose report") world.reportsToLose++;
    if (each.kind === "die") world.dieAtWrite(each.writes);
    if (each.kind === "crash while asking") {
      const lost = world.roots.state().catch(() => {});
      for (let turn = 0; turn < each.turns; turn++) await null;
      world.crash();
      await lost;
    }
    if (each.kind !== "ask") continue;
    const asOf = await checkAtRest(world);
    expect(asOf).toBeGreaterThanOrEqual(highest);
    highest = asOf;
  }
  await checkAtRest(world);
  return [...world.asked, toHex(encodeSummary(await summaryOf(world)))];
}

async function summaryOf(world: SyncWorld) {
  const { asOf } = await world.roots.state();
  return { asOf, newest: await world.roots.range(asOf), previous: await world.roots.range(asOf - 1) };
}

describe("the roots of a node", () => {
  test("are those of its shards' events, whatever was refused, lost, late or restarted", async () => {
    await fc.assert(
      fc.asyncProperty(traces, async (trace) => {
        await play(new MemorySyncStore(), trace);
      }),
      { numRuns: 150 },
    );
  });

  test("are the same in SQLite, asked for by the same questions", () =>
    onSyncStorage(async (storage) => {
      await fc.assert(
        fc.asyncProperty(traces, async (trace) => {
          for (const table of ["shards", "hand_overs", "parts", "summary"])
            storage.sql.exec(`DELETE FROM ${table}`);
          const ofSql = await play(new SqlSyncStore(storage), trace);
          expect(ofSql).toEqual(await play(new MemorySyncStore(), trace));
        }),
        { numRuns: 25 },
      );
    }));
});
