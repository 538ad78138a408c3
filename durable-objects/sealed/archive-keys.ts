import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";

/** A shard of a node that has so many. Another shard count is another layout: neither sees the other's files. */
export interface ShardPlace {
  readonly shardCount: number;
  readonly shard: number;
}

type ArchivedKind = "blocks" | "messages" | "large";

/** What a key names: a segment's file by its root, or a large message by its SHA-256. */
interface ArchivedName {
  readonly kind: ArchivedKind;
  readonly digest: Bytes;
}

/** Where a shard's segments are, and its large messages. */
export const segmentsPrefix = ({ shardCount, shard }: ShardPlace): string =>
  `segments/${shardCount}/${shard}/`;
export const largePrefix = ({ shardCount, shard }: ShardPlace): string => `large/${shardCount}/${shard}/`;

export const blocksKey = (place: ShardPlace, root: Uint8Array): string =>
  `${segmentsPrefix(place)}${toHex(root)}.blocks.car`;
export const messagesKey = (place: ShardPlace, root: Uint8Array): string =>
  `${segmentsPrefix(place)}${toHex(root)}.messages.car`;
export const largeKey = (place: ShardPlace, digest: Uint8Array): string =>
  `${largePrefix(place)}${toHex(digest)}`;

const SEGMENT_FILE = /^([0-9a-f]{64})\.(blocks|messages)\.car$/;
const LARGE_MESSAGE = /^([0-9a-f]{64})$/;

/** What a key of this shard names; undefined for a key of another shard, layout or part. */
export function archivedName(place: ShardPlace, key: string): ArchivedName | undefined {
  const [segments, large] = [segmentsPrefix(place), largePrefix(place)];
  if (key.startsWith(segments)) {
    const [, hex, kind] = SEGMENT_FILE.exec(key.slice(segments.length)) ?? [];
    return hex ? { kind: kind as "blocks" | "messages", digest: fromHex(hex) } : undefined;
  }
  const [, hex] = key.startsWith(large) ? (LARGE_MESSAGE.exec(key.slice(large.length)) ?? []) : [];
  return hex ? { kind: "large", digest: fromHex(hex) } : undefined;
}
