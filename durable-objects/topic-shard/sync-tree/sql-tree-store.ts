import { type Bytes, compareBytes } from "../../../protocol/bytes.ts";
import { byName, type EventName } from "../../../protocol/peer-messages.ts";
import { SLOTS_PER_GROUP, slotGroupOf } from "../../../protocol/sync-tree.ts";
import { topicKeysOf } from "../../../protocol/topic.ts";
import { BEFORE_ALL, bytes, readPage } from "../event-rows.ts";
import type { StoredEvent } from "../shard-store.ts";
import type { SqlHotPartitions } from "../sql-hot-partitions.ts";
import { type ListedRow, mergedRows, type TopicRow } from "./merged-rows.ts";
import { END_OF_IDS } from "./slot-spans.ts";
import type {
  BlockPage,
  BucketPage,
  ListedEvent,
  SavedSlotGroup,
  TopicKeyRange,
  TreeStore,
} from "./tree-store.ts";

interface SlotGroupRow extends Record<string, SqlStorageValue> {
  slot_group: number;
  covered: number;
  leaves: ArrayBuffer;
  /** In hexadecimal digits: a JavaScript number does not hold 64 bits. */
  late: string;
}

/** Above every topic key. */
const END_OF_KEYS = new Uint8Array(33).fill(255);
/**
 * A bucket's page in one partition: its topics from ?1 on and below ?2, one seek each; of each the ids from ?3 on and below ?4. A page
 * begins where the one before ended, in the topic ?5 at ?6, however long that topic is. (A LEFT JOIN with the view of all partitions
 * would read them from end to end.)
 */
const pageOfTable = (table: string): string => `WITH RECURSIVE topics (key) AS (
    SELECT min(topic_key) FROM ${table} WHERE topic_key >= ?1 AND topic_key < ?2
    UNION ALL
    SELECT (SELECT min(topic_key) FROM ${table} WHERE topic_key > topics.key AND topic_key < ?2) FROM topics
      WHERE topics.key IS NOT NULL
  )
  SELECT topics.key AS topic_key, e.id, e.class FROM topics
    LEFT JOIN ${table} AS e ON e.topic_key = topics.key AND e.id < ?4
      AND e.id >= CASE topics.key WHEN ?5 THEN max(?3, ?6) ELSE ?3 END
    WHERE topics.key IS NOT NULL LIMIT ?7`;

function bindingsOf(bucket: number, fromId: Bytes, toId: Bytes, after: EventName | null): Bytes[] {
  const { from, to } = topicKeysOf(bucket, bucket + 1);
  const { topicKey, id } =
    after && compareBytes(after.topicKey, from) >= 0 ? after : { topicKey: from, id: fromId };
  return [topicKey, to ?? END_OF_KEYS, fromId, toId, topicKey, id];
}

/** The same in the SQLite of the shard's Durable Object. */
export class SqlTreeStore implements TreeStore {
  readonly #sql: SqlStorage;
  readonly #partitions: Pick<SqlHotPartitions, "tables" | "digests">;

  constructor(sql: SqlStorage, partitions: Pick<SqlHotPartitions, "tables" | "digests">) {
    this.#sql = sql;
    this.#partitions = partitions;
  }

