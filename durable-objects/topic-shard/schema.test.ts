import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test } from "vitest";
import { Node, onStorage, START_MS } from "../testing/shard-world.ts";
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
