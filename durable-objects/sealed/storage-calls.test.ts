import { describe, expect, test } from "vitest";
import { invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import {
  MAX_STORAGE_CALLS,
  MAX_WAITING_STORAGE_CALLS,
  STORAGE_DEADLINE_MS,
  StorageCalls,
} from "./storage-calls.ts";

const scene = () => {
  const clock = new ManualClock(1_000);
  return { clock, calls: new StorageCalls("R2", clock) };
};
const never = () => new Promise<never>(() => {});
const errorOf = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (error: unknown) => error,
  );

describe("a call to storage", () => {
  test("gives what it answers, and leaves no timer", async () => {
    const { clock, calls } = scene();
    expect(await calls.run("get x", async () => 5)).toBe(5);
    expect(clock.timers).toBe(0);
  });

  test.each<[string, () => Promise<never>]>([
    ["rejects", () => Promise.reject(new Error("internal error (10001)"))],
    [
      "throws",
      () => {
        throw new Error("internal error (10001)");
      },
    ],
  ])("that %s is a typed error that names it", async (_, work) => {
    const { clock, calls } = scene();
    const error = await errorOf(calls.run("get x", work));
    expect(error).toBeInstanceOf(PennypostError);
    expect(error).toMatchObject({
      code: "storage_unavailable",
      httpStatus: 503,
      message: "R2 failed: get x: internal error (10001)",
      data: { service: "R2", what: "get x" },
    });
    expect(clock.timers).toBe(0);
  });

  test("keeps a typed error as it is", async () => {
    const own = invalidArgument("other", "other");
    expect(await errorOf(scene().calls.run("x", () => Promise.reject(own)))).toBe(own);
  });

  test("that never answers fails at its deadline, and no sooner", async () => {
    const { clock, calls } = scene();
    const failed = errorOf(calls.run("get x", never));
    expect(clock.step(1_000 + STORAGE_DEADLINE_MS - 1)).toBe(false);
    expect(clock.step(1_000 + STORAGE_DEADLINE_MS)).toBe(true);
    expect(await failed).toMatchObject({ code: "storage_unavailable" });
  });

  test("that fails after its deadline is heard by nobody", async () => {
    const { clock, calls } = scene();
    const late = Promise.withResolvers<number>();
    const failed = errorOf(calls.run("get x", () => late.promise));
    clock.step(1_000 + STORAGE_DEADLINE_MS);
    late.reject(new Error("too late"));
    expect(await failed).toMatchObject({ message: expect.stringContaining("no answer") });
  });
});

describe("calls to storage", () => {
  test("run few at a time; one that hangs gives its turn to the next at its deadline", async () => {
    const { clock, calls } = scene();
    const hanging = Array.from({ length: MAX_STORAGE_CALLS }, () => errorOf(calls.run("hang", never)));
    let isBegun = false;
    const next = calls.run("next", async () => {
      isBegun = true;
      return "answer";
    });
    await Promise.resolve();
    expect(isBegun).toBe(false);
    while (clock.step(1_000 + STORAGE_DEADLINE_MS));
    await Promise.all(hanging);
    expect(await next).toBe("answer");
  });

  test("that are too many are refused", async () => {
    const { clock, calls } = scene();
    const all = Array.from({ length: MAX_STORAGE_CALLS + MAX_WAITING_STORAGE_CALLS }, () =>
      errorOf(calls.run("hang", never)),
    );
    expect(await errorOf(calls.run("one more", async () => 1))).toMatchObject({ code: "too_many_calls" });
    expect(clock.timers).toBe(MAX_STORAGE_CALLS);
    expect(all).toHaveLength(MAX_STORAGE_CALLS + MAX_WAITING_STORAGE_CALLS);
  });
});
