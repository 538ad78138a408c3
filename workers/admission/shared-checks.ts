import type { Clock } from "../../durable-objects/clock.ts";
import { unavailable } from "../../protocol/errors.ts";

interface Check<T> {
  readonly result: Promise<T>;
  readonly endMs: number;
}

export interface SharedChecksParts {
  readonly clock: Clock;
  /** Checks under way at a time. */
  readonly limit: number;
  /** How long one is awaited, in ms; what it does has to end by itself before. */
  readonly timeoutMs: number;
}

const busy = (why: string) =>
  unavailable("wallet_check_unavailable", `the wallet's contract cannot be asked: ${why}`);

/**
 * Work that several requests want at once is done once. The request that began it may be gone, and its work with it: so each waits by its
 * own timer, and what is overdue makes room.
 */
export class SharedChecks<T> {
  readonly #parts: SharedChecksParts;
  readonly #checks = new Map<string, Check<T>>();

  constructor(parts: SharedChecksParts) {
    this.#parts = parts;
  }

  /** @throws PennypostError `wallet_check_unavailable` (503) for too many, or too slow a one; or what `work` throws. */
  async run(name: string, work: () => Promise<T>): Promise<T> {
    this.#dropOverdue();
    const { clock, timeoutMs } = this.#parts;
    const { result, endMs } = this.#checks.get(name) ?? this.#begin(name, work);
    const late = Promise.withResolvers<never>();
    // A clock that jumped lengthens no wait.
    const waitMs = Math.min(timeoutMs, Math.max(0, endMs - clock.nowMs()));
    const timer = clock.after(waitMs, () => late.reject(busy("no answer came in time")));
    return Promise.race([result, late.promise]).finally(() => timer.cancel());
  }

  #begin(name: string, work: () => Promise<T>): Check<T> {
    const { clock, limit, timeoutMs } = this.#parts;
    if (this.#checks.size >= limit) throw busy("too many are being asked");
    const check = { result: work(), endMs: clock.nowMs() + timeoutMs };
    this.#checks.set(name, check);
    const forget = () => {
      if (this.#checks.get(name) === check) this.#checks.delete(name);
    };
    check.result.then(forget, forget);
    return check;
  }

  #dropOverdue(): void {
    const { clock, timeoutMs } = this.#parts;
    const nowMs = clock.nowMs();
    for (const [name, { endMs }] of this.#checks)
      if (nowMs >= endMs || nowMs < endMs - timeoutMs) this.#checks.delete(name);
  }
}
