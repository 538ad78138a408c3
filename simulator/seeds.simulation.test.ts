import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAULT_KINDS } from "../durable-objects/testing/storage-faults.ts";
import { PEER_PATHS } from "../protocol/peer-messages.ts";
import { makePlan } from "./make-plan.ts";
import { judge } from "./mutant-runner.ts";
import { MUTANTS } from "./mutants.ts";
import { ATTACKS, type Plan } from "./plan.ts";
import { Pool } from "./pool.ts";
import { runPlan } from "./run.ts";
import { ARCHIVE_POINTS, CRASH_POINTS } from "./storage-faults.ts";
import { Tally } from "./tally.ts";

const SEEDS = 2_000;
const SEEDS_PER_TEST = 100;
/** Kinds of faults that must strike in all these seeds, and questions that honest nodes must ask each other. */
const FAULTS = [
  // Segments are copied where thousands of events are lacking: more than a network has here.
  ...PEER_PATHS.filter((path) => !path.includes("segments")).map((path) => `asked ${path}`),
  ...ATTACKS.map((attack) => `attack ${attack}`),
  ...CRASH_POINTS.map((point) => `crash at ${point}`),
  ...ARCHIVE_POINTS.map((point) => `crash at ${point}`),
  ...FAULT_KINDS.map((kind) => `archive ${kind}`),
  "answer lost",
  "archive away",
  "clock jumps",
  "commits lost",
  "crash",
  "crash of a part",
  "cut off",
  "duplicate",
  "events taken out",
  "hibernation",
  "issuer keys",
  "late",
  "lie /peer/v1/sync/compare",
  "maintained expiredEvents",
  "maintained partitions",
  "maintained reapedBytes",
  "maintained segments",
  "member admitted",
  "member removed",
  "one-way partition",
  "orphan",
  "partition",
  "request lost",
  "request to a node that is down",
  "rollback",
  "timeout",
  "write fails",
];

let pool: Pool;
beforeAll(async () => {
  pool = await Pool.open();
});
afterAll(() => pool.close());

describe("networks of production nodes", () => {
  const tally = new Tally();

  test.each(Array.from({ length: SEEDS / SEEDS_PER_TEST }, (_, i) => 1 + i * SEEDS_PER_TEST))(
    "keep what must always hold: 100 seeds from %i",
    async (from) => {
      const failures: string[] = [];
      const jobs = Array.from({ length: SEEDS_PER_TEST }, (_, i) => ({ seed: from + i, options: {} }));
      await pool.runAll(jobs, ({ seed, failure, ...result }) => {
        tally.add({ seed, failure, ...result });
        if (failure) failures.push(`seed ${seed}: ${failure.invariant}: ${failure.what}`);
        return undefined;
      });
      expect(failures).toEqual([]);
    },
  );

  test("were struck by every kind of fault, and asked every question", () => {
    expect(FAULTS.filter((fault) => tally.strikes(fault) === 0)).toEqual([]);
    for (const line of [...tally.lines(), tally.line()]) console.log(line);
  });

  test("do the same in a thread, from a bundle, as here", async () => {
    const plan: Plan = { ...makePlan(3), limits: "real" };
    expect((await pool.run({ plan })).digest).toBe((await runPlan(plan)).digest);
  });
});

describe("a seeded bug", () => {
  test.each(["linked-head-stays", "answers-before-it-is-durable"])("is caught: %s", async (name) => {
    const mutant = MUTANTS.find((each) => each.name === name);
    expect(mutant && (await judge(mutant, 500)).caught?.failure).toBeDefined();
  });
});
