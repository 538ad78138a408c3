interface Entry<T> {
  readonly value: T;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** A limited number of values by name, each until a time; the oldest goes when there are too many. */
export class Remembered<T> {
  readonly #limit: number;
  readonly #entries = new Map<string, Entry<T>>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A clock that stepped back forgets what was learned behind it. */
  get(name: string, nowMs: number): T | undefined {
    const entry = this.#entries.get(name);
    if (!entry) return undefined;
    if (entry.fromMs <= nowMs && nowMs < entry.untilMs) return entry.value;
    this.#entries.delete(name);
    return undefined;
  }

  set(name: string, value: T, nowMs: number, untilMs: number): void {
    this.#entries.delete(name);
    if (this.#entries.size >= this.#limit) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(name, { value, fromMs: nowMs, untilMs });
  }
}
