import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DAY_MS, type LifePlan, publishedBefore, publishMs, START_MS } from "./life-plan.ts";
import { markdown, rowsPerEvent } from "./life-table.ts";
import { type LifeFigures, plus } from "./live.ts";
import { idleMonth, moneyOf, sumOf } from "./prices.ts";

const PLAN: LifePlan = {
  events: 1_000,
  topics: 10,
  publishDays: 10,
  days: 120,
  batch: 1,
  messageBytes: 1_024,
};

describe("a plan's events", () => {
  const plans = fc.record({
    events: fc.integer({ min: 1, max: 5_000 }),
    publishDays: fc.integer({ min: 1, max: 30 }),
    batch: fc.constantFrom(1, 7, 100),
  });

  test("are published each once, when it is their time", () => {
    fc.assert(
      fc.property(plans, fc.array(fc.nat({ max: 40 * DAY_MS }), { maxLength: 20 }), (some, waits) => {
        const plan = { ...PLAN, ...some };
        const times = waits.map((wait) => START_MS + wait).sort((a, b) => a - b);
        let before = 0;
        for (const timeMs of [...times, START_MS + 31 * DAY_MS]) {
          const published = publishedBefore(plan, timeMs);
          expect(published).toBeGreaterThanOrEqual(before);
          expect(published === plan.events || published % plan.batch === 0).toBe(true);
          if (published > 0) expect(publishMs(plan, published - 1)).toBeLessThan(timeMs);
          if (published < plan.events) expect(publishMs(plan, published)).toBeGreaterThanOrEqual(timeMs - 1);
          before = published;
        }
        expect(before).toBe(plan.events);
      }),
    );
  });

  test("of one batch are published at once", () => {
    const plan = { ...PLAN, batch: 100 };
    expect(publishMs(plan, 199)).toBe(publishMs(plan, 100));
    expect(publishMs(plan, 200)).toBeGreaterThan(publishMs(plan, 199));
  });

  test("are none in an idle life", () => {
    expect(publishedBefore({ ...PLAN, events: 0 }, START_MS + 50 * DAY_MS)).toBe(0);
  });
});

const RESTING = {
  day: 10,
  hotBytes: 5e6,
  indexBytes: 2e6,
  syncBytes: 1e6,
  r2Bytes: 3e9,
  r2Objects: 12,
  d1Bytes: 4e5,
  segments: 6,
  hotEvents: 0,
};

const lifeOf = (totals: Record<string, number>, part: Partial<LifeFigures> = {}): LifeFigures => ({
  plan: PLAN,
  totals,
  resting: { published: RESTING, sealed: RESTING, end: RESTING },
  byteDays: { sql: 0, r2: 0, d1: 0 },
  upkeepMs: 0,
  wallMs: 1_000,
  ...part,
});
const IDLE = lifeOf({ "rows INSERT summary": 120, "call scrub": 12 }, { plan: { ...PLAN, events: 0 } });

describe("the money of a life", () => {
  test("is what it has beyond an idle one", () => {
    const { totals } = IDLE;
    expect(moneyOf(lifeOf(totals), IDLE)["rows written, SQLite"]?.dollars).toBe(0);
    const own = {
      "rows INSERT events_N": 3_000,
      "call publish": 1_000,
      alarms: 5,
      d1RowsWritten: 7,
      r2ClassB: 90,
    };
    const money = moneyOf(lifeOf(plus(totals, own)), IDLE);
    expect(money["rows written, SQLite"]).toEqual({ amount: 3_005, dollars: 0.003_005 });
    expect(money["rows written, D1"]?.amount).toBe(7);
    expect(money["object requests"]).toEqual({ amount: 1_000, dollars: 0.000_15 });
    expect(money["R2 class B"]?.dollars).toBeCloseTo(90 * 0.36e-6, 12);
    expect(rowsPerEvent(lifeOf(plus(totals, own)), IDLE)).toBeCloseTo(3.012, 9);
  });

  test("has a request for each batch, and what lies for a month by the gigabyte", () => {
    const byteDays = { sql: 30e9, r2: 60e9, d1: 0 };
    const money = moneyOf(lifeOf({}, { plan: { ...PLAN, batch: 100 }, byteDays }), lifeOf({}));
    expect(money["Worker requests"]?.amount).toBe(10);
    expect(money["SQLite GB-months"]).toEqual({ amount: 1, dollars: 0.2 });
    expect(money["R2 GB-months"]).toEqual({ amount: 2, dollars: 0.03 });
    expect(sumOf(money)).toBeGreaterThan(0.23);
  });

  test("of an idle month is a part of an idle life's, and the cron trigger's calls", () => {
    const money = idleMonth(IDLE);
    expect(money["rows written, SQLite"]?.amount).toBe(30);
    expect(money["Worker requests"]?.amount).toBe(43_200);
    expect(money["object requests"]?.amount).toBe(4 * 43_200 + 3);
  });
});

test("the tables put every row under what writes it, once", () => {
  const rows = {
    "rows INSERT events_N": 3_000,
    "rows INSERT tree mark": 10,
    "rows INSERT tree roots-11": 11,
    "rows DELETE segment_parts": 12,
    "rows INSERT digest_runs": 13,
    "rows CREATE events": 14,
    "rows INSERT hand_overs": 15,
  };
  const text = markdown(IDLE, { singly: lifeOf(plus(IDLE.totals, rows)) }, "a machine");
  const cells = text
    .split("\n")
    .flatMap((line) => /^\| ([^|*]+) \| (\d\.\d{4}) \|$/.exec(line)?.slice(1) ?? []);
  const sum = cells.filter((_, i) => i % 2 === 1).reduce((total, cell) => total + Number(cell), 0);
  expect(sum).toBeCloseTo(3.075, 3);
  expect(text).toContain("| event rows with two indexes | 3.0000 |");
  expect(text).toContain("| tables of partitions, schema, the rest | 0.0140 |");
  expect(text).toContain("| singly: rows per event | 3.08 | 4 | reached |");
});
