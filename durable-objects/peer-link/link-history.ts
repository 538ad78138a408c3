import type { Clock } from "../clock.ts";
import type { SyncReport } from "./reconciliation.ts";

/** What a link has done, as the operator sees it. */
export interface LinkHistory {
  readonly lastSync: { readonly atMs: number; readonly report: SyncReport } | null;
  readonly lastPull: { readonly atMs: number; readonly received: number } | null;
  /** When the peer answered last, in ms since 1970; null when it never did. */
  readonly lastAnsweredMs: number | null;
  /** Since when the peer fails, in ms since 1970; null while it answers. */
  readonly downSinceMs: number | null;
  /** The code with which a peer that is up refuses this node, such as `not_a_member`; null when it does not. */
  readonly refusal: string | null;
}

export interface HistoryStore {
  history(): LinkHistory | undefined;
  saveHistory(history: LinkHistory): void;
}

export const NO_HISTORY: LinkHistory = {
  lastSync: null,
  lastPull: null,
  lastAnsweredMs: null,
  downSinceMs: null,
  refusal: null,
};

/** Runs that found nothing are written down so often at the most: an idle peer is to cost next to no rows. */
const SAVE_IDLE_EVERY_MS = 3_600_000;
/** That a peer fails is written down so often at the most, however often it comes and goes. */
const SAVE_FAILURE_EVERY_MS = 60_000;

/** Keeps what a link did last, in memory; written down where something moved, so that the next life of the link knows it. */
export class HistoryKeeper {
  readonly #store: HistoryStore;
  readonly #clock: Clock;
  #history: LinkHistory;
  #savedMs = 0;
  #savedFailureMs = 0;
  /** What the store tells of the peer's failure. */
  #saved: Pick<LinkHistory, "downSinceMs" | "refusal">;

  constructor(store: HistoryStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    // A row of an earlier version has fewer fields.
    this.#history = { ...NO_HISTORY, ...store.history() };
    this.#saved = this.#history;
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

  /** The peer answered what it was asked. */
  answered(): void {
    this.#history = { ...this.#history, lastAnsweredMs: this.#clock.nowMs() };
    this.#up();
  }

  /** The peer asked something: it is up, and may refuse this node all the same. */
  heard(): void {
    if (this.#history.refusal === null) this.#up();
  }

  /** The peer failed; `refusal` is its code where it answered with one. */
  failed(refusal: string | null): void {
    const nowMs = this.#clock.nowMs();
    const downSinceMs = this.#history.downSinceMs ?? nowMs;
    this.#history = { ...this.#history, downSinceMs, refusal };
    const { downSinceMs: savedSinceMs, refusal: savedRefusal } = this.#saved;
    if (downSinceMs === savedSinceMs && refusal === savedRefusal) return;
    if (Math.abs(nowMs - this.#savedFailureMs) < SAVE_FAILURE_EVERY_MS) return;
    this.#savedFailureMs = nowMs;
    this.#write();
  }

  #up(): void {
    this.#history = { ...this.#history, downSinceMs: null, refusal: null };
    // As often as a failure was written, and no more.
    if (this.#saved.downSinceMs !== null) this.#write();
  }

  #save(hasMoved: boolean): void {
    if (!hasMoved && Math.abs(this.#clock.nowMs() - this.#savedMs) < SAVE_IDLE_EVERY_MS) return;
    this.#write();
  }

  #write(): void {
    this.#savedMs = this.#clock.nowMs();
    this.#store.saveHistory(this.#history);
    this.#saved = this.#history;
  }
}
