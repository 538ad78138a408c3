import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes } from "./bytes.ts";
import { type CborLimits, checkCbor, decodeCbor, encodeCbor } from "./cbor.ts";
import { PennypostError } from "./errors.ts";
import { MAX_CBOR_DEPTH, MAX_CBOR_ITEMS } from "./limits.ts";
import { bytesOf, ipldValues } from "./testing/arbitraries.ts";
import { head, rawBytes, rawList, rawText } from "./vectors/encoding.ts";

const LARGE: CborLimits = { bytes: 2 ** 22 };

/** Undefined when the bytes pass; any error but a PennypostError is a failure. */
function problem(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return error.code;
  }
}
const checked = (bytes: Uint8Array, limits = LARGE) => problem(() => checkCbor(bytes, limits));

/** The data items of a value as RFC 8949 counts them, and how deep its containers are nested. */
function measure(value: unknown): { items: number; depth: number } {
  const isContainer = typeof value === "object" && value !== null && !(value instanceof Uint8Array);
  if (!isContainer) return { items: 1, depth: 0 };
  const children = Array.isArray(value) ? value : Object.entries(value).flat();
  const measured = children.map(measure);
  return {
    items: 1 + measured.reduce((sum, each) => sum + each.items, 0),
    depth: 1 + Math.max(0, ...measured.map((each) => each.depth)),
  };
}

