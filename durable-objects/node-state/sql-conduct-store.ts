import type { Bytes } from "../../protocol/bytes.ts";
import { UNTIL_LIFTED } from "./conduct-api.ts";
import type { ConductStore, StoredConduct } from "./conduct-store.ts";

interface ConductRow extends Record<string, SqlStorageValue> {
  peer: ArrayBuffer;
  strikes: number;
  last_strike_ms: number;
  /** Null until the operator lifts the suspension. */
  suspended_until_ms: number | null;
  last_breach_ms: number;
  breaches: string;
}

/** Breaches in the SQLite of the node's Durable Object: a row a peer. */
export class SqlConductStore implements ConductStore {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS conduct (
         peer BLOB PRIMARY KEY, strikes INTEGER NOT NULL, last_strike_ms INTEGER NOT NULL,
         suspended_until_ms INTEGER, last_breach_ms INTEGER NOT NULL, breaches TEXT NOT NULL
       ) WITHOUT ROWID`,
    );
  }

  all(): StoredConduct[] {
    const query =
      "SELECT peer, strikes, last_strike_ms, suspended_until_ms, last_breach_ms, breaches FROM conduct";
    const rows = this.#storage.sql.exec<ConductRow>(query).toArray();
    return rows.map((row) => ({
      peer: new Uint8Array(row.peer),
      strikes: row.strikes,
      lastStrikeMs: row.last_strike_ms,
      suspendedUntilMs: row.suspended_until_ms ?? UNTIL_LIFTED,
      lastBreachMs: row.last_breach_ms,
      breaches: JSON.parse(row.breaches) as Record<string, number>,
    }));
  }

  save(records: readonly StoredConduct[], forgotten: readonly Bytes[]): void {
    const { sql } = this.#storage;
    this.#storage.transactionSync(() => {
      for (const peer of forgotten) sql.exec("DELETE FROM conduct WHERE peer = ?", peer);
      for (const { peer, strikes, lastStrikeMs, suspendedUntilMs, lastBreachMs, breaches } of records) {
        sql.exec(
          "INSERT OR REPLACE INTO conduct VALUES (?, ?, ?, ?, ?, ?)",
          peer,
          strikes,
          lastStrikeMs,
          suspendedUntilMs === UNTIL_LIFTED ? null : suspendedUntilMs,
          lastBreachMs,
          JSON.stringify(breaches),
        );
      }
    });
  }
}
