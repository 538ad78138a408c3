import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { START_MS } from "../testing/shard-world.ts";
import { UNTIL_LIFTED } from "./conduct-api.ts";
import {
  afterStrike,
  FIRST_SUSPENSION_MS,
  MAX_SUSPENSION_MS,
  NO_PENALTY,
  STRIKES_KEPT_MS,
  STRIKES_UNTIL_LIFTED,
  STRIKES_WITHOUT_SUSPENSION,
  strikesNow,
  suspendedUntil,
} from "./penalty.ts";

const MINUTE_MS = 60_000;

/** Strikes at these distances from each other; answers the penalty and the time after the last. */
function struck(gapsMs: readonly number[]) {
  let penalty = NO_PENALTY;
  let nowMs = START_MS;
  for (const gapMs of gapsMs) {
    nowMs += gapMs;
    penalty = afterStrike(penalty, nowMs);
  }
  return { penalty, nowMs };
}

/** Gaps of every size that matters, and those beside them. */
const gap = fc.oneof(
  fc.nat({ max: 2 * MINUTE_MS }),
  fc.nat({ max: 2 * MAX_SUSPENSION_MS }),
  fc.nat({ max: 2 * STRIKES_KEPT_MS }),
  fc.constantFrom(0, 1, FIRST_SUSPENSION_MS, STRIKES_KEPT_MS - 1, STRIKES_KEPT_MS),
);
const gaps = fc.array(gap, { maxLength: 60, size: "max" });

describe("strikes, each after the suspension before has ended,", () => {
  test("count three times, then suspend for 1, 2, 4 … 60 min, and from the twelfth on until lifted", () => {
    let penalty = NO_PENALTY;
    let nowMs = START_MS;
    const minutes: number[] = [];
    for (let i = 0; i < 12; i++) {
      penalty = afterStrike(penalty, nowMs);
      const untilMs = suspendedUntil(penalty, nowMs);
      minutes.push(untilMs && (untilMs - nowMs) / MINUTE_MS);
      nowMs = Math.max(nowMs, untilMs);
    }
    expect(minutes).toEqual([0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, UNTIL_LIFTED]);
  });
});

describe("for any strikes at any times,", () => {
  test("a suspension comes with the fourth strike at the earliest, and each lasts an hour at the most or until lifted", () => {
    fc.assert(
      fc.property(gaps, (steps) => {
        const { penalty, nowMs } = struck(steps);
        const untilMs = suspendedUntil(penalty, nowMs);
        if (steps.length <= STRIKES_WITHOUT_SUSPENSION) expect(untilMs).toBe(0);
        if (untilMs === 0 || untilMs === UNTIL_LIFTED) return;
        expect(penalty.strikes).toBeGreaterThan(STRIKES_WITHOUT_SUSPENSION);
        expect(penalty.strikes).toBeLessThan(STRIKES_UNTIL_LIFTED);
        expect(untilMs - nowMs).toBeLessThanOrEqual(MAX_SUSPENSION_MS);
        expect(suspendedUntil(penalty, untilMs - 1)).toBe(untilMs);
        expect(suspendedUntil(penalty, untilMs)).toBe(0);
      }),
    );
  });

  test("they are those that a list of their times gives", () => {
    fc.assert(
      fc.property(gaps, (steps) => {
        let nowMs = START_MS;
        let times: number[] = [];
        let untilMs = 0;
        for (const step of steps) {
          nowMs += step;
          if (nowMs < untilMs) continue;
          if (nowMs - (times.at(-1) ?? nowMs) >= STRIKES_KEPT_MS) times = [];
          times.push(nowMs);
          const n = times.length;
          untilMs = n < 4 ? 0 : n >= 12 ? UNTIL_LIFTED : nowMs + Math.min(60, 2 ** (n - 4)) * MINUTE_MS;
        }
        const { penalty } = struck(steps);
        expect(penalty.strikes).toBe(times.length);
        expect(suspendedUntil(penalty, nowMs)).toBe(untilMs > nowMs ? untilMs : 0);
      }),
    );
  });

  test("a day after the last one all is forgotten, but a suspension that only the operator ends", () => {
    fc.assert(
      fc.property(gaps, gaps, (steps, later) => {
        const { penalty, nowMs } = struck(steps);
        const dayLaterMs = nowMs + STRIKES_KEPT_MS;
        if (penalty.suspendedUntilMs === UNTIL_LIFTED) {
          expect(suspendedUntil(penalty, dayLaterMs * 2)).toBe(UNTIL_LIFTED);
          return;
        }
        expect(strikesNow(penalty, dayLaterMs)).toBe(0);
        let [old, fresh, atMs] = [penalty, NO_PENALTY, dayLaterMs];
        for (const step of later) {
          atMs += step;
          [old, fresh] = [afterStrike(old, atMs), afterStrike(fresh, atMs)];
          expect(old).toEqual(fresh);
        }
      }),
    );
  });

  test("what comes during a suspension changes nothing", () => {
    fc.assert(
      fc.property(gaps, fc.nat({ max: MAX_SUSPENSION_MS }), (steps, laterMs) => {
        const { penalty, nowMs } = struck(steps);
        const isSuspended = suspendedUntil(penalty, nowMs + laterMs) > 0;
        expect(afterStrike(penalty, nowMs + laterMs) === penalty).toBe(isSuspended);
      }),
    );
  });
});

describe("a clock that was a year ahead and is put right", () => {
  test("leaves no suspension and no strikes behind", () => {
    const aheadMs = START_MS + 365 * STRIKES_KEPT_MS;
    let penalty = NO_PENALTY;
    for (let i = 0; i < 4; i++) penalty = afterStrike(penalty, aheadMs);
    expect(suspendedUntil(penalty, aheadMs)).toBe(aheadMs + FIRST_SUSPENSION_MS);
    expect(suspendedUntil(penalty, START_MS)).toBe(0);
    expect(afterStrike(penalty, START_MS)).toEqual(afterStrike(NO_PENALTY, START_MS));
  });
});
