import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, PennypostError, unavailable } from "../../protocol/errors.ts";
import type { Clock } from "../clock.ts";
import {
  type Archive,
  type ArchiveFile,
  type ArchivePage,
  filesOf,
  LEFT_ALONE_MS,
  largeFileOf,
  MAX_ARCHIVED_BYTES,
  MAX_KEYS_PER_CALL,
  missing,
  type WrittenFiles,
  wrongBytes,
  wrongLength,
} from "./archive.ts";
import type { ShardPlace } from "./archive-keys.ts";
import type { LargeMessage } from "./segment-builder.ts";
import { StorageCalls } from "./storage-calls.ts";

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

  async putSegment(place: ShardPlace, written: WrittenFiles): Promise<void> {
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
