import type { Bytes } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";

/** A record with its id, the SHA-256 of its block. */
export interface StoredRecord extends WireRecord {
  readonly id: Bytes;
}

/** The records that an object keeps: few, each checked before it is saved. Every method is synchronous. */
export interface RecordStore {
  /** In the order of their ids. */
  all(): StoredRecord[];
  /** Does nothing when it is there already. */
  save(record: StoredRecord): void;
  drop(id: Bytes): void;
}
