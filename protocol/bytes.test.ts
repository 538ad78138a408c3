import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareBytes,
  concatBytes,
  equalBytes,
  fromHex,
  fromUtf8,
  readUint64,
  toHex,
  uint64Bytes,
  utf8,
} from "./bytes.ts";
import { MAX_UINT64 } from "./limits.ts";
import { bytesOf, characters } from "./testing/arbitraries.ts";

/** Few different bytes, so that one is often a prefix of the other. */
const strings = fc
  .array(fc.constantFrom(0, 1, 127, 128, 255), { maxLength: 6 })
  .map((bytes) => Uint8Array.from(bytes));
const uint64s = fc.bigInt({ min: 0n, max: MAX_UINT64 });

describe("the order of bytes", () => {
  test("is total: one of less, equal and greater; turned round; and passed on", () => {
    fc.assert(
      fc.property(strings, strings, strings, (a, b, c) => {
        expect(Math.sign(compareBytes(a, b))).toBe(0 - Math.sign(compareBytes(b, a)));
        expect(compareBytes(a, b) === 0).toBe(toHex(a) === toHex(b));
        expect(equalBytes(a, b)).toBe(toHex(a) === toHex(b));
        if (compareBytes(a, b) <= 0 && compareBytes(b, c) <= 0)
          expect(compareBytes(a, c)).toBeLessThanOrEqual(0);
      }),
      { numRuns: 500 },
    );
  });

  test("is that of their hex digits", () => {
    const sign = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
    fc.assert(
      fc.property(
        strings,
        strings,
        (a, b) => void expect(Math.sign(compareBytes(a, b))).toBe(sign(toHex(a), toHex(b))),
      ),
    );
  });

  test("is that of the numbers for 64-bit integers", () => {
    fc.assert(
      fc.property(uint64s, uint64s, (a, b) => {
        expect(Math.sign(compareBytes(uint64Bytes(a), uint64Bytes(b)))).toBe(a < b ? -1 : a > b ? 1 : 0);
        expect(readUint64(uint64Bytes(a))).toBe(a);
        expect(readUint64(concatBytes(uint64Bytes(b), uint64Bytes(a)).subarray(4), 4)).toBe(a);
      }),
    );
    expect(() => readUint64(new Uint8Array(7))).toThrow(RangeError);
  });
});

describe("forms of bytes", () => {
  test("hex and concatenation", () => {
    fc.assert(
      fc.property(bytesOf(0, 20), bytesOf(0, 20), (a, b) => {
        expect(fromHex(toHex(a))).toEqual(a);
        expect(toHex(concatBytes(a, b))).toBe(toHex(a) + toHex(b));
      }),
    );
    for (const wrong of ["0", "zz", "0x00", " 00"]) expect(() => fromHex(wrong)).toThrow();
  });

  test("UTF-8 keeps a leading U+FEFF, and refuses what is ill-formed", () => {
    fc.assert(
      fc.property(fc.string({ unit: characters }), (text) => void expect(fromUtf8(utf8(text))).toBe(text)),
    );
    expect(fromUtf8(utf8("\uFEFFa"))).toBe("\uFEFFa");
    for (const wrong of ["ff", "eda080", "c1a1", "e282"])
      expect(() => fromUtf8(fromHex(wrong))).toThrow(TypeError);
  });
});
