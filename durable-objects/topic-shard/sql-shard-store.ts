import { type Bytes, equalBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { isWhole } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { SqlRecordStore } from "../records/sql-record-store.ts";
import { SqlSealedStore } from "../sealed/sql-sealed-store.ts";
import type { HotShardStore } from "../sealed/tiered-shard-store.ts";
import { bytes, COLUMNS, type EventRow, HAS_MESSAGE, NO_MESSAGE, readPage, toEvent } from "./event-rows.ts";
import { bytesMeta, readMeta, writeMeta } from "./schema.ts";
import {
  type Checkpoint,
  ECHO,
  GONE,
  type Outline,
  PENDING_BASE,
  type PlacedName,
  type SealedEvent,
  type ShownEvent,
  type StoredEvent,
  type TimeRange,
} from "./shard-store.ts";
import { SqlHotPartitions } from "./sql-hot-partitions.ts";
import { SqlLinkStore } from "./sql-link-store.ts";
import { SqlRemovedEvents } from "./sql-removed-events.ts";
import { timePageOf } from "./sql-time-page.ts";
import { SqlTreeStore } from "./sync-tree/sql-tree-store.ts";

interface NameRow extends Record<string, SqlStorageValue> {
  position: number;
  topic_key: ArrayBuffer;
  id: ArrayBuffer;
  class: number;
  flags: number;
}

interface PlaceRow extends Record<string, SqlStorageValue> {
  id: ArrayBuffer;
  position: number;
}

const toName = (row: NameRow): PlacedName => ({
  position: row.position,
  topicKey: bytes(row.topic_key),
  id: bytes(row.id),
  class: row.class,
  flags: row.flags,
});

const toPlace = (row: PlaceRow | undefined) => row && { id: bytes(row.id), position: row.position };

const NAME_COLUMNS = "position, topic_key, id, class, flags";

/**
 * A shard's storage in the SQLite of its Durable Object. The events are its own, read through the view `events` of all partitions and
 * written in the table of one; what derives from them has a store of its own each.
 */
export class SqlShardStore implements HotShardStore {
  readonly partitions: SqlHotPartitions;
  readonly tree: SqlTreeStore;
  readonly records: SqlRecordStore;
  readonly links: SqlLinkStore;
  readonly removed: SqlRemovedEvents;
  readonly sealed: SqlSealedStore;
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
    this.partitions = new SqlHotPartitions(storage);
    this.tree = new SqlTreeStore(storage.sql, this.partitions);
    this.records = new SqlRecordStore(storage.sql);
    this.links = new SqlLinkStore(storage.sql);
    this.removed = new SqlRemovedEvents(storage.sql);
    this.sealed = new SqlSealedStore(storage.sql);
  }

  reload(): void {
    // Nothing of it is kept in memory.
  }

  transaction<T>(work: () => T): T {
    try {
      return this.#storage.transactionSync(work);
    } catch (error) {
      this.partitions.forget();
      throw error;
    }
  }

  insert(event: StoredEvent): void {
    this.partitions.noteClass(event.class);
    this.#sql.exec(
      `INSERT INTO ${this.partitions.openTable} (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      event.position,
      event.topicKey,
      event.timeKey,
      event.id,
      event.class,
      event.flags,
      event.storedMs,
      event.signature,
      event.block,
      event.message ?? NO_MESSAGE,
    );
  }

  deliver(pendingPosition: number, position: number, flags: number): void {
    this.#sql.exec(
      `UPDATE ${this.partitions.openTable} SET position = ?, flags = ? WHERE position = ?`,
      position,
      flags,
      pendingPosition,
    );
  }

  clearEcho(position: number): void {
    const table = this.partitions.tableAt(position);
    if (table) this.#sql.exec(`UPDATE ${table} SET flags = flags & ~? WHERE position = ?`, ECHO, position);
  }

  #first<T extends Record<string, SqlStorageValue>>(
    query: string,
    ...bindings: (Bytes | number)[]
  ): T | undefined {
    return this.#sql.exec<T>(query, ...bindings).toArray()[0];
  }

  remove(position: number): void {
    const table = this.partitions.tableAt(position);
    if (table) this.#sql.exec(`DELETE FROM ${table} WHERE position = ?`, position);
  }

  replace(position: number, event: StoredEvent): void {
    this.remove(position);
    this.insert(event);
  }

  positionOf({ topicKey, id }: EventName): number | undefined {
    const query = "SELECT position FROM events WHERE topic_key = ? AND id = ? LIMIT 1";
    return this.#first<{ position: number }>(query, topicKey, id)?.position;
  }

  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[] {
    const query = "SELECT id FROM events WHERE topic_key = ? AND id >= ? AND id < ? ORDER BY id LIMIT ?";
    const [from, to] = [uint64Bytes(seq), uint64Bytes(seq + 1n)];
    const rows = this.#sql.exec<{ id: ArrayBuffer }>(query, topicKey, from, to, limit).toArray();
    return rows.map(({ id }) => bytes(id));
  }

  get({ topicKey, id }: EventName): StoredEvent | undefined {
    const row = this.#first<EventRow>(
      `SELECT ${COLUMNS} FROM events WHERE topic_key = ? AND id = ? LIMIT 1`,
      topicKey,
      id,
    );
    return row && toEvent(row);
  }

  isWithoutMessage({ topicKey, id }: EventName): boolean {
    const query = "SELECT flags FROM events WHERE topic_key = ? AND id = ? LIMIT 1";
    return ((this.#first<{ flags: number }>(query, topicKey, id)?.flags ?? 0) & GONE) !== 0;
  }

  outline({ topicKey, id }: EventName): Outline | undefined {
    const query =
      "SELECT position, time_key, flags, block FROM events WHERE topic_key = ? AND id = ? LIMIT 1";
    const row = this.#first<Pick<EventRow, "position" | "time_key" | "flags" | "block">>(query, topicKey, id);
    if (!row) return undefined;
    const { position, flags } = row;
    return { position, topicKey, timeKey: bytes(row.time_key), id, flags, block: bytes(row.block) };
  }

  findByDigest(blockDigest: Bytes): StoredEvent | undefined {
    for (const position of this.partitions.digests.candidates(blockDigest)) {
      const table = this.partitions.tableAt(position);
      if (!table) continue;
      const row = this.#first<EventRow>(`SELECT ${COLUMNS} FROM ${table} WHERE position = ?`, position);
      if (row && equalBytes(digestOfId(bytes(row.id)), blockDigest)) return toEvent(row);
    }
    return undefined;
  }

  findEnvelope(topicKey: Bytes, timeKey: Bytes, leastId: Bytes): Bytes | undefined {
    const query = `SELECT id FROM events WHERE topic_key = ? AND time_key = ? AND id >= ? AND ${HAS_MESSAGE}
      ORDER BY id LIMIT 1`;
    const row = this.#first<{ id: ArrayBuffer }>(query, topicKey, timeKey, leastId);
    return row && bytes(row.id);
  }

  isEnvelopeDelivered(topicKey: Bytes, timeKey: Bytes): boolean {
    const query =
      "SELECT 1 AS found FROM events WHERE topic_key = ? AND time_key = ? AND position < ? LIMIT 1";
    return this.#first(query, topicKey, timeKey, PENDING_BASE) !== undefined;
  }

  firstDelivered(topicKey: Bytes, timeKey: Bytes): number | undefined {
    // The oldest partition that has one has the first.
    for (const table of this.partitions.tables) {
      const query = `SELECT min(position) AS first FROM ${table}
        WHERE topic_key = ? AND time_key = ? AND position < ?`;
      const first = this.#first<{ first: number | null }>(query, topicKey, timeKey, PENDING_BASE)?.first;
      if (first !== null && first !== undefined) return first;
    }
    return undefined;
  }

  /** Segments are read by `TieredShardStore` alone. */
  isSealed(): boolean {
    return false;
  }

  findSealed(): SealedEvent | undefined {
    return undefined;
  }

  sealedOf(): Iterable<SealedEvent> {
    return [];
  }

  removeSealed(): void {
    // There is none.
  }

  greatestSealed(): Bytes | undefined {
    return undefined;
  }

  greatest(topicKey: Bytes) {
    const query = "SELECT id, position FROM events WHERE topic_key = ? ORDER BY id DESC LIMIT 1";
    return toPlace(this.#first<PlaceRow>(query, topicKey));
  }

  lastPosition(): number {
    return this.partitions.lastPosition();
  }

  lastPending(): number | undefined {
    const query = `SELECT max(position) AS last FROM ${this.partitions.openTable} WHERE position >= ?`;
    return this.#first<{ last: number | null }>(query, PENDING_BASE)?.last ?? undefined;
  }

  pendingStoredUntil(storedMs: number, limit: number): PlacedName[] {
    const query = `SELECT ${NAME_COLUMNS} FROM ${this.partitions.openTable}
      WHERE position >= ? AND stored_ms <= ? ORDER BY position LIMIT ?`;
    return this.#sql.exec<NameRow>(query, PENDING_BASE, storedMs, limit).toArray().map(toName);
  }

  firstPendingMs(): number | undefined {
    const query = `SELECT stored_ms FROM ${this.partitions.openTable}
      WHERE position >= ? ORDER BY position LIMIT 1`;
    return this.#first<{ stored_ms: number }>(query, PENDING_BASE)?.stored_ms;
  }

  deliveredAfter(position: number, limit: number, maxBytes: number): StoredEvent[] {
    const query = (columns: string) => `SELECT ${columns} FROM ${this.partitions.sourceBehind(position)}
      WHERE position > ? AND position < ? ORDER BY position LIMIT ?`;
    return readPage(this.#sql, query, [position, PENDING_BASE], limit, maxBytes);
  }

  namesAfter(position: number, limit: number): PlacedName[] {
    const query = `SELECT ${NAME_COLUMNS} FROM ${this.partitions.sourceBehind(position)}
      WHERE position > ? AND position < ? ORDER BY position LIMIT ?`;
    return this.#sql.exec<NameRow>(query, position, PENDING_BASE, limit).toArray().map(toName);
  }

  timePage(range: TimeRange, limit: number, maxBytes: number): ShownEvent[] {
    return this.#withLeastIds(timePageOf(this.#sql, range, limit, maxBytes), range).filter(isWhole);
  }

  /** Descending, the first row of an envelope's events is the one with the greatest id: asks for the least. */
  #withLeastIds(page: StoredEvent[], { topicKey, isDescending, leastId }: TimeRange): StoredEvent[] {
    if (!isDescending) return page;
    return page.map((event) => {
      const id = this.findEnvelope(topicKey, event.timeKey, leastId);
      return id && !equalBytes(id, event.id) ? (this.get({ topicKey, id }) ?? event) : event;
    });
  }

  causalPage(topicKey: Bytes, afterId: Bytes, limit: number, maxBytes: number): ShownEvent[] {
    const query = (columns: string) =>
      `SELECT ${columns} FROM events WHERE topic_key = ? AND id > ? AND ${HAS_MESSAGE} ORDER BY id LIMIT ?`;
    return readPage(this.#sql, query, [topicKey, afterId], limit, maxBytes).filter(isWhole);
  }

  goneInTime({ topicKey, from, to, leastId }: TimeRange): number {
    const stretch = "topic_key = ? AND time_key >= ? AND time_key <= ? AND id >= ?";
    return this.#countGone(stretch, topicKey, from, to, leastId);
  }

  goneInIds(topicKey: Bytes, afterId: Bytes, lastId: Bytes): number {
    return this.#countGone("topic_key = ? AND id > ? AND id <= ?", topicKey, afterId, lastId);
  }

  /** Table by table: an aggregate over the view would read all of it. */
  #countGone(stretch: string, ...bindings: Bytes[]): number {
    let count = 0;
    for (const table of this.partitions.tables) {
      const query = `SELECT count(*) AS gone FROM ${table} WHERE ${stretch} AND NOT (${HAS_MESSAGE})`;
      count += this.#sql.exec<{ gone: number }>(query, ...bindings).one().gone;
    }
    return count;
  }

  generation(): Bytes {
    return bytesMeta(this.#sql, "generation");
  }

  saveGeneration(generation: Bytes): void {
    writeMeta(this.#sql, "generation", generation);
  }

  checkpoint(): Checkpoint {
    const value = readMeta(this.#sql, "checkpoint");
    if (!(value instanceof ArrayBuffer)) return { position: 0, lastSeq: 0n, lastOwn: null };
    const view = new DataView(value);
    const lastOwn =
      value.byteLength > 16 ? { topicKey: bytes(value.slice(16, 48)), id: bytes(value.slice(48)) } : null;
    return { position: Number(view.getBigUint64(0)), lastSeq: view.getBigUint64(8), lastOwn };
  }

  saveCheckpoint({ position, lastSeq, lastOwn }: Checkpoint): void {
    const parts = [uint64Bytes(BigInt(position)), uint64Bytes(lastSeq)];
    if (lastOwn) parts.push(lastOwn.topicKey, lastOwn.id);
    writeMeta(this.#sql, "checkpoint", Buffer.concat(parts));
    this.partitions.digests.writeRuns();
  }
}
