import { expect, test } from "vitest";
import { Semaphore } from "./semaphore.ts";

test("so many run at a time, in their order, and a failure gives its place back", async () => {
  const semaphore = new Semaphore(2, 10);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const run = (n: number, fails = false) =>
    semaphore.run(async () => {
      started.push(n);
      await new Promise<void>((resolve) => ends.push(resolve));
      if (fails) throw new Error("no");
      return n;
    });
  const results = [run(0), run(1, true), run(2), run(3)];
  const settled = Promise.allSettled(results);
  await Promise.resolve();
  expect(started).toEqual([0, 1]);
  ends[1]?.();
  await expect(results[1]).rejects.toThrow("no");
  await Promise.resolve();
  expect(started).toEqual([0, 1, 2]);
  ends[0]?.();
  expect(await results[0]).toBe(0);
  ends[2]?.();
  await results[2];
  ends[3]?.();
  await settled;
  expect(started).toEqual([0, 1, 2, 3]);
});

test("so many wait, and no more", async () => {
  const semaphore = new Semaphore(1, 1);
  let end = () => {};
  const first = semaphore.run(() => new Promise<void>((resolve) => (end = resolve)));
  const second = semaphore.run(async () => "second");
  await expect(semaphore.run(async () => "third")).rejects.toMatchObject({ code: "too_many_calls" });
  end();
  await first;
  expect(await second).toBe("second");
});
