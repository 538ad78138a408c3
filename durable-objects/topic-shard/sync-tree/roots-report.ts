import type { Clock } from "../../clock.ts";
import { logWarning } from "../../log.ts";
import type { SyncApi } from "../../sync/sync-api.ts";

/** The sync object is told again after this long when it did not hear. */
const RETRY_MS = 5_000;

export interface RootsReportParts {
  readonly shard: number;
  readonly clock: Clock;
  readonly roots: Pick<SyncApi, "changed">;
  /** The least `asOf` at which the shard's roots are others than those handed over. */
  dueAsOf(): number;
}

/**
 * Tells the sync object from when on this shard's roots are others than those that it handed over: once for each change of
 * that time, so that a busy shard costs a call per slot. A report that is lost with the process is made at the next start.
 */
export class RootsReport {
  readonly #parts: RootsReportParts;
  #reported = Number.POSITIVE_INFINITY;
  #underWay: Promise<void> = Promise.resolve();
  #isRetrying = false;

  constructor(parts: RootsReportParts) {
    this.#parts = parts;
  }

  /** The sync object has the shard's roots, and knows until when they hold. */
  handedOver(dueAsOf: number): void {
    this.#reported = dueAsOf;
  }

  /** Resolves when the sync object knows, or when it does not answer: then it is told later. */
  async send(): Promise<void> {
    const dueAsOf = this.#parts.dueAsOf();
    // What is on its way already is waited for all the same.
    if (dueAsOf < this.#reported) this.#underWay = this.#report(dueAsOf);
    await this.#underWay;
  }

  async #report(dueAsOf: number): Promise<void> {
    const { shard, clock, roots } = this.#parts;
    const before = this.#reported;
    this.#reported = dueAsOf;
    try {
      await roots.changed(shard, dueAsOf);
    } catch (error) {
      logWarning("roots_not_reported", { shard, why: String(error) });
      // A hand-over may have come meanwhile, and said something later.
      this.#reported = Math.max(this.#reported, before);
      if (this.#isRetrying) return;
      this.#isRetrying = true;
      clock.after(RETRY_MS, () => {
        this.#isRetrying = false;
        void this.send();
      });
    }
  }
}
