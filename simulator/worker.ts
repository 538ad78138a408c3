import { parentPort, workerData } from "node:worker_threads";
import type { Limits, Plan, PlanOptions, RunResult } from "./bundle-entry.ts";

/** One run: of a seed, or of a plan. `hasTrace` asks for all lines of what happened. */
export type Job = ({ readonly seed: number; readonly options: PlanOptions } | { readonly plan: Plan }) & {
  readonly hasTrace?: boolean;
};

/** A bundle for each set of limits. */
export type Bundles = Readonly<Record<Limits, string>>;

export type Answer =
  | { readonly result: RunResult; readonly lines: readonly string[] }
  | { readonly error: string };

const bundles = workerData as Bundles;
type Loaded = typeof import("./bundle-entry.ts");
const loaded = new Map<string, Promise<Loaded>>();

function load(path: string): Promise<Loaded> {
  const known = loaded.get(path) ?? (import(path) as Promise<Loaded>);
  loaded.set(path, known);
  return known;
}

async function run(job: Job): Promise<Answer> {
  const plan = "plan" in job ? job.plan : (await load(bundles.real)).makePlan(job.seed, job.options);
  const { runPlan } = await load(bundles[plan.limits]);
  const lines: string[] = [];
  const result = await runPlan(plan, job.hasTrace ? (line) => lines.push(line) : undefined);
  return { result, lines };
}

parentPort?.on("message", (job: Job) => {
  run(job).then(
    (answer) => parentPort?.postMessage(answer),
    (error) =>
      parentPort?.postMessage({
        error: error instanceof Error ? (error.stack ?? "") : String(error),
      } satisfies Answer),
  );
});
