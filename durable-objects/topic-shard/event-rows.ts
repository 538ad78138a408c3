import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { GONE, type StoredEvent } from "./shard-store.ts";

/** The rows of the partitions' tables, as the platform answers them. */

export interface EventRow extends Record<string, SqlStorageValue> {
  position: number;
  topic_key: ArrayBuffer;
  time_key: ArrayBuffer;
  id: ArrayBuffer;
  class: number;
  flags: number;
  stored_ms: number;
  signature: ArrayBuffer;
  block: ArrayBuffer;
  message: ArrayBuffer;
}

export const COLUMNS =
  "position, topic_key, time_key, id, class, flags, stored_ms, signature, block, message";

/** What the column has of a message that is gone: it takes no null. */
export const NO_MESSAGE = new Uint8Array();
/** Of an event whose message is here. */
export const HAS_MESSAGE = `flags & ${GONE} = 0`;

export const bytes = (buffer: ArrayBuffer): Bytes => new Uint8Array(buffer);

export const toEvent = (row: EventRow): StoredEvent => ({
  position: row.position,
  topicKey: bytes(row.topic_key),
  timeKey: bytes(row.time_key),
  id: bytes(row.id),
  class: row.class,
  flags: row.flags,
  storedMs: row.stored_ms,
  signature: bytes(row.signature),
  block: bytes(row.block),
  message: (row.flags & GONE) === 0 ? bytes(row.message) : null,
});

/** A row without what may be large, but for its size. Has all that pages are ordered by. */
interface SizeRow extends Record<string, SqlStorageValue> {
  size: number;
}
const SIZE_COLUMNS = "position, topic_key, time_key, id, length(block) + length(message) AS size";

/**
 * Reads events until a limit is reached; the first one always fits. `select` makes the query of its columns: its last parameter is the
 * limit. What does not fit is not read, by asking for the sizes first: a cursor that is left before its end would stay open until
 * the garbage collector comes by, and a table cannot be dropped meanwhile (seen: "database table is locked").
 */
export function readPage(
  sql: SqlStorage,
  select: (columns: string) => string,
  bindings: readonly (Bytes | number)[],
  limit: number,
  maxBytes: number,
): StoredEvent[] {
  const fitting =
    limit > 1 ? fittingRows(sql.exec<SizeRow>(select(SIZE_COLUMNS), ...bindings, limit), maxBytes) : limit;
  if (fitting === 0) return [];
  return sql
    .exec<EventRow>(select(COLUMNS), ...bindings, fitting)
    .toArray()
    .map(toEvent);
}

function fittingRows(rows: Iterable<SizeRow>, maxBytes: number): number {
  let [fitting, taken] = [0, 0];
  for (const { size } of [...rows]) {
    taken += size;
    if (fitting > 0 && taken > maxBytes) break;
    fitting++;
  }
  return fitting;
}

/** Sorts before every event. */
export const BEFORE_ALL: EventName = { topicKey: new Uint8Array(), id: new Uint8Array() };
