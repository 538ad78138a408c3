import type { Bytes } from "../../protocol/bytes.ts";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";
import type { Clock } from "../clock.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "./archive-keys.ts";
import type { RangeSource } from "./range-reader.ts";
import type { LargeMessage, WrittenSegment } from "./segment-builder.ts";
import { StorageCalls } from "./storage-calls.ts";

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
  putSegment(place: ShardPlace, written: WrittenSegment): Promise<void>;
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

/** A file to be stored. */
export interface ArchiveFile {
  readonly key: string;
  readonly bytes: Bytes;
  /** SHA-256. */
  readonly digest: Bytes;
}

/** The files of a segment, the blocks last: where they are, the messages are too. */
export function filesOf(place: ShardPlace, { segment, blocks, messages }: WrittenSegment): ArchiveFile[] {
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

/** R2's code for a range that begins behind the end. */
const RANGE_NOT_SATISFIABLE = /\(10039\)/;

/** The archive in a bucket of R2. All that use one bucket in one object share one of these, so that its limits hold. */
export class R2Archive implements Archive {
  readonly #bucket: R2Bucket;
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #calls: StorageCalls;

  constructor(bucket: R2Bucket, suite: CryptoSuite, clock: Clock) {
    this.#bucket = bucket;
    this.#suite = suite;
    this.#clock = clock;
    this.#calls = new StorageCalls("R2", clock);
  }

  async putSegment(place: ShardPlace, written: WrittenSegment): Promise<void> {
    for (const file of filesOf(place, written)) await this.#store(file);
  }

  async putLarge(place: ShardPlace, message: LargeMessage): Promise<void> {
    await this.#store(largeFileOf(place, message));
  }

  async #store(file: ArchiveFile): Promise<void> {
    if (await this.#isThere(file)) {
      try {
        await this.readWhole(file.key, file.digest);
        return;
      } catch (error) {
        const isLost = error instanceof PennypostError && error.grpc === GRPC.dataLoss;
        if (!isLost) throw error;
      }
    }
    await this.#calls.run(`put ${file.key}`, () =>
      this.#bucket.put(file.key, file.bytes, { sha256: file.digest }),
    );
    await this.readWhole(file.key, file.digest);
  }

  /** Whether R2 says that it has the file, and for no longer than it may be left alone. */
  async #isThere({ key, bytes, digest }: ArchiveFile): Promise<boolean> {
    const head = await this.#calls.run(`head ${key}`, () => this.#bucket.head(key));
    const sha256 = head?.checksums.sha256;
    if (!head || !sha256 || head.size !== bytes.length || !equalBytes(new Uint8Array(sha256), digest))
      return false;
    return Math.abs(this.#clock.nowMs() - head.uploaded.getTime()) < LEFT_ALONE_MS;
  }

  async read(key: string, offset: number, length: number): Promise<Bytes> {
    // R2 refuses an empty range.
    if (length === 0) return new Uint8Array();
    const bytes = await this.#calls.run(`read ${key}`, async () => {
      const body = await this.#bucket.get(key, { range: { offset, length } }).catch((error: unknown) => {
        throw RANGE_NOT_SATISFIABLE.test(String(error)) ? wrongLength(key, length, 0) : error;
      });
      if (!body) throw missing(key);
      return new Uint8Array(await body.arrayBuffer());
    });
    if (bytes.length !== length) throw wrongLength(key, length, bytes.length);
    return bytes;
  }

  async readWhole(key: string, digest?: Bytes): Promise<Bytes> {
    const bytes = await this.#calls.run(`read ${key}`, async () => {
      const body = await this.#bucket.get(key);
      if (!body) throw missing(key);
      if (body.size > MAX_ARCHIVED_BYTES) {
        await body.body.cancel();
        throw wrongLength(key, MAX_ARCHIVED_BYTES, body.size);
      }
      const whole = new Uint8Array(await body.arrayBuffer());
      if (whole.length !== body.size) throw wrongLength(key, body.size, whole.length);
      return whole;
    });
    const found = digest && this.#suite.sha256(bytes);
    if (digest && found && !equalBytes(found, digest)) throw wrongBytes(key, digest, found);
    return bytes;
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let first = 0; first < keys.length; first += MAX_KEYS_PER_CALL) {
      const some = keys.slice(first, first + MAX_KEYS_PER_CALL);
      await this.#calls.run(`delete ${some.length} from ${some[0]}`, () => this.#bucket.delete(some));
    }
  }

  async list(prefix: string, cursor: string | null): Promise<ArchivePage> {
    // A key as the cursor, not R2's own: it stays good for ever.
    const after = cursor === null ? {} : { startAfter: cursor };
    const page = await this.#calls.run(`list ${prefix}`, () =>
      this.#bucket.list({ prefix, limit: MAX_KEYS_PER_CALL, ...after }),
    );
    const objects = page.objects.map(({ key, size, uploaded }) => ({
      key,
      bytes: size,
      uploadedMs: uploaded.getTime(),
    }));
    const last = objects.at(-1)?.key ?? null;
    if (page.truncated && (last === null || last === cursor))
      throw unavailable("storage_unavailable", "R2's list does not go on", { service: "R2", what: prefix });
    return { objects, cursor: page.truncated ? last : null };
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
