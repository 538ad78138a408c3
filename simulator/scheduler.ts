import type { Timer } from "../durable-objects/clock.ts";

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly label: string;
  readonly work: () => void;
  isCancelled: boolean;
}

/** Events that the event loop is asked for at a time: Node runs all microtasks between two of them. */
const BATCH = 64;

/** More events than a run may have: something goes on for ever. */
export class Runaway extends Error {}

/**
 * Virtual time. All that happens in a simulation is an event here; events run in the order of their times, and those of one
 * time in the order in which they were asked for. After each event all promises that it settled have run their course before
 * the next one begins, so that nothing depends on the machine.
 */
export class Scheduler {
  #nowMs: number;
  #order = 0;
  #steps = 0;
  readonly #heap: Entry[] = [];
  readonly #maxSteps: number;
  readonly #onStep: (atMs: number, label: string) => void;

  constructor(nowMs: number, maxSteps: number, onStep: (atMs: number, label: string) => void) {
    this.#nowMs = nowMs;
    this.#maxSteps = maxSteps;
    this.#onStep = onStep;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  get steps(): number {
    return this.#steps;
  }

  /** An event at a time, or now when that has passed. */
  at(timeMs: number, label: string, work: () => void): Timer {
    const entry = {
      atMs: Math.max(timeMs, this.#nowMs),
      order: this.#order++,
      label,
      work,
      isCancelled: false,
    };
    this.#push(entry);
    return {
      cancel: () => {
        entry.isCancelled = true;
      },
    };
  }

  after(delayMs: number, label: string, work: () => void): Timer {
    return this.at(this.#nowMs + Math.max(0, delayMs), label, work);
  }

  /** Runs what happens up to a time, that time included, or until `isOver`. @throws Runaway, or what an event throws. */
  runUntil(timeMs: number, isOver: () => boolean = () => false): Promise<void> {
    return new Promise((resolve, reject) => {
      let asked = 1;
      let isDone = false;
      const turn = () => {
        asked--;
        if (isDone) return;
        try {
          isDone = isOver() || !this.#step(timeMs);
        } catch (error) {
          isDone = true;
          reject(error);
          return;
        }
        if (isDone) resolve();
        else if (asked === 0) ask(BATCH);
      };
      const ask = (count: number) => {
        asked = count;
        for (let i = 0; i < count; i++) setImmediate(turn);
      };
      ask(1);
    });
  }

  /** Runs events until a promise is settled, and answers what it became. @throws Runaway after `limitMs`. */
  async settle<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    let isSettled = false;
    const done = () => {
      isSettled = true;
    };
    promise.then(done, done);
    await this.runUntil(this.#nowMs + limitMs, () => isSettled);
    if (!isSettled) throw new Runaway(`an answer did not come within ${limitMs} ms`);
    return promise;
  }

  #step(untilMs: number): boolean {
    for (let next = this.#heap[0]; next; next = this.#heap[0]) {
      if (next.atMs > untilMs) break;
      this.#pop();
      if (next.isCancelled) continue;
      if (++this.#steps > this.#maxSteps) throw new Runaway(`more than ${this.#maxSteps} events`);
      this.#nowMs = next.atMs;
      this.#onStep(next.atMs, next.label);
      next.work();
      return true;
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
    return false;
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.length;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(entry, heap[above] as Entry)) break;
      heap[at] = heap[above] as Entry;
      at = above;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Entry, heap[below] as Entry)) below++;
      if (!isBefore(heap[below] as Entry, last)) break;
      heap[at] = heap[below] as Entry;
      at = below;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
