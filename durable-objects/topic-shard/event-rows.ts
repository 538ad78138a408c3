import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { StoredEvent } from "./shard-store.ts";

/** The rows of the `events` table, as the platform answers them. */

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
  message: bytes(row.message),
});

/** Takes events from a cursor until a limit is reached; the first one always fits. */
export function takePage(rows: Iterable<EventRow>, maxBytes: number): StoredEvent[] {
  const page: StoredEvent[] = [];
  let taken = 0;
  for (const row of rows) {
    taken += row.block.byteLength + row.message.byteLength;
    if (page.length > 0 && taken > maxBytes) break;
    page.push(toEvent(row));
  }
  return page;
}

/** Sorts before every event. */
export const BEFORE_ALL: EventName = { topicKey: new Uint8Array(), id: new Uint8Array() };
