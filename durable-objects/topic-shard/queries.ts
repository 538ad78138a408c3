import { type Bytes, compareBytes, concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { MAX_UINT64 } from "../../protocol/limits.ts";
import type { TieredReads } from "../sealed/tiered-reads.ts";
import type { ShardStore, ShownEvent, StoredEvent, TimeRange } from "./shard-store.ts";

/** A query of one topic in time order, checked by the client API. */
export interface TimeQuery {
  readonly topic: Bytes;
  readonly topicKey: Bytes;
  /** Inclusive; 0 is unbounded. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly isDescending: boolean;
  readonly limit: number;
  /** The page ends after this many bytes of messages, but not before its first row. */
  readonly maxBytes: number;
  /** The time key (40 bytes) of the last row that the client has. */
  readonly after: Bytes | null;
}

/** One page of envelopes, their JSON built where the bytes are. */
export interface EnvelopePage {
  /** The time keys of the rows, joined: 40 bytes each. */
  readonly timeKeys: Bytes;
  readonly json: readonly string[];
  /** Whether the page ended at a limit, so that there may be more. */
  readonly isFull: boolean;
}

export const TIME_KEY_BYTES = 40;

/** The time keys next to a key in byte order: bounds that leave the key itself out. */
export function neighbour(key: Bytes, step: 1 | -1): Bytes | undefined {
  const next = key.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    const value = (next[i] as number) + step;
    next[i] = value & 255;
    if (value === (value & 255)) return next;
  }
  return undefined;
}

/** The bounds that a query's times and cursor leave; undefined when nothing can be between them. */
export function timeRangeOf(query: TimeQuery, leastId: Bytes): TimeRange | undefined {
  const { topicKey, isDescending, after } = query;
  let from: Bytes | undefined = concatBytes(uint64Bytes(query.startNs), new Uint8Array(32));
  let to: Bytes | undefined = concatBytes(
    uint64Bytes(query.endNs || MAX_UINT64),
    new Uint8Array(32).fill(255),
  );
  if (after && isDescending) {
    const below = neighbour(after, -1);
    to = below && compareBytes(below, to) < 0 ? below : below && to;
  } else if (after) {
    const above = neighbour(after, 1);
    from = above && compareBytes(above, from) > 0 ? above : above && from;
  }
  return from && to && compareBytes(from, to) <= 0
    ? { topicKey, from, to, isDescending, leastId }
    : undefined;
}

export function envelopeJson(topicJson: string, timeKey: Bytes, message: Bytes): string {
  const ts = new DataView(timeKey.buffer, timeKey.byteOffset).getBigUint64(0);
  const base64 = Buffer.from(message.buffer, message.byteOffset, message.length).toString("base64");
  return `{"contentTopic":${topicJson},"timestampNs":"${ts}","message":"${base64}"}`;
}

export function queryEnvelopes(
  store: ShardStore,
  query: TimeQuery,
  topic: string,
  leastId: Bytes,
): EnvelopePage {
  const rows = readTimePage(store, query, leastId);
  const topicJson = JSON.stringify(topic);
  return {
    timeKeys: concatBytes(...rows.events.map(({ timeKey }) => timeKey)),
    json: rows.events.map(({ timeKey, message }) => envelopeJson(topicJson, timeKey, message)),
    isFull: rows.isFull,
  };
}

/** The same where some of the topic's events are in files. */
export async function queryEnvelopesOfTiers(
  reads: TieredReads,
  query: TimeQuery,
  topic: string,
  leastId: Bytes,
): Promise<EnvelopePage> {
  const range = timeRangeOf(query, leastId);
  if (!range) return { timeKeys: new Uint8Array(), json: [], isFull: false };
  const { envelopes, isFull } = await reads.envelopes(range, query.topic, query.limit, query.maxBytes);
  const topicJson = JSON.stringify(topic);
  return {
    timeKeys: concatBytes(...envelopes.map(({ timeKey }) => timeKey)),
    json: envelopes.map(({ timeKey, message }) => envelopeJson(topicJson, timeKey, message)),
    isFull,
  };
}

export function readTimePage(
  store: ShardStore,
  query: TimeQuery,
  leastId: Bytes,
): { events: ShownEvent[]; isFull: boolean } {
  const range = timeRangeOf(query, leastId);
  const events = range ? store.timePage(range, query.limit, query.maxBytes) : [];
  return { events, isFull: events.length === query.limit || isCutShort(store, range, events) };
}

/** How many events of the stretch that a page has read came by without a message. */
export function goneInTimePage(
  store: Pick<ShardStore, "goneInTime">,
  range: TimeRange,
  { events, isFull }: { readonly events: readonly ShownEvent[]; readonly isFull: boolean },
): number {
  const last = isFull ? events.at(-1)?.timeKey : undefined;
  if (!last) return store.goneInTime(range);
  return store.goneInTime(range.isDescending ? { ...range, from: last } : { ...range, to: last });
}

/** A page that is short in rows may have ended by its bytes: then a row follows it. */
function isCutShort(
  store: ShardStore,
  range: TimeRange | undefined,
  events: readonly StoredEvent[],
): boolean {
  const last = events.at(-1);
  if (!range || !last) return false;
  const next = neighbour(last.timeKey, range.isDescending ? -1 : 1);
  if (!next) return false;
  const rest = range.isDescending ? { ...range, to: next } : { ...range, from: next };
  return compareBytes(rest.from, rest.to) <= 0 && store.timePage(rest, 1, 0).length > 0;
}
