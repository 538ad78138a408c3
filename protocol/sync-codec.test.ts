import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { MAX_PEER_BODY_BYTES } from "./limits.ts";
import { CELL_BYTES, SKETCH_CELLS } from "./sketch.ts";
import * as codec from "./sync-codec.ts";
import { type BucketListing, type CompareAnswer, FIRST_CELLS } from "./sync-messages.ts";
import { bytesOf } from "./testing/arbitraries.ts";
import { codeOf } from "./testing/decoding.ts";
import { BUCKETS } from "./topic.ts";

const few = <T>(each: fc.Arbitrary<T>) => fc.array(each, { maxLength: 4 });
const orNull = <T>(each: fc.Arbitrary<T>) => fc.option(each, { nil: null });
const uint32 = fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0, 0xffffffff));
const hash = bytesOf(32);
const place = { bucket: fc.nat({ max: BUCKETS - 1 }), class: fc.nat({ max: 255 }) };
const bucketClass = fc.record(place);
const name = fc.record({ topicKey: bytesOf(32), id: bytesOf(40) });
const topics = few(fc.record({ topicKey: bytesOf(32), ids: few(bytesOf(40)) }));
const slots = few(fc.record({ slot: uint32, hash }));
const slotPlace = { slot: uint32, after: orNull(name) };
const wire = fc.record({ block: bytesOf(0, 60), signature: bytesOf(64), message: bytesOf(0, 60) });

const compareAnswers: fc.Arbitrary<CompareAnswer> = fc.oneof(
  fc.record({ kind: fc.constantFrom("same" as const, "apart" as const), asOf: uint32 }),
  fc.record({
    kind: fc.constant("different" as const),
    asOf: uint32,
    records: hash,
    count: fc.maxSafeNat(),
    tags: bytesOf(256),
    cells: bytesOf(FIRST_CELLS * CELL_BYTES),
  }),
);
const listings: fc.Arbitrary<BucketListing> = fc.oneof(
  fc.record({ ...place, kind: fc.constant("ids" as const), topics }),
  fc.record({
    ...place,
    kind: fc.constant("groups" as const),
    groups: few(fc.record({ group: uint32, hash })),
  }),
);

interface Message<T> {
  readonly values: fc.Arbitrary<T>;
  readonly encode: (value: T) => Bytes;
  readonly decode: (bytes: Uint8Array) => T;
}

const message = <T>(
  values: fc.Arbitrary<T>,
  encode: Message<T>["encode"],
  decode: Message<T>["decode"],
): Message<unknown> => ({ values, encode, decode }) as unknown as Message<unknown>;

const { encodeCompare, encodeCompareAnswer, encodeRoots, encodeRootsAnswer, encodeSlots } = codec;
const MESSAGES: Readonly<Record<string, Message<unknown>>> = {
  "a compare question": message(
    fc.record({ asOf: uint32, newest: hash, previous: hash }),
    encodeCompare,
    codec.decodeCompare,
  ),
  "a compare answer": message(compareAnswers, encodeCompareAnswer, codec.decodeCompareAnswer),
  "a cells question": message(
    fc.record({ asOf: uint32, cells: fc.integer({ min: 1, max: SKETCH_CELLS }) }),
    codec.encodeCells,
    codec.decodeCells,
  ),
  "a cells answer": message(
    fc.nat({ max: 9 }).chain((cells) => bytesOf(cells * CELL_BYTES)),
    codec.encodeCellsAnswer,
    codec.decodeCellsAnswer,
  ),
  "a roots question": message(
    fc.record({
      asOf: uint32,
      groups: few(fc.nat({ max: 63 })),
      from: bucketClass,
      to: orNull(bucketClass),
      roots: few(fc.record({ ...place, root: hash })),
    }),
    encodeRoots,
    codec.decodeRoots,
  ),
  "a roots answer": message(
    fc.record({ listings: few(listings), next: orNull(bucketClass) }),
    encodeRootsAnswer,
    codec.decodeRootsAnswer,
  ),
  "a slots question": message(
    fc.record({
      asOf: uint32,
      parts: fc.uniqueArray(
        fc.record({ ...place, groups: few(uint32), slots, place: orNull(fc.record(slotPlace)) }),
        { maxLength: 5, selector: ({ bucket, class: id }) => `${bucket} ${id}` },
      ),
    }),
    encodeSlots,
    codec.decodeSlots,
  ),
  "a slots answer": message(
    fc.record({
      slots: few(fc.record({ ...place, slot: uint32, topics })),
      next: orNull(fc.record({ part: uint32, ...slotPlace })),
    }),
    codec.encodeSlotsAnswer,
    codec.decodeSlotsAnswer,
  ),
  "a range question": message(
    fc.record({
      asOf: uint32,
      class: orNull(fc.nat({ max: 255 })),
      fromBucket: fc.nat({ max: BUCKETS - 1 }),
      toBucket: fc.integer({ min: 1, max: BUCKETS }),
      after: orNull(name),
    }),
    codec.encodeRange,
    codec.decodeRange,
  ),
  "a range answer": message(
    fc.record({ events: few(wire), next: orNull(name) }),
    codec.encodeRangeAnswer,
    codec.decodeRangeAnswer,
  ),
  symbols: message(few(bytesOf(12)), codec.encodeSymbols, codec.decodeSymbols),
  // Whole bytes: what is over is false.
  flags: message(
    fc
      .nat({ max: 5 })
      .chain((bytes) => fc.array(fc.boolean(), { minLength: 8 * bytes, maxLength: 8 * bytes })),
    codec.encodeFlags,
    codec.decodeFlags,
  ),
  names: message(few(name), codec.encodeNames, codec.decodeNames),
};
const each = Object.entries(MESSAGES);

