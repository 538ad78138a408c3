import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ByteRange } from "../../protocol/segment-places.ts";
import { MAX_GAP_BYTES, MAX_READ_BYTES, MAX_READS_PER_PLAN, planReads } from "./range-plan.ts";

const KIB = 1024;
const endOf = ({ at, length }: ByteRange) => at + length;

/** Ranges of one file of that many bytes: clustered, scattered, overlapping, empty, in any order. */
const ranges = (fileBytes: number, maxLength: number) =>
  fc
    .array(
      fc.record({
        at: fc.oneof(fc.nat(fileBytes), fc.nat(200_000), fc.nat(2_000)),
        length: fc.oneof(fc.nat(maxLength), fc.nat(500), fc.constant(0)),
      }),
      { maxLength: 200 },
    )
    .map((list) =>
      list.map(({ at, length }) => ({ at, length: Math.min(length, Math.max(0, fileBytes - at)) })),
    );

describe("a plan of reads", () => {
  test("brings every wanted byte, in bounds, in few reads", () => {
    fc.assert(
      fc.property(ranges(8 * KIB * KIB, 70 * KIB), (wanted) => {
        const reads = planReads(wanted);
        expect(reads.length).toBeLessThanOrEqual(MAX_READS_PER_PLAN);
        const planned = reads.flatMap((read) => read.wanted);
        const expected = [...wanted.keys()].filter((number) => (wanted[number]?.length ?? 0) > 0);
        expect(planned.toSorted((a, b) => a - b)).toEqual(expected);
        for (const read of reads) {
          const own = read.wanted.map((number) => wanted[number] as ByteRange);
          expect(read.length).toBeLessThanOrEqual(MAX_READ_BYTES);
          expect(read.at).toBe(Math.min(...own.map(({ at }) => at)));
          expect(endOf(read)).toBe(Math.max(...own.map(endOf)));
        }
      }),
      { numRuns: 300 },
    );
  });

  test("joins neighbours up to the gap, and no further, where that makes few reads", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(3 * MAX_GAP_BYTES), fc.integer({ min: 1, max: 500 })), {
          maxLength: MAX_READS_PER_PLAN,
        }),
        (steps) => {
          let end = 0;
          const wanted = steps.map(([gap, length]) => {
            const at = end + gap;
            end = at + length;
            return { at, length };
          });
          const apart = steps.slice(1).filter(([gap]) => gap > MAX_GAP_BYTES).length;
          expect(planReads(wanted)).toHaveLength(Math.min(wanted.length, apart + 1));
        },
      ),
    );
  });

  test("has its borders at the gap and at the longest read", () => {
    const pair = (gap: number, length: number) =>
      planReads([
        { at: 100, length },
        { at: 100 + length + gap, length: 1 },
      ]).length;
    expect([pair(MAX_GAP_BYTES, 10), pair(MAX_GAP_BYTES + 1, 10)]).toEqual([1, 2]);
    expect([pair(0, MAX_READ_BYTES - 1), pair(0, MAX_READ_BYTES)]).toEqual([1, 2]);
  });

  test("reads overlapping ranges, and one wanted twice, once", () => {
    const wanted = [
      { at: 50, length: 100 },
      { at: 0, length: 60 },
      { at: 60, length: 10 },
      { at: 0, length: 60 },
    ];
    expect(planReads(wanted)).toEqual([{ at: 0, length: 150, wanted: [1, 3, 0, 2] }]);
  });

  test("reads nothing for nothing", () => {
    expect(planReads([])).toEqual([]);
    expect(planReads([{ at: 10, length: 0 }])).toEqual([]);
  });

  test("reads a file whole rather than in too many pieces", () => {
    const scattered = Array.from({ length: 150 }, (_, i) => ({ at: i * 50 * KIB, length: 100 }));
    expect(planReads(scattered)).toHaveLength(2);
    const few = scattered.slice(0, MAX_READS_PER_PLAN);
    expect(planReads(few)).toHaveLength(MAX_READS_PER_PLAN);
  });

  test.each([
    ["longer than a read", [{ at: 0, length: MAX_READ_BYTES + 1 }]],
    ["before the file", [{ at: -1, length: 1 }]],
    ["of no number of bytes", [{ at: 0, length: Number.NaN }]],
    [
      "in too many places",
      Array.from({ length: MAX_READS_PER_PLAN + 1 }, (_, i) => ({ at: i * 3 * MAX_READ_BYTES, length: 1 })),
    ],
  ])("refuses ranges %s", (_, wanted) => {
    expect(() => planReads(wanted)).toThrow(RangeError);
  });
});
