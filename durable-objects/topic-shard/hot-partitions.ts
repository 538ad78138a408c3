import type { Bytes } from "../../protocol/bytes.ts";
import { GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { StoredEvent } from "./shard-store.ts";

/** All are read by one compound SELECT, which the platform's SQLite takes at most five terms of (measured). */
export const MAX_PARTITIONS = 5;

/**
 * A stretch of a shard's events in the order of their delivery. The newest is open: it takes all that comes, and has all events that are
 * not delivered yet. Stretches never overlap.
 */
export interface Partition {
  /** From 1 on, never given twice. */
  readonly number: number;
  /** Its delivered events have positions above this one … */
  readonly after: number;
  /** … and up to this one; null while it is open. */
  readonly upTo: number | null;
  /** When it was opened; of a shard's first one when its first event was stored, as far as that was there, else 0. */
  readonly openedMs: number;
  /** Null while it is open. */
  readonly closedMs: number | null;
  /** A position that no event has, behind which readers begin anew: events came that have no position. 0 for none. */
  readonly cutAt: number;
}

export interface PartitionTopic {
  readonly topicKey: Bytes;
  /** Retention class, which follows from the topic. */
  readonly class: number;
}

/**
 * The events of a shard's hot store by arrival, so that old ones leave it with the partition that they are in, at no row each. What
 * derives from events and is not in a partition (heads, notes on parents, the hash tree) stays as it is when one is dropped.
 */
export interface HotPartitions {
  /** The oldest first; there is always an open one, which is the last. */
  all(): readonly Partition[];
  /** Whether there is room for one more. */
  canRoll(): boolean;
  /**
   * Closes the open partition and opens the next, inside a transaction. What waits to be delivered moves on to that.
   * @throws PennypostError `partitions_full` when there are `MAX_PARTITIONS`.
   */
  roll(nowMs: number): void;
  /**
   * Events come without a position, inside a transaction: the open partition is cut at one that no event has. Who reads by positions and is
   * below it has missed them, and begins anew.
   */
  cut(position: number): void;
  /** The retention classes of a partition's events, in their order; perhaps some whose events were all removed. */
  classesOf(number: number): number[];
  /**
   * A partition's events of one class in the order of topic and id, after a given one, up to `maxBytes` of blocks and messages but at
   * least one. Passes over the index entries of other classes.
   */
  eventsOf(
    number: number,
    classId: number,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[];
  /** The topics of a partition's events in order, after one, each with its retention class. */
  topicsOf(number: number, after: Bytes | null, limit: number): PartitionTopic[];
  /**
   * Drops a closed partition with all that is in it, inside a transaction; does nothing when it is not there. No page that is read from
   * the store may be under way. To be called by way of `ShardCore.dropPartition`, which writes down first what is known of its events.
   * @throws PennypostError `partition_open` when it is not closed.
   */
  drop(number: number): void;
  /** Bytes that the whole storage takes. */
  usedBytes(): number;
}

/** The position behind which nothing was dropped: a reader that is below has missed what it cannot get here any more. */
export function wholeFrom(partitions: readonly Partition[]): number {
  let from = Number.POSITIVE_INFINITY;
  for (const { after, upTo } of [...partitions].reverse()) {
    if (upTo !== null && upTo !== from) break;
    from = after;
  }
  return from;
}

/** The position behind which a reader misses nothing: nothing was dropped, and all that came has a position. */
export const readableFrom = (partitions: readonly Partition[]): number =>
  Math.max(wholeFrom(partitions), ...partitions.map(({ cutAt }) => cutAt));

export const partitionsFull = (): PennypostError =>
  unavailable("partitions_full", "the hot store has as many partitions as it may", { most: MAX_PARTITIONS });

export const partitionOpen = (number: number): PennypostError =>
  new PennypostError("partition_open", GRPC.failedPrecondition, "an open partition cannot be dropped", {
    partition: number,
  });
