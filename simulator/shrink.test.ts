import { describe, expect, test } from "vitest";
import type { Plan, Step } from "./plan.ts";
import { blankRun } from "./pool.ts";
import { shrink } from "./shrink.ts";
import { planOf, publishes } from "./testing.ts";

const failing = (invariant: string | undefined) =>
  blankRun(1, invariant === undefined ? undefined : { invariant, what: "" });

const textsOf = ({ steps }: Plan) => steps.map((step: Step) => (step.kind === "publish" ? step.text : -1));

describe("shrinking", () => {
  test("leaves the steps that it takes to fail in the same way, and calm settings", async () => {
    const plan = planOf(3, publishes(41, 3), {
      weather: { lossPercent: 9, duplicatePercent: 0, latePercent: 0, delayMs: 20 },
    });
    const needed = [3, 17, 40];
    const run = async (each: Plan) => {
      const texts = textsOf(each);
      if (needed.every((text) => texts.includes(text))) return failing("mine");
      return failing(texts.length < 5 ? "other" : undefined);
    };
    const shortest = await shrink(plan, failing("mine"), run);
    expect(textsOf(shortest.plan).sort((a, b) => a - b)).toEqual(needed);
    expect(shortest.plan.weather.lossPercent).toBe(0);
    expect(shortest.plan.nodes.every(({ shards }) => shards === 1)).toBe(true);
    expect(shortest.result.failure?.invariant).toBe("mine");
    expect(shortest.tries).toBeLessThan(120);
  });

  test("ends after so many tries with what it has", async () => {
    const plan = planOf(2, publishes(64, 2));
    let runs = 0;
    const run = async (each: Plan) => {
      runs++;
      return failing(each.steps.length > 20 ? "mine" : undefined);
    };
    const shortest = await shrink(plan, failing("mine"), run, 9);
    expect([runs, shortest.tries]).toEqual([9, 9]);
    expect(shortest.plan.steps.length).toBeGreaterThan(20);
    expect(shortest.plan.steps.length).toBeLessThan(64);
  });
});
