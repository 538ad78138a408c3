import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { bytes, COLUMNS, type EventRow, HAS_MESSAGE, toEvent } from "./event-rows.ts";
import type { StoredEvent, TimeRange } from "./shard-store.ts";

/** As much of a row as decides whether it is in a page. */
interface TimeRow extends Record<string, SqlStorageValue> {
  position: number;
  time_key: ArrayBuffer;
  id: ArrayBuffer;
  size: number;
}

/**
 * Distinct envelopes, whose messages are here, of a stretch of a topic in the range's order, up to `maxBytes` of messages but at least one. Of several events that
 * carry one envelope the first in that order. Messages are read of what is in the page only, however many events there are beside it.
 */
export function timePageOf(
  sql: SqlStorage,
  range: TimeRange,
  limit: number,
  maxBytes: number,
): StoredEvent[] {
  const positions: number[] = [];
  let { from, to } = range;
  let last: Bytes | undefined;
  let taken = 0;
  for (let isFirst = true; positions.length < limit; isFirst = false) {
    const rows = timeRows(sql, range, from, to, isFirst, limit);
    for (const { position, time_key, size } of rows) {
      const timeKey = bytes(time_key);
      if (last && equalBytes(last, timeKey)) continue;
      taken += size;
      if (positions.length === limit || (last && taken > maxBytes)) return eventsAt(sql, positions);
      positions.push(position);
      last = timeKey;
    }
    if (rows.length < limit || !last) break;
    if (range.isDescending) to = last;
    else from = last;
  }
  return eventsAt(sql, positions);
}

function timeRows(
  sql: SqlStorage,
  { topicKey, isDescending, leastId }: TimeRange,
  from: Bytes,
  to: Bytes,
  isFirst: boolean,
  limit: number,
): TimeRow[] {
  const order = isDescending ? "DESC" : "ASC";
  const query = `SELECT position, time_key, id, length(message) AS size FROM events WHERE topic_key = ? AND id >= ? AND ${HAS_MESSAGE}
    AND time_key ${isDescending || isFirst ? ">=" : ">"} ? AND time_key ${isDescending && !isFirst ? "<" : "<="} ?
    ORDER BY time_key ${order}, id ${order} LIMIT ?`;
  return sql.exec<TimeRow>(query, topicKey, leastId, from, to, limit).toArray();
}

/** The events at some positions, in the order of these. */
function eventsAt(sql: SqlStorage, positions: readonly number[]): StoredEvent[] {
  if (positions.length === 0) return [];
  const query = `SELECT ${COLUMNS} FROM events WHERE position IN (SELECT value FROM json_each(?) AS wanted)`;
  const rows = sql.exec<EventRow>(query, JSON.stringify(positions)).toArray();
  const places = new Map(positions.map((position, place) => [position, place]));
  const placeOf = ({ position }: EventRow) => places.get(position) ?? 0;
  return rows.sort((a, b) => placeOf(a) - placeOf(b)).map(toEvent);
}
