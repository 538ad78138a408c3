import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { SLOT_MS } from "../../protocol/retention.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { rowsWritten } from "../testing/rows-read.ts";
import { dump } from "../testing/shard-traces.ts";
import { forgeEvent, madeUpId, Node, onStorage, START_MS, TOPICS } from "../testing/shard-world.ts";
import { TREE_TOPICS, TreeNode } from "../testing/tree-node.ts";
import { bytesMeta, migrateSchema, readMeta, writeMeta } from "./schema.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const tables = ({ sql }: DurableObjectStorage) =>
  sql
    .exec("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\' ORDER BY name")
    .toArray();

test("an empty storage is brought to the newest version, and a second start changes nothing", () => {
  const stub = env.NODE_STATE.get(env.NODE_STATE.newUniqueId());
  return runInDurableObject(stub, (_, { storage }) => {
    expect(readMetaIfAny(storage)).toBeUndefined();
    migrateSchema(storage);
    const first = tables(storage);
    const version = readMeta(storage.sql, "schema");
    expect(version).toBeGreaterThan(0);
    expect(first.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["events", "heads", "unmet", "meta"]),
    );
    const node = new Node(new SqlShardStore(storage));
    const event = node.publish("t", 1, "m", START_MS);
    migrateSchema(storage);
    expect(tables(storage)).toEqual(first);
    expect(readMeta(storage.sql, "schema")).toBe(version);
    expect(new Node(new SqlShardStore(storage)).get("t", event.id)).toEqual(event);
  });
});

function readMetaIfAny({ sql }: DurableObjectStorage): unknown {
  const hasMeta = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'meta'").toArray().length > 0;
  return hasMeta ? readMeta(sql, "schema") : undefined;
}

test("a start that fails half-way leaves nothing behind, so that the next one succeeds", () => {
  const stub = env.NODE_STATE.get(env.NODE_STATE.newUniqueId());
  return runInDurableObject(stub, (_, { storage }) => {
    const before = tables(storage);
    // In the way of a later statement of the first step.
    storage.sql.exec("CREATE TABLE hubs (other TEXT)");
    expect(() => migrateSchema(storage)).toThrow("hubs");
    storage.sql.exec("DROP TABLE hubs");
    expect(tables(storage)).toEqual(before);
    migrateSchema(storage);
    expect(readMeta(storage.sql, "schema")).toBeGreaterThan(0);
  });
});

test("a storage of a newer version is refused and left as it is", () =>
  onStorage((storage) => {
    writeMeta(storage.sql, "schema", 1_000);
    expect(() => migrateSchema(storage)).toThrow(/schema 1000 is newer than this code's \d+/);
    expect(readMeta(storage.sql, "schema")).toBe(1_000);
  }));

test("settings are kept as they were written, the last one counting", () =>
  onStorage(({ sql }) => {
    writeMeta(sql, "a", "text");
    writeMeta(sql, "a", 2 ** 40);
    writeMeta(sql, "b", Uint8Array.of(1, 2, 3));
    expect(readMeta(sql, "a")).toBe(2 ** 40);
    expect(bytesMeta(sql, "b")).toEqual(Uint8Array.of(1, 2, 3));
    expect(readMeta(sql, "c")).toBeUndefined();
    expect(() => bytesMeta(sql, "c")).toThrow("no c");
    expect(() => bytesMeta(sql, "a")).toThrow("no a");
  }));

test("a storage whose events are in one table has them in the first partition, and no row is written for each", () =>
  onStorage((storage) => {
    const { sql } = storage;
    const node = new Node(new SqlShardStore(storage));
    for (let n = 0; n < 50; n++) node.publish(TOPICS[n % 3] as string, n, "m", START_MS + n);
    for (let n = 0; n < 5; n++)
      node.ingest(
        forgeEvent({ topic: TOPICS[0] as string, ts: n, links: [madeUpId(START_MS - 9, n)] }),
        START_MS + 60 + n,
      );
    sql.exec("INSERT INTO digest_runs (part, run, entries) VALUES (1, 4096, x'00')");
    const { partitions: _, ...before } = dump(node.store);
    const events = node.store.deliveredAfter(0, 100, 1e9);
    // As the third version had it.
    sql.exec("DROP VIEW events");
    sql.exec("DROP TABLE partitions");
    sql.exec("DROP TABLE partition_classes");
    sql.exec("DROP TABLE segments");
    sql.exec("DROP TABLE segment_parts");
    sql.exec("ALTER TABLE events_1 RENAME TO events");
    writeMeta(sql, "schema", 3);

    expect(rowsWritten(storage, () => migrateSchema(storage))).toBeLessThan(40);
    const store = new SqlShardStore(storage);
    const { partitions, ...after } = dump(store);
    expect(after).toEqual(before);
    expect(before.pending).toHaveLength(5);
    expect(before.heads.flat().length).toBeGreaterThan(3);
    expect(store.deliveredAfter(0, 100, 1e9)).toEqual(events);
    expect(sql.exec("SELECT part, run FROM digest_runs").toArray()).toEqual([{ part: 1, run: 4_096 }]);
    expect(partitions).toMatchObject([
      { number: 1, after: 0, upTo: null, openedMs: START_MS, closedMs: null, cutAt: 0 },
    ]);
    const again = new Node(store);
    again.run(() => store.partitions.roll(START_MS + 100));
    expect(store.partitions.all()[0]).toMatchObject({ upTo: 50, closedMs: START_MS + 100 });
    expect(store.pendingStoredUntil(START_MS * 2, 100)).toHaveLength(5);
    again.publish("t", 1_000, "m", START_MS + 200);
    again.run((core) => core.dropPartition(1));
    expect(store.namesAfter(0, 100).map(({ position }) => position)).toEqual([51]);
    expect(sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name LIKE 'events_1%'").one()).toEqual({
      n: 0,
    });
  }));

