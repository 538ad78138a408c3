import type { Bytes } from "../../protocol/bytes.ts";
import type { IssuerKeyStore, SealedKey, StoredSales } from "./issuer-key-store.ts";

interface KeyRow extends Record<string, SqlStorageValue> {
  block: ArrayBuffer;
  signature: ArrayBuffer;
  sealed: ArrayBuffer;
}

interface SalesRow extends Record<string, SqlStorageValue> {
  salt: ArrayBuffer;
  marks: ArrayBuffer;
  free_at_first: number;
  batches: number;
}

/** The node's issuer keys in the SQLite of a Durable Object: the private ones are encrypted. */
export class SqlIssuerKeyStore implements IssuerKeyStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS issuer_keys (block BLOB PRIMARY KEY, signature BLOB NOT NULL, sealed BLOB NOT NULL)",
    );
    sql.exec(
      `CREATE TABLE IF NOT EXISTS issuer_sales (block BLOB PRIMARY KEY, salt BLOB NOT NULL, marks BLOB NOT NULL,
       free_at_first INTEGER NOT NULL, batches INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  all(): SealedKey[] {
    const rows = this.#sql.exec<KeyRow>("SELECT block, signature, sealed FROM issuer_keys ORDER BY block");
    return rows.toArray().map(({ block, signature, sealed }) => ({
      record: { block: new Uint8Array(block), signature: new Uint8Array(signature) },
      sealed: new Uint8Array(sealed),
    }));
  }

  save({ record: { block, signature }, sealed }: SealedKey): void {
    const statement = "INSERT OR REPLACE INTO issuer_keys (block, signature, sealed) VALUES (?, ?, ?)";
    this.#sql.exec(statement, block, signature, sealed);
  }

  drop(block: Bytes): void {
    this.#sql.exec("DELETE FROM issuer_keys WHERE block = ?", block);
    this.#sql.exec("DELETE FROM issuer_sales WHERE block = ?", block);
  }

  salesOf(block: Bytes): StoredSales | undefined {
    const query = "SELECT salt, marks, free_at_first, batches FROM issuer_sales WHERE block = ?";
    const [row] = this.#sql.exec<SalesRow>(query, block).toArray();
    if (!row) return undefined;
    const { salt, marks, free_at_first: freeAtFirst, batches } = row;
    return { salt: new Uint8Array(salt), marks: new Uint8Array(marks), freeAtFirst, batches };
  }

  saveSales(block: Bytes, { salt, marks, freeAtFirst, batches }: StoredSales): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO issuer_sales (block, salt, marks, free_at_first, batches) VALUES (?, ?, ?, ?, ?)",
      ...[block, salt, marks, freeAtFirst, batches],
    );
  }
}
