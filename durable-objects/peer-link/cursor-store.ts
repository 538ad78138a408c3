import type { Cursor } from "../../protocol/peer-messages.ts";

/** Where a link stands in its peer's shards: kept, so that a later life of the link goes on from there. */
export interface CursorStore {
  /** One for each of the peer's shards that was read, in their order. */
  all(): Cursor[];
  /** Writes a cursor only when it moved, so that an idle peer costs no row. Answers whether it did. */
  keep(cursor: Cursor): boolean;
  /** When the peer was last asked for this node's own newest events, in ms since 1970; 0 for never. */
  askedNewestMs(): number;
  saveAskedNewestMs(timeMs: number): void;
}
