import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { uint64Bytes, utf8 } from "../../protocol/bytes.ts";
import { suite } from "../platform-suite.ts";
import { estimateBuyers, freePlaces, MARKS_BYTES, PLACES, placeOf, withMark } from "./buyer-count.ts";

const none = new Uint8Array(MARKS_BYTES);
const all = new Uint8Array(MARKS_BYTES).fill(255);
/** As random bytes would be, and the same in each run. */
const half = Uint8Array.from(
  { length: MARKS_BYTES },
  (_, i) => suite.sha256(uint64Bytes(BigInt(i)))[0] as number,
);
const place = (wallet: string) => placeOf(suite.sha256(utf8(wallet)));
const marked = (count: number, at: Uint8Array = half) => {
  let marks = at;
  for (let i = 0; i < count; i++) marks = withMark(marks, place(`wallet ${i}`));
  return marks;
};

describe("marks", () => {
  test("are one bit of 4,096 each", () => {
    expect([freePlaces(none), freePlaces(all)]).toEqual([PLACES, 0]);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: MARKS_BYTES, maxLength: MARKS_BYTES }),
        fc.nat(PLACES - 1),
        (marks, at) => {
          const before = marks.slice();
          const after = withMark(marks, at);
          expect(marks).toEqual(before);
          expect(withMark(after, at)).toEqual(after);
          const isNew = ((before[at >> 3] as number) & (1 << (at & 7))) === 0;
          expect(freePlaces(after)).toBe(freePlaces(before) - (isNew ? 1 : 0));
          expect(after.reduce((sum, byte, i) => sum + (byte === before[i] ? 0 : 1), 0)).toBe(isNew ? 1 : 0);
        },
      ),
    );
    for (const wrong of [-1, PLACES, 0.5]) expect(() => withMark(none, wrong)).toThrow(RangeError);
  });

  test("are where the first twelve bits of a hash say", () => {
    expect([
      placeOf(Uint8Array.of(0, 0x0f)),
      placeOf(Uint8Array.of(0, 0x10)),
      placeOf(Uint8Array.of(0xff, 0xff)),
    ]).toEqual([0, 1, PLACES - 1]);
  });
});

describe("an estimate", () => {
  const estimate = (count: number, at: Uint8Array = half, batches = count) =>
    estimateBuyers(freePlaces(at), freePlaces(marked(count, at)), batches);
  const aboutOf = (count: number, at?: Uint8Array) => {
    const found = estimate(count, at);
    return "about" in found ? found.about : Number.POSITIVE_INFINITY;
  };

  test("is −m ln of the share of places that stayed free", () => {
    expect(estimateBuyers(2_048, 1_024, 9_999)).toEqual({ about: Math.round(4_096 * Math.LN2) });
    expect(estimateBuyers(2_048, 2_047, 9_999)).toEqual({ about: 2 });
  });

  test.each([1, 3, 10, 20, 100, 1_000, 5_000])("of %i wallets is within three times its error", (count) => {
    expect(Math.abs(aboutOf(count) - count)).toBeLessThanOrEqual(3 * Math.sqrt(count));
    expect(Math.abs(aboutOf(count, none) - count)).toBeLessThanOrEqual(3 * Math.sqrt(count) + 1);
  });

  test("is at least one where a batch was sold, and at most a wallet for each batch", () => {
    expect(estimateBuyers(2_048, 2_048, 0)).toEqual({ about: 0 });
    expect(estimateBuyers(2_048, 2_048, 5)).toEqual({ about: 1 });
    expect(estimateBuyers(2_048, 2_040, 3)).toEqual({ about: 3 });
  });

  test("says no more than that there are more, where hardly a place is free", () => {
    const limit = Math.floor(4_096 * Math.log(2_048 / 32));
    expect(estimateBuyers(2_048, 32, 1e6)).toEqual({ about: Math.round(4_096 * Math.log(2_048 / 32)) });
    for (const free of [31, 1, 0]) expect(estimateBuyers(2_048, free, 1e6)).toEqual({ moreThan: limit });
  });

  test("does not fall when a place more is marked", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 33, max: PLACES }),
        fc.nat(PLACES),
        fc.nat(1e6),
        (first, taken, batches) => {
          const free = Math.max(33, first - taken);
          const [before, after] = [free, free - 1].map((each) => estimateBuyers(first, each, batches));
          if (before && after && "about" in before && "about" in after)
            expect(after.about).toBeGreaterThanOrEqual(before.about);
        },
      ),
    );
  });
});

test("about half of the wallets that never bought have a mark all the same", () => {
  const marks = marked(10);
  const strangers = Array.from({ length: 1_000 }, (_, i) => place(`stranger ${i}`));
  const hit = strangers.filter((at) => withMark(marks, at).every((byte, i) => byte === marks[i])).length;
  expect(hit).toBeGreaterThan(400);
  expect(hit).toBeLessThan(600);
});
