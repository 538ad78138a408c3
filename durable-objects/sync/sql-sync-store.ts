import type { Bytes } from "../../protocol/bytes.ts";
import type { StoredHandOver, SyncStore } from "./sync-store.ts";

/** Created where they are not there yet: a released table keeps its columns, and what comes is a table of its own. */
const SCHEMA = [
  "CREATE TABLE IF NOT EXISTS shards (shard INTEGER PRIMARY KEY, due_as_of INTEGER NOT NULL)",
  `CREATE TABLE IF NOT EXISTS hand_overs (
     shard INTEGER PRIMARY KEY, as_of INTEGER NOT NULL, newest BLOB NOT NULL, previous BLOB NOT NULL
   )`,
  `CREATE TABLE IF NOT EXISTS parts (
     shard INTEGER NOT NULL, part INTEGER NOT NULL, records BLOB NOT NULL, PRIMARY KEY (shard, part)
   ) WITHOUT ROWID`,
  "CREATE TABLE IF NOT EXISTS scrubs (shard INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL)",
  "CREATE TABLE IF NOT EXISTS summary (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL)",
  "CREATE TABLE IF NOT EXISTS records (one INTEGER PRIMARY KEY CHECK (one = 1), digest BLOB NOT NULL)",
];

const bytes = (buffer: ArrayBuffer): Bytes => new Uint8Array(buffer);

/** The sync object's storage in the SQLite of its Durable Object. */
export class SqlSyncStore implements SyncStore {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    storage.transactionSync(() => {
      for (const statement of SCHEMA) this.#sql.exec(statement);
    });
  }

  transaction<T>(work: () => T): T {
    return this.#storage.transactionSync(work);
  }

  dueAsOfs(): ReadonlyMap<number, number> {
    const rows = this.#sql.exec<{ shard: number; due_as_of: number }>("SELECT shard, due_as_of FROM shards");
    return new Map(rows.toArray().map((row) => [row.shard, row.due_as_of]));
  }

  saveDueAsOf(shard: number, dueAsOf: number): void {
    this.#sql.exec(
      `INSERT INTO shards (shard, due_as_of) VALUES (?, ?)
       ON CONFLICT (shard) DO UPDATE SET due_as_of = excluded.due_as_of WHERE due_as_of <> excluded.due_as_of`,
      shard,
      dueAsOf,
    );
  }

  *handOvers(): Iterable<StoredHandOver> {
    const query = "SELECT shard, as_of FROM hand_overs ORDER BY shard";
    const rows = this.#sql.exec<{ shard: number; as_of: number }>(query).toArray();
    const sketchesOf = (shard: number) => this.#sketchesOf(shard);
    for (const { shard, as_of: asOf } of rows) {
      const parts = this.#partsOf(shard);
      yield {
        shard,
        asOf,
        parts,
        // Most who read roots need no sketch.
        get sketches() {
          return sketchesOf(shard);
        },
      };
    }
  }

  #sketchesOf(shard: number): StoredHandOver["sketches"] {
    const query = "SELECT newest, previous FROM hand_overs WHERE shard = ?";
    const row = this.#sql.exec<{ newest: ArrayBuffer; previous: ArrayBuffer }>(query, shard).one();
    return { newest: bytes(row.newest), previous: bytes(row.previous) };
  }

  #partsOf(shard: number): StoredHandOver["parts"] {
    const query = "SELECT part, records FROM parts WHERE shard = ? ORDER BY part";
    const rows = this.#sql.exec<{ part: number; records: ArrayBuffer }>(query, shard).toArray();
    return rows.map(({ part, records }) => ({ part, records: bytes(records) }));
  }

  saveHandOver({ shard, asOf, parts, sketches }: StoredHandOver): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO hand_overs (shard, as_of, newest, previous) VALUES (?, ?, ?, ?)",
      shard,
      asOf,
      sketches.newest,
      sketches.previous,
    );
    for (const { part, records } of parts) {
      this.#sql.exec(
        `INSERT INTO parts (shard, part, records) VALUES (?, ?, ?)
         ON CONFLICT (shard, part) DO UPDATE SET records = excluded.records WHERE records <> excluded.records`,
        shard,
        part,
        records,
      );
    }
  }

  scrubbedMs(): ReadonlyMap<number, number> {
    const rows = this.#sql.exec<{ shard: number; time_ms: number }>("SELECT shard, time_ms FROM scrubs");
    return new Map(rows.toArray().map((row) => [row.shard, row.time_ms]));
  }

  saveScrubbedMs(shard: number, timeMs: number): void {
    this.#sql.exec("INSERT OR REPLACE INTO scrubs (shard, time_ms) VALUES (?, ?)", shard, timeMs);
  }

  recordsDigest(): Bytes | undefined {
    const row = this.#sql.exec<{ digest: ArrayBuffer }>("SELECT digest FROM records").toArray()[0];
    return row && bytes(row.digest);
  }

  saveRecordsDigest(digest: Bytes): void {
    this.#sql.exec("INSERT OR REPLACE INTO records (one, digest) VALUES (1, ?)", digest);
  }

  summary(): Bytes | undefined {
    const row = this.#sql.exec<{ value: ArrayBuffer }>("SELECT value FROM summary").toArray()[0];
    return row && bytes(row.value);
  }

  saveSummary(summary: Bytes): void {
    this.#sql.exec("INSERT OR REPLACE INTO summary (one, value) VALUES (1, ?)", summary);
  }
}
