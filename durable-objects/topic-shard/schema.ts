import type { Bytes } from "../../protocol/bytes.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { CREATE_RECORDS } from "../records/sql-record-store.ts";
import { CREATE_SEALED } from "../sealed/create-sealed.ts";

/**
 * The schema of a shard's SQLite, as steps that are applied once each. A step is never edited once released.
 *
 * Rows are the bill: an event costs three (its row and two indexes). `events`, which is in partitions from the fourth step on (see
 * `hot-partitions.ts`), has an INTEGER PRIMARY KEY because a WITHOUT ROWID table with payload takes 3.4 times the bytes (measured).
 */
const STEPS: readonly (readonly (string | ((sql: SqlStorage) => void))[])[] = [
  [
    `CREATE TABLE events (
       position INTEGER PRIMARY KEY,
       topic_key BLOB NOT NULL,
       time_key BLOB NOT NULL,
       id BLOB NOT NULL,
       flags INTEGER NOT NULL,
       stored_ms INTEGER NOT NULL,
       signature BLOB NOT NULL,
       block BLOB NOT NULL,
       message BLOB NOT NULL
     )`,
    "CREATE UNIQUE INDEX events_by_id ON events (topic_key, id)",
    "CREATE INDEX events_by_time ON events (topic_key, time_key, id)",
    "CREATE TABLE heads (topic_key BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (topic_key, id)) WITHOUT ROWID",
    `CREATE TABLE unmet (
       topic_key BLOB NOT NULL, parent BLOB NOT NULL, child BLOB NOT NULL,
       PRIMARY KEY (topic_key, parent, child)
     ) WITHOUT ROWID`,
    `CREATE TABLE digest_runs (
       part INTEGER NOT NULL, run INTEGER NOT NULL, entries BLOB NOT NULL,
       PRIMARY KEY (part, run)
     ) WITHOUT ROWID`,
    "CREATE TABLE hubs (name TEXT PRIMARY KEY) WITHOUT ROWID",
  ],
  [
    // Anti-entropy lists ids by class: the index has all that it reads.
    "ALTER TABLE events ADD COLUMN class INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX events_by_id",
    setClasses,
    "CREATE UNIQUE INDEX events_by_id ON events (topic_key, id, class)",
    "CREATE TABLE tree (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    `CREATE TABLE slot_groups (
       bucket INTEGER NOT NULL, slot_group INTEGER NOT NULL, covered INTEGER NOT NULL, late INTEGER NOT NULL,
       leaves BLOB NOT NULL, PRIMARY KEY (bucket, slot_group)
     ) WITHOUT ROWID`,
  ],
  [
    CREATE_RECORDS,
    // Events that the network's records took out of the stored set: links to them count as expired.
    "CREATE TABLE removed (topic_key BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (topic_key, id)) WITHOUT ROWID",
  ],
  [
    // The indexes keep their names: to make them anew would cost a row for each event.
    "ALTER TABLE events RENAME TO events_1",
    `CREATE TABLE partitions (
       number INTEGER PRIMARY KEY, after INTEGER NOT NULL, up_to INTEGER, opened_ms INTEGER NOT NULL, closed_ms INTEGER
     )`,
    `INSERT INTO partitions (number, after, opened_ms)
       VALUES (1, 0, coalesce((SELECT stored_ms FROM events_1 ORDER BY position LIMIT 1), 0))`,
    // Which classes have events in a partition: a row for the first event of each.
    "CREATE TABLE partition_classes (partition INTEGER NOT NULL, class INTEGER NOT NULL, PRIMARY KEY (partition, class)) WITHOUT ROWID",
    "INSERT INTO partition_classes (partition, class) SELECT DISTINCT 1, class FROM events_1",
    `CREATE VIEW events AS
       SELECT position, topic_key, time_key, id, class, flags, stored_ms, signature, block, message FROM events_1`,
  ],
  CREATE_SEALED,
  // Where events came that have no position.
  ["ALTER TABLE partitions ADD COLUMN cut_at INTEGER NOT NULL DEFAULT 0"],
];

/** Fills in the class of events that were stored before it had a column. */
function setClasses(sql: SqlStorage): void {
  const next = "SELECT position, block FROM events WHERE position > ? ORDER BY position LIMIT 256";
  for (let position = -1; ; ) {
    const rows = sql.exec<{ position: number; block: ArrayBuffer }>(next, position).toArray();
    for (const row of rows) {
      const { class: id } = decodeBlock(new Uint8Array(row.block));
      sql.exec("UPDATE events SET class = ? WHERE position = ?", id, row.position);
    }
    const last = rows.at(-1);
    if (!last) return;
    ({ position } = last);
  }
}

const META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID";

/** Values of the `meta` table. */
export type MetaValue = string | number | ArrayBuffer;

export function readMeta(sql: SqlStorage, name: string): MetaValue | undefined {
  const row = sql.exec<{ value: MetaValue }>("SELECT value FROM meta WHERE name = ?", name).toArray()[0];
  return row?.value;
}

/** A value that the first start wrote. @throws Error when it is not there. */
export function bytesMeta(sql: SqlStorage, name: string): Bytes {
  const value = readMeta(sql, name);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  throw new Error(`the shard's storage has no ${name}`);
}

export function writeMeta(sql: SqlStorage, name: string, value: string | number | Uint8Array): void {
  sql.exec(
    "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    name,
    value,
  );
}

/** Brings the schema to the newest version; all steps of one start commit together. */
export function migrateSchema(storage: DurableObjectStorage): void {
  storage.transactionSync(() => {
    storage.sql.exec(META);
    const version = Number(readMeta(storage.sql, "schema") ?? 0);
    if (version > STEPS.length) {
      throw new Error(
        `the shard's schema ${version} is newer than this code's ${STEPS.length}: deploy the newer version`,
      );
    }
    if (version === STEPS.length) return;
    for (const statement of STEPS.slice(version).flat()) {
      if (typeof statement === "string") storage.sql.exec(statement);
      else statement(storage.sql);
    }
    writeMeta(storage.sql, "schema", STEPS.length);
  });
}
