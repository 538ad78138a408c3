import { type Bytes, utf8 } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import { MAX_SHARDS, MAX_TOPIC_BYTES } from "./limits.ts";

/** The topic space is cut into this many buckets, fixed for the network. */
export const BUCKETS = 4_096;
const BUCKET_BITS = 12;

/** @throws PennypostError when the topic is empty, ill-formed Unicode or over 300 bytes. Returns its UTF-8 bytes. */
export function checkTopic(topic: string): Bytes {
  if (topic.length === 0) throw invalidArgument("topic_empty", "content topic required");
  if (topic.length > MAX_TOPIC_BYTES) throw topicTooLong(topic.length);
  if (!topic.isWellFormed()) throw invalidArgument("topic_not_utf8", "topic is not well-formed Unicode");
  const bytes = utf8(topic);
  if (bytes.length > MAX_TOPIC_BYTES) throw topicTooLong(bytes.length);
  return bytes;
}

function topicTooLong(length: number) {
  return invalidArgument("topic_too_long", "topic length too big", { length, limit: MAX_TOPIC_BYTES });
}

/** SHA-256 of the topic's UTF-8 bytes: the name under which a topic is stored, and its place among the buckets. */
export const topicKey = (topic: Uint8Array, suite: CryptoSuite): Bytes => suite.sha256(topic);

/** The first 12 bits of the topic key. */
export function bucketOf(key: Uint8Array): number {
  return ((key[0] as number) << 4) | ((key[1] as number) >> 4);
}

/** The topic keys of buckets: from the first key of `from` on, below the first key of `to` (null: to the last). */
export function topicKeysOf(from: number, to: number): { readonly from: Bytes; readonly to: Bytes | null } {
  const firstKey = (bucket: number) => Uint8Array.of(bucket >> 4, (bucket & 15) << 4);
  return { from: firstKey(from), to: to < BUCKETS ? firstKey(to) : null };
}

/** The buckets that a shard owns: from `from` on and below `to`. */
export function bucketsOf(shard: number, shardCount: number): { readonly from: number; readonly to: number } {
  const size = BUCKETS / shardCount;
  return { from: shard * size, to: (shard + 1) * size };
}

/** The shard that owns a bucket. */
export const shardOfBucket = (bucket: number, shardCount: number): number =>
  bucket >> (BUCKET_BITS - Math.log2(shardCount));

/** Whether a node may have this many shards: a power of two, 1 to 1,024. */
export function isShardCount(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= MAX_SHARDS && (count & (count - 1)) === 0;
}

/** The shard that owns a topic: the top bits of its bucket. */
export function shardOf(key: Uint8Array, shardCount: number): number {
  return bucketOf(key) >> (BUCKET_BITS - Math.log2(shardCount));
}
