import { equalBytes } from "../../protocol/bytes.ts";
import type { Cursor } from "../../protocol/peer-messages.ts";
import type { CursorStore } from "../peer-link/cursor-store.ts";

/** The cursors of a simulated link: what `SqlCursorStore` must agree with. */
export class MemoryCursorStore implements CursorStore {
  readonly #cursors = new Map<number, Cursor>();

  #askedNewestMs = 0;

  askedNewestMs(): number {
    return this.#askedNewestMs;
  }

  saveAskedNewestMs(timeMs: number): void {
    this.#askedNewestMs = timeMs;
  }

  all(): Cursor[] {
    return [...this.#cursors.values()].sort((a, b) => a.shard - b.shard);
  }

  keep(cursor: Cursor): boolean {
    const known = this.#cursors.get(cursor.shard);
    const isSame = known && equalBytes(known.generation, cursor.generation);
    if (isSame && known.position === cursor.position) return false;
    this.#cursors.set(cursor.shard, cursor);
    return true;
  }
}
