import type { Bytes } from "../../protocol/bytes.ts";
import type { IssuerKeyStore, SealedKey } from "./issuer-key-store.ts";

interface KeyRow extends Record<string, SqlStorageValue> {
  block: ArrayBuffer;
  signature: ArrayBuffer;
  sealed: ArrayBuffer;
}

/** The node's issuer keys in the SQLite of a Durable Object: the private ones are encrypted. */
export class SqlIssuerKeyStore implements IssuerKeyStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS issuer_keys (block BLOB PRIMARY KEY, signature BLOB NOT NULL, sealed BLOB NOT NULL)",
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
  }
}
