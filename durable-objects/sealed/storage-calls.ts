import { PennypostError, unavailable } from "../../protocol/errors.ts";
import type { Clock } from "../clock.ts";
import { Semaphore } from "../semaphore.ts";

/** How long R2 or D1 may take for one call. What it does later, it does unseen: every call must bear that. */
export const STORAGE_DEADLINE_MS = 30_000;
/** Of the six connections that an invocation may have. */
export const MAX_STORAGE_CALLS = 4;
export const MAX_WAITING_STORAGE_CALLS = 64;

/** The calls to one storage service: few at a time, each with an end, each failure a typed error. */
export class StorageCalls {
  readonly #service: string;
  readonly #clock: Clock;
  readonly #turns = new Semaphore(MAX_STORAGE_CALLS, MAX_WAITING_STORAGE_CALLS);

  constructor(service: "R2" | "D1", clock: Clock) {
    this.#service = service;
    this.#clock = clock;
  }

  /**
   * @param what the call and what it is about, for the error.
   * @throws PennypostError `storage_unavailable` (503) when it fails or does not answer in time; `too_many_calls` (429);
   * or the PennypostError that `work` throws.
   */
  run<T>(what: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(() => this.#bounded(what, work));
  }

  async #bounded<T>(what: string, work: () => Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = this.#clock.after(STORAGE_DEADLINE_MS, () =>
      late.reject(this.#failure(what, `no answer within ${STORAGE_DEADLINE_MS} ms`)),
    );
    try {
      return await Promise.race([work(), late.promise]);
    } catch (error) {
      if (error instanceof PennypostError) throw error;
      throw this.#failure(what, error instanceof Error ? error.message : String(error));
    } finally {
      timer.cancel();
    }
  }

  #failure(what: string, why: string): PennypostError {
    const service = this.#service;
    return unavailable("storage_unavailable", `${service} failed: ${what}: ${why.slice(0, 300)}`, {
      service,
      what,
    });
  }
}
