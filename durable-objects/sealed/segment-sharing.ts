import type { Bytes } from "../../protocol/bytes.ts";
import type { FilePartQuestion, SegmentSummary } from "../../protocol/segment-messages.ts";
import { bucketOf, bucketsOf } from "../../protocol/topic.ts";
import { spanOfSlots } from "../topic-shard/sync-tree/slot-spans.ts";
import { eventsOfSpans } from "../topic-shard/sync-tree/span-walk.ts";
import { type Archive, unlessLost } from "./archive.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { HeldSegment } from "./sealed-store.ts";
import type { TieredShardStore } from "./tiered-shard-store.ts";

/** Events of a class, by buckets (both inclusive) and slots (from one, and below another). */
export interface EventSpan {
  readonly class: number;
  readonly firstBucket: number;
  readonly lastBucket: number;
  readonly from: number;
  readonly to: number;
}

interface SharingParts {
  readonly place: ShardPlace;
  readonly store: TieredShardStore;
  readonly archive: Archive;
}

const summaryOf = (shard: number, segment: HeldSegment): SegmentSummary => ({
  shard,
  number: segment.number,
  root: segment.root,
  class: segment.class,
  from: segment.from,
  to: segment.to,
  firstBucket: bucketOf(segment.firstName),
  lastBucket: bucketOf(segment.lastName),
  count: segment.count,
  blocksBytes: segment.blocks.bytes,
  messagesBytes: segment.messages?.bytes ?? null,
});

/** Gives a shard's segments to others. What it gives is verified by who takes it, event by event. */
export class SegmentSharing {
  readonly #parts: SharingParts;

  constructor(parts: SharingParts) {
    this.#parts = parts;
  }

  /** The segments that are read, by their numbers, after one. */
  list(after: number, limit: number): SegmentSummary[] {
    const { place, store } = this.#parts;
    const behind = store.index.segments.filter(({ number }) => number > after);
    return behind.slice(0, limit).map((segment) => summaryOf(place.shard, segment));
  }

  /**
   * A part of a file of this shard, which may be shorter at its end; null when the segment is not read any more, or the file is not there.
   * @throws PennypostError `storage_unavailable` (503), `too_many_calls` (429).
   */
  async read({ root, file, offset, length }: Omit<FilePartQuestion, "shard">): Promise<Bytes | null> {
    const { archive, place, store } = this.#parts;
    const segment = store.index.byRoot(root);
    if (!segment) return null;
    if (file instanceof Uint8Array)
      return unlessLost(async () => {
        const message = await archive.readWhole(largeKey(place, file), file);
        return message.slice(offset, offset + length);
      });
    const bytes = segment[file]?.bytes ?? 0;
    if (offset >= bytes) return null;
    const key = file === "blocks" ? blocksKey(place, root) : messagesKey(place, root);
    return unlessLost(() => archive.read(key, offset, Math.min(length, bytes - offset)));
  }

  /** How many events are here, hot or sealed, of a span; at most `limit`. */
  countWithin({ class: classId, firstBucket, lastBucket, from, to }: EventSpan, limit: number): number {
    const { place, store } = this.#parts;
    const { tree } = store;
    const own = bucketsOf(place.shard, place.shardCount);
    const last = Math.min(lastBucket, own.to - 1);
    let count = 0;
    for (let bucket = Math.max(firstBucket, own.from); bucket <= last && count < limit; bucket++)
      for (const event of eventsOfSpans(tree, bucket, [spanOfSlots({ from, to })])) {
        if (event.class === classId) count++;
        if (count === limit) break;
      }
    return count;
  }
}
