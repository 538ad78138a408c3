import { describe, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { CELL_BYTES, Sketch } from "../../protocol/sketch.ts";
import { type CompareQuestion, FIRST_CELLS } from "../../protocol/sync-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { suite } from "../platform-suite.ts";
import { MemorySyncStore } from "../testing/memory-sync-store.ts";
import { LooseClock, onSyncStorage, SyncWorld } from "../testing/sync-world.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";
import { packRecords } from "./root-records.ts";
import { SqlSyncStore } from "./sql-sync-store.ts";
import { groupTags } from "./summary.ts";
import type { ComparedState } from "./sync-api.ts";
import { SyncRoots } from "./sync-roots.ts";
import type { SyncStore } from "./sync-store.ts";

const EMPTY_SKETCH = new Sketch().prefix();
const NEVER = Number.MAX_SAFE_INTEGER;
const emptyHandOver = (asOf: number, dueAsOf = NEVER): HandOver => ({
  asOf,
  parts: [{ part: 0, records: packRecords([]) }],
  sketches: { newest: EMPTY_SKETCH, previous: EMPTY_SKETCH },
  dueAsOf,
});

/** Roots over shards that answer as a test says. */
function rootsOver(
  shardCount: number,
  handOver: (shard: number, asOf: number) => Promise<HandOver>,
  store: SyncStore = new MemorySyncStore(),
) {
  const clock = new LooseClock();
  const scrub = async () => ({ roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true });
  return { clock, roots: new SyncRoots({ suite, clock, store, shardCount, handOver, scrub }) };
}

const plain = ({ asOf, newest, previous }: ComparedState) => [asOf, toHex(newest), toHex(previous)];

describe("a check that finds nothing", () => {
  test("asks no shard, whatever is asked, and after a restart neither", async () => {
    const world = new SyncWorld(4, new MemorySyncStore());
    for (const shard of [0, 1, 2, 3]) await world.arrive(shard, "kept", 9);
    const state = await world.roots.state();
    expect(world.asked).toHaveLength(4);
    for (let life = 0; life < 2; life++) {
      for (let check = 0; check < 3; check++) {
        expect(await world.roots.state()).toEqual(state);
        expect((await world.roots.compare(state)).kind).toBe("same");
        await world.roots.cells({ asOf: state.asOf, cells: 9 });
        await world.roots.range(state.asOf - 1);
        await world.roots.roots(state.asOf);
        const from = { bucket: 0, class: 0 };
        await world.roots.differing({ asOf: state.asOf, groups: [0], from, to: null, roots: [] });
      }
      world.crash();
    }
    expect(world.asked).toHaveLength(4);
  });

  test("asks none either when slots settle in which nothing was stored; as of the slot before it is what it was", async () => {
    const world = new SyncWorld(4, new MemorySyncStore());
    await world.arrive(1, "kept", 0);
    let first = await world.roots.state();
    // Until it is in the newest slot, and not in the one before.
    for (; toHex(first.newest) === toHex(first.previous); first = await world.roots.state()) world.wait(0.5);
    const asked = world.asked.length;
    for (const slots of [1, 1, 50, 1_000]) {
      world.wait(slots);
      const state = await world.roots.state();
      expect(state.asOf).toBe(newestAsOf(world.clock.now));
      expect([toHex(state.newest), toHex(state.previous)]).toEqual(Array(2).fill(toHex(first.newest)));
    }
    expect(world.asked).toHaveLength(asked);
  });
});

describe("a shard is asked", () => {
  test("when it said that it changed, when a slot settles in which it has events, and when one leaves its range", async () => {
    const world = new SyncWorld(4, new MemorySyncStore());
    const { asOf } = await world.roots.state();
    const askedNow = async () => {
      const before = world.asked.length;
      await world.roots.state();
      return world.asked.slice(before);
    };
    await world.arrive(2, "kept", 7);
    expect(await askedNow()).toEqual([`2 ${asOf}`]);
    // In the slot that is not settled yet: `asOf` itself.
    await world.arrive(1, "short", 0);
    expect(await askedNow()).toEqual([]);
    const due: string[] = [];
    while (due.length < 2) {
      world.wait(1);
      due.push(...(await askedNow()));
      expect(newestAsOf(world.clock.now)).toBeLessThan(asOf + 20);
    }
    // It is compared from asOf + 1 or + 2 on, and leaves 8 - 3 slots after.
    const [entered, left] = due.map((each) => Number(each.replace("1 ", "")));
    expect((left ?? 0) - (entered ?? 0)).toBe(5);
  });

  test("once by all who ask at the same time, and 16 shards of 1,024 at a time", async () => {
    let running = 0;
    let most = 0;
    const asked: number[] = [];
    const { roots } = rootsOver(1_024, async (shard, asOf) => {
      asked.push(shard);
      most = Math.max(most, ++running);
      for (let turn = 0; turn < 3; turn++) await null;
      running--;
      return emptyHandOver(asOf);
    });
    const states = await Promise.all(Array.from({ length: 5 }, () => roots.state()));
    expect(new Set(states.map((state) => plain(state).join())).size).toBe(1);
    expect([asked.length, new Set(asked).size, most]).toEqual([1_024, 1_024, 16]);
  });

  test("at most three times by one question, though it changes all the time", async () => {
    let asked = 0;
    const { roots } = rootsOver(1, async (_, asOf) => {
      asked++;
      return emptyHandOver(asOf, 0);
    });
    await roots.state();
    expect(asked).toBe(3);
  });

  test("again when its answer was lost, and when it failed; those that answered are not", async () => {
    const world = new SyncWorld(4, new MemorySyncStore());
    world.faults.push("refused", "answer lost");
    await world.arrive(1, "kept", 9);
    await expect(world.roots.state()).rejects.toMatchObject({ code: "write_failed" });
    expect(world.asked).toHaveLength(4);
    const { asOf, newest } = await world.roots.state();
    expect(world.asked.slice(4)).toEqual([`0 ${asOf}`, `1 ${asOf}`]);
    expect(toHex(newest)).toBe(world.expected(asOf).newest.root);
  });

  test("and waited for, also when another failed: nothing older comes in the place of something newer", async () => {
    const answers: ((handOver: HandOver) => void)[] = [];
    const { roots } = rootsOver(2, (shard) =>
      shard === 0
        ? Promise.reject(unavailable("part_unavailable", "no"))
        : new Promise((resolve) => answers.push(resolve)),
    );
    let isOver = false;
    const state = roots.state().finally(() => {
      isOver = true;
    });
    for (let turn = 0; turn < 50; turn++) await null;
    expect(isOver).toBe(false);
    for (const answer of answers) answer(emptyHandOver(5));
    await expect(state).rejects.toMatchObject({ code: "part_unavailable" });
    expect(answers).toHaveLength(1);
  });

  test("at once again when it changed while it was being asked, before or after it computed its answer", async () => {
    for (const fault of ["late event, said before", "late event, said after"] as const) {
      const world = new SyncWorld(2, new MemorySyncStore());
      world.faults.push(fault);
      await world.roots.state();
      for (let turn = 0; turn < 50; turn++) await null;
      const { asOf, newest } = await world.roots.state();
      expect(toHex(newest)).toBe(world.expected(asOf).newest.root);
      expect(world.asked.filter((each) => each.startsWith("0 ")).length).toBe(2);
    }
  });
});

describe("asOf", () => {
  test("does not go back with a clock that steps back by two slots", async () => {
    const world = new SyncWorld(2, new MemorySyncStore());
    await world.arrive(0, "short", 3);
    const first = await world.roots.state();
    world.wait(-2);
    await world.arrive(1, "kept", 3);
    const second = await world.roots.state();
    expect(second.asOf).toBe(first.asOf);
    expect(toHex(second.newest)).toBe(world.expected(first.asOf).newest.root);
    world.crash();
    expect(plain(await world.roots.state())).toEqual(plain(second));
    world.wait(3);
    expect((await world.roots.state()).asOf).toBe(first.asOf + 1);
  });

  test("goes back with a clock that was far ahead, in this life or the next, and all shards are scrubbed anew", async () => {
    for (const isRestarted of [false, true]) {
      const world = new SyncWorld(2, new MemorySyncStore());
      for (const [shard, topic] of [
        [0, "short"],
        [1, "kept"],
      ] as const)
        await world.arrive(shard, topic, 3);
      const first = await world.roots.state();
      world.wait(3_000);
      expect((await world.roots.state()).asOf).toBe(first.asOf + 3_000);
      expect((await world.roots.scrubNext())?.shard).toBe(0);
      world.wait(-3_000);
      if (isRestarted) world.crash();
      expect(plain(await world.roots.state())).toEqual(plain(first));
      expect([await world.roots.scrubNext(), await world.roots.scrubNext()]).toMatchObject([
        { shard: 0 },
        { shard: 1 },
      ]);
      await world.arrive(1, "kept", 1);
      world.wait(1);
      const last = await world.roots.state();
      expect(toHex(last.newest)).toBe(world.expected(last.asOf).newest.root);
    }
  });

  test("is that of a shard which is ahead, and then all are asked that change by it", async () => {
    const world = new SyncWorld(4, new MemorySyncStore());
    for (const shard of [0, 1, 2]) await world.arrive(shard, "short", 2);
    const { asOf } = await world.roots.state();
    await world.advanceShard(0, asOf + 2);
    const state = await world.roots.state();
    expect(state.asOf).toBe(asOf + 2);
    const expected = world.expected(asOf + 2);
    expect([toHex(state.newest), toHex(state.previous)]).toEqual([
      expected.newest.root,
      expected.previous.root,
    ]);
  });
});

describe("a comparison", () => {
  /** A node whose events enter, and leave, from one slot to the next. */
  async function node() {
    const world = new SyncWorld(2, new MemorySyncStore());
    for (let ago = 1; ago < 9; ago++) await world.arrive(ago % 2, "short", ago);
    world.wait(1);
    const state = await world.roots.state();
    expect(toHex(state.newest)).not.toBe(toHex(state.previous));
    return { world, state };
  }

  test("is made as of the newest slot that both have, with that side of each", async () => {
    const { world, state } = await node();
    const { asOf, newest, previous } = state;
    const other = new Uint8Array(32);
    const ask = async (question: CompareQuestion) => {
      const answer = await world.roots.compare(question);
      return [answer.kind, answer.asOf];
    };
    expect(await ask(state)).toEqual(["same", asOf]);
    expect(await ask({ asOf, newest, previous: other })).toEqual(["same", asOf]);
    expect(await ask({ asOf, newest: previous, previous: newest })).toEqual(["different", asOf]);
    expect(await ask({ asOf: asOf + 1, newest: other, previous: newest })).toEqual(["same", asOf]);
    expect(await ask({ asOf: asOf + 1, newest, previous: other })).toEqual(["different", asOf]);
    expect(await ask({ asOf: asOf - 1, newest: previous, previous: other })).toEqual(["same", asOf - 1]);
    expect(await ask({ asOf: asOf - 1, newest, previous })).toEqual(["different", asOf - 1]);
    for (const far of [asOf + 2, asOf - 2, 0, 0xffffffff])
      expect(await ask({ asOf: far, newest, previous })).toEqual(["apart", asOf]);
  });

  test("that finds a difference answers count, tags and first cells of the side that was compared", async () => {
    const { world, state } = await node();
    for (const asOf of [state.asOf, state.asOf - 1]) {
      const range = await world.roots.range(asOf);
      const wrong = new Uint8Array(32);
      const answer = await world.roots.compare({ asOf, newest: wrong, previous: wrong });
      expect(answer).toEqual({
        kind: "different",
        asOf,
        records: state.records,
        count: range.count,
        tags: groupTags(range.groups),
        cells: range.sketch.slice(0, FIRST_CELLS * CELL_BYTES),
      });
      expect(await world.roots.cells({ asOf, cells: 224 })).toEqual(range.sketch.slice(0, 224 * CELL_BYTES));
    }
    for (const asOf of [state.asOf + 1, state.asOf - 2])
      for (const ask of [
        world.roots.range(asOf),
        world.roots.cells({ asOf, cells: 1 }),
        world.roots.roots(asOf),
      ])
        await expect(ask).rejects.toMatchObject({ code: "sync_apart" });
  });

  test("of nodes with other numbers of shards is one of the same events", async () => {
    const answers: unknown[] = [];
    for (const shardCount of [1, 2, 8, 64]) {
      const world = new SyncWorld(1, new MemorySyncStore());
      for (let n = 0; n < 40; n++) await world.arrive(0, n % 2 ? "short" : "kept", 1 + (n % 9));
      const spread = new SyncWorld(shardCount, new MemorySyncStore());
      await spread.takeFrom(world);
      const { asOf } = await spread.roots.state();
      answers.push([await spread.roots.range(asOf), await spread.roots.range(asOf - 1)]);
    }
    expect(answers.slice(1)).toEqual(Array(3).fill(answers[0]));
  });
});

describe("a settle of 16 shards", () => {
  /** Rows that are billed. */
  function countRows({ sql }: DurableObjectStorage): () => number {
    const exec = sql.exec.bind(sql);
    const cursors: { readonly rowsWritten: number }[] = [];
    vi.spyOn(sql, "exec").mockImplementation((query, ...bindings: SqlStorageValue[]) => {
      const cursor = exec(query, ...bindings);
      cursors.push(cursor);
      return cursor as never;
    });
    return () => cursors.splice(0).reduce((sum, { rowsWritten }) => sum + rowsWritten, 0);
  }

  test("writes 49 rows: of each shard its hand-over, its roots and when it is due, and one summary", () =>
    onSyncStorage(async (storage) => {
      const world = new SyncWorld(16, new SqlSyncStore(storage));
      const rows = countRows(storage);
      await world.roots.state();
      for (let shard = 0; shard < 16; shard++) await world.arrive(shard, "kept", 0);
      world.wait(1);
      rows();
      await world.roots.state();
      expect(world.asked).toHaveLength(32);
      expect(rows()).toBe(49);
      // A check writes nothing, and a slot in which nothing was stored one summary.
      await world.roots.state();
      expect(rows()).toBe(0);
      world.wait(1);
      await world.roots.state();
      expect(rows()).toBe(1);
      // One late event: its shard says so, and is asked.
      await world.arrive(3, "kept", 30);
      await world.roots.state();
      expect(rows()).toBe(1 + 4);
      vi.restoreAllMocks();
    }));
});
