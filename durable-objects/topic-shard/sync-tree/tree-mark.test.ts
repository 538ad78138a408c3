import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Sketch } from "../../../protocol/sketch.ts";
import { BUCKETS } from "../../../protocol/topic.ts";
import { decodeMark, EMPTY_MARK, encodeMark, type TreeMark } from "./tree-mark.ts";

const buckets = fc.uniqueArray(fc.nat({ max: BUCKETS - 1 }), { maxLength: 20 }).map((each) => new Set(each));
const slot = fc.oneof(fc.nat({ max: 9 }), fc.nat({ max: 2 ** 22 - 1 }));
const cells = fc.uint8Array({ maxLength: 64 }).map((bytes) => new Uint8Array(bytes));
const mark: fc.Arbitrary<TreeMark> = fc.record({
  epoch: fc.maxSafeNat(),
  position: fc.maxSafeNat(),
  asOf: slot,
  open: fc.array(fc.tuple(slot, buckets), { maxLength: 9 }).map((each) => new Map(each)),
  dirty: buckets,
  isUntold: fc.boolean(),
  sketches: fc.option(fc.record({ newest: cells, previous: cells })),
});

describe("a mark", () => {
  test("reads back as it was written", () => {
    expect(decodeMark(encodeMark(EMPTY_MARK))).toEqual(EMPTY_MARK);
    fc.assert(
      fc.property(mark, (each) => {
        expect(decodeMark(encodeMark(each))).toEqual(each);
      }),
    );
  });

  test("is the same bytes for the same content, in whatever order it came together", () => {
    fc.assert(
      fc.property(mark, (each) => {
        const backwards = <T>(items: Iterable<T>) => [...items].reverse();
        const open = new Map(backwards(each.open).map(([at, own]) => [at, new Set(backwards(own))] as const));
        const other = { ...each, open, dirty: new Set(backwards(each.dirty)) };
        expect(encodeMark(other)).toEqual(encodeMark(each));
      }),
    );
  });

  test("fits a row with all buckets dirty, and busy in the 64 slots that may be open and those of the next 10 minutes", () => {
    const all = new Set(Array.from({ length: BUCKETS }, (_, bucket) => bucket));
    const open = new Map(Array.from({ length: 66 }, (_, n) => [2 ** 22 - 100 + n, all] as const));
    const numbers = { epoch: Number.MAX_SAFE_INTEGER, position: 2 ** 52 - 1, asOf: 2 ** 22 - 1 };
    const prefix = new Sketch().prefix();
    const sketches = { newest: prefix, previous: prefix };
    const encoded = encodeMark({ ...numbers, open, dirty: all, isUntold: true, sketches });
    expect(encoded.length).toBeLessThan(700_000);
    expect(decodeMark(encoded).open.size).toBe(66);
  });
});
