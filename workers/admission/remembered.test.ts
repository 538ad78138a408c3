import { expect, test } from "vitest";
import { Remembered } from "./remembered.ts";

test("a value is known until its time, and not before it was learned", () => {
  const known = new Remembered<string>(3);
  known.set("a", "A", 100, 200);
  expect([100, 199].map((nowMs) => known.get("a", nowMs))).toEqual(["A", "A"]);
  expect(known.get("a", 200)).toBeUndefined();
  expect(known.size).toBe(0);
  known.set("a", "A", 100, 200);
  expect([known.get("a", 99), known.get("a", 150)]).toEqual([undefined, undefined]);
});

test("there are so many at most: the one that was set first goes", () => {
  const known = new Remembered<number>(3);
  for (let n = 0; n < 5; n++) known.set(`${n}`, n, 0, 1);
  known.set("2", 22, 0, 1);
  known.set("5", 5, 0, 1);
  expect(known.size).toBe(3);
  expect([0, 1, 2, 3, 4, 5].map((n) => known.get(`${n}`, 0))).toEqual([
    undefined,
    undefined,
    22,
    undefined,
    4,
    5,
  ]);
});
