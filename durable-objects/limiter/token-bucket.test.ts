import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bucket, type BucketLimit, fillMs, fullBucket, refilled, waitMs } from "./token-bucket.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const limits: fc.Arbitrary<BucketLimit> = fc.record({
  burst: fc.integer({ min: 1, max: 1_000_000 }),
  perMinute: fc.oneof(fc.integer({ min: 1, max: 1_000_000 }), fc.constant(1 / 60)),
});
const times = fc.integer({ min: 0, max: 2 * 86_400_000 });

describe("a bucket", () => {
  test("never holds more than its burst, whatever its clock does, and gets what time brings", () => {
    fc.assert(
      fc.property(
        limits,
        fc.double({ min: -1, max: 1, noNaN: true }),
        times,
        times,
        (limit, part, from, to) => {
          const units = part * limit.burst;
          const now = refilled({ units, atMs: NOW_MS + from }, limit, NOW_MS + to);
          const more = (Math.max(0, to - from) * limit.perMinute) / 60_000;
          expect(now.units).toBeCloseTo(Math.min(limit.burst, units + more), 6);
          expect(now.units).toBeLessThanOrEqual(limit.burst);
          expect(now.atMs).toBe(NOW_MS + to);
        },
      ),
    );
  });

  test("is the same after one step of time as after many", () => {
    fc.assert(
      fc.property(limits, fc.array(times, { minLength: 1, maxLength: 8 }), (limit, steps) => {
        const sorted = steps.toSorted((a, b) => a - b);
        const empty: Bucket = { units: 0, atMs: NOW_MS };
        const last = sorted.at(-1) as number;
        const inSteps = sorted.reduce((bucket, ms) => refilled(bucket, limit, NOW_MS + ms), empty);
        const atOnce = refilled(empty, limit, NOW_MS + last);
        expect(inSteps.units).toBeCloseTo(atOnce.units, 4);
      }),
    );
  });

  test("has so much as is wanted after the wait that it names, and not long before", () => {
    fc.assert(
      fc.property(limits, fc.double({ min: -1, max: 1, noNaN: true }), fc.nat(), (limit, part, some) => {
        const wanted = 1 + (some % limit.burst);
        const bucket = { units: part * limit.burst, atMs: NOW_MS };
        const ms = waitMs(bucket, limit, wanted);
        expect(refilled(bucket, limit, NOW_MS + ms).units).toBeGreaterThanOrEqual(wanted);
        if (ms > 1) expect(refilled(bucket, limit, NOW_MS + ms - 2).units).toBeLessThan(wanted);
      }),
      { numRuns: 2_000 },
    );
  });

  test("of a clock that was ahead for an hour fills again at once, from the time that it is", () => {
    const limit = { burst: 100, perMinute: 60 };
    const ahead = refilled({ units: 0, atMs: NOW_MS }, limit, NOW_MS + 3_600_000);
    const spent = { ...ahead, units: 0 };
    const back = refilled(spent, limit, NOW_MS + 1_000);
    expect(back).toEqual({ units: 0, atMs: NOW_MS + 1_000 });
    expect(refilled(back, limit, NOW_MS + 11_000).units).toBe(10);
  });

  test("is not refused for an error of the arithmetic when it has waited", () => {
    for (const perMinute of [1 / 60, 7, 13, 60, 600, 1_200, 999_983])
      for (let a = 0; a < 300; a++)
        for (const rest of [0, 0.1, 0.3, 1 / 3, 0.7]) {
          const limit = { burst: 1_000, perMinute };
          const bucket = refilled({ units: rest, atMs: NOW_MS }, limit, NOW_MS + a);
          const later = bucket.atMs + waitMs(bucket, limit, 7);
          expect(refilled(bucket, limit, later).units).toBeGreaterThanOrEqual(7);
        }
  });

  test("is full after the time that it takes, when it was empty", () => {
    fc.assert(
      fc.property(limits, (limit) => {
        const later = NOW_MS + Math.ceil(fillMs(limit));
        expect(refilled({ units: 0, atMs: NOW_MS }, limit, later).units).toBeCloseTo(limit.burst, 6);
      }),
    );
    expect(fullBucket({ burst: 5, perMinute: 1 }, NOW_MS)).toEqual({ units: 5, atMs: NOW_MS });
  });
});
