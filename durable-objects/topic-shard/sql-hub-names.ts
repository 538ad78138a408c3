import type { HubNames } from "./hub-feed.ts";

/** The hubs' names in the shard's SQLite. */
export class SqlHubNames implements HubNames {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
  }

  all(): string[] {
    const rows = this.#sql.exec<{ name: string }>("SELECT name FROM hubs").toArray();
    return rows.map(({ name }) => name);
  }

  add(name: string): void {
    this.#sql.exec("INSERT OR IGNORE INTO hubs (name) VALUES (?)", name);
  }

  remove(name: string): void {
    this.#sql.exec("DELETE FROM hubs WHERE name = ?", name);
  }
}
