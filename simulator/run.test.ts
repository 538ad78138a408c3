import { describe, expect, test } from "vitest";
import { makePlan } from "./make-plan.ts";
import { type Plan, planSchema, type Step } from "./plan.ts";
import { runPlan } from "./run.ts";
import { planOf, publishes } from "./testing.ts";

const subscribe = (node: number): Step => ({
  kind: "subscribe",
  atMs: 0,
  node,
  topics: [0, 1, 2, 3, 4, 15],
  isSlow: false,
});

async function held(plan: Plan) {
  const result = await runPlan(plan);
  expect(result.failure).toBeUndefined();
  return result;
}

describe("a run", () => {
  test("of honest nodes on a calm network ends with all the same everywhere", async () => {
    const { events, acknowledged, messages } = await held(
      planOf(3, [...publishes(30, 3), ...[0, 1, 2].map(subscribe)]),
    );
    expect([events, acknowledged]).toEqual([30, 30]);
    expect(messages).toBeGreaterThan(100);
  });

  test("is the same byte for byte when its plan is run again, also in other company", async () => {
    const plan = makePlan(12, { hostile: 1, nodes: 3 });
    const first = await runPlan(plan);
    await runPlan(makePlan(13));
    const lines: string[] = [];
    const again = await runPlan(planSchema.parse(JSON.parse(JSON.stringify(plan))), (line) =>
      lines.push(line),
    );
    expect(again).toEqual(first);
    expect(lines.length).toBeGreaterThan(again.steps);
    expect((await runPlan({ ...plan, seed: 13 })).digest).not.toBe(first.digest);
  });

  test("makes the same plan of a seed, and another of another", () => {
    expect(makePlan(5)).toEqual(makePlan(5));
    expect(makePlan(5)).not.toEqual(makePlan(6));
    for (let seed = 0; seed < 50; seed++) expect(planSchema.parse(makePlan(seed))).toEqual(makePlan(seed));
  });

  test.each(["write", "committed", "durable"] as const)("bears a crash of each node at %s", async (point) => {
    const crashes = [0, 1, 2].map(
      (node): Step => ({
        kind: "crash",
        atMs: 9_000 + 15_000 * node,
        node,
        downMs: 5_000,
        point,
        passing: 3,
      }),
    );
    const steps = [...publishes(60, 3), ...[0, 1, 2].map(subscribe), ...crashes];
    const { strikes } = await held(planOf(3, steps));
    expect(strikes[`crash at ${point}`]).toBe(3);
  });

  test("bears files that were restored to an older state", async () => {
    const rollback: Step = {
      kind: "rollback",
      atMs: 40_000,
      node: 1,
      agoMs: 30_000,
      downMs: 4_000,
      files: false,
    };
    const { strikes } = await held(planOf(3, [...publishes(60, 3), rollback]));
    expect(strikes.rollback).toBe(1);
  });

  test.each(["no push", "only pulls", "only sync", "none"] as const)("converges with %s", async (ways) => {
    await held(planOf(3, publishes(20, 3), { ways, hasPairs: true }));
  });

  test("tells of a node that lacks what it should have: what nobody brings is missed", async () => {
    const apart = planOf(3, publishes(12, 3));
    const alone = apart.nodes.map((node, index) => ({ ...node, peers: index === 2 ? [] : [1 - index] }));
    const { failure } = await runPlan({ ...apart, nodes: alone });
    expect(failure?.invariant).toBe("2 everywhere");
  });
});
