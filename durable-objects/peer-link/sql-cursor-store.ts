import type { Cursor } from "../../protocol/peer-messages.ts";
import type { CursorStore } from "./cursor-store.ts";

/** The cursors in the link's SQLite. */
export class SqlCursorStore implements CursorStore {
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#sql = storage.sql;
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS cursors (shard INTEGER PRIMARY KEY, generation BLOB NOT NULL, position INTEGER NOT NULL)",
    );
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS asked (one INTEGER PRIMARY KEY CHECK (one = 1), newest_ms INTEGER NOT NULL)",
    );
  }

  askedNewestMs(): number {
    const [row] = this.#sql.exec<{ newest_ms: number }>("SELECT newest_ms FROM asked").toArray();
    return row?.newest_ms ?? 0;
  }

  saveAskedNewestMs(timeMs: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO asked (one, newest_ms) VALUES (1, ?)", timeMs);
  }

  all(): Cursor[] {
    const rows = this.#sql.exec<{ shard: number; generation: ArrayBuffer; position: number }>(
      "SELECT shard, generation, position FROM cursors ORDER BY shard",
    );
    return rows.toArray().map((row) => ({ ...row, generation: new Uint8Array(row.generation) }));
  }

  keep({ shard, generation, position }: Cursor): boolean {
    const written = this.#sql.exec(
      `INSERT INTO cursors (shard, generation, position) VALUES (?, ?, ?)
       ON CONFLICT (shard) DO UPDATE SET generation = excluded.generation, position = excluded.position
       WHERE generation <> excluded.generation OR position <> excluded.position`,
      shard,
      generation,
      position,
    );
    return written.rowsWritten > 0;
  }
}
