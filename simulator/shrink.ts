import type { Plan } from "./plan.ts";
import type { RunResult } from "./run.ts";
import { CALM } from "./sim-network.ts";

/** Runs that one shrinking may take. */
export const MAX_TRIES = 300;

export interface Shrunk {
  readonly plan: Plan;
  readonly result: RunResult;
  readonly tries: number;
}

/** Tries plans in turn; answers the first that fails as the whole did. */
type FirstFailing = (plans: readonly Plan[]) => Promise<{ plan: Plan; result: RunResult } | undefined>;

/** Simpler settings for what is no step. */
function simpler(plan: Plan): Plan[] {
  const calm: Plan = { ...plan, weather: CALM };
  const exact: Plan = { ...plan, nodes: plan.nodes.map((node) => ({ ...node, offsetMs: 0 })) };
  const single: Plan = { ...plan, nodes: plan.nodes.map((node) => ({ ...node, shards: 1 })) };
  const hot: Plan = { ...plan, nodes: plan.nodes.map((node) => ({ ...node, hotMs: null })) };
  const last = plan.steps.at(-1)?.atMs ?? 0;
  const short: Plan = { ...plan, endMs: Math.min(plan.endMs, last + 1_000) };
  return [calm, exact, single, hot, short].filter((each) => JSON.stringify(each) !== JSON.stringify(plan));
}

/** Plans that lack a run of steps each: first halves, at last single ones. */
function* without(plan: Plan, size: number): Iterable<Plan> {
  // The last ones first: what comes after the fault is most often of no matter.
  for (let to = plan.steps.length; to > 0; to -= size)
    yield { ...plan, steps: plan.steps.filter((_, i) => i < to - size || i >= to) };
}

/**
 * The shortest plan that still fails, by dropping steps and faults while it does, with a bounded number of tries. `run` runs one
 * plan; a failure counts when it breaks the same invariant.
 */
export async function shrink(
  plan: Plan,
  result: RunResult,
  run: (plan: Plan) => Promise<RunResult>,
  maxTries = MAX_TRIES,
): Promise<Shrunk> {
  let best = { plan, result };
  let tries = 0;
  const firstFailing: FirstFailing = async (plans) => {
    for (const each of plans) {
      if (tries >= maxTries) return undefined;
      tries++;
      const found = await run(each);
      if (found.failure?.invariant === result.failure?.invariant) return { plan: each, result: found };
    }
    return undefined;
  };
  for (let size = Math.ceil(plan.steps.length / 2); size >= 1; ) {
    let isShorter = false;
    for (const each of without(best.plan, size)) {
      // Steps may have gone since: what is left to drop is looked at in the next round.
      if (each.steps.length >= best.plan.steps.length) continue;
      const kept = new Set(each.steps);
      const now = { ...best.plan, steps: best.plan.steps.filter((step) => kept.has(step)) };
      if (now.steps.length === best.plan.steps.length) continue;
      const found = await firstFailing([now]);
      if (found) {
        best = found;
        isShorter = true;
      }
    }
    if (size === 1 && !isShorter) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
    if (tries >= maxTries) break;
  }
  for (let i = 0; i < 5; i++) {
    const found = await firstFailing(simpler(best.plan));
    if (!found) break;
    best = found;
  }
  return { ...best, tries };
}
