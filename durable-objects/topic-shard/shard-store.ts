import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { RecordStore } from "../records/record-store.ts";
import type { HotPartitions } from "./hot-partitions.ts";
import type { LinkStore } from "./link-store.ts";
import type { RemovedEvents } from "./removed-events.ts";
import type { TreeStore } from "./sync-tree/tree-store.ts";

/**
 * Positions from here on are of events that are stored and not yet delivered. Delivery moves the row below, so that
 * the order of positions is the order of delivery, and a reader's place is one number.
 */
export const PENDING_BASE = 2 ** 52;

/** Bits of `flags`. */
export const OWN = 1;
/** Delivered without all its parents. */
export const GAP = 2;
/** Its envelope had been delivered before, with another event. */
export const ECHO = 4;
/** Its message is not here, and never was: see `StoredEvent.message`. */
export const GONE = 8;
/** Its message was looked for, as far as that goes: no other event waits for it any more. */
export const SOUGHT = 16;
/** From this bit on: the tree epoch in which the event was stored, 16 bits; see `sync-tree/shard-tree.ts`. */
export const EPOCH_SHIFT = 8;

export interface StoredEvent {
  /** Local order of arrival (delivery); see `PENDING_BASE`. */
  readonly position: number;
  readonly topicKey: Bytes;
  /** timestampNs (8 bytes, big-endian) ‖ envelope digest (32): the time order. */
  readonly timeKey: Bytes;
  readonly id: Bytes;
  /** Retention class. */
  readonly class: number;
  readonly flags: number;
  readonly storedMs: number;
  readonly signature: Bytes;
  readonly block: Bytes;
  /** Null when it is gone: of a hot event, exactly where its flags have `GONE`. */
  readonly message: Bytes | null;
}

/** An event as pages for clients have it. */
export type ShownEvent = StoredEvent & { readonly message: Bytes };

export type Outline = Pick<StoredEvent, "position" | "topicKey" | "timeKey" | "id" | "flags" | "block">;

export interface PlacedName extends EventName {
  readonly position: number;
  readonly flags: number;
  readonly class: number;
}

/** What is known of a sealed event without its block. */
export interface SealedEvent {
  readonly id: Bytes;
  /** Retention class. */
  readonly class: number;
  readonly origin: Bytes;
}

/** A stretch of one topic in time order. Bounds are time keys; `leastId` hides what has expired. */
export interface TimeRange {
  readonly topicKey: Bytes;
  readonly from: Bytes;
  readonly to: Bytes;
  readonly isDescending: boolean;
  readonly leastId: Bytes;
}

/** What the shard knew of its own events when it was last written down; the rest is read from the table. */
export interface Checkpoint {
  readonly position: number;
  readonly lastSeq: bigint;
  readonly lastOwn: EventName | null;
}

/** A shard's storage. Every method is synchronous: nothing comes between two of them. */
export interface ShardStore {
  /** The events by arrival, as they will leave. */
  readonly partitions: HotPartitions;
  /** What anti-entropy reads and keeps, in the same transactions. */
  readonly tree: TreeStore;
  /** The network's records, as far as this shard has them. */
  readonly records: RecordStore;
  /** How the events of a topic hang together. */
  readonly links: LinkStore;
  /** What the network's records took out. */
  readonly removed: RemovedEvents;

  /** Forgets what it has read of what is committed, after a failed transaction. */
  reload(): void;
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;

  /** Adds an event to the open partition: one that is stored nowhere yet. */
  insert(event: StoredEvent): void;
  /** Moves a pending event to its place among the delivered ones. */
  deliver(pendingPosition: number, position: number, flags: number): void;
  /** An event at this position is no echo any more. */
  clearEcho(position: number): void;
  /** Puts an event, changed, in the place of the one at a position: at its own position, in the open partition. */
  replace(position: number, event: StoredEvent): void;
  /** Takes an event out of the table. */
  remove(position: number): void;
  positionOf(name: EventName): number | undefined;
  /** The ids of a topic's events with this seq, in order: there is one, unless an origin or chance made more. */
  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[];
  get(name: EventName): StoredEvent | undefined;
  /**
   * Whether an event is here that came without its message, and can be given it. What is sealed, or is being sealed, cannot; nor is what was
   * dropped here, as part of a segment, one of these.
   */
  isWithoutMessage(name: EventName): boolean;
  /** An event without its message and signature, which may be large. */
  outline(name: EventName): Outline | undefined;
  findByDigest(blockDigest: Bytes): StoredEvent | undefined;
  /** The least id, from `leastId` on, of the events that carry this envelope with its message. */
  findEnvelope(topicKey: Bytes, timeKey: Bytes, leastId: Bytes): Bytes | undefined;
  isEnvelopeDelivered(topicKey: Bytes, timeKey: Bytes): boolean;
  /** Of the events that carry this envelope, the one that was delivered first. */
  firstDelivered(topicKey: Bytes, timeKey: Bytes): number | undefined;
  /** Whether an event is in a segment, and no longer hot. */
  isSealed(name: EventName): boolean;
  /** What is known of a sealed event; undefined for all others. */
  findSealed(name: EventName): SealedEvent | undefined;
  /** A topic's sealed events. */
  sealedOf(topicKey: Bytes): Iterable<SealedEvent>;
  /** Takes an event out of the sealed ones. */
  removeSealed(name: EventName): void;
  /** The greatest of a topic's ids that are. */
  greatestSealed(topicKey: Bytes): Bytes | undefined;
  greatest(topicKey: Bytes): { readonly id: Bytes; readonly position: number } | undefined;

  /** The greatest position of a delivered event, also where it was dropped with its partition; 0 before the first. */
  lastPosition(): number;
  lastPending(): number | undefined;
  pendingStoredUntil(storedMs: number, limit: number): PlacedName[];
  firstPendingMs(): number | undefined;

  /** Delivered events after a position, also those whose messages are gone, up to `maxBytes` of blocks and messages but at least one. */
  deliveredAfter(position: number, limit: number, maxBytes: number): StoredEvent[];
  namesAfter(position: number, limit: number): PlacedName[];
  /** Distinct envelopes whose messages are here, one event each (the one with the least id). */
  timePage(range: TimeRange, limit: number, maxBytes: number): ShownEvent[];
  /** Events of a topic with ids above `afterId` whose messages are here, in id order: a causal order. */
  causalPage(topicKey: Bytes, afterId: Bytes, limit: number, maxBytes: number): ShownEvent[];
  /** How many events within a stretch have no message. Counts events, where `timePage` has envelopes. */
  goneInTime(range: TimeRange): number;
  /** The same for ids above one and up to another. */
  goneInIds(topicKey: Bytes, afterId: Bytes, lastId: Bytes): number;

  /** The store's present life: 8 random bytes. */
  generation(): Bytes;
  saveGeneration(generation: Bytes): void;
  checkpoint(): Checkpoint;
  saveCheckpoint(checkpoint: Checkpoint): void;
}
