import { type Bytes, toHex } from "../../protocol/bytes.ts";

/** Whose objects they are: with another shard count, a shard's topics are others. */
export interface ShardPrefix {
  readonly shardCount: number;
  readonly shard: number;
}

/** Where the objects of sealed segments are in R2. Digests are SHA-256; in keys they are hex digits. */
const folder = (kind: "segments" | "large", { shardCount, shard }: ShardPrefix): string =>
  `${kind}/${shardCount}/${shard}/`;

/** @param root digest of the segment's root block */
export const blocksKey = (prefix: ShardPrefix, root: Bytes): string =>
  `${folder("segments", prefix)}${toHex(root)}.blocks.car`;

/** @param root digest of the segment's root block */
export const messagesKey = (prefix: ShardPrefix, root: Bytes): string =>
  `${folder("segments", prefix)}${toHex(root)}.messages.car`;

/** @param message digest of a message that is an object of its own */
export const largeKey = (prefix: ShardPrefix, message: Bytes): string =>
  `${folder("large", prefix)}${toHex(message)}`;
