import type { Clock } from "../clock.ts";
import type { SyncReport } from "./reconciliation.ts";

/** What a link has done, as the operator sees it. */
export interface LinkHistory {
  readonly lastSync: { readonly atMs: number; readonly report: SyncReport } | null;
  readonly lastPull: { readonly atMs: number; readonly received: number } | null;
}

export interface HistoryStore {
  history(): LinkHistory | undefined;
  saveHistory(history: LinkHistory): void;
}

export const NO_HISTORY: LinkHistory = { lastSync: null, lastPull: null };

/** Runs that found nothing are written down so often at the most: an idle peer is to cost next to no rows. */
const SAVE_IDLE_EVERY_MS = 3_600_000;

/** Keeps what a link did last, in memory; written down where something moved, so that the next life of the link knows it. */
export class HistoryKeeper {
  readonly #store: HistoryStore;
  readonly #clock: Clock;
  #history: LinkHistory;
  #savedMs = 0;

  constructor(store: HistoryStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.#history = store.history() ?? NO_HISTORY;
  }

  get history(): LinkHistory {
    return this.#history;
  }

  synced(report: SyncReport): void {
    const wasSame = this.#history.lastSync?.report.outcome === "same";
    this.#history = { ...this.#history, lastSync: { atMs: this.#clock.nowMs(), report } };
    this.#save(!wasSame || report.outcome !== "same");
  }

  pulled(received: number): void {
    this.#history = { ...this.#history, lastPull: { atMs: this.#clock.nowMs(), received } };
    this.#save(received > 0);
  }

  #save(hasMoved: boolean): void {
    const nowMs = this.#clock.nowMs();
    if (!hasMoved && Math.abs(nowMs - this.#savedMs) < SAVE_IDLE_EVERY_MS) return;
    this.#savedMs = nowMs;
    this.#store.saveHistory(this.#history);
  }
}
