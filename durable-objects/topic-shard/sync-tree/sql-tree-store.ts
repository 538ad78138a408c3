import type { Bytes } from "../../../protocol/bytes.ts";
import type { EventName } from "../../../protocol/peer-messages.ts";
import { topicKeysOf } from "../../../protocol/topic.ts";
import type { DigestIndex } from "../digest-index.ts";
import { BEFORE_ALL, bytes, COLUMNS, type EventRow, takePage } from "../event-rows.ts";
import type { StoredEvent } from "../shard-store.ts";
import type { ListedEvent, SavedSlotGroup, TopicKeyRange, TreeStore } from "./tree-store.ts";

interface ListedRow extends Record<string, SqlStorageValue> {
  topic_key: ArrayBuffer;
  id: ArrayBuffer;
  class: number;
}

/** Above every topic key. */
const END_OF_KEYS = new Uint8Array(33).fill(255);
/** The topics from ?1 on and below ?2, one seek each. */
const TOPICS = `WITH RECURSIVE topics (key) AS (
    SELECT min(topic_key) FROM events WHERE topic_key >= ?1 AND topic_key < ?2
    UNION ALL
    SELECT (SELECT min(topic_key) FROM events WHERE topic_key > topics.key AND topic_key < ?2) FROM topics
      WHERE topics.key IS NOT NULL
  )`;

/** The same in the SQLite of the shard's Durable Object. */
export class SqlTreeStore implements TreeStore {
  readonly #sql: SqlStorage;
  readonly #digests: DigestIndex;

  constructor(sql: SqlStorage, digests: DigestIndex) {
    this.#sql = sql;
    this.#digests = digests;
  }

  *idsOfBucket(bucket: number, fromId: Bytes, toId: Bytes): Iterable<ListedEvent> {
    const query = `${TOPICS} SELECT e.topic_key, e.id, e.class FROM topics
      JOIN events AS e ON e.topic_key = topics.key AND e.id >= ?3 AND e.id < ?4`;
    const { from, to } = topicKeysOf(bucket, bucket + 1);
    for (const row of this.#sql.exec<ListedRow>(query, from, to ?? END_OF_KEYS, fromId, toId))
      yield { topicKey: bytes(row.topic_key), id: bytes(row.id), class: row.class };
  }

  leastIdOfBucket(bucket: number, fromId: Bytes): Bytes | undefined {
    const query = `${TOPICS} SELECT min((SELECT min(id) FROM events WHERE topic_key = topics.key AND id >= ?3)) AS id
      FROM topics WHERE topics.key IS NOT NULL`;
    const { from, to } = topicKeysOf(bucket, bucket + 1);
    const keys = [from, to ?? END_OF_KEYS];
    const { id } = this.#sql.exec<{ id: ArrayBuffer | null }>(query, ...keys, fromId).one();
    return id ? bytes(id) : undefined;
  }

  eventsOfTopics(
    { from, to }: TopicKeyRange,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    const query = `SELECT ${COLUMNS} FROM events
      WHERE (topic_key, id) > (?, ?) AND topic_key >= ? AND topic_key < ? ORDER BY topic_key, id LIMIT ?`;
    const { topicKey, id } = after ?? { topicKey: from, id: BEFORE_ALL.id };
    return takePage(this.#sql.exec<EventRow>(query, topicKey, id, from, to ?? END_OF_KEYS, limit), maxBytes);
  }

  topicAfter({ from, to }: TopicKeyRange, after: Bytes | null): Bytes | undefined {
    const query = `SELECT min(topic_key) AS key FROM events WHERE topic_key ${after ? ">" : ">="} ? AND topic_key < ?`;
    const { key } = this.#sql
      .exec<{ key: ArrayBuffer | null }>(query, after ?? from, to ?? END_OF_KEYS)
      .one();
    return key ? bytes(key) : undefined;
  }

  blocksBelow(topicKey: Bytes, id: Bytes, limit: number) {
    const query = "SELECT id, block FROM events WHERE topic_key = ? AND id < ? ORDER BY id DESC LIMIT ?";
    const rows = this.#sql.exec<{ id: ArrayBuffer; block: ArrayBuffer }>(query, topicKey, id, limit);
    return rows.toArray().map((row) => ({ id: bytes(row.id), block: bytes(row.block) }));
  }

  namesByDigestPrefix(prefixes: ReadonlySet<bigint>): EventName[] {
    const positions = this.#digests.withPrefixes(prefixes);
    const query = `SELECT e.topic_key, e.id FROM json_each(?) AS wanted JOIN events AS e ON e.position = wanted.value`;
    const rows = this.#sql.exec<{ topic_key: ArrayBuffer; id: ArrayBuffer }>(
      query,
      JSON.stringify(positions),
    );
    return rows.toArray().map((row) => ({ topicKey: bytes(row.topic_key), id: bytes(row.id) }));
  }

  treeValue(name: string): Bytes | undefined {
    const row = this.#sql
      .exec<{ value: ArrayBuffer }>("SELECT value FROM tree WHERE name = ?", name)
      .toArray()[0];
    return row && bytes(row.value);
  }

  saveTreeValue(name: string, value: Bytes): void {
    this.#sql.exec(
      "INSERT INTO tree (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
      name,
      value,
    );
  }

  savedSlotGroups(bucket: number): SavedSlotGroup[] {
    const query = "SELECT slot_group, covered, leaves FROM slot_groups WHERE bucket = ? ORDER BY slot_group";
    const rows = this.#sql.exec<{ slot_group: number; covered: number; leaves: ArrayBuffer }>(query, bucket);
    return rows
      .toArray()
      .map((row) => ({ group: row.slot_group, covered: row.covered, leaves: bytes(row.leaves) }));
  }

  saveSlotGroup(bucket: number, { group, covered, leaves }: SavedSlotGroup): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO slot_groups (bucket, slot_group, covered, leaves) VALUES (?, ?, ?, ?)",
      bucket,
      group,
      covered,
      leaves,
    );
  }

  dropSlotGroups(bucket: number): void {
    this.#sql.exec("DELETE FROM slot_groups WHERE bucket = ?", bucket);
  }

  dropSlotGroup(bucket: number, group: number): void {
    this.#sql.exec("DELETE FROM slot_groups WHERE bucket = ? AND slot_group = ?", bucket, group);
  }
}
