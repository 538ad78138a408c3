import { describe, expect, test } from "vitest";
import { Availability } from "./availability.ts";

const NOW_MS = 1_000_000_000;
const DAY_MS = 86_400_000;

describe("a peer that fails", () => {
  test("is left alone for 1 s, 2 s, 4 s and at most 5 min, each time from the failure on", () => {
    const availability = new Availability();
    const pauses = Array.from({ length: 12 }, () => {
      availability.failed(NOW_MS);
      return (availability.pausedUntil(NOW_MS) - NOW_MS) / 1_000;
    });
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    expect(availability.pausedUntil(NOW_MS + 299_999)).toBe(NOW_MS + 300_000);
    expect(availability.pausedUntil(NOW_MS + 300_000)).toBe(0);
  });

  test("begins anew when it has answered, and its pause ends when it is heard", () => {
    const availability = new Availability();
    for (let i = 0; i < 3; i++) availability.failed(NOW_MS);
    expect(availability.answered()).toBe(true);
    expect(availability.answered()).toBe(false);
    expect(availability.pausedUntil(NOW_MS)).toBe(NOW_MS + 4_000);
    expect(availability.heard()).toBe(false);
    expect(availability.pausedUntil(NOW_MS)).toBe(0);
    availability.failed(NOW_MS);
    expect(availability.pausedUntil(NOW_MS)).toBe(NOW_MS + 1_000);
    expect(availability.heard()).toBe(true);
  });

  test("by a clock that was days ahead is not left alone once the clock is right", () => {
    const availability = new Availability();
    availability.failed(NOW_MS + DAY_MS);
    expect(availability.pausedUntil(NOW_MS)).toBe(0);
    expect(availability.pausedUntil(NOW_MS + DAY_MS)).toBe(NOW_MS + DAY_MS + 1_000);
  });
});