describe("a storage of the first version", () => {
  /** As it was released; the digests' runs and the hubs stay as they are. */
  const FIRST_VERSION = [
    `CREATE TABLE events (
       position INTEGER PRIMARY KEY, topic_key BLOB NOT NULL, time_key BLOB NOT NULL, id BLOB NOT NULL,
       flags INTEGER NOT NULL, stored_ms INTEGER NOT NULL, signature BLOB NOT NULL, block BLOB NOT NULL, message BLOB NOT NULL
     )`,
    "CREATE UNIQUE INDEX events_by_id ON events (topic_key, id)",
    "CREATE INDEX events_by_time ON events (topic_key, time_key, id)",
    "CREATE TABLE heads (topic_key BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (topic_key, id)) WITHOUT ROWID",
    `CREATE TABLE unmet (
       topic_key BLOB NOT NULL, parent BLOB NOT NULL, child BLOB NOT NULL, PRIMARY KEY (topic_key, parent, child)
     ) WITHOUT ROWID`,
    `CREATE TABLE digest_runs (
       part INTEGER NOT NULL, run INTEGER NOT NULL, entries BLOB NOT NULL, PRIMARY KEY (part, run)
     ) WITHOUT ROWID`,
    "CREATE TABLE hubs (name TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta (name, value) VALUES ('schema', 1)",
  ];
  const COLUMNS = {
    events: "position, topic_key, time_key, id, flags, stored_ms, signature, block, message",
    heads: "topic_key, id",
    unmet: "topic_key, parent, child",
  };

  /** A history of three classes: more than one read's worth of rows, some of them waiting. */
  function fill(node: TreeNode): void {
    for (let n = 0; n < 600; n++) {
      const topic = TREE_TOPICS[n % TREE_TOPICS.length] as string;
      const madeUp = () => madeUpId(node.nowMs - 80 * SLOT_MS);
      if (n % 3 === 0) node.publish(topic, n);
      else node.arrive(topic, n, n % 70, n % 47 === 0 ? [madeUp()] : []);
      node.nowMs += 11;
    }
  }

  /** The same events in a storage of the first version, and in one of today. */
  async function withFirstVersion(
    work: (first: DurableObjectStorage, today: TreeNode) => void,
  ): Promise<void> {
    const rows = await onStorage((storage) => {
      fill(new TreeNode(new SqlShardStore(storage)));
      return Object.entries(COLUMNS).map(([table, columns]) => ({
        table,
        columns,
        values: storage.sql
          .exec(`SELECT ${columns} FROM ${table}`)
          .toArray()
          .map((row) => Object.values(row)),
      }));
    });
    const today = new TreeNode(new MemoryShardStore());
    fill(today);
    const stub = env.NODE_STATE.get(env.NODE_STATE.newUniqueId());
    await runInDurableObject(stub, (_, { storage }) => {
      for (const statement of FIRST_VERSION) storage.sql.exec(statement);
      for (const { table, columns, values } of rows)
        for (const each of values)
          storage.sql.exec(
            `INSERT INTO ${table} (${columns}) VALUES (${each.map(() => "?").join()})`,
            ...each,
          );
      work(storage, today);
    });
  }

  const EVERYTHING = { from: new Uint8Array(), to: null };
  const eventsOf = ({ store }: TreeNode) => store.tree.eventsOfTopics(EVERYTHING, null, 1e6, 1e9);

  test("has the class of each event after the step, also of those that wait, and the trees that follow from them", () =>
    withFirstVersion((storage, today) => {
      migrateSchema(storage);
      const node = new TreeNode(new SqlShardStore(storage));
      node.nowMs = today.nowMs;
      const classes = eventsOf(node).map((event) => event.class);
      expect(new Set(classes)).toEqual(new Set([1, 2, 7]));
      expect(node.store.lastPending()).toBeGreaterThan(0);
      expect(eventsOf(node)).toEqual(eventsOf(today));
      const handOver = node.handOver();
      node.check(handOver);
      expect(handOver).toEqual(today.handOver());
      node.publish("kept-0", 9_999);
      node.arrive("short", 10_000, 3);
      node.check(node.handOver());
    }));

  test("whose step fails stays as it was, and is brought on by the next start", () =>
    withFirstVersion((storage, today) => {
      const before = tables(storage);
      // In the way of the step's last statement.
      storage.sql.exec("CREATE TABLE slot_groups (other TEXT)");
      expect(() => migrateSchema(storage)).toThrow("slot_groups");
      storage.sql.exec("DROP TABLE slot_groups");
      expect(tables(storage)).toEqual(before);
      migrateSchema(storage);
      expect(eventsOf(new TreeNode(new SqlShardStore(storage)))).toEqual(eventsOf(today));
    }));
});
