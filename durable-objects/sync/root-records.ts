import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { HASH_BYTES } from "../../protocol/sync-tree.ts";

/** Buckets whose roots are kept in one row: at most 64 classes of 79 bytes each, 1.3 MB. */
export const BUCKETS_PER_PART = 256;
/** No slot in range. */
export const NO_SLOT = 0xffffffff;

/** What a shard knows of one bucket and class, for its newest `asOf` and the one before. */
export interface RootRecord {
  readonly bucket: number;
  readonly class: number;
  /** Events in the newest range. */
  readonly count: number;
  /** Events in the range as of the slot before. */
  readonly previousCount: number;
  /** The oldest slot in the newest range, `NO_SLOT` when there is none. */
  readonly oldest: number;
  /** Null when nothing is in the range. */
  readonly newest: Bytes | null;
  readonly previous: Bytes | null;
}

/** Bucket (2), class (1), two counts (4 each), oldest (4) and two roots, zero for none. */
const HEAD_BYTES = 15;
const RECORD_BYTES = HEAD_BYTES + 2 * HASH_BYTES;
const NONE = "00".repeat(HASH_BYTES);

export function packRecords(records: readonly RootRecord[]): Bytes {
  const bytes = new Uint8Array(records.length * RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, record] of records.entries()) {
    const at = i * RECORD_BYTES;
    view.setUint16(at, record.bucket);
    bytes[at + 2] = record.class;
    view.setUint32(at + 3, record.count);
    view.setUint32(at + 7, record.previousCount);
    view.setUint32(at + 11, record.oldest);
    if (record.newest) bytes.set(record.newest, at + HEAD_BYTES);
    if (record.previous) bytes.set(record.previous, at + HEAD_BYTES + HASH_BYTES);
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
      previousCount: view.getUint32(at + 7),
      oldest: view.getUint32(at + 11),
      newest: rootAt(at + HEAD_BYTES),
      previous: rootAt(at + HEAD_BYTES + HASH_BYTES),
    };
  });
}
