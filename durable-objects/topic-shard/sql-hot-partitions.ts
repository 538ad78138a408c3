import type { Bytes } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { DigestIndex } from "./digest-index.ts";
import { BEFORE_ALL, COLUMNS, readPage } from "./event-rows.ts";
import {
  type HotPartitions,
  MAX_PARTITIONS,
  type Partition,
  type PartitionTopic,
  partitionOpen,
  partitionsFull,
  wholeFrom,
} from "./hot-partitions.ts";
import { PENDING_BASE, type StoredEvent } from "./shard-store.ts";

interface PartitionRow extends Record<string, SqlStorageValue> {
  number: number;
  after: number;
  up_to: number | null;
  opened_ms: number;
  closed_ms: number | null;
  cut_at: number;
}

const tableOf = (number: number): string => `events_${number}`;

/** Statements that make a partition's table. The first one's, which the schema made, has older names for its indexes. */
export const createPartition = (table: string): readonly string[] => [
  `CREATE TABLE ${table} (
     position INTEGER PRIMARY KEY,
     topic_key BLOB NOT NULL,
     time_key BLOB NOT NULL,
     id BLOB NOT NULL,
     class INTEGER NOT NULL,
     flags INTEGER NOT NULL,
     stored_ms INTEGER NOT NULL,
     signature BLOB NOT NULL,
     block BLOB NOT NULL,
     message BLOB NOT NULL
   )`,
  `CREATE UNIQUE INDEX ${table}_by_id ON ${table} (topic_key, id, class)`,
  `CREATE INDEX ${table}_by_time ON ${table} (topic_key, time_key, id)`,
];

/**
 * The partitions in the SQLite of the shard's Durable Object: a table each, named `events_<number>`, which the view `events` reads
 * together, the newest first. A statement over the view seeks in each table by its index as long as it is no aggregate and orders by
 * columns that it selects; `sql-costs.test.ts` looks at the plans.
 */
