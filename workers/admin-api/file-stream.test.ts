import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fileResponse, rangeOf } from "./file-stream.ts";

const file = Uint8Array.from({ length: 100 }, (_, n) => n);
const readPart = async (offset: number, length: number) => file.slice(offset, offset + length);

describe("a range", () => {
  test.each([
    [undefined, null],
    ["bytes=0-", { first: 0, last: 99 }],
    ["bytes=7-9", { first: 7, last: 9 }],
    ["bytes=99-", { first: 99, last: 99 }],
    ["bytes=5-1000", { first: 5, last: 99 }],
    ["bytes=-5", null],
    ["bytes=1-2,4-5", null],
    ["lines=1-", null],
  ])("%s", (header, range) => expect(rangeOf(header, 100)).toEqual(range));

  test.each(["bytes=100-", "bytes=9-7"])("%s is refused", (header) =>
    expect(() => rangeOf(header, 100)).toThrow("100 bytes"),
  );
});

test("any part of a file is answered, however it is read", async () => {
  const parts = fc.tuple(fc.nat(99), fc.nat(99), fc.integer({ min: 1, max: 150 }));
  await fc.assert(
    fc.asyncProperty(parts, async ([a, b, partBytes]) => {
      const range = { first: Math.min(a, b), last: Math.max(a, b) };
      const response = fileResponse(readPart, 100, range, partBytes);
      expect(response.status).toBe(206);
      expect(response.headers.get("content-range")).toBe(`bytes ${range.first}-${range.last}/100`);
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(file.slice(range.first, range.last + 1));
    }),
    { numRuns: 50 },
  );
});

test("one part is read at a time, when it is wanted", async () => {
  const asked: number[] = [];
  const response = fileResponse(
    (offset, length) => {
      asked.push(offset);
      return readPart(offset, length);
    },
    100,
    null,
    10,
  );
  const reader = response.body?.getReader();
  await reader?.read();
  expect(asked.length).toBeLessThanOrEqual(3);
  await reader?.cancel();
});

test.each([
  ["is not there any more", async () => null],
  ["is shorter than it was", async () => new Uint8Array(3)],
  [
    "cannot be read",
    async () => {
      throw new Error("R2 is away");
    },
  ],
])("an answer breaks off where a file %s", async (_, failing) => {
  const response = fileResponse(
    (offset, length) => (offset < 20 ? readPart(offset, length) : failing()),
    100,
    null,
    10,
  );
  await expect(response.arrayBuffer()).rejects.toThrow();
});
