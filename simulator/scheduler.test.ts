import { describe, expect, test } from "vitest";
import { Runaway, Scheduler } from "./scheduler.ts";

const schedulerOf = (steps: string[] = [], maxSteps = 1_000) =>
  new Scheduler(100, maxSteps, (atMs, label) => steps.push(`${atMs} ${label}`));

describe("the scheduler", () => {
  test("runs events in the order of their times, and of one time in the order in which they were asked for", async () => {
    const steps: string[] = [];
    const scheduler = schedulerOf(steps);
    for (const [at, label] of [
      [105, "b"],
      [101, "a"],
      [105, "c"],
      [90, "now"],
      [200, "later"],
    ] as const)
      scheduler.at(at, label, () => {});
    await scheduler.runUntil(150);
    expect(steps).toEqual(["100 now", "101 a", "105 b", "105 c"]);
    expect(scheduler.nowMs).toBe(150);
    await scheduler.runUntil(200);
    expect(steps.at(-1)).toBe("200 later");
  });

  test("lets all promises of an event run their course before the next", async () => {
    const seen: string[] = [];
    const scheduler = schedulerOf();
    const long = async (name: string) => {
      for (let i = 0; i < 20; i++) await null;
      seen.push(name);
    };
    scheduler.at(101, "a", () => void long("a"));
    scheduler.at(101, "b", () => seen.push("b"));
    scheduler.at(102, "c", () => seen.push("c"));
    await scheduler.runUntil(102);
    expect(seen).toEqual(["a", "b", "c"]);
  });

  test("does not run what was cancelled", async () => {
    const steps: string[] = [];
    const scheduler = schedulerOf(steps);
    const timer = scheduler.after(5, "no", () => {});
    scheduler.after(1, "cancel", () => timer.cancel());
    await scheduler.runUntil(200);
    expect(steps).toEqual(["101 cancel"]);
  });

  test("settles a promise, and no more than that", async () => {
    const steps: string[] = [];
    const scheduler = schedulerOf(steps);
    const answer = new Promise<number>((resolve) => scheduler.after(10, "answer", () => resolve(7)));
    scheduler.after(11, "after", () => {});
    expect(await scheduler.settle(answer, 1_000)).toBe(7);
    expect(steps).toEqual(["110 answer"]);
    await expect(scheduler.settle(new Promise(() => {}), 1_000)).rejects.toThrow(Runaway);
  });

  test("ends what goes on for ever, and passes on what an event throws", async () => {
    const scheduler = schedulerOf([], 50);
    const again = () => void scheduler.after(0, "again", again);
    again();
    await expect(scheduler.runUntil(1_000)).rejects.toThrow(Runaway);
    const other = schedulerOf();
    other.after(1, "throws", () => {
      throw new Error("mine");
    });
    await expect(other.runUntil(1_000)).rejects.toThrow("mine");
  });
});
