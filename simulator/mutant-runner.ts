import { Command, InvalidArgumentError } from "commander";
import { CATEGORIES, MUTANTS, type Mutant } from "./mutants.ts";
import { Pool } from "./pool.ts";
import type { RunResult } from "./run.ts";

/** `npm run mutants`: whether the simulation catches each seeded bug. */

export interface MutantOptions {
  readonly seeds: number;
  readonly only?: string;
}

/** What the simulation made of a mutant. */
export interface Verdict {
  readonly mutant: Mutant;
  /** The first failure that came; undefined when none did. */
  readonly caught: RunResult | undefined;
  readonly seeds: number;
}

const DEFAULT_SEEDS = 2_000;
/** Of all mutants, so many must be caught. */
const LEAST_PERCENT = 90;

const say = (text: string) => process.stderr.write(`${text}\n`);
const print = (text: string) => process.stdout.write(`${text}\n`);

/** Runs seeds on production code with one bug, until one fails. */
export async function judge(mutant: Mutant, seeds: number): Promise<Verdict> {
  const pool = await Pool.open([mutant]);
  let caught: RunResult | undefined;
  let count = 0;
  try {
    const jobs = Array.from({ length: seeds }, (_, i) => ({ seed: 1 + i, options: {} }));
    await pool.runAll(jobs, (result) => {
      count++;
      if (result.failure && (!caught || result.seed < caught.seed)) caught = result;
      return caught !== undefined;
    });
  } finally {
    await pool.close();
  }
  return { mutant, caught, seeds: count };
}

const cell = (text: string, width: number): string => text.padEnd(width);

function line({ mutant: { name, category }, caught, seeds }: Verdict): string {
  const how = caught ? `seed ${caught.seed}: ${caught.failure?.invariant}` : `not caught by ${seeds} seeds`;
  return `${cell(name, 36)}${cell(category, 30)}${how}`;
}

function chosen(only: string | undefined): readonly Mutant[] {
  return only === undefined ? MUTANTS : MUTANTS.filter(({ name }) => name === only);
}

/** Answers whether enough were caught. */
async function runMutants({ seeds, only }: MutantOptions): Promise<boolean> {
  const verdicts: Verdict[] = [];
  for (const mutant of chosen(only)) {
    const verdict = await judge(mutant, seeds);
    verdicts.push(verdict);
    say(line(verdict));
  }
  verdicts.sort((a, b) => CATEGORIES.indexOf(a.mutant.category) - CATEGORIES.indexOf(b.mutant.category));
  for (const verdict of verdicts) print(line(verdict));
  const caught = verdicts.filter((verdict) => verdict.caught).length;
  print(`${caught} of ${verdicts.length} mutants caught`);
  return caught * 100 >= LEAST_PERCENT * verdicts.length;
}

function seedCount(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("A whole number from 1 on is needed.");
  return value;
}

function mutantName(name: string): string {
  if (MUTANTS.some((mutant) => mutant.name === name)) return name;
  throw new InvalidArgumentError(
    `There is none of that name; there are ${MUTANTS.map((each) => each.name).join(", ")}.`,
  );
}

if (import.meta.main) {
  await new Command("mutants")
    .description("Seed bugs into the production rules, one at a time, and tell which the simulation catches.")
    .option("--only <name>", "one mutant", mutantName)
    .option("--seeds <count>", "seeds that a mutant has to survive", seedCount, DEFAULT_SEEDS)
    .showHelpAfterError("(--help shows the options)")
    .action(async (options: MutantOptions) => {
      process.exitCode = (await runMutants(options)) ? 0 : 1;
    })
    .parseAsync();
}
