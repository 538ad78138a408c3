import type { Bytes } from "../../protocol/bytes.ts";
import type { StoredHandOver, SyncStore } from "../sync/sync-store.ts";

/** What `SqlSyncStore` must agree with. */
export class MemorySyncStore implements SyncStore {
  #dueAsOfs = new Map<number, number>();
  #handOvers = new Map<number, StoredHandOver>();
  #scrubbedMs = new Map<number, number>();
  #summary: Bytes | undefined;
  #recordsDigest: Bytes | undefined;

  transaction<T>(work: () => T): T {
    const maps = [new Map(this.#dueAsOfs), new Map(this.#handOvers), new Map(this.#scrubbedMs)] as const;
    const [summary, digest] = [this.#summary, this.#recordsDigest];
    try {
      return work();
    } catch (error) {
      [this.#dueAsOfs, this.#handOvers, this.#scrubbedMs] = maps;
      this.#summary = summary;
      this.#recordsDigest = digest;
      throw error;
    }
  }

  dueAsOfs(): ReadonlyMap<number, number> {
    return this.#dueAsOfs;
  }

  saveDueAsOf(shard: number, dueAsOf: number): void {
    this.#dueAsOfs.set(shard, dueAsOf);
  }

  handOvers(): StoredHandOver[] {
    return [...this.#handOvers.values()].sort((a, b) => a.shard - b.shard);
  }

  saveHandOver(handOver: StoredHandOver): void {
    this.#handOvers.set(handOver.shard, handOver);
  }

  scrubbedMs(): ReadonlyMap<number, number> {
    return this.#scrubbedMs;
  }

  saveScrubbedMs(shard: number, timeMs: number): void {
    this.#scrubbedMs.set(shard, timeMs);
  }

  recordsDigest(): Bytes | undefined {
    return this.#recordsDigest;
  }

  saveRecordsDigest(digest: Bytes): void {
    this.#recordsDigest = digest;
  }

  summary(): Bytes | undefined {
    return this.#summary;
  }

  saveSummary(summary: Bytes): void {
    this.#summary = summary;
  }
}