export class SqlHotPartitions implements HotPartitions {
  readonly digests: DigestIndex;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  /** What is committed, or is in the transaction under way: read anew after one that failed. */
  #known: readonly Partition[] | undefined;
  /** Classes that are noted with the open partition. */
  #noted: ReadonlySet<number> | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.digests = new DigestIndex(storage.sql, this);
  }

  all(): readonly Partition[] {
    this.#known ??= this.#sql
      .exec<PartitionRow>(
        "SELECT number, after, up_to, opened_ms, closed_ms, cut_at FROM partitions ORDER BY number",
      )
      .toArray()
      .map(({ number, after, up_to, opened_ms, closed_ms, cut_at }) => ({
        number,
        after,
        upTo: up_to,
        openedMs: opened_ms,
        closedMs: closed_ms,
        cutAt: cut_at,
      }));
    return this.#known;
  }

  /** A transaction failed: what it had changed is not so. */
  forget(): void {
    this.#known = undefined;
    this.#noted = undefined;
  }

  get #open(): Partition {
    const open = this.all().at(-1);
    if (!open) throw new Error("the shard's storage has no open partition");
    return open;
  }

  /** The table that takes all inserts, and has all pending events. */
  get openTable(): string {
    return tableOf(this.#open.number);
  }

  /** All tables of events, the oldest first. */
  get tables(): string[] {
    return this.all().map(({ number }) => tableOf(number));
  }

  /** The table of the event at a position; undefined where it was dropped. */
  tableAt(position: number): string | undefined {
    const holder = this.all().find(
      ({ after, upTo }) => position > after && (upTo === null || position <= upTo),
    );
    return holder && tableOf(holder.number);
  }

  /** What has all events behind a position: the open table alone, where that is enough. */
  sourceBehind(position: number): string {
    const { after, number } = this.#open;
    return position >= after ? tableOf(number) : "events";
  }

  /** The greatest position that was given, of a dropped event too. */
  lastPosition(): number {
    const query = `SELECT max(position) AS last FROM ${this.openTable} WHERE position < ?`;
    const { after, cutAt } = this.#open;
    return Math.max(this.#sql.exec<{ last: number | null }>(query, PENDING_BASE).one().last ?? after, cutAt);
  }

  /** An event of a class is to be in the open partition: a row for the first one. */
  noteClass(classId: number): void {
    if (this.#noted?.has(classId)) return;
    const { number } = this.#open;
    const noted = new Set(this.classesOf(number));
    if (!noted.has(classId)) {
      this.#sql.exec("INSERT INTO partition_classes (partition, class) VALUES (?, ?)", number, classId);
      noted.add(classId);
    }
    this.#noted = noted;
  }

  canRoll(): boolean {
    return this.all().length < MAX_PARTITIONS;
  }

  roll(nowMs: number): void {
    if (!this.canRoll()) throw partitionsFull();
    const closed = this.#open;
    const [from, upTo] = [tableOf(closed.number), this.lastPosition()];
    const number = closed.number + 1;
    for (const statement of createPartition(tableOf(number))) this.#sql.exec(statement);
    const pending = this.#sql
      .exec<{ class: number }>(`SELECT class FROM ${from} WHERE position >= ?`, PENDING_BASE)
      .toArray();
    this.#sql.exec(
      `INSERT INTO ${tableOf(number)} (${COLUMNS}) SELECT ${COLUMNS} FROM ${from} WHERE position >= ?`,
      PENDING_BASE,
    );
    this.#sql.exec(`DELETE FROM ${from} WHERE position >= ?`, PENDING_BASE);
    const close = "UPDATE partitions SET up_to = ?, closed_ms = ? WHERE number = ?";
    this.#sql.exec(close, upTo, nowMs, closed.number);
    const open = "INSERT INTO partitions (number, after, opened_ms) VALUES (?, ?, ?)";
    this.#sql.exec(open, number, upTo, nowMs);
    this.#changed();
    for (const row of pending) this.noteClass(row.class);
  }

  cut(position: number): void {
    this.#sql.exec("UPDATE partitions SET cut_at = ? WHERE number = ?", position, this.#open.number);
    this.forget();
  }

  /** Reads the list anew, and has the view read what is in it. */
  #changed(): void {
    this.forget();
    const terms = this.tables.reverse().map((table) => `SELECT ${COLUMNS} FROM ${table}`);
    this.#sql.exec("DROP VIEW events");
    this.#sql.exec(`CREATE VIEW events AS ${terms.join(" UNION ALL ")}`);
  }

  classesOf(number: number): number[] {
    const query = "SELECT class FROM partition_classes WHERE partition = ? ORDER BY class";
    const rows = this.#sql.exec<{ class: number }>(query, number).toArray();
    return rows.map((row) => row.class);
  }

  eventsOf(
    number: number,
    classId: number,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    if (!this.all().some((each) => each.number === number)) return [];
    const { topicKey, id } = after ?? BEFORE_ALL;
    const query = (columns: string) => `SELECT ${columns} FROM ${tableOf(number)}
      WHERE (topic_key, id) > (?, ?) AND class = ? ORDER BY topic_key, id LIMIT ?`;
    return readPage(this.#sql, query, [topicKey, id, classId], limit, maxBytes);
  }

  /** A seek for each: the index has many entries of a topic. */
  topicsOf(number: number, after: Bytes | null, limit: number): PartitionTopic[] {
    if (!this.all().some((each) => each.number === number)) return [];
    const query = `SELECT topic_key, class FROM ${tableOf(number)} WHERE topic_key > ?
      ORDER BY topic_key, id LIMIT 1`;
    const topics: PartitionTopic[] = [];
    for (let last = after ?? new Uint8Array(); topics.length < limit; ) {
      const [row] = this.#sql.exec<{ topic_key: ArrayBuffer; class: number }>(query, last).toArray();
      if (!row) break;
      last = new Uint8Array(row.topic_key);
      topics.push({ topicKey: last, class: row.class });
    }
    return topics;
  }

  drop(number: number): void {
    const dropped = this.all().find((each) => each.number === number);
    if (!dropped) return;
    if (dropped.upTo === null) throw partitionOpen(number);
    // So that what no run covers is never among what is gone.
    this.digests.writeRuns();
    this.#sql.exec("DELETE FROM partitions WHERE number = ?", number);
    this.#sql.exec("DELETE FROM partition_classes WHERE partition = ?", number);
    this.#changed();
    this.#sql.exec(`DROP TABLE ${tableOf(number)}`);
    this.digests.dropRuns(dropped.after, dropped.upTo);
  }

  /** The position behind which nothing was dropped. */
  wholeFrom(): number {
    return wholeFrom(this.all());
  }

  usedBytes(): number {
    return this.#storage.sql.databaseSize;
  }
}
