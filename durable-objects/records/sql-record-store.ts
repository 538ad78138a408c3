import type { Bytes } from "../../protocol/bytes.ts";
import type { RecordStore, StoredRecord } from "./record-store.ts";

interface RecordRow extends Record<string, SqlStorageValue> {
  id: ArrayBuffer;
  block: ArrayBuffer;
  signature: ArrayBuffer;
}

export const CREATE_RECORDS =
  "CREATE TABLE IF NOT EXISTS records (id BLOB PRIMARY KEY, block BLOB NOT NULL, signature BLOB NOT NULL) WITHOUT ROWID";

/** Records in the SQLite of a Durable Object, whose schema has the table. */
export class SqlRecordStore implements RecordStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  all(): StoredRecord[] {
    const rows = this.#sql.exec<RecordRow>("SELECT id, block, signature FROM records ORDER BY id");
    return rows.toArray().map(({ id, block, signature }) => ({
      id: new Uint8Array(id),
      block: new Uint8Array(block),
      signature: new Uint8Array(signature),
    }));
  }

  save({ id, block, signature }: StoredRecord): void {
    const statement = "INSERT OR IGNORE INTO records (id, block, signature) VALUES (?, ?, ?)";
    this.#sql.exec(statement, id, block, signature);
  }

  drop(id: Bytes): void {
    this.#sql.exec("DELETE FROM records WHERE id = ?", id);
  }
}
