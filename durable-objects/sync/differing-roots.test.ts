import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { Sketch } from "../../protocol/sketch.ts";
import { type BucketClass, MAX_LISTED_IDS } from "../../protocol/sync-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { BUCKET_GROUPS, bucketGroupOf, byBucketAndClass, SLOTS_PER_GROUP } from "../../protocol/sync-tree.ts";
import { BUCKETS, shardOfBucket } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { MemorySyncStore } from "../testing/memory-sync-store.ts";
import { LooseClock } from "../testing/sync-world.ts";
import type { ScrubReport } from "../topic-shard/scrub/shard-scrub.ts";
import { BUCKETS_PER_PART, packRecords, type RootRecord } from "./root-records.ts";
import { SyncRoots } from "./sync-roots.ts";

const SHARDS = 4;
const NEWEST_SLOT = newestAsOf(new LooseClock().now) - 1;
const EMPTY_SKETCH = new Sketch().prefix();
const ALL_GROUPS = Array.from({ length: BUCKET_GROUPS }, (_, group) => group);
const START = { bucket: 0, class: 0 };
const NOTHING_MENDED: ScrubReport = { roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true };

type Root = BucketClass & { readonly root: Bytes; readonly count: number; readonly oldest?: number };

/** A sync object whose shards have some roots, the same as of each slot. */
function rootsOf(
  roots: readonly Root[],
  scrub: (shard: number) => Promise<ScrubReport> = async () => NOTHING_MENDED,
) {
  const recordsOf = (): RootRecord[] =>
    roots.map(({ root, ...each }) => ({
      oldest: NEWEST_SLOT,
      previousCount: each.count,
      ...each,
      newest: root,
      previous: root,
    }));
  const clock = new LooseClock();
  const partsOf = (shard: number) => {
    const own = recordsOf().filter(({ bucket }) => shardOfBucket(bucket, SHARDS) === shard);
    const groups = Map.groupBy(own, ({ bucket }) => Math.floor(bucket / BUCKETS_PER_PART));
    return [...groups].map(([part, each]) => ({ part, records: packRecords(each) }));
  };
  const handOver = async (shard: number, asOf: number) => ({
    asOf,
    parts: partsOf(shard),
    sketches: { newest: EMPTY_SKETCH, previous: EMPTY_SKETCH },
    dueAsOf: Number.MAX_SAFE_INTEGER,
  });
  const store = new MemorySyncStore();
  const sync = new SyncRoots({ suite, clock, store, shardCount: SHARDS, handOver, scrub });
  return { sync, clock, store, asOf: newestAsOf(clock.now) };
}

const keyOf = ({ bucket, class: id }: BucketClass) => bucket * 256 + id;
const place = fc.record({
  bucket: fc.oneof(
    fc.nat({ max: 9 }),
    fc.constantFrom(63, 64, 1_023, 1_024, BUCKETS - 1),
    fc.nat({ max: BUCKETS - 1 }),
  ),
  class: fc.constantFrom(0, 1, 255),
});
const rootSets: fc.Arbitrary<Root[]> = fc.uniqueArray(
  fc
    .tuple(place, fc.nat({ max: 2 }), fc.constantFrom(1, 300, 512, 513, 9_000, 2 ** 31))
    .map(([at, fill, count]) => ({ ...at, root: new Uint8Array(32).fill(1 + fill), count })),
  { maxLength: 80, selector: keyOf, size: "max" },
);

