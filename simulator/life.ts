import type { Clock } from "../durable-objects/clock.ts";
import type { Scheduler } from "./scheduler.ts";

/** What a port of a dead life says: the code that hears it runs on for a moment, and can do nothing any more. */
export class LifeIsOver extends Error {
  constructor(name: string) {
    super(`${LIFE_IS_OVER}: ${name}`);
  }
}

const LIFE_IS_OVER = "a life is over";

/** Whether an error came, perhaps by way of others, from a port of a dead life. */
export function isOfDeadLife(error: unknown): boolean {
  if (error instanceof LifeIsOver) return true;
  const text = error instanceof Error ? `${error.message} ${JSON.stringify({ ...error })}` : String(error);
  return text.includes(LIFE_IS_OVER);
}

/** A promise of what no longer comes. */
export const never = <T>(): Promise<T> => new Promise<T>(() => {});

/**
 * One life of one object of a node: from its start to its crash. All that the object does goes through ports that ask here,
 * so that nothing of an old life touches a new one.
 */
export class Life {
  readonly name: string;
  readonly #scheduler: Scheduler;
  /** When it ended. */
  overMs = Number.POSITIVE_INFINITY;
  /** Calls of others that wait for an answer of this life. */
  readonly asked = new Set<() => void>();

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.#scheduler = scheduler;
  }

  get isOver(): boolean {
    return this.overMs !== Number.POSITIVE_INFINITY;
  }

  /** @throws LifeIsOver */
  check(): void {
    if (this.isOver) throw new LifeIsOver(this.name);
  }

  end(): void {
    if (!this.isOver) this.overMs = this.#scheduler.nowMs;
  }

  /** The node's clock, with timers that end with this life. */
  clock(offsetMs: () => number): Clock {
    return {
      nowMs: () => this.#scheduler.nowMs + offsetMs(),
      after: (delayMs, work) => {
        if (this.isOver) return { cancel: () => {} };
        return this.#scheduler.after(delayMs, `timer ${this.name}`, () => this.run(work));
      },
    };
  }

  /** Does something as a part of this life, if it lasts. */
  run(work: () => void): void {
    if (this.isOver) return;
    try {
      work();
    } catch (error) {
      if (!isOfDeadLife(error)) throw error;
    }
  }
}
