import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { z } from "zod";
import { CommandError, describeError } from "../cli/command-error.ts";
import { ROOT } from "./bundle.ts";
import { makePlan, type PlanOptions } from "./make-plan.ts";
import { type Plan, planSchema, stepText } from "./plan.ts";
import { Pool } from "./pool.ts";
import type { RunResult } from "./run.ts";
import { shrink } from "./shrink.ts";
import { Tally } from "./tally.ts";

/** `npm run simulate`: networks of production nodes in virtual time, one for each seed. */

export interface SimulateOptions {
  readonly seeds: number;
  readonly from: number;
  readonly nodes?: number;
  readonly hostile?: number;
  readonly realSignatures?: boolean;
  readonly rollback: boolean;
  readonly trace?: boolean;
  readonly shrink: boolean;
  readonly replay?: string;
}

const DEFAULT_SEEDS = 2_000;
/** Seeds between two lines of progress. */
const PROGRESS_SEEDS = 100;
const MAX_NODES = 8;
/** Failures that are shrunk; of all others the seed is told. */
const MAX_SHRUNK = 3;

const say = (text: string) => process.stderr.write(`${text}\n`);
const print = (text: string) => process.stdout.write(`${text}\n`);

function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(value) || value < least || value > most)
      throw new InvalidArgumentError(
        `A whole number from ${least} on${most < 1e9 ? ` to ${most}` : ""} is needed.`,
      );
    return value;
  };
}

const planOptions = ({ nodes, hostile, realSignatures, rollback }: SimulateOptions): PlanOptions => ({
  ...(nodes === undefined ? {} : { nodes }),
  ...(hostile === undefined ? {} : { hostile }),
  ...(realSignatures ? { hasRealSignatures: true } : {}),
  mayRollBack: rollback,
});

/** Runs the seeds, and answers whether all held. */
async function simulateSeeds(pool: Pool, options: SimulateOptions): Promise<boolean> {
  const asked = planOptions(options);
  const tally = new Tally();
  const failed: RunResult[] = [];
  const jobs = Array.from({ length: options.seeds }, (_, i) => ({
    seed: options.from + i,
    options: asked,
    ...(options.trace ? { hasTrace: true } : {}),
  }));
  await pool.runAll(jobs, (result) => {
    tally.add(result);
    if (result.failure) failed.push(result);
    if (result.failure) say(`seed ${result.seed}: ${result.failure.invariant}: ${result.failure.what}`);
    if (tally.seeds % PROGRESS_SEEDS === 0) say(tally.line());
    return undefined;
  });
  failed.sort((a, b) => a.seed - b.seed);
  for (const result of options.shrink ? failed.slice(0, MAX_SHRUNK) : [])
    await showShortest(pool, makePlan(result.seed, asked), result);
  for (const line of tally.lines()) print(line);
  print(tally.line());
  return failed.length === 0;
}

/** Shrinks a failure, shows it, and keeps its plan. */
async function showShortest(pool: Pool, plan: Plan, result: RunResult): Promise<void> {
  say(`seed ${plan.seed}: looking for the shortest plan that fails`);
  const shortest = await shrink(plan, result, (each) => pool.run({ plan: each }));
  const file = join(ROOT, "dist", "simulator", `seed-${plan.seed}.json`);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(shortest.plan, null, 1)}\n`);
  const { failure, digest } = shortest.result;
  print(`seed ${plan.seed} fails: ${failure?.invariant}: ${failure?.what}`);
  print(
    `the shortest plan found in ${shortest.tries} tries has ${shortest.plan.steps.length} steps; trace ${digest}`,
  );
  print(`nodes ${JSON.stringify(shortest.plan.nodes)}`);
  for (const step of shortest.plan.steps) print(stepText(step));
  print(`again: npm run simulate -- --replay ${file}`);
}

/** @throws CommandError when the file is not there, or is no plan. */
async function readPlan(file: string): Promise<Plan> {
  const mend = "name a file that a failure was saved to: its output says which";
  const text = await readFile(file, "utf8").catch((error: Error) => {
    throw new CommandError(`${file} cannot be read: ${error.message}`, mend);
  });
  try {
    return planSchema.parse(JSON.parse(text));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new CommandError(`${file} is no plan of a simulation: ${why}`, mend);
  }
}

async function replay(pool: Pool, plan: Plan, hasTrace: boolean): Promise<boolean> {
  const result = await pool.run({ plan, hasTrace });
  for (const step of plan.steps) print(stepText(step));
  print(`trace ${result.digest}`);
  if (result.failure) print(`fails: ${result.failure.invariant}: ${result.failure.what}`);
  return result.failure === undefined;
}

/** @throws CommandError */
export async function simulate(options: SimulateOptions): Promise<boolean> {
  const { nodes, hostile, replay: file } = options;
  if (hostile !== undefined && hostile >= (nodes ?? MAX_NODES))
    throw new CommandError(`${hostile} hostile nodes of ${nodes}: one must be honest`, "lower --hostile");
  const plan = file === undefined ? undefined : await readPlan(file);
  const pool = await Pool.open();
  pool.trace = print;
  try {
    return plan ? await replay(pool, plan, options.trace ?? false) : await simulateSeeds(pool, options);
  } finally {
    await pool.close();
  }
}

export function makeProgram(action: (options: SimulateOptions) => Promise<boolean>): Command {
  return new Command("simulate")
    .description(
      "Run networks of production nodes in virtual time, with faults, and check what must always hold.",
    )
    .option("--seeds <count>", "networks to simulate", wholeNumber(1), DEFAULT_SEEDS)
    .option("--from <seed>", "the first seed", wholeNumber(0), 1)
    .option("--nodes <count>", "nodes of each network (default: 2 to 5, by seed)", wholeNumber(2, MAX_NODES))
    .option("--hostile <count>", "hostile nodes among them (default: by seed)", wholeNumber(0, MAX_NODES - 1))
    .option("--real-signatures", "Ed25519 in all seeds, not in some")
    .option("--no-rollback", "restore no files to an older state")
    .option("--no-shrink", "do not look for the shortest plans that fail")
    .option("--trace", "print all that happens")
    .option("--replay <file>", "run a saved plan")
    .showHelpAfterError("(--help shows the options)")
    .action(async (options: SimulateOptions) => {
      process.exitCode = (await action(options)) ? 0 : 1;
    });
}

if (import.meta.main) {
  try {
    await makeProgram(simulate).parseAsync();
  } catch (error) {
    say(describeError(error));
    process.exitCode = 1;
  }
}
