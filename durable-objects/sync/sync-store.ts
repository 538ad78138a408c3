import type { Bytes } from "../../protocol/bytes.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";

/** What a shard handed over last. */
export type StoredHandOver = Omit<HandOver, "dueAsOf"> & { readonly shard: number };

/** The sync object's storage. Every method is synchronous. */
export interface SyncStore {
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;
  /** The least `asOf` at which each shard is to be asked again; a shard that never was is not among them. */
  dueAsOfs(): ReadonlyMap<number, number>;
  saveDueAsOf(shard: number, dueAsOf: number): void;
  /** In the order of shards; sketches are read one by one when they are looked at, since 1,024 shards have 64 MB of them. */
  handOvers(): Iterable<StoredHandOver>;
  saveHandOver(handOver: StoredHandOver): void;
  /** When each shard was scrubbed last, in ms since 1970. */
  scrubbedMs(): ReadonlyMap<number, number>;
  saveScrubbedMs(shard: number, timeMs: number): void;
  /** The digest of the node's records, once it was told. */
  recordsDigest(): Bytes | undefined;
  saveRecordsDigest(digest: Bytes): void;
  summary(): Bytes | undefined;
  saveSummary(summary: Bytes): void;
}
