import type { Bytes } from "../../../protocol/bytes.ts";
import type { EventName } from "../../../protocol/peer-messages.ts";
import type { StoredEvent } from "../shard-store.ts";

/** An event as anti-entropy lists it. */
export interface ListedEvent extends EventName {
  /** Retention class. */
  readonly class: number;
}

/** Events of a bucket, as many as were to be read at once. */
export interface BucketPage {
  readonly events: readonly ListedEvent[];
  /** What was looked at: events, and topics that have none of them. */
  readonly rows: number;
  /** Where to go on; null at the end. */
  readonly next: EventName | null;
}

/** What is written down of a bucket's slot group; see `bucket-leaves.ts`. */
export interface SavedSlotGroup {
  readonly group: number;
  /** The leaves are those of all slots of the group below this one. */
  readonly covered: number;
  readonly leaves: Bytes;
  /** Slots of which events were stored since, so that their leaves are others. */
  readonly late: readonly number[];
}

export interface IdAndBlock {
  readonly id: Bytes;
  readonly block: Bytes;
}

export interface BlockPage {
  readonly blocks: readonly IdAndBlock[];
  /** Whether no event follows. */
  readonly isEnd: boolean;
  /** Whether the next ones are to be read from their files first, which is asked for. */
  readonly isWaiting: boolean;
}

/** Topic keys from `from` on and below `to`; all from `from` on when `to` is null. */
export interface TopicKeyRange {
  readonly from: Bytes;
  readonly to: Bytes | null;
}

/** A shard's events in the order of anti-entropy, and what derives from them for it. Every method is synchronous. */
export interface TreeStore {
  /**
   * A bucket's events with ids from `fromId` and below `toId`, in the order of topic and id, after a given one: at most `limit` events and
   * topics that have none, so that what a page costs does not depend on what there is.
   */
  pageOfBucket(
    bucket: number,
    fromId: Bytes,
    toId: Bytes,
    after: EventName | null,
    limit: number,
  ): BucketPage;
  /** Events of the topics from one key (inclusive) to another (exclusive), in the order of topic and id, after a given one. */
  eventsOfTopics(
    range: TopicKeyRange,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[];
  /** The next topic of a range after one, or its first: of those with events, and of those that have heads or notes only, since their rows were lost. */
  topicAfter(range: TopicKeyRange, after: Bytes | null): Bytes | undefined;
  /** Blocks of a topic's hot events with ids below one, the greatest first. */
  blocksBelow(topicKey: Bytes, id: Bytes, limit: number): IdAndBlock[];
  /** The same of hot and sealed events. It ends before a sealed one whose block is still to be read from its file: see `BlockPage`. */
  allBlocksBelow(topicKey: Bytes, id: Bytes, limit: number): BlockPage;
  /** Events whose block digest begins with one of these: the first 62 bits, as a number. */
  namesByDigestPrefix(prefixes: ReadonlySet<bigint>): EventName[];

  /** Values that derive from the events, by name. */
  treeValue(name: string): Bytes | undefined;
  saveTreeValue(name: string, value: Bytes): void;
  savedSlotGroups(bucket: number): SavedSlotGroup[];
  /** Replaces what is written down of the group; none of its slots is late then. */
  saveSlotGroup(bucket: number, saved: Omit<SavedSlotGroup, "late">): void;
  /**
   * A slot has a late event. Where its group is not written down though a later one is, it is from now on, with nothing covered: till
   * then it was known to be empty. Does nothing behind what is written down.
   */
  markLate(bucket: number, slot: number): void;
  dropSlotGroups(bucket: number): void;
  /** Forgets what is written down of one group, which counts as empty then, where a later one is written down. */
  dropSlotGroup(bucket: number, group: number): void;
}
