import { describe, expect, test } from "vitest";
import { type Bytes, utf8 } from "../../protocol/bytes.ts";
import { exhausted, GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";
import { eventToSeal, sealEvents } from "../testing/sealed-scene.ts";
import { MAX_READ_BYTES } from "./range-plan.ts";
import { MAX_READS_IN_FLIGHT, type Piece, RangeReader, type RangeSource } from "./range-reader.ts";

const { segment } = sealEvents([eventToSeal(utf8("t"), 1n, 2n ** 60n, new Uint8Array(1))]);

/** The byte at an offset of every object. */
const byteAt = (offset: number): number => (offset * 7) & 255;
const contentOf = (offset: number, length: number): Bytes =>
  Uint8Array.from({ length }, (_, i) => byteAt(offset + i));

const piece = (key: string, at: number, length: number): Piece => ({
  segment,
  file: "messages",
  key,
  range: { at, length },
});

const told: string[] = [];
const listener = { damaged: (_: unknown, file: string) => void told.push(file) };
const readerOf = (read: RangeSource["read"]): RangeReader => {
  told.length = 0;
  return new RangeReader({ read }, listener);
};

/** A source whose reads wait until they are let go. */
function gated() {
  const waiting: { readonly key: string; end(): void; fail(error: unknown): void }[] = [];
  const read = (key: string, offset: number, length: number): Promise<Bytes> =>
    new Promise((resolve, reject) =>
      waiting.push({ key, end: () => resolve(contentOf(offset, length)), fail: reject }),
    );
  return { waiting, reader: readerOf(read) };
}

/** All that can go on without an answer has. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 50; i++) await Promise.resolve();
};

describe("pieces of objects", () => {
  test("come in their order, joined where they are near", async () => {
    const reads: [string, number, number][] = [];
    const reader = readerOf(async (key, offset, length) => {
      reads.push([key, offset, length]);
      return contentOf(offset, length);
    });
    const pieces = [
      piece("b", 10, 4),
      piece("a", 5_000, 3),
      piece("a", 100, 200),
      piece("a", MAX_READ_BYTES, 2),
      piece("b", 3, 0),
      piece("a", 5_000, 3),
    ];
    const bytes = await reader.read(pieces);
    expect(bytes).toEqual(pieces.map(({ range }) => contentOf(range.at, range.length)));
    expect(reads.toSorted()).toEqual([
      ["a", 100, 4_903],
      ["a", MAX_READ_BYTES, 2],
      ["b", 10, 4],
    ]);
    expect(bytes.map(({ buffer }) => buffer.byteLength)).toEqual([4, 3, 200, 2, 0, 3]);
  });

  test("are read side by side, so many at a time", async () => {
    const { waiting, reader } = gated();
    const pieces = Array.from({ length: 10 }, (_, i) => piece(`object ${i}`, i, 3));
    const reading = reader.read(pieces);
    for (let answered = 0; answered < 10; answered++) {
      await settle();
      expect(waiting).toHaveLength(Math.min(10, answered + MAX_READS_IN_FLIGHT));
      waiting[answered]?.end();
    }
    expect(await reading).toEqual(pieces.map(({ range }) => contentOf(range.at, range.length)));
  });

  test("of several readings share the places in flight", async () => {
    const { waiting, reader } = gated();
    const readings = ["a", "b"].map((name) =>
      reader.read(Array.from({ length: 4 }, (_, i) => piece(`${name}${i}`, i, 3))),
    );
    await settle();
    expect(waiting).toHaveLength(MAX_READS_IN_FLIGHT);
    for (let answered = 0; answered < 8; answered++) {
      waiting[answered]?.end();
      await settle();
    }
    for (const reading of readings) expect(await reading).toHaveLength(4);
  });

  test("of too many readings are refused", async () => {
    const { waiting, reader } = gated();
    const readings = Array.from({ length: 70 }, (_, n) =>
      reader.read(Array.from({ length: 4 }, (_, i) => piece(`${n} ${i}`, i, 3))),
    );
    const settled = Promise.allSettled(readings);
    for (let answered = 0; answered < 280; answered++) {
      await settle();
      waiting[answered]?.end();
    }
    const codes = (await settled).map((each) => (each.status === "rejected" ? each.reason.code : "ok"));
    expect(codes.slice(0, 64)).toEqual(codes.slice(0, 64).fill("ok"));
    expect(codes.slice(-4)).toEqual(Array(4).fill("too_many_calls"));
  });
});

describe("a read that fails", () => {
  test.each([
    ["an error of the platform", new Error("internal error")],
    ["something else", "no"],
    ["another typed error", exhausted("too_many_calls", "too many")],
  ])("with %s is storage that cannot be read now", async (_, error) => {
    const reader = readerOf(() => Promise.reject(error));
    const failure = reader.read([piece("a", 0, 1)]);
    await expect(failure).rejects.toMatchObject({ code: "storage_unavailable", httpStatus: 503 });
    expect(told).toEqual([]);
  });

  test("by the source's own word keeps what it said", async () => {
    const late = unavailable("storage_unavailable", "no answer in 30 s", { key: "a" });
    await expect(readerOf(() => Promise.reject(late)).read([piece("a", 0, 1)])).rejects.toBe(late);
  });

  test.each([
    ["is not there", async () => null],
    ["ends before", async (_: string, offset: number, length: number) => contentOf(offset, length - 1)],
    ["has nothing there", async () => new Uint8Array()],
    ["gives too much", async (_: string, offset: number, length: number) => contentOf(offset, length + 1)],
    [
      "is damaged as the source says",
      () => Promise.reject(new PennypostError("segment_damaged", GRPC.dataLoss, "digest differs")),
    ],
  ])("since the object %s is damage, and told", async (_, read) => {
    const failure = readerOf(read).read([piece("a", 77, 5)]);
    await expect(failure).rejects.toMatchObject({
      code: "segment_damaged",
      grpc: GRPC.dataLoss,
      data: { file: "messages", offset: 77, root: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(told).toEqual(["messages"]);
  });

  test("ends the reading at once, and no further read begins", async () => {
    const { waiting, reader } = gated();
    const reading = reader.read(Array.from({ length: 10 }, (_, i) => piece(`object ${i}`, 0, 1)));
    await settle();
    waiting[2]?.fail(new Error("gone away"));
    await expect(reading).rejects.toMatchObject({ code: "storage_unavailable" });
    for (const { end } of waiting) end();
    await settle();
    expect(waiting).toHaveLength(MAX_READS_IN_FLIGHT);
  });

  test("gives its place to the next reading", async () => {
    const { waiting, reader } = gated();
    const failing = Array.from({ length: MAX_READS_IN_FLIGHT }, (_, i) => reader.read([piece(`${i}`, 0, 1)]));
    const settled = Promise.allSettled(failing);
    await settle();
    for (const { fail } of waiting) fail(new Error("no"));
    await settled;
    const next = reader.read([piece("next", 4, 2)]);
    await settle();
    waiting.at(-1)?.end();
    expect(await next).toEqual([contentOf(4, 2)]);
  });
});
