import { type Bytes, fromHex, readUint64, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { bucketOf } from "../../protocol/topic.ts";
import type { segments } from "../d1-schema.ts";
import type { ShardPlace } from "./archive-keys.ts";
import { type CataloguedTopic, packCataloguedTopics } from "./catalogued-topics.ts";
import type { SegmentFile } from "./segment.ts";
import type { WrittenSegment } from "./segment-builder.ts";

/** Segments of one call: with their topics they are one batch, and what D1 takes in one is limited. */
const MAX_CATALOGUED_PER_CALL = 16;
const MAX_REMOVED_PER_CALL = 1_000;
const MAX_CATALOGUE_PAGE = 1_000;

/** What the catalogue says of a segment; `Segment` has more, which its files tell. */
export interface CatalogueEntry {
  readonly root: Bytes;
  readonly class: number;
  /** Slots: from one (inclusive) to another (exclusive). */
  readonly from: number;
  readonly to: number;
  readonly leastSeq: bigint;
  readonly greatestSeq: bigint;
  /** Both inclusive. */
  readonly firstBucket: number;
  readonly lastBucket: number;
  /** Events, and the topics that they are of. */
  readonly count: number;
  readonly topics: number;
  readonly blocks: SegmentFile;
  readonly messages: SegmentFile | null;
  readonly createdMs: number;
}

export interface NewCatalogueEntry extends CatalogueEntry {
  /** Its topics, packed: see `catalogued-topics.ts`. */
  readonly packedTopics: readonly Bytes[];
}

/** What the segments of one class have together, over all shards of a node. */
export interface ClassTotal {
  readonly class: number;
  readonly segments: number;
  readonly events: number;
  /** Bytes of both files; large messages are not counted. */
  readonly bytes: number;
}

/**
 * The catalogue of sealed segments. Every method ends in bounded time.
 * @throws PennypostError, from all: `storage_unavailable` (503); `too_many_calls` (429); `catalogue_call_too_large`; from those that read
 * `catalogue_damaged` (dataLoss) for a row that is none.
 */
export interface Catalogue {
  /** All or nothing. A segment that is there already stays as it is. At most 16. */
  add(place: ShardPlace, entries: readonly NewCatalogueEntry[]): Promise<void>;
  /** Takes segments out and adds others, all or nothing. At most 1,000 out and 16 in. Repeating it changes nothing. */
  replace(place: ShardPlace, out: readonly Bytes[], entries: readonly NewCatalogueEntry[]): Promise<void>;
  /** Takes segments out, as far as they are there. At most 1,000. */
  remove(place: ShardPlace, roots: readonly Bytes[]): Promise<void>;
  /** A segment has no file of messages any more; does nothing when it is not there. */
  messagesDropped(place: ShardPlace, root: Bytes): Promise<void>;
  /** The segments of a shard in the order of their roots, after one; at most 1,000. */
  ofShard(place: ShardPlace, after: Bytes | null, limit: number): Promise<CatalogueEntry[]>;
  /** A part of the topics of a segment; undefined when it has no such part. */
  topics(place: ShardPlace, root: Bytes, part: number): Promise<CataloguedTopic[] | undefined>;
  /** In the order of classes. */
  totals(): Promise<ClassTotal[]>;
}

/** What the catalogue is to say of a segment. */
export function entryOf(written: WrittenSegment, createdMs: number): NewCatalogueEntry {
  const { segment, runs, leastSeq, greatestSeq } = written;
  const { root, class: retention, from, to, count, topics, blocks, messages } = segment;
  return {
    ...{
      root,
      class: retention,
      from,
      to,
      leastSeq,
      greatestSeq,
      count,
      topics,
      blocks,
      messages,
      createdMs,
    },
    firstBucket: bucketOf(segment.firstName),
    lastBucket: bucketOf(segment.lastName),
    packedTopics: packCataloguedTopics(runs),
  };
}

/** @throws PennypostError `catalogue_call_too_large`. */
export function checkCallSize(out: number, added: number): void {
  if (out > MAX_REMOVED_PER_CALL || added > MAX_CATALOGUED_PER_CALL)
    throw invalidArgument("catalogue_call_too_large", "too many segments for one call to the catalogue", {
      out,
      added,
    });
}

/** At least 1, at most a page. */
export const pageLimit = (limit: number): number => Math.min(Math.max(1, limit), MAX_CATALOGUE_PAGE);

const hexOfSeq = (seq: bigint): string => toHex(uint64Bytes(seq));

export type SegmentRow = typeof segments.$inferSelect;

export const rowOf = ({ shardCount, shard }: ShardPlace, entry: CatalogueEntry): SegmentRow => ({
  shardCount,
  shard,
  root: toHex(entry.root),
  class: entry.class,
  fromSlot: entry.from,
  toSlot: entry.to,
  leastSeq: hexOfSeq(entry.leastSeq),
  greatestSeq: hexOfSeq(entry.greatestSeq),
  firstBucket: entry.firstBucket,
  lastBucket: entry.lastBucket,
  count: entry.count,
  topics: entry.topics,
  blocksBytes: entry.blocks.bytes,
  blocksDigest: toHex(entry.blocks.digest),
  messagesBytes: entry.messages?.bytes ?? null,
  messagesDigest: entry.messages ? toHex(entry.messages.digest) : null,
  state: "live",
  createdMs: entry.createdMs,
});

/** @throws PennypostError `catalogue_damaged`. */
export function entryOfRow(row: SegmentRow): CatalogueEntry {
  const { messagesBytes, messagesDigest } = row;
  return {
    root: bytesOf(row.root, 32),
    class: row.class,
    from: row.fromSlot,
    to: row.toSlot,
    leastSeq: readUint64(bytesOf(row.leastSeq, 8)),
    greatestSeq: readUint64(bytesOf(row.greatestSeq, 8)),
    firstBucket: row.firstBucket,
    lastBucket: row.lastBucket,
    count: row.count,
    topics: row.topics,
    blocks: { bytes: row.blocksBytes, digest: bytesOf(row.blocksDigest, 32) },
    messages:
      messagesBytes === null || messagesDigest === null
        ? null
        : { bytes: messagesBytes, digest: bytesOf(messagesDigest, 32) },
    createdMs: row.createdMs,
  };
}

export const damagedRow = (what: string) =>
  new PennypostError("catalogue_damaged", GRPC.dataLoss, `the catalogue has a row that is none: ${what}`, {
    what,
  });

const HEX = /^[0-9a-f]*$/;

function bytesOf(text: string, length: number): Bytes {
  if (text.length !== 2 * length || !HEX.test(text)) throw damagedRow(`${text.slice(0, 80)}`);
  return fromHex(text);
}
