import { expect, test } from "vitest";
import { ManualClock } from "../testing/manual-clock.ts";
import { MAX_RUN_MS, RunBudget } from "./run-budget.ts";

const takes = (budget: RunBudget, times: number) => Array.from({ length: times }, () => budget.take());

test("a run has so many pages, and is cut by the first that is refused", () => {
  const budget = new RunBudget(new ManualClock(0), 3);
  expect([takes(budget, 3), budget.isCut]).toEqual([[true, true, true], false]);
  expect([takes(budget, 2), budget.isCut]).toEqual([[false, false], true]);
});

test("a run has so much time, and no more pages after it, also when the clock is put back", () => {
  const clock = new ManualClock(1_000);
  const budget = new RunBudget(clock, 99);
  clock.step(1_000 + MAX_RUN_MS);
  expect([budget.take(), budget.isCut]).toEqual([true, false]);
  clock.step(1_001 + MAX_RUN_MS);
  expect([budget.take(), budget.isCut]).toEqual([false, true]);
  clock.step(1_000);
  expect(budget.take()).toBe(false);
});
