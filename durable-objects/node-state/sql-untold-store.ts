import type { UntoldStore } from "./record-teller.ts";

/** The untold listeners in the SQLite of the node's Durable Object. */
export class SqlUntoldStore implements UntoldStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec("CREATE TABLE IF NOT EXISTS untold_records (listener TEXT PRIMARY KEY) WITHOUT ROWID");
  }

  untold(): string[] {
    const rows = this.#sql.exec<{ listener: string }>(
      "SELECT listener FROM untold_records ORDER BY listener",
    );
    return rows.toArray().map(({ listener }) => listener);
  }

  addUntold(names: readonly string[]): void {
    for (const name of names)
      this.#sql.exec("INSERT OR IGNORE INTO untold_records (listener) VALUES (?)", name);
  }

  removeUntold(name: string): void {
    this.#sql.exec("DELETE FROM untold_records WHERE listener = ?", name);
  }
}
