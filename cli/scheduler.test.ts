import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Scheduler } from "./scheduler.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("the scheduler", () => {
  it("calls at once, then each minute, until it is stopped", async () => {
    const call = vi.fn(async () => {});
    const scheduler = new Scheduler(call, () => {});
    scheduler.start();
    expect(call).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(3 * 60_000);
    expect(call).toHaveBeenCalledTimes(4);
    scheduler.stop();
    await vi.advanceTimersByTimeAsync(10 * 60_000);
    expect(call).toHaveBeenCalledTimes(4);
  });

  it("never calls while a call runs, says so, and goes on after it", async () => {
    const reports: string[] = [];
    let finish = () => {};
    const call = vi.fn(() => new Promise<void>((resolve) => (finish = resolve)));
    const scheduler = new Scheduler(call, (line) => reports.push(line));
    scheduler.start();
    await vi.advanceTimersByTimeAsync(2 * 60_000);
    expect(call).toHaveBeenCalledTimes(1);
    expect(reports).toHaveLength(2);
    expect(reports[1]).toContain("running for 120 s");
    finish();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(call).toHaveBeenCalledTimes(2);
    scheduler.stop();
  });

  it("reports a failure and goes on", async () => {
    const reports: string[] = [];
    const call = vi.fn(() => Promise.reject(new Error("no luck")));
    const scheduler = new Scheduler(call, (line) => reports.push(line));
    scheduler.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(reports).toEqual(Array(2).fill("the scheduled handler failed: no luck"));
    scheduler.stop();
  });

  it("keeps quiet about a call that its end cuts off", async () => {
    const reports: string[] = [];
    let fail = (_: Error) => {};
    const scheduler = new Scheduler(
      () => new Promise<void>((_, reject) => (fail = reject)),
      (line) => reports.push(line),
    );
    scheduler.start();
    scheduler.stop();
    fail(new Error("cut off"));
    await vi.advanceTimersByTimeAsync(0);
    expect(reports).toEqual([]);
  });
});
