import * as fc from "fast-check";
import { expect, test } from "vitest";
import { BUCKETS } from "../../protocol/topic.ts";
import { BUCKETS_PER_PART, NO_SLOT, packRecords, type RootRecord, unpackRecords } from "./root-records.ts";

const uint32 = fc.oneof(fc.nat({ max: 0xffffffff }), fc.constantFrom(0, 0xffffffff));
/** A SHA-256, which is not all zeros. */
const root = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Uint8Array.from(bytes))
  .filter((bytes) => bytes.some((byte) => byte > 0));
const record: fc.Arbitrary<RootRecord> = fc.record({
  bucket: fc.nat({ max: BUCKETS - 1 }),
  class: fc.nat({ max: 255 }),
  count: uint32,
  previousCount: uint32,
  oldest: fc.oneof(uint32, fc.constant(NO_SLOT)),
  newest: fc.option(root, { nil: null }),
  previous: fc.option(root, { nil: null }),
});

test("roots read back as they were written, in their order, also from within other bytes", () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 20 }), (records) => {
      const packed = packRecords(records);
      expect(unpackRecords(packed)).toEqual(records);
      const within = new Uint8Array(packed.length + 5);
      within.set(packed, 3);
      expect(unpackRecords(within.subarray(3, 3 + packed.length))).toEqual(records);
    }),
  );
});

test("a row has room for those of 256 buckets in all 64 classes that a network may have", () => {
  const full = { bucket: 1, class: 1, count: 1, previousCount: 1, oldest: 1, newest: null, previous: null };
  const most = BUCKETS_PER_PART * 64 * packRecords([full]).length;
  expect(most).toBe(1_294_336);
  expect(most).toBeLessThan(2 * 1024 * 1024);
});
