/** What a worker of the simulation loads: the production code and the simulation around it, as one module. */
export { makePlan, type PlanOptions } from "./make-plan.ts";
export type { Plan } from "./plan.ts";
export { type RunResult, runPlan } from "./run.ts";
export type { Limits } from "./small-limits.ts";
