import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { equalBytes } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { MAX_SHARDS } from "../../protocol/limits.ts";
import { bytesOf } from "../../protocol/testing/arbitraries.ts";
import { decodeResumeToken, encodeResumeToken } from "./resume-token.ts";

const NODE = new Uint8Array(32).fill(1);
const OTHER = new Uint8Array(32).fill(2);

const places = fc.array(
  fc.record({
    shard: fc.nat({ max: MAX_SHARDS - 1 }),
    generation: bytesOf(8),
    position: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  }),
  { maxLength: 20 },
);

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "read";
  } catch (error) {
    return error instanceof PennypostError ? error.code : String(error);
  }
};
const tokenOf = (value: unknown) => Buffer.from(encodeCbor(value)).toString("base64url");
const decode = (value: unknown) => codeOf(() => decodeResumeToken(NODE, tokenOf(value)));

describe("a resume token", () => {
  test("is read as it was written, by the node that wrote it, and leads nowhere on another", () => {
    fc.assert(
      fc.property(places, (each) => {
        const token = encodeResumeToken(NODE, each);
        expect(token).toMatch(/^[\w-]+$/);
        expect(decodeResumeToken(NODE, token)).toEqual(each);
        expect(decodeResumeToken(OTHER, token)).toBeUndefined();
      }),
    );
  });

  test("of every shard that a node can have fits", () => {
    const all = Array.from({ length: MAX_SHARDS }, (_, shard) => ({
      shard,
      generation: new Uint8Array(8).fill(255),
      position: 2 ** 52 - 1,
    }));
    expect(decodeResumeToken(NODE, encodeResumeToken(NODE, all))).toEqual(all);
  });

  test("of the client's making is refused, whatever it is", () => {
    fc.assert(
      fc.property(fc.string(), (text) => codeOf(() => decodeResumeToken(NODE, text)) === "token_invalid"),
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 60 }), (bytes) => {
        const token = Buffer.from(bytes).toString("base64url");
        expect(codeOf(() => decodeResumeToken(NODE, token))).toBe("token_invalid");
      }),
    );
  });

  test("that was altered is refused, or names places: it never does anything else", () => {
    const property = fc.property(places, fc.nat(), fc.integer({ min: 1, max: 255 }), (each, at, change) => {
      const bytes = Buffer.from(encodeResumeToken(NODE, each), "base64url");
      bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ change;
      const outcome = codeOf(() => {
        for (const { shard, position, generation } of decodeResumeToken(NODE, bytes.toString("base64url")) ??
          []) {
          expect([Number.isSafeInteger(shard), Number.isSafeInteger(position)]).toEqual([true, true]);
          expect(Math.min(shard, position)).toBeGreaterThanOrEqual(0);
          expect(equalBytes(generation, generation.slice(0, 8))).toBe(true);
        }
      });
      expect(["read", "token_invalid"]).toContain(outcome);
    });
    fc.assert(property, { numRuns: 300 });
  });

  test.each<[string, unknown]>([
    ["another version", [2, NODE.subarray(0, 8), []]],
    ["no list", { 0: 1 }],
    ["fields missing", [1, NODE.subarray(0, 8)]],
    ["a field too many", [1, NODE.subarray(0, 8), [], 0]],
    ["no node", [1, "node", []]],
    ["places that are no list", [1, NODE.subarray(0, 8), {}]],
    ["too many places", [1, NODE.subarray(0, 8), Array.from({ length: MAX_SHARDS + 1 }, () => 0)]],
    ["a negative position", [1, NODE.subarray(0, 8), [[0, new Uint8Array(8), -1]]]],
    ["a position that is no number", [1, NODE.subarray(0, 8), [[0, new Uint8Array(8), "1"]]]],
    ["a position with a fraction", [1, NODE.subarray(0, 8), [[0, new Uint8Array(8), 1.5]]]],
    ["a position beyond exact numbers", [1, NODE.subarray(0, 8), [[0, new Uint8Array(8), 2n ** 60n]]]],
    ["a negative shard", [1, NODE.subarray(0, 8), [[-1, new Uint8Array(8), 1]]]],
    ["a generation of another length", [1, NODE.subarray(0, 8), [[0, new Uint8Array(9), 1]]]],
    ["a place of another length", [1, NODE.subarray(0, 8), [[0, new Uint8Array(8)]]]],
    ["nesting", [1, NODE.subarray(0, 8), [[[[[[[[[[0]]]]]]]]]]]],
  ])("with %s is refused", (_, value) => {
    expect(decode(value)).toBe("token_invalid");
  });

  test("that is very long is refused before it is decoded", () => {
    expect(codeOf(() => decodeResumeToken(NODE, "A".repeat(65_537)))).toBe("token_invalid");
    expect(codeOf(() => decodeResumeToken(NODE, ""))).toBe("token_invalid");
    expect(codeOf(() => decodeResumeToken(NODE, `${encodeResumeToken(NODE, [])}=`))).toBe("token_invalid");
  });
});
