import type { RunResult } from "./run.ts";

/** What many runs came to. */
export class Tally {
  seeds = 0;
  events = 0;
  acknowledged = 0;
  messages = 0;
  steps = 0;
  failures = 0;
  #virtualMs = 0;
  readonly #strikes = new Map<string, number>();

  add({ events, acknowledged, messages, steps, virtualMs, failure, strikes }: RunResult): void {
    this.seeds++;
    this.events += events;
    this.acknowledged += acknowledged;
    this.messages += messages;
    this.steps += steps;
    this.#virtualMs += virtualMs;
    if (failure) this.failures++;
    for (const [name, count] of Object.entries(strikes))
      this.#strikes.set(name, (this.#strikes.get(name) ?? 0) + count);
  }

  strikes(name: string): number {
    return this.#strikes.get(name) ?? 0;
  }

  /** How often each kind of fault struck. */
  lines(): string[] {
    const hours = Math.round(this.#virtualMs / 3_600_000);
    const names = [...this.#strikes.keys()].sort();
    return [
      ...names.map((name) => `${String(this.strikes(name)).padStart(10)}  ${name}`),
      `${this.acknowledged} acknowledged publishes, ${this.steps} steps, ${hours} hours of virtual time`,
    ];
  }

  line(): string {
    return `${this.seeds} seeds, ${this.events} events, ${this.messages} messages, ${this.failures} failures`;
  }
}
