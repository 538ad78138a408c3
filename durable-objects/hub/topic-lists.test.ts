import { expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { MAX_TOPICS_PER_SUBSCRIPTION } from "../../protocol/limits.ts";
import { keyOf, onStorage } from "../testing/shard-world.ts";
import { TopicLists } from "./topic-lists.ts";

const keys = (count: number) => new Set(Array.from({ length: count }, (_, n) => toHex(keyOf(`topic ${n}`))));
const rows = ({ sql }: DurableObjectStorage) =>
  sql.exec("SELECT count(*) AS rows FROM topic_lists").one().rows;

test("lists are read as they were kept, by another life of the hub, in a row each", () =>
  onStorage((storage) => {
    const lists = new TopicLists(storage.sql);
    const wanted = [keys(1), keys(MAX_TOPICS_PER_SUBSCRIPTION), null];
    const ids = wanted.map((each) => lists.add(each));
    expect([new Set(ids).size, rows(storage)]).toEqual([3, 3]);
    const later = new TopicLists(storage.sql);
    expect(ids.map((id) => later.read(id))).toEqual(wanted);
    later.remove(ids[0] ?? 0);
    expect(later.read(ids[0] ?? 0)).toEqual(new Set());
    // An id is never given twice.
    expect(ids).not.toContain(later.add(null));
    expect(() => lists.add(keys(32_769))).toThrow(RangeError);
  }));

test("lists of sockets that are gone are forgotten", () =>
  onStorage((storage) => {
    const lists = new TopicLists(storage.sql);
    const ids = [1, 2, 3].map((count) => lists.add(keys(count)));
    lists.keepOnly(ids.slice(1, 2));
    expect(ids.map((id) => lists.read(id)?.size)).toEqual([0, 2, 0]);
    lists.keepOnly([]);
    expect(rows(storage)).toBe(0);
  }));

test("generations are kept, and written only when they change", () =>
  onStorage(({ sql }) => {
    const lists = new TopicLists(sql);
    expect(lists.generation(5)).toBeUndefined();
    const generation = new Uint8Array(8).fill(3);
    lists.keepGeneration(5, generation);
    expect(new TopicLists(sql).generation(5)).toEqual(generation);
    const { rowsWritten } = sql.exec("UPDATE generations SET shard = shard WHERE shard < 0");
    expect(rowsWritten).toBe(0);
    const size = () => sql.exec("SELECT total_changes() AS changes").one().changes;
    const before = size();
    lists.keepGeneration(5, generation);
    expect(size()).toBe(before);
    lists.keepGeneration(5, new Uint8Array(8).fill(4));
    expect(lists.generation(5)).toEqual(new Uint8Array(8).fill(4));
  }));

test("a hub remembers the name that it was first called by", () =>
  onStorage(({ sql }) => {
    expect(() => new TopicLists(sql).keepName(undefined)).toThrow("called by its name");
    expect(new TopicLists(sql).keepName("hub-1")).toBe("hub-1");
    expect(new TopicLists(sql).keepName(undefined)).toBe("hub-1");
  }));
