import type { Random } from "./random.ts";

/** The times of a plan, in ms since its start. */

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60_000;
export const MAX_USUAL_OFFSET_MS = MINUTE_MS;

/** A stretch of time in which much happens. */
export interface Phase {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Some time within a phase. */
export const within = (random: Random, { fromMs, toMs }: Phase): number => random.between(fromMs, toMs - 1);
