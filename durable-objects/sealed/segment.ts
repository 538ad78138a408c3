import type { Bytes } from "../../protocol/bytes.ts";
import type { SealedEntry } from "../../protocol/segment-runs.ts";

/** One of a segment's two files in R2. */
export interface SegmentFile {
  readonly bytes: number;
  /** SHA-256 of the whole file. */
  readonly digest: Bytes;
}

/** A segment as the shard knows it: what is in its files, without what its runs say. */
export interface Segment {
  /** SHA-256 of its root block: its name. The same events give the same one. */
  readonly root: Bytes;
  /** Retention class of all its events. */
  readonly class: number;
  /** The slots of its events: from one (inclusive) to another (exclusive). */
  readonly from: number;
  readonly to: number;
  /** Events, and the topics that they are of. */
  readonly count: number;
  readonly topics: number;
  /** Topic key ‖ id of its first and its last event. */
  readonly firstName: Bytes;
  readonly lastName: Bytes;
  /** Public keys of its events' origins, in the order of the entries' numbers. */
  readonly origins: readonly Bytes[];
  readonly blocks: SegmentFile;
  /** Null when no message is in a file: each is an object of its own, or is gone. */
  readonly messages: SegmentFile | null;
  /** Events whose messages are gone; none without a word. All of them once the segment's messages were dropped. */
  readonly gone?: number;
}

/** Whether nothing of a segment's messages is there, in its file or beside it. */
export const isWithoutMessages = ({ gone = 0, count }: Pick<Segment, "gone" | "count">): boolean =>
  gone === count;

/** Where an event is: in which segment, as which of its events, and what the runs say of it. */
export interface SealedPlace {
  readonly segment: Segment;
  /** The event's place in the segment's order of topic and id, from 0. */
  readonly number: number;
  readonly topicKey: Bytes;
  readonly entry: SealedEntry;
}
