import type { Clock } from "../clock.ts";

/** A run ends after this long and the next goes on, so that what a slow peer makes of it ends within the minute of a round. */
export const MAX_RUN_MS = 25_000;

/** Tells how many pages may still be moved. */
export interface PageBudget {
  /** Before each page of events; answers false when the run has to end. */
  take(): boolean;
  /** Before what moves no page; answers false when the run has to end. */
  goesOn(): boolean;
  /** Whether a page was refused because the run had its share. */
  readonly isCut: boolean;
}

/** The share of one run: so many pages, in so much time. */
export class RunBudget implements PageBudget {
  readonly #clock: Clock;
  readonly #endMs: number;
  #pages: number;
  isCut = false;

  constructor(clock: Clock, maxPages: number) {
    this.#clock = clock;
    this.#endMs = clock.nowMs() + MAX_RUN_MS;
    this.#pages = maxPages;
  }

  take(): boolean {
    this.isCut ||= this.#pages-- <= 0;
    return this.goesOn();
  }

  goesOn(): boolean {
    this.isCut ||= this.#clock.nowMs() > this.#endMs;
    return !this.isCut;
  }
}
