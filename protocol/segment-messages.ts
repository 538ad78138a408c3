import { z } from "zod";
import type { Bytes } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { DIGEST_BYTES } from "./event-id.ts";
import { MAX_PEER_PAGE_BYTES, MAX_SHARDS } from "./limits.ts";
import { decodeBody as decode, sized } from "./peer-messages.ts";
import { BUCKETS } from "./topic.ts";

/** The bodies by which a node lists its segments and gives their files to a peer, as dag-cbor. */

/** Segments of one list. */
export const MAX_LISTED_SEGMENTS = 1_000;
/** Bytes of a file that one answer carries. */
export const MAX_FILE_PART_BYTES = 2 * MAX_PEER_PAGE_BYTES;

/** A segment as its holder lists it. */
export interface SegmentSummary {
  /** The holder's shard, which may be another share of the topics than the asker's. */
  readonly shard: number;
  /** Grows with each segment of the shard; names it in `after` alone. */
  readonly number: number;
  /** SHA-256 of its root block. */
  readonly root: Bytes;
  readonly class: number;
  /** The slots of its events: from one (inclusive) to another (exclusive). */
  readonly from: number;
  readonly to: number;
  /** The buckets of its topics, both inclusive. */
  readonly firstBucket: number;
  readonly lastBucket: number;
  /** Events. */
  readonly count: number;
  readonly blocksBytes: number;
  /** Null when it has no file of messages. */
  readonly messagesBytes: number | null;
}

/** A place in the list of a node's segments. */
export interface SegmentPlace {
  readonly shard: number;
  readonly number: number;
}

export interface SegmentsQuestion {
  /** Where the list goes on; null for its beginning. */
  readonly after: SegmentPlace | null;
  /** At most `MAX_LISTED_SEGMENTS`. */
  readonly limit: number;
}

export interface SegmentsAnswer {
  readonly segments: readonly SegmentSummary[];
  /** Where the list goes on; null at its end. */
  readonly next: SegmentPlace | null;
}

/** Part of a segment's file, or of a large message that one of its blocks names. */
export interface FilePartQuestion {
  readonly shard: number;
  readonly root: Bytes;
  /** `blocks`, `messages`, or the SHA-256 of a large message. */
  readonly file: "blocks" | "messages" | Bytes;
  readonly offset: number;
  /** At most `MAX_FILE_PART_BYTES`. */
  readonly length: number;
}

const uint32 = z.int().min(0).max(0xffffffff);
const shard = z
  .int()
  .min(0)
  .max(MAX_SHARDS - 1);
const bucket = z
  .int()
  .min(0)
  .max(BUCKETS - 1);
const place = z
  .tuple([shard, z.int().min(0)])
  .transform(([at, number]): SegmentPlace => ({ shard: at, number }));
const digest = sized(DIGEST_BYTES);

const segmentsSchema = z
  .tuple([place.nullable(), z.int().min(1).max(MAX_LISTED_SEGMENTS)])
  .transform(([after, limit]): SegmentsQuestion => ({ after, limit }));
const summary = z
  .tuple([
    shard,
    z.int().min(0),
    digest,
    z.int().min(0).max(255),
    uint32,
    uint32,
    bucket,
    bucket,
    uint32,
    uint32,
    uint32.nullable(),
  ])
  .transform(
    ([at, number, root, id, from, to, firstBucket, lastBucket, count, blocksBytes, messagesBytes]) => ({
      ...{ shard: at, number, root, class: id, from, to },
      ...{ firstBucket, lastBucket, count, blocksBytes, messagesBytes },
    }),
  );
const segmentsAnswerSchema = z
  .tuple([z.array(summary).max(MAX_LISTED_SEGMENTS), place.nullable()])
  .transform(([segments, next]): SegmentsAnswer => ({ segments, next }));
const filePartSchema = z
  .tuple([
    shard,
    digest,
    z.union([z.literal("blocks"), z.literal("messages"), digest]),
    uint32,
    z.int().min(1).max(MAX_FILE_PART_BYTES),
  ])
  .transform(
    ([at, root, file, offset, length]): FilePartQuestion => ({ shard: at, root, file, offset, length }),
  );
const filePartAnswerSchema = z
  .tuple([
    z.custom<Bytes>((value) => value instanceof Uint8Array && value.length <= MAX_FILE_PART_BYTES).nullable(),
  ])
  .transform(([bytes]) => bytes);

const placeTuple = ({ shard: at, number }: SegmentPlace) => [at, number];

export const encodeSegments = ({ after, limit }: SegmentsQuestion): Bytes =>
  encodeCbor([after && placeTuple(after), limit]);
export const encodeSegmentsAnswer = ({ segments, next }: SegmentsAnswer): Bytes =>
  encodeCbor([
    segments.map((each) => [
      ...[each.shard, each.number, each.root, each.class, each.from, each.to],
      ...[each.firstBucket, each.lastBucket, each.count, each.blocksBytes, each.messagesBytes],
    ]),
    next && placeTuple(next),
  ]);
export const encodeFilePart = (question: FilePartQuestion): Bytes =>
  encodeCbor([question.shard, question.root, question.file, question.offset, question.length]);
export const encodeFilePartAnswer = (bytes: Bytes | null): Bytes => encodeCbor([bytes]);

/** @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`, as all of these. */
export const decodeSegments = (bytes: Uint8Array): SegmentsQuestion => decode(segmentsSchema, bytes);
export const decodeSegmentsAnswer = (bytes: Uint8Array): SegmentsAnswer =>
  decode(segmentsAnswerSchema, bytes);
export const decodeFilePart = (bytes: Uint8Array): FilePartQuestion => decode(filePartSchema, bytes);
export const decodeFilePartAnswer = (bytes: Uint8Array): Bytes | null => decode(filePartAnswerSchema, bytes);
