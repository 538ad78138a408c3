import type { Clock, Timer } from "../clock.ts";

interface Waiting {
  readonly atMs: number;
  readonly work: () => void;
}

/** A clock that stands still until a test moves it from timer to timer; those of one moment run in their order. */
export class ManualClock implements Clock {
  #nowMs: number;
  readonly #waiting = new Set<Waiting>();

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, work: () => void): Timer {
    const waiting = { atMs: this.#nowMs + Math.max(0, delayMs), work };
    this.#waiting.add(waiting);
    return { cancel: () => this.#waiting.delete(waiting) };
  }

  get timers(): number {
    return this.#waiting.size;
  }

  /** Runs the next timer up to a time and answers true; else moves to that time and answers false. */
  step(untilMs: number): boolean {
    let next: Waiting | undefined;
    for (const each of this.#waiting) if (!next || each.atMs < next.atMs) next = each;
    if (!next || next.atMs > untilMs) {
      this.#nowMs = untilMs;
      return false;
    }
    this.#waiting.delete(next);
    this.#nowMs = next.atMs;
    next.work();
    return true;
  }
}
