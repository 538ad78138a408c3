import type { HistoryStore, LinkHistory } from "../peer-link/link-history.ts";

/** What `SqlHistoryStore` must agree with. */
export class MemoryHistoryStore implements HistoryStore {
  #history: LinkHistory | undefined;
  writes = 0;

  history(): LinkHistory | undefined {
    return this.#history;
  }

  saveHistory(history: LinkHistory): void {
    this.#history = history;
    this.writes++;
  }
}
