import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { eventId } from "../../protocol/event-id.ts";
import { CELL_BYTES, SKETCH_CELLS, Sketch } from "../../protocol/sketch.ts";
import { BUCKET_GROUPS, bucketGroupHash, nodeRoot } from "../../protocol/sync-tree.ts";
import { suite } from "../platform-suite.ts";
import { packRecords, type RootRecord } from "./root-records.ts";
import { decodeSummary, encodeSummary, type RangeSummary, rootsAsOf, summarize } from "./summary.ts";
import type { StoredHandOver } from "./sync-store.ts";

const rootOf = (fill: number): Bytes => new Uint8Array(32).fill(fill);
const sketchOf = (...events: number[]): Bytes => {
  const sketch = new Sketch();
  for (const n of events) sketch.toggle(n, eventId(BigInt(n), new Uint8Array(32).fill(n)));
  return sketch.prefix();
};

const record = (bucket: number, newest: number | null, previous: number | null): RootRecord => ({
  bucket,
  class: 1,
  count: newest === null ? 0 : 10 * newest,
  previousCount: previous === null ? 0 : 100 * previous,
  oldest: 5,
  newest: newest === null ? null : rootOf(newest),
  previous: previous === null ? null : rootOf(previous),
});

/** Shard 0 handed over as of the newest slot, shard 1 long before. */
const AS_OF = 100;
const HAND_OVERS: readonly StoredHandOver[] = [
  {
    shard: 0,
    asOf: AS_OF,
    parts: [
      { part: 0, records: packRecords([record(3, 1, 2), record(64, null, 3)]) },
      { part: 1, records: packRecords([record(300, 4, null)]) },
    ],
    sketches: { newest: sketchOf(1, 2), previous: sketchOf(2, 3) },
  },
  {
    shard: 1,
    asOf: AS_OF - 7,
    parts: [{ part: 8, records: packRecords([record(2_048, 5, 6), record(2_049, null, 7)]) }],
    sketches: { newest: sketchOf(5), previous: sketchOf(6, 7) },
  },
];

const names = (which: "newest" | "previous") =>
  rootsAsOf(HAND_OVERS, AS_OF, which).map(({ bucket, root }) => [bucket, root[0]]);

describe("what the shards handed over", () => {
  test("counts as of the newest slot by the newest side of each", () => {
    expect(names("newest")).toEqual([
      [3, 1],
      [300, 4],
      [2_048, 5],
    ]);
  });

  test("counts as of the slot before by that side, and by the newest of those who handed over before", () => {
    expect(names("previous")).toEqual([
      [3, 2],
      [64, 3],
      [2_048, 5],
    ]);
  });

  test("is summed up in any order", () => {
    const summary = summarize({ handOvers: () => HAND_OVERS }, AS_OF, suite);
    expect(summarize({ handOvers: () => HAND_OVERS.toReversed() }, AS_OF, suite)).toEqual(summary);
    const hashOf = (roots: [bucket: number, root: number][]) => {
      const list = roots.map(([bucket, root]) => ({ bucket, class: 1, root: rootOf(root) }));
      return bucketGroupHash(list, suite);
    };
    const expected = (
      groups: Readonly<Record<number, Bytes>>,
      count: number,
      sketch: Bytes,
    ): RangeSummary => {
      const joined = new Uint8Array(BUCKET_GROUPS * 32);
      for (const [group, hash] of Object.entries(groups)) joined.set(hash, 32 * Number(group));
      return { root: nodeRoot(joined, suite), groups: joined, count, sketch };
    };
    const newest = { 0: hashOf([[3, 1]]), 4: hashOf([[300, 4]]), 32: hashOf([[2_048, 5]]) };
    expect(summary.newest).toEqual(expected(newest, 100, sketchOf(1, 2, 5)));
    const previous = { 0: hashOf([[3, 2]]), 1: hashOf([[64, 3]]), 32: hashOf([[2_048, 5]]) };
    expect(summary.previous).toEqual(expected(previous, 550, sketchOf(2, 3, 5)));
    expect(summary.asOf).toBe(AS_OF);
  });

  test("is nothing without shards", () => {
    const { newest, previous } = summarize({ handOvers: () => [] }, 5, suite);
    expect(newest).toEqual(previous);
    expect([newest.count, toHex(newest.sketch)]).toEqual([0, toHex(new Sketch().prefix())]);
  });
});

describe("a summary", () => {
  const bytes = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((each) => Uint8Array.from(each));
  const range: fc.Arbitrary<RangeSummary> = fc.record({
    root: bytes(32),
    groups: bytes(64),
    count: fc.maxSafeNat(),
    sketch: bytes(48),
  });

  test("reads back as it was written", () => {
    fc.assert(
      fc.property(fc.nat({ max: 0xffffffff }), range, range, (asOf, newest, previous) => {
        const summary = { asOf, newest, previous };
        expect(decodeSummary(encodeSummary(summary))).toEqual(summary);
      }),
    );
  });

  test("has about 70 KB, whatever the node holds", () => {
    const full = {
      root: rootOf(1),
      groups: new Uint8Array(BUCKET_GROUPS * 32),
      count: Number.MAX_SAFE_INTEGER,
      sketch: new Uint8Array(SKETCH_CELLS * CELL_BYTES),
    };
    const { length } = encodeSummary({ asOf: 0xffffffff, newest: full, previous: full });
    expect(length).toBeLessThan(70_000);
  });
});
