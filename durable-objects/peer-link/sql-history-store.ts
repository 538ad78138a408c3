import type { HistoryStore, LinkHistory } from "./link-history.ts";

/** A link's history in its SQLite: one row. */
export class SqlHistoryStore implements HistoryStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS history (one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL)",
    );
  }

  history(): LinkHistory | undefined {
    const [row] = this.#sql.exec<{ value: string }>("SELECT value FROM history").toArray();
    return row && (JSON.parse(row.value) as LinkHistory);
  }

  saveHistory(history: LinkHistory): void {
    this.#sql.exec("INSERT OR REPLACE INTO history (one, value) VALUES (1, ?)", JSON.stringify(history));
  }
}
