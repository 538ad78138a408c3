import type { Bytes } from "../../protocol/bytes.ts";
import type { BudgetStore } from "./budget-store.ts";
import type { WalletStanding } from "./limiter-api.ts";
import type { Bucket } from "./token-bucket.ts";

/** Budgets in the SQLite of a Durable Object. Each day has a table, since a dropped table costs no row. */
export class SqlBudgetStore implements BudgetStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.#sql.exec("CREATE TABLE IF NOT EXISTS days (day INTEGER PRIMARY KEY, secret BLOB NOT NULL)");
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS wallets (key BLOB PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID",
    );
  }

  transaction<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }

  days(): number[] {
    const rows = this.#sql.exec<{ day: number }>("SELECT day FROM days ORDER BY day");
    return rows.toArray().map(({ day }) => day);
  }

  secretOf(day: number): Bytes | undefined {
    const rows = this.#sql.exec<{ secret: ArrayBuffer }>("SELECT secret FROM days WHERE day = ?", day);
    const [row] = rows.toArray();
    return row && new Uint8Array(row.secret);
  }

  beginDay(day: number, secret: Bytes): void {
    this.#sql.exec("INSERT INTO days (day, secret) VALUES (?, ?)", day, secret);
    this.#sql.exec(
      `CREATE TABLE ${tableOf(day)} (key BLOB PRIMARY KEY, units REAL NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  endDay(day: number): void {
    this.#sql.exec(`DROP TABLE IF EXISTS ${tableOf(day)}`);
    this.#sql.exec("DELETE FROM days WHERE day = ?", day);
  }

  bucket(day: number, key: Bytes): Bucket | undefined {
    const query = `SELECT units, at_ms FROM ${tableOf(day)} WHERE key = ?`;
    const [row] = this.#sql.exec<{ units: number; at_ms: number }>(query, key).toArray();
    return row && { units: row.units, atMs: row.at_ms };
  }

  saveBucket(day: number, key: Bytes, { units, atMs }: Bucket): void {
    this.#sql.exec(
      `INSERT INTO ${tableOf(day)} (key, units, at_ms) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET units = excluded.units, at_ms = excluded.at_ms`,
      key,
      units,
      atMs,
    );
  }

  countBuckets(day: number, most: number): number {
    const query = `SELECT COUNT(*) AS count FROM (SELECT 1 FROM ${tableOf(day)} LIMIT ?)`;
    return this.#sql.exec<{ count: number }>(query, most).one().count;
  }

  dropBuckets(day: number, firstByte: number, beforeMs: number): void {
    const statement = `DELETE FROM ${tableOf(day)} WHERE key >= ? AND key < ? AND at_ms < ?`;
    this.#sql.exec(statement, Uint8Array.of(firstByte), Uint8Array.of(firstByte + 1), beforeMs);
  }

  standing(key: Bytes): WalletStanding {
    const rows = this.#sql.exec<{ standing: WalletStanding }>(
      "SELECT standing FROM wallets WHERE key = ?",
      key,
    );
    return rows.toArray()[0]?.standing ?? "none";
  }

  saveStanding(key: Bytes, standing: WalletStanding): void {
    if (standing === "none") this.#sql.exec("DELETE FROM wallets WHERE key = ?", key);
    else this.#sql.exec("INSERT OR REPLACE INTO wallets (key, standing) VALUES (?, ?)", key, standing);
  }
}

/** @throws RangeError for what is no day. */
function tableOf(day: number): string {
  if (!Number.isSafeInteger(day) || day < 0) throw new RangeError(`${day} is no day`);
  return `budgets_${day}`;
}
