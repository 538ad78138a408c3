import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import type { Clock } from "../clock.ts";
import {
  type Archive,
  type ArchiveFile,
  type ArchivePage,
  filesOf,
  LEFT_ALONE_MS,
  largeFileOf,
  MAX_KEYS_PER_CALL,
  missing,
  type WrittenFiles,
  wrongBytes,
  wrongLength,
} from "../sealed/archive.ts";
import type { ShardPlace } from "../sealed/archive-keys.ts";
import type { LargeMessage } from "../sealed/segment-builder.ts";
import { StorageCalls } from "../sealed/storage-calls.ts";
import { StorageFaults } from "./storage-faults.ts";

export interface MemoryObject {
  bytes: Bytes;
  readonly uploadedMs: number;
}

/** What `R2Archive` must agree with. Its calls fail as `faults` says: those that change something are named "put" and "delete". */
export class MemoryArchive implements Archive {
  readonly faults: StorageFaults;
  /** What is stored, by key: a test may change it. */
  readonly objects: Map<string, MemoryObject>;
  readonly #suite: CryptoSuite;
  readonly #clock: Clock;
  readonly #calls: StorageCalls;

  /** `objects` outlives an archive that is one life's view of it. */
  constructor(
    suite: CryptoSuite,
    clock: Clock,
    faults = new StorageFaults(),
    objects = new Map<string, MemoryObject>(),
  ) {
    this.objects = objects;
    this.#suite = suite;
    this.#clock = clock;
    this.faults = faults;
    this.#calls = new StorageCalls("R2", clock);
  }

  #call<T>(name: string, work: () => T): Promise<T> {
    return this.#calls.run(name, () => this.faults.run(name, async () => work()));
  }

  async putSegment(place: ShardPlace, written: WrittenFiles): Promise<void> {
    for (const file of filesOf(place, written)) await this.#store(file);
  }

  async putLarge(place: ShardPlace, message: LargeMessage): Promise<void> {
    await this.#store(largeFileOf(place, message));
  }

  async #store({ key, bytes, digest }: ArchiveFile): Promise<void> {
    await this.#call("put", () => {
      const nowMs = this.#clock.nowMs();
      const known = this.objects.get(key);
      const isLeft =
        known && equalBytes(known.bytes, bytes) && Math.abs(nowMs - known.uploadedMs) < LEFT_ALONE_MS;
      if (!isLeft) this.objects.set(key, { bytes: bytes.slice(), uploadedMs: nowMs });
    });
    await this.readWhole(key, digest);
  }

  async read(key: string, offset: number, length: number): Promise<Bytes> {
    if (length === 0) return new Uint8Array();
    const whole = await this.readWhole(key);
    const bytes = whole.slice(offset, offset + length);
    if (bytes.length !== length) throw wrongLength(key, length, bytes.length);
    return bytes;
  }

  async readWhole(key: string, digest?: Bytes): Promise<Bytes> {
    const bytes = await this.#call("get", () => this.objects.get(key)?.bytes.slice());
    if (!bytes) throw missing(key);
    const found = digest && this.#suite.sha256(bytes);
    if (digest && found && !equalBytes(found, digest)) throw wrongBytes(key, digest, found);
    return bytes;
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let first = 0; first < keys.length; first += MAX_KEYS_PER_CALL)
      await this.#call("delete", () => {
        for (const key of keys.slice(first, first + MAX_KEYS_PER_CALL)) this.objects.delete(key);
      });
  }

  list(prefix: string, cursor: string | null): Promise<ArchivePage> {
    return this.#call("list", () => {
      const keys = [...this.objects.keys()]
        .filter((key) => key.startsWith(prefix) && (cursor === null || key > cursor))
        .sort();
      const page = keys.slice(0, MAX_KEYS_PER_CALL);
      const objects = page.map((key) => {
        const { bytes, uploadedMs } = this.objects.get(key) ?? { bytes: new Uint8Array(), uploadedMs: 0 };
        return { key, bytes: bytes.length, uploadedMs };
      });
      return { objects, cursor: keys.length > page.length ? (page.at(-1) ?? null) : null };
    });
  }
}
