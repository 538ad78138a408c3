import { describe, expect, test } from "vitest";
import type { Bytes } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { MAX_PEER_BODY_BYTES, MAX_PEER_EVENTS } from "./limits.ts";
import { CELL_BYTES, SKETCH_CELLS } from "./sketch.ts";
import * as codec from "./sync-codec.ts";
import {
  FIRST_CELLS,
  MAX_ASKED_GROUPS,
  MAX_ASKED_ROOTS,
  MAX_ASKED_SLOTS,
  MAX_ASKED_SYMBOLS,
  MAX_LISTED_IDS,
  MAX_OFFERED_NAMES,
} from "./sync-messages.ts";
import { codeOf } from "./testing/decoding.ts";
import { BUCKETS } from "./topic.ts";

/** How much each body of anti-entropy may hold. */

const { encodeCompare, encodeRoots, encodeRootsAnswer, encodeSlots } = codec;

const zero = { bucket: 0, class: 0 };
const some = (count: number, bytes: number) => Array.from({ length: count }, () => new Uint8Array(bytes));
const topicOf = (ids: number) => ({ topicKey: new Uint8Array(32), ids: some(ids, 40) });
const times = <T>(count: number, item: T): T[] => Array.from({ length: count }, () => item);
const part = (groups: number, ofSlots: number) => ({
  ...zero,
  groups: times(groups, 7),
  slots: times(ofSlots, { slot: 7, hash: new Uint8Array(32) }),
  place: null,
});
const slotsOf = (...parts: ReturnType<typeof part>[]) =>
  encodeSlots({ asOf: 1, parts: parts.map((each, bucket) => ({ ...each, bucket })) });
const idsListing = (ofTopics: readonly ReturnType<typeof topicOf>[]) =>
  encodeRootsAnswer({ listings: [{ ...zero, kind: "ids", topics: ofTopics }], next: null });
const slotListing = (ofTopics: readonly ReturnType<typeof topicOf>[]) =>
  codec.encodeSlotsAnswer({ slots: [{ ...zero, slot: 1, topics: ofTopics }], next: null });
const emptyEvent = { block: new Uint8Array(), signature: new Uint8Array(64), message: new Uint8Array() };
const rangeOf = (toBucket: number) =>
  codec.encodeRange({ asOf: 1, class: null, fromBucket: 0, toBucket, after: null });