  pageOfBucket(
    bucket: number,
    fromId: Bytes,
    toId: Bytes,
    after: EventName | null,
    limit: number,
  ): BucketPage {
    const bindings = bindingsOf(bucket, fromId, toId, after);
    const pages = this.#partitions.tables.map((table) =>
      this.#sql.exec<ListedRow | TopicRow>(pageOfTable(table), ...bindings, limit).toArray(),
    );
    const rows = mergedRows(pages, limit);
    const events: ListedEvent[] = [];
    for (const row of rows) {
      if (row.id === null) continue;
      const listed = { topicKey: bytes(row.topic_key), id: bytes(row.id), class: row.class };
      if (!after || byName(listed, after) > 0) events.push(listed);
    }
    const last = rows.length === limit ? rows.at(-1) : undefined;
    const next = last && { topicKey: bytes(last.topic_key), id: last.id ? bytes(last.id) : END_OF_IDS };
    return { events, rows: rows.length, next: next ?? null };
  }

  eventsOfTopics(
    { from, to }: TopicKeyRange,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    const query = (columns: string) => `SELECT ${columns} FROM events
      WHERE (topic_key, id) > (?, ?) AND topic_key >= ? AND topic_key < ? ORDER BY topic_key, id LIMIT ?`;
    const { topicKey, id } = after ?? { topicKey: from, id: BEFORE_ALL.id };
    return readPage(this.#sql, query, [topicKey, id, from, to ?? END_OF_KEYS], limit, maxBytes);
  }

  topicAfter({ from, to }: TopicKeyRange, after: Bytes | null): Bytes | undefined {
    const keys = ["events", "heads", "unmet"].flatMap((table) => {
      const query = `SELECT topic_key FROM ${table}
        WHERE topic_key ${after ? ">" : ">="} ? AND topic_key < ? ORDER BY topic_key LIMIT 1`;
      const rows = this.#sql.exec<{ topic_key: ArrayBuffer }>(query, after ?? from, to ?? END_OF_KEYS);
      return rows.toArray().map((row) => bytes(row.topic_key));
    });
    return keys.sort(compareBytes)[0];
  }

  allBlocksBelow(topicKey: Bytes, id: Bytes, limit: number): BlockPage {
    const blocks = this.blocksBelow(topicKey, id, limit);
    return { blocks, isEnd: blocks.length < limit, isWaiting: false };
  }

  blocksBelow(topicKey: Bytes, id: Bytes, limit: number) {
    const query = "SELECT id, block FROM events WHERE topic_key = ? AND id < ? ORDER BY id DESC LIMIT ?";
    const rows = this.#sql.exec<{ id: ArrayBuffer; block: ArrayBuffer }>(query, topicKey, id, limit);
    return rows.toArray().map((row) => ({ id: bytes(row.id), block: bytes(row.block) }));
  }

  namesByDigestPrefix(prefixes: ReadonlySet<bigint>): EventName[] {
    const positions = this.#partitions.digests.withPrefixes(prefixes);
    const query = `SELECT e.topic_key, e.id FROM json_each(?) AS wanted CROSS JOIN events AS e ON e.position = wanted.value`;
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
    const query = `SELECT slot_group, covered, leaves, format('%016x', late) AS late FROM slot_groups
      WHERE bucket = ? ORDER BY slot_group`;
    const rows = this.#sql.exec<SlotGroupRow>(query, bucket).toArray();
    return rows.map(({ slot_group: group, covered, leaves, late }) => ({
      group,
      covered,
      leaves: bytes(leaves),
      late: slotsOfBits(group, BigInt(`0x${late}`)),
    }));
  }

  saveSlotGroup(bucket: number, { group, covered, leaves }: Omit<SavedSlotGroup, "late">): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO slot_groups (bucket, slot_group, covered, late, leaves) VALUES (?, ?, ?, 0, ?)",
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

  markLate(bucket: number, slot: number): void {
    const query = `INSERT INTO slot_groups (bucket, slot_group, covered, late, leaves)
      SELECT ?1, ?2, ?3, 1 << ?4, x''
        WHERE EXISTS (SELECT 1 FROM slot_groups WHERE bucket = ?1 AND slot_group >= ?2)
      ON CONFLICT DO UPDATE SET late = late | (1 << ?4) WHERE late & (1 << ?4) = 0`;
    const group = slotGroupOf(slot);
    this.#sql.exec(query, bucket, group, group * SLOTS_PER_GROUP, slot % SLOTS_PER_GROUP);
  }
}

/** The slots of a group whose bits are set. */
function slotsOfBits(group: number, bits: bigint): number[] {
  const slots = Array.from({ length: SLOTS_PER_GROUP }, (_, i) => i).filter((i) => (bits >> BigInt(i)) & 1n);
  return slots.map((i) => group * SLOTS_PER_GROUP + i);
}