describe("checkCbor", () => {
  test("passes a value exactly when bytes, items and depth are within the limits", () => {
    const offset = fc.integer({ min: -2, max: 2 });
    fc.assert(
      fc.property(ipldValues, offset, offset, offset, (value, moreBytes, moreItems, moreDepth) => {
        const bytes = encodeCbor(value);
        const { items, depth } = measure(value);
        const limits = {
          bytes: bytes.length + moreBytes,
          items: items + moreItems,
          depth: depth + moreDepth,
        };
        const tooLarge = moreBytes < 0 ? "cbor_too_large" : undefined;
        const isOver = moreItems < 0 || (moreDepth < 0 && depth > 0);
        expect(checked(bytes, limits)).toBe(tooLarge ?? (isOver ? "cbor_malformed" : undefined));
      }),
      { numRuns: 1_000 },
    );
  });

  test("has limits of its own: 65,536 items and a depth of 8", () => {
    const list = (count: number) => concatBytes(head(4, count), new Uint8Array(count));
    expect(checked(list(MAX_CBOR_ITEMS - 1))).toBeUndefined();
    expect(checked(list(MAX_CBOR_ITEMS))).toBe("cbor_malformed");
    const nested = (depth: number) => concatBytes(new Uint8Array(depth).fill(0x81), head(0, 0));
    expect(checked(nested(MAX_CBOR_DEPTH))).toBeUndefined();
    expect(checked(nested(MAX_CBOR_DEPTH + 1))).toBe("cbor_malformed");
  });

  test("counts maps, tags and empty containers as depth too", () => {
    const limits = { bytes: 100, depth: 2 };
    expect(checked(Uint8Array.of(0x81, 0x80), limits)).toBeUndefined();
    expect(checked(Uint8Array.of(0x81, 0x81, 0x80), limits)).toBe("cbor_malformed");
    expect(checked(Uint8Array.of(0xa1, 0x00, 0xa0), limits)).toBeUndefined();
    expect(checked(Uint8Array.of(0xa1, 0x00, 0xa1, 0x00, 0xa0), limits)).toBe("cbor_malformed");
    expect(checked(Uint8Array.of(0xc1, 0xc1, 0x00), limits)).toBeUndefined();
    expect(checked(Uint8Array.of(0xc1, 0xc1, 0xc1, 0x00), limits)).toBe("cbor_malformed");
  });

  test("stops at once at what a hostile sender makes of a small body", () => {
    expect(checked(new Uint8Array(10_000).fill(0x81))).toBe("cbor_malformed");
    expect(checked(new Uint8Array(10_000).fill(0xc1))).toBe("cbor_malformed");
    expect(checked(concatBytes(head(4, 1_000_000), new Uint8Array(1_000_000).fill(0xa0)))).toBe(
      "cbor_malformed",
    );
    for (const major of [2, 3, 4, 5]) {
      for (const length of [1n, 2n ** 16n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
        expect(checked(head(major, length))).toBe("cbor_malformed");
        expect(checked(concatBytes(rawList(head(0, 0)).subarray(0, 1), head(major, length)))).toBe(
          "cbor_malformed",
        );
      }
    }
  });

  test("passes a map only when the bytes for its names and values can be there", () => {
    expect(checked(Uint8Array.of(0xa2, 0, 0, 0, 0))).toBeUndefined();
    expect(checked(Uint8Array.of(0xa2, 0, 0, 0))).toBe("cbor_malformed");
    expect(checked(Uint8Array.of(0x82, 0, 0))).toBeUndefined();
    expect(checked(Uint8Array.of(0x82, 0))).toBe("cbor_malformed");
  });

  test("refuses indefinite and reserved lengths, a short argument, and what follows the end", () => {
    for (let major = 0; major < 8; major++) {
      for (let info = 28; info < 32; info++) {
        const reserved = Uint8Array.of((major << 5) | info);
        for (const following of [0, 1, 16, 32, 64, 128]) {
          expect(checked(concatBytes(reserved, new Uint8Array(following)))).toBe("cbor_malformed");
        }
        expect(checked(concatBytes(reserved, Uint8Array.of(0xff)))).toBe("cbor_malformed");
      }
    }
    for (const width of [1, 2, 4, 8]) {
      const whole = Uint8Array.of(0x18 + Math.log2(width), ...new Uint8Array(width));
      expect(checked(whole)).toBeUndefined();
      expect(checked(whole.subarray(0, -1))).toBe("cbor_malformed");
      expect(checked(concatBytes(whole, Uint8Array.of(0)))).toBe("cbor_malformed");
    }
    expect(checked(new Uint8Array())).toBe("cbor_malformed");
  });

  test("answers a PennypostError or nothing, for any bytes", () => {
    const limits = { bytes: 60, items: 20, depth: 4 };
    const heads = fc
      .tuple(fc.integer({ min: 0, max: 7 }), fc.nat(6))
      .map(([major, length]) => head(major, length));
    const likely = fc.array(fc.oneof(heads, bytesOf(0, 4))).map((parts) => concatBytes(...parts));
    fc.assert(
      fc.property(fc.oneof(bytesOf(0, 80), likely), (bytes) => {
        const code = checked(bytes, limits);
        if (bytes.length > limits.bytes) expect(code).toBe("cbor_too_large");
        else expect([undefined, "cbor_malformed"]).toContain(code);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe("decodeCbor", () => {
  test("gives back what was encoded", () => {
    fc.assert(
      fc.property(ipldValues, (value) => void expect(decodeCbor(encodeCbor(value), LARGE)).toEqual(value)),
    );
  });

  test("answers a value within the limits or a PennypostError, for any bytes", () => {
    const limits = { bytes: 200, items: 20, depth: 4 };
    const change = fc.tuple(ipldValues.map(encodeCbor), fc.nat(), bytesOf(0, 3));
    const changed = change.map(([bytes, place, put]) => {
      const at = place % bytes.length;
      return concatBytes(bytes.subarray(0, at), put, bytes.subarray(at + 1));
    });
    fc.assert(
      fc.property(fc.oneof(bytesOf(0, 60), changed), (bytes) => {
        const code = problem(() => {
          const { items, depth } = measure(decodeCbor(bytes, limits));
          expect(items).toBeLessThanOrEqual(limits.items);
          expect(depth).toBeLessThanOrEqual(limits.depth);
        });
        expect([undefined, "cbor_malformed", "cbor_too_large"]).toContain(code);
      }),
      { numRuns: 3_000 },
    );
  });

  test("checks before it builds, and refuses what dag-cbor does not have", () => {
    expect(problem(() => decodeCbor(rawBytes(new Uint8Array(5)), { bytes: 5 }))).toBe("cbor_too_large");
    expect(problem(() => decodeCbor(rawList(rawText("a"), rawText("b")), { bytes: 9, items: 2 }))).toBe(
      "cbor_malformed",
    );
    for (const bytes of [
      Uint8Array.of(0xc1, 0),
      Uint8Array.of(0xe0),
      Uint8Array.of(0xa1, 0, 0),
      Uint8Array.of(0x18, 0),
    ]) {
      expect(problem(() => decodeCbor(bytes, LARGE))).toBe("cbor_malformed");
    }
  });
});