type Limit = readonly [
  what: string,
  most: number,
  made: (count: number) => Bytes,
  decode: (bytes: Uint8Array) => unknown,
];
const LIMITS: readonly Limit[] = [
  [
    "roots of a question",
    MAX_ASKED_ROOTS,
    (count) =>
      encodeRoots({
        asOf: 1,
        groups: [0],
        from: zero,
        to: null,
        roots: times(count, { ...zero, root: new Uint8Array(32) }),
      }),
    codec.decodeRoots,
  ],
  ["symbols", MAX_ASKED_SYMBOLS, (count) => codec.encodeSymbols(some(count, 12)), codec.decodeSymbols],
  [
    "names",
    MAX_OFFERED_NAMES,
    (count) => codec.encodeNames(times(count, { topicKey: new Uint8Array(32), id: new Uint8Array(40) })),
    codec.decodeNames,
  ],
  [
    "flags",
    MAX_ASKED_SYMBOLS,
    (count) => codec.encodeFlags(Array.from({ length: count }, () => true)),
    codec.decodeFlags,
  ],
  [
    "bucket groups of a question",
    64,
    (count) => encodeRoots({ asOf: 1, groups: times(count, 63), from: zero, to: null, roots: [] }),
    codec.decodeRoots,
  ],
  [
    "a bucket group",
    63,
    (group) => encodeRoots({ asOf: 1, groups: [group], from: zero, to: null, roots: [] }),
    codec.decodeRoots,
  ],
  ["cells asked for", SKETCH_CELLS, (cells) => codec.encodeCells({ asOf: 1, cells }), codec.decodeCells],
  [
    "cells answered",
    SKETCH_CELLS,
    (count) => codec.encodeCellsAnswer(new Uint8Array(count * CELL_BYTES)),
    codec.decodeCellsAnswer,
  ],
  [
    "listings",
    MAX_LISTED_IDS,
    (count) =>
      encodeRootsAnswer({ listings: times(count, { ...zero, kind: "ids", topics: [] }), next: null }),
    codec.decodeRootsAnswer,
  ],
  [
    "topics of a listing",
    MAX_LISTED_IDS,
    (count) => idsListing(times(count, topicOf(0))),
    codec.decodeRootsAnswer,
  ],
  ["ids of a topic", MAX_LISTED_IDS, (count) => idsListing([topicOf(count)]), codec.decodeRootsAnswer],
  [
    "slot groups of a listing",
    MAX_LISTED_IDS,
    (count) => {
      const groups = times(count, { group: 1, hash: new Uint8Array(32) });
      return encodeRootsAnswer({ listings: [{ ...zero, kind: "groups", groups }], next: null });
    },
    codec.decodeRootsAnswer,
  ],
  ["parts", MAX_ASKED_GROUPS, (count) => slotsOf(...times(count, part(0, 0))), codec.decodeSlots],
  ["slot groups of a part", MAX_ASKED_GROUPS, (count) => slotsOf(part(count, 0)), codec.decodeSlots],
  [
    "slot groups of all parts",
    MAX_ASKED_GROUPS,
    (count) => slotsOf(part(count - 100, 0), part(60, 0), part(40, 0)),
    codec.decodeSlots,
  ],
  ["slots of a part", MAX_ASKED_SLOTS, (count) => slotsOf(part(1, count)), codec.decodeSlots],
  [
    "slots of all parts",
    MAX_ASKED_SLOTS,
    (count) => slotsOf(part(1, count - 10), part(1, 10)),
    codec.decodeSlots,
  ],
  [
    "slots answered",
    MAX_LISTED_IDS,
    (count) => codec.encodeSlotsAnswer({ slots: times(count, { ...zero, slot: 1, topics: [] }), next: null }),
    codec.decodeSlotsAnswer,
  ],
  [
    "topics of a slot",
    MAX_LISTED_IDS,
    (count) => slotListing(times(count, topicOf(0))),
    codec.decodeSlotsAnswer,
  ],
  [
    "ids of a topic in a slot",
    MAX_LISTED_IDS,
    (count) => slotListing([topicOf(count)]),
    codec.decodeSlotsAnswer,
  ],
  [
    "events of a page",
    MAX_PEER_EVENTS,
    (count) => codec.encodeRangeAnswer({ events: times(count, emptyEvent), next: null }),
    codec.decodeRangeAnswer,
  ],
  ["the end of a range of buckets", BUCKETS, rangeOf, codec.decodeRange],
  [
    "the beginning of a range of buckets",
    BUCKETS - 1,
    (fromBucket) => codec.encodeRange({ asOf: 1, class: 255, fromBucket, toBucket: 1, after: null }),
    codec.decodeRange,
  ],
  [
    "a bucket",
    BUCKETS - 1,
    (bucket) => encodeRootsAnswer({ listings: [], next: { bucket, class: 0 } }),
    codec.decodeRootsAnswer,
  ],
  [
    "a class",
    255,
    (id) => encodeRootsAnswer({ listings: [], next: { bucket: 0, class: id } }),
    codec.decodeRootsAnswer,
  ],
  [
    "asOf",
    0xffffffff,
    (asOf) => encodeCompare({ asOf, newest: new Uint8Array(32), previous: new Uint8Array(32) }),
    codec.decodeCompare,
  ],
];

describe("limits", () => {
  test.each(LIMITS)("%s: %i and no more", (_, most, made, decode) => {
    expect(made(most).length).toBeLessThan(MAX_PEER_BODY_BYTES);
    expect(codeOf(decode, made(most))).toBe("good");
    expect(codeOf(decode, made(most + 1))).toBe("peer_body_invalid");
  });

  test("a bucket and class is asked about in one part", () => {
    const [one, other] = [part(1, 1), { ...part(1, 1), class: 1 }];
    const codeOfParts = (...parts: (typeof one)[]) =>
      codeOf(codec.decodeSlots, encodeSlots({ asOf: 1, parts }));
    expect(codeOfParts(one, other, { ...one, bucket: 1 })).toBe("good");
    expect(codeOfParts(one, other, one)).toBe("peer_body_invalid");
  });

  test("a sketch has a cell at least, a range a bucket, and a number is a whole one", () => {
    expect(codeOf(codec.decodeCells, codec.encodeCells({ asOf: 1, cells: 0 }))).toBe("peer_body_invalid");
    expect(codeOf(codec.decodeRange, rangeOf(0))).toBe("peer_body_invalid");
    for (const asOf of [-1, 0.5])
      expect(codeOf(codec.decodeCells, codec.encodeCells({ asOf, cells: 1 }))).toBe("peer_body_invalid");
  });

  test("a count of events is any whole number up to 2^53 − 1", () => {
    const answer = (count: number | bigint) =>
      encodeCbor([
        2,
        1,
        new Uint8Array(32),
        count,
        new Uint8Array(256),
        new Uint8Array(FIRST_CELLS * CELL_BYTES),
      ]);
    expect(codeOf(codec.decodeCompareAnswer, answer(Number.MAX_SAFE_INTEGER))).toBe("good");
    for (const count of [-1, 1.5, 2n ** 53n, 2n ** 64n - 1n])
      expect(codeOf(codec.decodeCompareAnswer, answer(count))).toBe("peer_body_invalid");
  });
});
