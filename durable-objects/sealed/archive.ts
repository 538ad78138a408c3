import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { GRPC, PennypostError } from "../../protocol/errors.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { RangeSource } from "./range-reader.ts";
import type { LargeMessage, WrittenSegment } from "./segment-builder.ts";

/** A segment's file, with its signatures and runs, has less. */
export const MAX_ARCHIVED_BYTES = 32 * 1024 * 1024;
/** Keys that R2 lists or deletes in one call. */
export const MAX_KEYS_PER_CALL = 1_000;
/**
 * A file that is there already is left, unless it is older: then it is written again, so that what a sweep may take away is never what
 * was sealed anew.
 */
export const LEFT_ALONE_MS = 12 * 3_600_000;

export interface ArchivedObject {
  readonly key: string;
  readonly bytes: number;
  /** By the archive's clock. */
  readonly uploadedMs: number;
}

export interface ArchivePage {
  readonly objects: readonly ArchivedObject[];
  /** Where the next page begins; null when there is none. */
  readonly cursor: string | null;
}

/**
 * The files of sealed segments, named by their content. Every method ends in bounded time.
 * @throws PennypostError, from all: `storage_unavailable` (503); `too_many_calls` (429). From those that read or verify: `segment_missing`
 * and `segment_damaged` (dataLoss), whose data name the key, and what was expected and found.
 */
export interface Archive {
  /** Stores a segment's files and reads them back; both are there and right when it returns. Repeating it changes nothing. */
  putSegment(place: ShardPlace, written: WrittenFiles): Promise<void>;
  /** The same for a large message. */
  putLarge(place: ShardPlace, message: LargeMessage): Promise<void>;
  /** Part of a file: exactly `length` bytes from `offset` on. Their content is not verified: that is for who knows their digest. */
  read(key: string, offset: number, length: number): Promise<Bytes>;
  /** A whole file, verified when its SHA-256 is given. */
  readWhole(key: string, digest?: Bytes): Promise<Bytes>;
  /** Deletes what is there of these. */
  delete(keys: readonly string[]): Promise<void>;
  /** A page of at most 1,000 keys after a cursor, in byte order. */
  list(prefix: string, cursor: string | null): Promise<ArchivePage>;
}

/** A segment with its files. */
export type WrittenFiles = Pick<WrittenSegment, "segment" | "blocks" | "messages">;

/** A file to be stored. */
export interface ArchiveFile {
  readonly key: string;
  readonly bytes: Bytes;
  /** SHA-256. */
  readonly digest: Bytes;
}

/** The files of a segment, the blocks last: where they are, the messages are too. */
export function filesOf(place: ShardPlace, { segment, blocks, messages }: WrittenFiles): ArchiveFile[] {
  const { root } = segment;
  const files = [{ key: blocksKey(place, root), bytes: blocks, digest: segment.blocks.digest }];
  if (messages && segment.messages)
    files.unshift({ key: messagesKey(place, root), bytes: messages, digest: segment.messages.digest });
  return files;
}

export const largeFileOf = (place: ShardPlace, { digest, bytes }: LargeMessage): ArchiveFile => ({
  key: largeKey(place, digest),
  bytes,
  digest,
});

export const missing = (key: string) =>
  new PennypostError("segment_missing", GRPC.dataLoss, `the archive lacks ${key}`, { key });

export const wrongBytes = (key: string, expected: Bytes, found: Bytes) =>
  new PennypostError("segment_damaged", GRPC.dataLoss, `the archive has other bytes as ${key}`, {
    key,
    expected: toHex(expected),
    found: toHex(found),
  });

export const wrongLength = (key: string, expected: number, found: number) =>
  new PennypostError("segment_damaged", GRPC.dataLoss, `the archive has another length of ${key}`, {
    key,
    expected,
    found,
  });

/** What `read` answers; null where the archive has nothing, or other bytes than it should. */
export async function unlessLost(read: () => Promise<Bytes>): Promise<Bytes | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof PennypostError && error.grpc === GRPC.dataLoss) return null;
    throw error;
  }
}

/** The archive as what reads parts of files: what is not there is null. */
export const filesIn = (archive: Archive): RangeSource => ({
  async read(key, offset, length) {
    try {
      return await archive.read(key, offset, length);
    } catch (error) {
      if (error instanceof PennypostError && error.code === "segment_missing") return null;
      throw error;
    }
  },
});
