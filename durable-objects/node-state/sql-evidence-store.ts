import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Equivocation, EvidencePlace } from "./evidence-api.ts";
import type { EvidenceStore } from "./evidence-store.ts";

interface ProofRow extends Record<string, SqlStorageValue> {
  origin: ArrayBuffer;
  seq: ArrayBuffer;
  block_1: ArrayBuffer;
  signature_1: ArrayBuffer;
  block_2: ArrayBuffer;
  signature_2: ArrayBuffer;
}

const bytes = (buffer: ArrayBuffer): Bytes => new Uint8Array(buffer);
const BEFORE_ALL = { origin: new Uint8Array(), seq: new Uint8Array() };

/** Proofs in the SQLite of the node's Durable Object. */
export class SqlEvidenceStore implements EvidenceStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
    this.#sql.exec(
      `CREATE TABLE IF NOT EXISTS evidence (
         origin BLOB NOT NULL, seq BLOB NOT NULL, block_1 BLOB NOT NULL, signature_1 BLOB NOT NULL,
         block_2 BLOB NOT NULL, signature_2 BLOB NOT NULL, PRIMARY KEY (origin, seq)
       )`,
    );
  }

  counts(): Map<string, number> {
    const rows = this.#sql.exec<{ origin: ArrayBuffer; count: number }>(
      "SELECT origin, count(*) AS count FROM evidence GROUP BY origin",
    );
    return new Map(rows.toArray().map(({ origin, count }) => [toHex(bytes(origin)), count]));
  }

  has({ origin, seq }: EvidencePlace): boolean {
    const query = "SELECT 1 FROM evidence WHERE origin = ? AND seq = ?";
    return this.#sql.exec(query, origin, seq).toArray().length > 0;
  }

  add({ origin, seq, first, second }: Equivocation): void {
    this.#sql.exec(
      "INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?)",
      origin,
      seq,
      first.block,
      first.signature,
      second.block,
      second.signature,
    );
  }

  page(origin: Bytes | null, after: EvidencePlace | null, limit: number): Equivocation[] {
    const place = after ?? BEFORE_ALL;
    const query = `SELECT * FROM evidence WHERE (origin, seq) > (?, ?) ${origin ? "AND origin = ?" : ""}
      ORDER BY origin, seq LIMIT ?`;
    const bindings = [place.origin, place.seq, ...(origin ? [origin] : []), limit];
    return this.#sql
      .exec<ProofRow>(query, ...bindings)
      .toArray()
      .map((row) => ({
        origin: bytes(row.origin),
        seq: bytes(row.seq),
        first: { block: bytes(row.block_1), signature: bytes(row.signature_1) },
        second: { block: bytes(row.block_2), signature: bytes(row.signature_2) },
      }));
  }
}
