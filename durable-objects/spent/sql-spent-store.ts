import { equalBytes } from "../../protocol/bytes.ts";
import type { Spending, SpentStamp, StoredStamp } from "./spent-api.ts";

interface SpentRow extends Record<string, SqlStorageValue> {
  digest: ArrayBuffer;
  event_id: ArrayBuffer | null;
}

/** Spent stamps in the SQLite of a Durable Object. Every method is synchronous, and does all or nothing. */
export class SqlSpentStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS spent (nonce BLOB PRIMARY KEY, digest BLOB NOT NULL, event_id BLOB) WITHOUT ROWID",
    );
  }

  /** Nothing comes between the question and the row. */
  spend(stamps: readonly SpentStamp[]): Spending[] {
    return this.#storage.transactionSync(() => stamps.map((stamp) => this.#spend(stamp)));
  }

  #spend({ nonce, envelopeDigest }: SpentStamp): Spending {
    const { sql } = this.#storage;
    const query = "SELECT digest, event_id FROM spent WHERE nonce = ?";
    const [row] = sql.exec<SpentRow>(query, nonce).toArray();
    if (!row) {
      sql.exec("INSERT INTO spent (nonce, digest) VALUES (?, ?)", nonce, envelopeDigest);
      return { kind: "fresh" };
    }
    if (!equalBytes(new Uint8Array(row.digest), envelopeDigest)) return { kind: "other" };
    return { kind: "same", eventId: row.event_id && new Uint8Array(row.event_id) };
  }

  /** The first event that is told of a stamp is kept. */
  stored(stamps: readonly StoredStamp[]): void {
    const statement = "UPDATE spent SET event_id = ? WHERE nonce = ? AND event_id IS NULL";
    this.#storage.transactionSync(() => {
      for (const { nonce, eventId } of stamps) this.#storage.sql.exec(statement, eventId, nonce);
    });
  }
}