describe.each(each)("%s", (_, { values, encode, decode }) => {
  test("reads back as it was written, also from within other bytes", () => {
    fc.assert(
      fc.property(values, (value) => {
        const bytes = encode(value);
        expect(decode(bytes)).toEqual(value);
        const within = new Uint8Array(bytes.length + 5);
        within.set(bytes, 3);
        expect(decode(within.subarray(3, 3 + bytes.length))).toEqual(value);
      }),
    );
  });

  test("in which anything stands in a wrong place is refused", () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.constantFrom(...WRONG), (value, place, wrong) => {
        const good = decodeCbor(encode(value), { bytes: MAX_PEER_BODY_BYTES });
        const changed = encodeCbor(changeAt(good, place, wrong));
        const code = codeOf(decode, changed);
        // What is still of the form is read as what it says.
        if (code === "good") expect(encode(decode(changed))).toEqual(changed);
        else expect(["peer_body_invalid", "cbor_malformed"]).toContain(code);
      }),
      { numRuns: 2_000 },
    );
  });

  test("with any byte changed, cut or added is read or refused with a typed error", () => {
    fc.assert(
      fc.property(values.map(encode), fc.nat(), fc.nat(255), bytesOf(1, 9), (bytes, at, put, more) => {
        const place = at % bytes.length;
        for (const body of [
          bytes.with(place, put),
          bytes.slice(0, place),
          new Uint8Array([...bytes, ...more]),
        ])
          expect(["good", "cbor_malformed", "peer_body_invalid"]).toContain(codeOf(decode, body));
        expect(codeOf(decode, bytes.slice(0, place))).toBe("cbor_malformed");
      }),
      { numRuns: 500 },
    );
  });

  test("is read from any bytes, or refused with a typed error", () => {
    fc.assert(
      fc.property(bytesOf(0, 300), (bytes) => {
        expect(["good", "cbor_malformed", "peer_body_invalid"]).toContain(codeOf(decode, bytes));
      }),
    );
    expect(codeOf(decode, new Uint8Array(MAX_PEER_BODY_BYTES + 1))).toBe("cbor_too_large");
    const deep = Uint8Array.from({ length: 40 }, (_each, i) => (i < 39 ? 0x81 : 0));
    expect(codeOf(decode, deep)).toBe("cbor_malformed");
  });
});

const REMOVED = Symbol("removed");
const DOUBLED = Symbol("doubled");
const WRONG: readonly unknown[] = [
  REMOVED,
  DOUBLED,
  null,
  true,
  "text",
  -1,
  0.5,
  256,
  BUCKETS,
  2 ** 32,
  2 ** 53,
  2n ** 64n - 1n,
  {},
  { 0: 1 },
  [],
  [0],
  new Uint8Array(),
  new Uint8Array(1),
  new Uint8Array(31),
  new Uint8Array(33),
  new Uint8Array(41),
];

/** The same value with another in one place: its n-th part, counted as they come. */
function changeAt(value: unknown, place: number, wrong: unknown): unknown {
  const count = (part: unknown): number =>
    Array.isArray(part) ? 1 + part.reduce((sum: number, item) => sum + count(item), 0) : 1;
  let left = place % count(value);
  const walk = (part: unknown): unknown[] => {
    if (left-- === 0) return wrong === REMOVED ? [] : wrong === DOUBLED ? [part, part] : [wrong];
    return [Array.isArray(part) ? part.flatMap(walk) : part];
  };
  const [changed = null] = walk(value);
  return changed;
}

test("in sync, question and answer have at most 100 bytes, whatever they say", () => {
  fc.assert(
    fc.property(uint32, uint32, hash, hash, (asked, asOf, newest, previous) => {
      const question = encodeCompare({ asOf: asked, newest, previous });
      expect(question.length + encodeCompareAnswer({ kind: "same", asOf }).length).toBeLessThanOrEqual(100);
    }),
  );
});

test("flags are filled up to whole bytes with false", () => {
  expect(codec.decodeFlags(codec.encodeFlags([true, false, true]))).toEqual([
    true,
    false,
    true,
    ...Array(5).fill(false),
  ]);
  expect(codec.encodeFlags(Array(2_048).fill(true)).length).toBeLessThan(300);
});
