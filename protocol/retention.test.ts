import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstSeqOf, MAX_TIME_MS } from "./hybrid-clock.ts";
import { MAX_SEQ } from "./limits.ts";
import { endOfSlotMs, expiresAtMs, expiryLine, isEphemeral, SLOT_MS, slotOfSeq } from "./retention.ts";

const classOf = (durationMs: number | null) => ({ id: 1, name: "class", durationMs, priority: 1 });
const durations = fc.oneof(
  fc.integer({ min: 0, max: MAX_TIME_MS }),
  fc.constantFrom(0, 1, SLOT_MS - 1, SLOT_MS, SLOT_MS + 1),
);
const times = fc.integer({ min: 0, max: MAX_TIME_MS });

describe("the expiry line", () => {
  test("parts what has expired from what has not, for every seq, class and time", () => {
    const near = fc.tuple(times, fc.integer({ min: -2, max: 2 }), fc.integer({ min: -2, max: 2 }));
    fc.assert(
      fc.property(durations, near, (durationMs, [timeMs, slots, ms]) => {
        const retention = classOf(durationMs);
        const bounded = Math.min(Math.max(timeMs + durationMs + slots * SLOT_MS + ms, 0), MAX_TIME_MS);
        for (const seq of [firstSeqOf(timeMs), firstSeqOf(timeMs) + 2n ** 21n - 1n, 0n, MAX_SEQ]) {
          for (const nowMs of [
            bounded,
            expiresAtMs(retention, seq) ?? 0,
            (expiresAtMs(retention, seq) ?? 1) - 1,
          ]) {
            if (nowMs > MAX_TIME_MS + durationMs) continue;
            const hasExpired = (expiresAtMs(retention, seq) ?? Number.POSITIVE_INFINITY) <= nowMs;
            expect(seq < expiryLine(retention, nowMs)).toBe(hasExpired);
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test("stands at the beginning of a slot, and never goes back", () => {
    fc.assert(
      fc.property(durations, times, times, (durationMs, a, b) => {
        const line = expiryLine(classOf(durationMs), Math.min(a, b));
        expect(line).toBe(firstSeqOf(slotOfSeq(line) * SLOT_MS));
        expect(expiryLine(classOf(durationMs), Math.max(a, b))).toBeGreaterThanOrEqual(line);
      }),
    );
  });

  test("is 0 for ever where nothing expires", () => {
    fc.assert(
      fc.property(times, fc.bigInt({ min: 0n, max: MAX_SEQ }), (nowMs, seq) => {
        expect(expiryLine(classOf(null), nowMs)).toBe(0n);
        expect(expiresAtMs(classOf(null), seq)).toBeNull();
      }),
    );
  });
});

describe("slots and classes", () => {
  test("a slot has 2^20 ms, and ends where the next begins", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 22 - 2 }), (slot) => {
        expect(slotOfSeq(firstSeqOf(slot * 1_048_576))).toBe(slot);
        expect(slotOfSeq(firstSeqOf(endOfSlotMs(slot)) - 1n)).toBe(slot);
        expect(slotOfSeq(firstSeqOf(endOfSlotMs(slot)))).toBe(slot + 1);
      }),
    );
  });

  test("only a class of duration 0 is ephemeral", () => {
    expect([0, 1, null].map((durationMs) => isEphemeral(classOf(durationMs)))).toEqual([true, false, false]);
  });
});
