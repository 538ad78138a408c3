import { describe, expect, test } from "vitest";
import { Random } from "./random.ts";

describe("what a seed decides", () => {
  test("is the same each time, and another under another name", () => {
    const draw = (name: string) => Array.from({ length: 50 }, () => new Random(name).next());
    expect(draw("a")).toEqual(draw("a"));
    expect(draw("a")).not.toEqual(draw("b"));
    const stream = new Random("a");
    const first = Array.from({ length: 5 }, () => stream.next());
    expect(new Set(first).size).toBe(5);
    // Written down, so that another machine or a later version has to agree.
    expect(first).toMatchInlineSnapshot(`
      [
        2688880250,
        3751646714,
        73589903,
        1123679769,
        2693646772,
      ]
    `);
  });

  test("is not changed by what is drawn from a stream of its own", () => {
    const [a, b] = [new Random("x"), new Random("x")];
    const fork = a.fork("y");
    for (let i = 0; i < 9; i++) fork.next();
    expect(a.next()).toBe(b.next());
    expect(fork.next()).not.toBe(b.fork("z").next());
  });

  test("keeps to its bounds, and reaches them", () => {
    const random = new Random("bounds");
    const draws = Array.from({ length: 2_000 }, () => random.between(3, 7));
    expect([...new Set(draws)].sort()).toEqual([3, 4, 5, 6, 7]);
    const hits = Array.from({ length: 10_000 }, () => random.chance(20)).filter(Boolean).length;
    expect(hits).toBeGreaterThan(1_800);
    expect(hits).toBeLessThan(2_200);
    expect(random.shuffled([1, 2, 3, 4]).sort()).toEqual([1, 2, 3, 4]);
    expect(() => random.pick([])).toThrow(RangeError);
  });
});
