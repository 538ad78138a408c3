import { type Bytes, uint64Bytes } from "../../protocol/bytes.ts";
import { eventId } from "../../protocol/event-id.ts";
import { firstSeqOfSlot } from "../../protocol/sync-range.ts";
import { suite } from "../platform-suite.ts";
import type { ShardStore, StoredEvent } from "../topic-shard/shard-store.ts";

/** Rows as they stand in a shard's store, with blocks that nobody reads: many at little cost. */

/** The key of the n-th topic of a bucket. */
export function topicKeyIn(bucket: number, n: number): Bytes {
  const key = new Uint8Array(32).fill(n);
  key[0] = bucket >> 4;
  key[1] = ((bucket & 15) << 4) | (n & 15);
  new DataView(key.buffer).setUint32(28, n);
  return key;
}

export interface RawEvent {
  readonly bucket: number;
  readonly topic: number;
  readonly slot: number;
  readonly class: number;
  /** Tells events apart. */
  readonly n: number;
  readonly bytes?: number;
}

export const idOfRaw = ({ slot, n }: RawEvent): Bytes =>
  eventId(firstSeqOfSlot(slot) + BigInt(n), suite.sha256(uint64Bytes(BigInt(n))));

export const storedRaw = (event: RawEvent, position: number): StoredEvent => ({
  position,
  topicKey: topicKeyIn(event.bucket, event.topic),
  timeKey: new Uint8Array(40),
  id: idOfRaw(event),
  class: event.class,
  flags: 0,
  storedMs: 0,
  signature: new Uint8Array(64),
  block: new Uint8Array(8),
  message: new Uint8Array(event.bytes ?? 0),
});

export function insertRaw(store: ShardStore, events: readonly RawEvent[]): StoredEvent[] {
  const stored = events.map((event, i) => storedRaw(event, store.lastPosition() + 1 + i));
  store.transaction(() => {
    for (const event of stored) store.insert(event);
  });
  return stored;
}