describe("the roots that differ", () => {
  test("are those of one side alone, and those that are others there: in order, each once, over as many answers as it takes", async () => {
    const groups = fc.subarray(ALL_GROUPS);
    await fc.assert(
      fc.asyncProperty(
        rootSets,
        rootSets,
        fc.oneof(fc.constant(ALL_GROUPS), groups),
        place,
        fc.option(place, { nil: null }),
        async (mine, others, asked, first, to) => {
          // Much of both is the same.
          const theirs = [...mine.slice(0, mine.length >> 1), ...others].filter(
            (each, i, all) => all.findIndex((other) => keyOf(other) === keyOf(each)) === i,
          );
          const { sync, asOf } = rootsOf(mine);
          const found: BucketClass[] = [];
          for (let from: BucketClass | null = first; from; ) {
            const question = { asOf, groups: asked, from, to, roots: theirs.toReversed() };
            const { targets, next }: Awaited<ReturnType<typeof sync.differing>> =
              await sync.differing(question);
            found.push(...targets);
            if (next) expect(byBucketAndClass(next, targets.at(-1) ?? first)).toBeGreaterThan(0);
            from = next;
          }
          const [ours, other] = [mine, theirs].map(
            (list) => new Map(list.map((each) => [keyOf(each), each])),
          );
          const all = [...new Set([...(ours?.keys() ?? []), ...(other?.keys() ?? [])])].sort((a, b) => a - b);
          const expected = all.filter((key) => {
            const [a, b] = [ours?.get(key), other?.get(key)];
            const isSame = a && b && toHex(a.root) === toHex(b.root);
            const isAsked = asked.includes(bucketGroupOf(key >> 8));
            return !isSame && isAsked && key >= keyOf(first) && (!to || key < keyOf(to));
          });
          expect(found.map(keyOf)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("are no more than one answer lists: 8,192 ids, a large bucket counting as 64", async () => {
    const root = new Uint8Array(32).fill(1);
    const bucketsWith = (count: number) =>
      Array.from({ length: BUCKETS }, (_, bucket) => ({ bucket, class: 1, root, count }));
    for (const [count, most] of [
      [1, 4_096],
      [511, 16],
      [512, 15],
      [513, 126],
      [2 ** 31, 126],
    ] as const) {
      const { sync, asOf } = rootsOf(bucketsWith(count));
      const answer = await sync.differing({ asOf, groups: ALL_GROUPS, from: START, to: null, roots: [] });
      expect(answer.targets).toHaveLength(most);
      expect(answer.next).toEqual(most < BUCKETS ? { bucket: most, class: 1 } : null);
      if (count <= 512) expect(most * (count + 1)).toBeLessThanOrEqual(MAX_LISTED_IDS);
    }
    // Old ones list a hash for each slot group that there may be, at most one for each event.
    for (const [count, groups, most] of [
      [9_000, 63, 126],
      [9_000, 1_000, 8],
      [600, 1_000, 13],
    ] as const) {
      const oldest = NEWEST_SLOT - groups * SLOTS_PER_GROUP;
      const { sync, asOf } = rootsOf(bucketsWith(count).map((each) => ({ ...each, oldest })));
      const answer = await sync.differing({ asOf, groups: ALL_GROUPS, from: START, to: null, roots: [] });
      expect(answer.targets).toHaveLength(most);
    }
    // 15 of them cost 513 each, and the last what is left, or one more.
    for (const [last, most] of [
      [496, 16],
      [497, 15],
    ] as const) {
      const counted = bucketsWith(512).slice(0, 16);
      const { sync, asOf } = rootsOf(counted.map((each, n) => (n === 15 ? { ...each, count: last } : each)));
      const { targets } = await sync.differing({
        asOf,
        groups: ALL_GROUPS,
        from: START,
        to: null,
        roots: [],
      });
      expect(targets).toHaveLength(most);
    }
  });

  test("that a question names twice are answered once", async () => {
    const root = new Uint8Array(32).fill(1);
    const { sync, asOf } = rootsOf([{ bucket: 7, class: 1, root, count: 500 }]);
    const other = { bucket: 7, class: 1, root: new Uint8Array(32).fill(2) };
    const roots = Array.from({ length: 8_192 }, () => other);
    const answer = await sync.differing({ asOf, groups: ALL_GROUPS, from: START, to: null, roots });
    expect(answer).toEqual({ targets: [{ bucket: 7, class: 1 }], next: null });
  });

  test("are those as of the slot before, too, and of no other slot", async () => {
    const root = new Uint8Array(32).fill(1);
    const { sync, asOf } = rootsOf([{ bucket: 7, class: 1, root, count: 500 }]);
    const ask = (at: number) =>
      sync.differing({ asOf: at, groups: ALL_GROUPS, from: START, to: null, roots: [] });
    expect((await ask(asOf - 1)).targets).toHaveLength(1);
    for (const at of [asOf - 2, asOf + 1])
      await expect(ask(at)).rejects.toMatchObject({ code: "sync_apart" });
  });
});

describe("scrubs", () => {
  const DAY_MS = 86_400_000;

  test("of each shard come once a day, in turn, also when one of them fails", async () => {
    const scrubbed: number[] = [];
    const { sync, clock } = rootsOf([], async (shard) => {
      scrubbed.push(shard);
      if (shard === 1) throw unavailable("part_unavailable", "no");
      return { ...NOTHING_MENDED, roots: shard };
    });
    const turn = () => sync.scrubNext().catch((error: { code?: string }) => error.code);
    for (let day = 0; day < 2; day++) {
      const turns: unknown[] = [];
      for (let minute = 0; minute < 6; minute++) {
        turns.push(await turn());
        clock.now += 60_000;
      }
      expect(turns.slice(4)).toEqual([null, null]);
      expect(turns[2]).toEqual({ shard: 2, report: { ...NOTHING_MENDED, roots: 2 } });
      expect(turns[1]).toBe("part_unavailable");
      expect(scrubbed.splice(0)).toEqual([0, 1, 2, 3]);
      clock.now += DAY_MS - 6 * 60_000 - 1;
      expect(await turn()).toBeNull();
      clock.now += 1;
    }
  });

  test("of a clock that was ahead keep none from its turn", async () => {
    const { sync, clock } = rootsOf([]);
    clock.now += 30 * DAY_MS;
    expect((await sync.scrubNext())?.shard).toBe(0);
    clock.now -= 30 * DAY_MS;
    expect((await sync.scrubNext())?.shard).toBe(0);
  });

  test("show a shard that was restored without the sync object, or the other way around", async () => {
    const root = (fill: number) => ({ bucket: 7, class: 1, root: new Uint8Array(32).fill(fill), count: 1 });
    const roots = [root(1)];
    const { sync } = rootsOf(roots);
    const before = await sync.state();
    // Nobody tells: for all that the shard knows it handed over what it has.
    roots[0] = root(2);
    expect(await sync.state()).toEqual(before);
    await sync.scrubNext();
    const restored = await rootsOf(roots).sync.state();
    expect(await sync.state()).toEqual(restored);
    expect(restored.newest).not.toEqual(before.newest);
  });
});
