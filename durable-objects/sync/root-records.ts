import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { HASH_BYTES } from "../../protocol/sync-tree.ts";

/** Buckets whose roots are kept in one row: at most 64 classes of 75 bytes each, 1.2 MB. */
export const BUCKETS_PER_PART = 256;
/** No slot in range. */
export const NO_SLOT = 0xffffffff;

/** What a shard knows of one bucket and class, for its newest `asOf` and the one before. */
export interface RootRecord {
  readonly bucket: number;
  readonly class: number;
  /** Events in the newest range. */
  readonly count: number;
  /** The oldest slot in the newest range, `NO_SLOT` when there is none. */
  readonly oldest: number;
  /** Null when nothing is in the range. */
  readonly newest: Bytes | null;
  readonly previous: Bytes | null;
}

/** Bucket (2), class (1), count (4), oldest (4) and two roots, zero for none. */
const RECORD_BYTES = 11 + 2 * HASH_BYTES;
const NONE = "00".repeat(HASH_BYTES);

export function packRecords(records: readonly RootRecord[]): Bytes {
  const bytes = new Uint8Array(records.length * RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, record] of records.entries()) {
    const at = i * RECORD_BYTES;
    view.setUint16(at, record.bucket);
    bytes[at + 2] = record.class;
    view.setUint32(at + 3, record.count);
    view.setUint32(at + 7, record.oldest);
    if (record.newest) bytes.set(record.newest, at + 11);
    if (record.previous) bytes.set(record.previous, at + 11 + HASH_BYTES);
  }
  return bytes;
}

export function unpackRecords(bytes: Bytes): RootRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const rootAt = (at: number) => {
    const root = bytes.slice(at, at + HASH_BYTES);
    return toHex(root) === NONE ? null : root;
  };
  return Array.from({ length: bytes.length / RECORD_BYTES }, (_, i) => {
    const at = i * RECORD_BYTES;
    return {
      bucket: view.getUint16(at),
      class: bytes[at + 2] as number,
      count: view.getUint32(at + 3),
      oldest: view.getUint32(at + 7),
      newest: rootAt(at + 11),
      previous: rootAt(at + 11 + HASH_BYTES),
    };
  });
}
