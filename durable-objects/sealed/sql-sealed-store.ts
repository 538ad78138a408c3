import type { Bytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { MAX_SEGMENT_ORIGINS } from "../../protocol/segment-runs.ts";
import { readMeta, writeMeta } from "../topic-shard/schema.ts";
import {
  type HeldSegment,
  PART_KINDS,
  type PartKind,
  type SealedStore,
  type SegmentParts,
} from "./sealed-store.ts";

/**
 * A part's key is made of the segment's number, the kind and the part: an INTEGER PRIMARY KEY, since a WITHOUT ROWID table with payload takes
 * 3.4 times the bytes (measured).
 */
const PARTS_OF_KIND = 1_024;
const PARTS_OF_SEGMENT = PART_KINDS.length * PARTS_OF_KIND;

const keyOf = (number: number, kind: PartKind, part: number): number =>
  number * PARTS_OF_SEGMENT + PART_KINDS.indexOf(kind) * PARTS_OF_KIND + part;

const FIELD_LIMITS = { bytes: 65_536, items: 4 * MAX_SEGMENT_ORIGINS };

/** What `encodeCbor` was given; the library answers views of what it read. What was stored before there were merges does not speak of them. */
function decodeSegment(fields: ArrayBuffer): HeldSegment {
  const segment = copied(decodeCbor(new Uint8Array(fields), FIELD_LIMITS)) as HeldSegment;
  return segment.merging === undefined ? { ...segment, merging: null } : segment;
}

function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map(copied);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, copied(each)]));
}

/** The same in the SQLite of the shard's Durable Object. */
export class SqlSealedStore implements SealedStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  segments(): HeldSegment[] {
    const rows = this.#sql.exec<{ fields: ArrayBuffer }>("SELECT fields FROM segments ORDER BY number");
    return rows.toArray().map(({ fields }) => decodeSegment(fields));
  }

  addSegment(segment: HeldSegment, parts: SegmentParts): void {
    this.saveSegment(segment);
    for (const [kind, all] of Object.entries(parts) as [PartKind, readonly Bytes[]][]) {
      if (all.length > PARTS_OF_KIND) throw new Error(`a segment with ${all.length} parts of ${kind}`);
      for (const [part, bytes] of all.entries()) this.savePart(segment.number, kind, part, bytes);
    }
    const { number, group } = this.lastNumbers();
    const last = { number: Math.max(number, segment.number), group: Math.max(group, segment.group) };
    if (last.number > number || last.group > group) writeMeta(this.#sql, "last_segment", encodeCbor(last));
  }

  saveSegment(segment: HeldSegment): void {
    this.#sql.exec(
      "INSERT INTO segments (number, fields) VALUES (?, ?) ON CONFLICT DO UPDATE SET fields = excluded.fields",
      segment.number,
      encodeCbor(segment),
    );
  }

  removeSegment(number: number): void {
    this.#sql.exec("DELETE FROM segments WHERE number = ?", number);
    this.#sql.exec(
      "DELETE FROM segment_parts WHERE key >= ? AND key < ?",
      number * PARTS_OF_SEGMENT,
      (number + 1) * PARTS_OF_SEGMENT,
    );
  }

  savePart(number: number, kind: PartKind, part: number, bytes: Bytes): void {
    this.#sql.exec(
      "INSERT INTO segment_parts (key, bytes) VALUES (?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes",
      keyOf(number, kind, part),
      bytes,
    );
  }

  part(number: number, kind: PartKind, part: number): Bytes {
    const query = "SELECT bytes FROM segment_parts WHERE key = ?";
    const row = this.#sql.exec<{ bytes: ArrayBuffer }>(query, keyOf(number, kind, part)).toArray()[0];
    if (!row) throw new Error(`segment ${number} has no part ${part} of ${kind}`);
    return new Uint8Array(row.bytes);
  }

  lastNumbers(): { readonly number: number; readonly group: number } {
    const value = readMeta(this.#sql, "last_segment");
    if (!(value instanceof ArrayBuffer)) return { number: 0, group: 0 };
    return decodeCbor(new Uint8Array(value), { bytes: 64 }) as { number: number; group: number };
  }
}
