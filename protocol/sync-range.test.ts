import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { timeOfSeq } from "./hybrid-clock.ts";
import { endOfSlotMs, expiresAtMs, expiryLine, SLOT_MS, slotOfSeq } from "./retention.ts";
import { comparedRange, firstSeqOfSlot, isInRange, leavesAt, newestAsOf } from "./sync-range.ts";

const classOf = (durationMs: number | null) => ({ id: 1, name: "class", durationMs, priority: 1 });
/** From nothing over a few slots to years, whole slots and those next to them. */
const durations = fc.oneof(
  fc.integer({ min: 0, max: 10 * SLOT_MS }),
  fc.integer({ min: 0, max: 4_000 }).map((slots) => slots * SLOT_MS),
  fc.integer({ min: 1, max: 4_000 }).map((slots) => slots * SLOT_MS - 1),
  fc.integer({ min: 0, max: 4_000 }).map((slots) => slots * SLOT_MS + 1),
  fc.integer({ min: 0, max: 2 ** 40 }),
);
const times = fc.integer({ min: 0, max: 2 ** 41 });
const asOfs = fc.integer({ min: 0, max: 2 ** 21 });
/** A node's clock is at most this far from the time. */
const SKEW_MS = 60_000;

describe("the newest asOf of a clock", () => {
  test("is the slot after the last that ended 2 minutes ago", () => {
    expect(newestAsOf(endOfSlotMs(99) + 120_000 - 1)).toBe(99);
    expect(newestAsOf(endOfSlotMs(99) + 120_000)).toBe(100);
    fc.assert(
      fc.property(times, (nowMs) => {
        const asOf = newestAsOf(nowMs);
        if (asOf > 0) expect(endOfSlotMs(asOf - 1)).toBeLessThanOrEqual(nowMs - 120_000);
        expect(endOfSlotMs(asOf)).toBeGreaterThan(nowMs - 120_000);
      }),
    );
  });

  test("is 0 at the beginning of time, and never goes back", () => {
    expect([0, 1, 119_999, 120_000, SLOT_MS + 119_999].map(newestAsOf)).toEqual([0, 0, 0, 0, 0]);
    fc.assert(
      fc.property(times, times, (a, b) => {
        expect(newestAsOf(Math.max(a, b))).toBeGreaterThanOrEqual(newestAsOf(Math.min(a, b)));
      }),
    );
  });

  test("of two clocks, each within 60 s of the time, is the same or the next", () => {
    const skew = fc.integer({ min: -SKEW_MS, max: SKEW_MS });
    fc.assert(
      fc.property(times, skew, skew, (timeMs, first, second) => {
        const apart = newestAsOf(timeMs + first) - newestAsOf(timeMs + second);
        expect(Math.abs(apart)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("the compared range", () => {
  test("ends at asOf, begins 3 slots above it less the duration, and has all where nothing expires", () => {
    const days30 = classOf(30 * 86_400_000);
    expect(comparedRange(days30, 1_700_000)).toEqual({ from: 1_700_000 - 2_472 + 3, to: 1_700_000 });
    expect(comparedRange(classOf(null), 1_700_000)).toEqual({ from: 0, to: 1_700_000 });
    expect(comparedRange(days30, 100)).toEqual({ from: 0, to: 100 });
    fc.assert(
      fc.property(durations, asOfs, (durationMs, asOf) => {
        const { from, to } = comparedRange(classOf(durationMs), asOf);
        expect(to).toBe(asOf);
        expect(from).toBe(Math.max(0, asOf - Math.ceil(durationMs / SLOT_MS) + 3));
      }),
    );
  });

  /**
   * A node compares as of its newest slot and of the one before; each of the two judges by its own clock. The bounds of slots are where it
   * is tight, so most of the times lie there.
   */
  test("holds nothing that has expired by the clock of either node while they may compare it", () => {
    const skew = fc.oneof(fc.integer({ min: -SKEW_MS, max: SKEW_MS }), fc.constantFrom(-SKEW_MS, SKEW_MS));
    const moments = fc
      .tuple(fc.integer({ min: 10, max: 2 ** 20 }), fc.integer({ min: -240_001, max: 240_001 }), fc.boolean())
      .map(([slot, ms, isSettling]) => slot * SLOT_MS + ms + (isSettling ? 120_000 : 0));
    fc.assert(
      fc.property(durations, moments, skew, skew, (durationMs, timeMs, first, second) => {
        const retention = classOf(durationMs);
        for (const asker of [timeMs + first, timeMs + second]) {
          for (const asOf of [newestAsOf(asker), newestAsOf(asker) - 1]) {
            const { from } = comparedRange(retention, asOf);
            for (const judge of [timeMs + first, timeMs + second])
              expect(firstSeqOfSlot(from)).toBeGreaterThanOrEqual(expiryLine(retention, judge));
          }
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test("would hold what has expired were it one slot wider: the margin is no larger than it must be", () => {
    // The whole slots of a duration are counted upwards: this is where most is given away.
    const retention = classOf(39 * SLOT_MS + 1);
    // Just before the next slot settles here, a node 120 s ahead of this one judges what is compared as of the slot before.
    const asker = endOfSlotMs(1_000) + 120_000 - 1;
    const { from } = comparedRange(retention, newestAsOf(asker) - 1);
    const expiresMs = (slot: number) => expiresAtMs(retention, firstSeqOfSlot(slot)) ?? 0;
    expect(expiresMs(from)).toBeGreaterThan(asker + 2 * SKEW_MS);
    expect(expiresMs(from - 1)).toBeLessThanOrEqual(asker + 2 * SKEW_MS);
  });

  test("moves on with asOf, slot by slot: what is in range stays until it leaves, and does not come back", () => {
    fc.assert(
      fc.property(durations, asOfs, (durationMs, asOf) => {
        const retention = classOf(durationMs);
        const [now, next] = [comparedRange(retention, asOf), comparedRange(retention, asOf + 1)];
        expect([0, 1]).toContain(next.from - now.from);
        expect(next.to - now.to).toBe(1);
      }),
    );
  });
});

describe("a slot leaves the range", () => {
  test("of its class at the first asOf that has it no more", () => {
    fc.assert(
      fc.property(durations, asOfs, fc.integer({ min: -3, max: 3 }), (durationMs, slot, near) => {
        const retention = classOf(durationMs);
        const end = leavesAt(retention, slot) ?? Number.NaN;
        for (const asOf of [slot, slot + 1, end - 1, end, end + 1, end + near, slot + near]) {
          if (asOf < 0) continue;
          expect(isInRange(comparedRange(retention, asOf), slot)).toBe(asOf > slot && asOf < end);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("of a class without end never", () => {
    expect(leavesAt(classOf(null), 5)).toBeNull();
    fc.assert(
      fc.property(asOfs, asOfs, (slot, asOf) => {
        expect(isInRange(comparedRange(classOf(null), asOf), slot)).toBe(slot < asOf);
      }),
    );
  });

  test.each([
    [0, 0],
    [1, 0],
    [3, 0],
    [4, 1],
    [5, 2],
    [2_472, 2_469],
  ])("of a class of %i slots after having been in it for %i", (slots, count) => {
    for (const durationMs of [slots * SLOT_MS, slots * SLOT_MS - (slots > 0 ? 1 : 0)]) {
      const retention = classOf(durationMs);
      const { from, to } = comparedRange(retention, 9_000);
      expect(Math.max(0, to - from)).toBe(count);
      const seen = Array.from({ length: slots + 9 }, (_, i) => comparedRange(retention, 9_000 + i));
      expect(seen.filter((range) => isInRange(range, 9_000))).toHaveLength(count);
    }
  });
});

test("a slot begins with its least seq", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 22 - 1 }), (slot) => {
      const first = firstSeqOfSlot(slot);
      expect(slotOfSeq(first)).toBe(slot);
      if (slot > 0) expect(slotOfSeq(first - 1n)).toBe(slot - 1);
      expect(timeOfSeq(first)).toBe(slot * SLOT_MS);
    }),
  );
});
