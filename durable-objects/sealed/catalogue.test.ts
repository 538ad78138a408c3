import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, test } from "vitest";
import { type Bytes, compareBytes, equalBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryCatalogue } from "../testing/memory-catalogue.ts";
import { freshPlace, largeMessage, sealableEvents, writtenOf } from "../testing/sealing-scene.ts";
import { FAULT_KINDS, StorageFaults, withFaults } from "../testing/storage-faults.ts";
import { type Catalogue, type CatalogueEntry, entryOf, type NewCatalogueEntry } from "./catalogue.ts";
import { readCataloguedTopics } from "./catalogued-topics.ts";
import { D1Catalogue } from "./d1-catalogue.ts";
import { STORAGE_DEADLINE_MS } from "./storage-calls.ts";

const KINDS = ["D1", "memory"] as const;

interface Scene {
  readonly catalogue: Catalogue;
  readonly faults: StorageFaults;
}

/** Rows that D1 bills for what its batches write. */
let rowsWritten = 0;
const counted = (database: D1Database): D1Database =>
  new Proxy(database, {
    get(target, name) {
      if (name !== "batch") return Reflect.get(target, name, target).bind(target);
      return async (statements: D1PreparedStatement[]) => {
        const results = await target.batch(statements);
        for (const { meta } of results) rowsWritten += meta.rows_written;
        return results;
      };
    },
  });

function sceneOf(kind: (typeof KINDS)[number]): Scene {
  const clock = new ManualClock(1_000_000);
  const faults = new StorageFaults();
  faults.onHang = () => void clock.step(clock.nowMs() + STORAGE_DEADLINE_MS);
  return {
    catalogue:
      kind === "D1"
        ? new D1Catalogue(withFaults(counted(env.DB), faults), clock)
        : new MemoryCatalogue(clock, faults),
    faults,
  };
}

beforeEach(async () => {
  rowsWritten = 0;
  await env.DB.batch([env.DB.prepare("DELETE FROM segments"), env.DB.prepare("DELETE FROM segment_topics")]);
});

const entry = (n: number, retention = 1): NewCatalogueEntry =>
  entryOf(
    writtenOf(
      sealableEvents([
        { seq: BigInt(n), class: retention },
        { seq: BigInt(n) + 500n, topic: `t${n}`, class: retention },
      ]),
      retention,
    ),
    5_000 + n,
  );
const entries = (count: number, from = 0): NewCatalogueEntry[] =>
  Array.from({ length: count }, (_, i) => entry(from + i));
const told = ({ packedTopics: _, ...rest }: NewCatalogueEntry): CatalogueEntry => rest;
const sorted = (list: readonly NewCatalogueEntry[]): CatalogueEntry[] =>
  list.map(told).sort((a, b) => compareBytes(a.root, b.root));
const failureOf = (call: Promise<unknown>): Promise<{ code?: string }> =>
  call.then(
    () => ({ code: "ok" }),
    (error: unknown) => error as { code?: string },
  );

test("an entry says what is in a segment, and where each topic's blocks and messages are", () => {
  const events = sealableEvents([
    ...Array.from({ length: 700 }, (_, i) => ({ seq: BigInt(i), topic: `t${i % 600}`, ts: BigInt(i) })),
    { seq: 1_000n, topic: "gone", isDropped: true },
    { seq: 1_001n, topic: "apart", message: largeMessage(1) },
  ]);
  const written = writtenOf(events);
  const made = entryOf(written, 77);
  const { segment } = written;
  expect(made).toMatchObject({ root: segment.root, count: 702, topics: 602, createdMs: 77, class: 1 });
  expect([made.firstBucket, made.lastBucket]).toEqual([
    bucketOf(segment.firstName),
    bucketOf(segment.lastName),
  ]);
  expect(made.packedTopics.map(({ length }) => length)).toEqual([36_864, 6_480]);
  const topics = made.packedTopics.flatMap(readCataloguedTopics);
  expect(topics).toHaveLength(602);
  for (const { topicKey, count, leastTs, greatestTs, blocks, messages } of topics) {
    const own = events.filter((event) => equalBytes(event.topicKey, topicKey));
    const isIn = (file: Bytes | null, range: { from: number; to: number }, part: Uint8Array) =>
      Buffer.from(file?.subarray(range.from, range.to) ?? []).includes(part);
    expect(count).toBe(own.length);
    const times = own.map(({ timeKey }) => toHex(timeKey.subarray(0, 8))).sort();
    expect([toHex(uint64Bytes(leastTs)), toHex(uint64Bytes(greatestTs))]).toEqual([times[0], times.at(-1)]);
    for (const { block, message } of own) {
      expect(isIn(written.blocks, blocks, block)).toBe(true);
      if (message && message.length < 100) expect(isIn(written.messages, messages, message)).toBe(true);
      else expect(messages).toEqual({ from: 0, to: 0 });
    }
    expect(written.blocks.subarray(blocks.from, blocks.from + 1)).toEqual(own[0]?.block.subarray(0, 1));
  }
  expect(() => readCataloguedTopics(new Uint8Array(71))).toThrow(RangeError);
});

describe.each(KINDS)("a catalogue in %s", (kind) => {
  test("gives back what was added, in the order of roots, page by page", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const all = entries(14);
    await catalogue.add(place, all);
    expect(await catalogue.ofShard(place, null, 1_000)).toEqual(sorted(all));
    const paged: CatalogueEntry[] = [];
    for (let pages = 0; pages < 9; pages++)
      paged.push(...(await catalogue.ofShard(place, paged.at(-1)?.root ?? null, 3)));
    expect(paged).toEqual(sorted(all));
    expect(await catalogue.ofShard(place, null, 0)).toHaveLength(1);
  });

  test("keeps shards and shard counts apart, also for the same segment", async () => {
    const { catalogue } = sceneOf(kind);
    const places = [freshPlace(), freshPlace(), { shardCount: 4, shard: 1 }, { shardCount: 8, shard: 1 }];
    const one = entry(1);
    for (const place of places) await catalogue.add(place, [one]);
    const [first, ...others] = places;
    if (first) await catalogue.remove(first, [one.root]);
    for (const place of others) expect(await catalogue.ofShard(place, null, 9)).toEqual([told(one)]);
    if (first) expect(await catalogue.ofShard(first, null, 9)).toEqual([]);
  });

  test("has a segment without messages", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const gone = entryOf(writtenOf(sealableEvents([{ isDropped: true }])), 1);
    await catalogue.add(place, [gone]);
    expect(await catalogue.ofShard(place, null, 9)).toMatchObject([{ root: gone.root, messages: null }]);
  });

  test("has the topics of a segment, part by part", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const seeds = Array.from({ length: 1_100 }, (_, i) => ({ seq: BigInt(i), topic: `t${i}` }));
    const many = entryOf(writtenOf(sealableEvents(seeds)), 1);
    await catalogue.add(place, [many]);
    for (const [part, packed] of many.packedTopics.entries())
      expect(await catalogue.topics(place, many.root, part)).toEqual(readCataloguedTopics(packed));
    expect(await catalogue.topics(place, many.root, 3)).toBeUndefined();
    expect(await catalogue.topics(freshPlace(), many.root, 0)).toBeUndefined();
    await catalogue.remove(place, [many.root]);
    expect(await catalogue.topics(place, many.root, 0)).toBeUndefined();
  });

  test("is changed by nothing that is added again", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const [one, two] = entries(2) as [NewCatalogueEntry, NewCatalogueEntry];
    await catalogue.add(place, [one]);
    await catalogue.add(place, [{ ...one, createdMs: 9 }, two]);
    expect(await catalogue.ofShard(place, null, 9)).toEqual(sorted([one, two]));
  });

  test("replaces and removes, whatever is there", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const [one, two, three] = entries(3) as [NewCatalogueEntry, NewCatalogueEntry, NewCatalogueEntry];
    await catalogue.add(place, [one, two]);
    for (let time = 0; time < 2; time++) {
      await catalogue.replace(place, [one.root, two.root], [three]);
      expect(await catalogue.ofShard(place, null, 9)).toEqual([told(three)]);
    }
    await catalogue.remove(place, [one.root, three.root]);
    await catalogue.remove(place, []);
    expect(await catalogue.ofShard(place, null, 9)).toEqual([]);
  });

  test("tells the totals of each class over all shards", async () => {
    const { catalogue } = sceneOf(kind);
    expect(await catalogue.totals()).toEqual([]);
    const some = [entry(1, 1), entry(2, 2), entry(3, 1)];
    for (const each of some) await catalogue.add(freshPlace(), [each]);
    await catalogue.add(freshPlace(), [entryOf(writtenOf(sealableEvents([{ isDropped: true }])), 1)]);
    const bytes = (each?: NewCatalogueEntry) => (each?.blocks.bytes ?? 0) + (each?.messages?.bytes ?? 0);
    const gone = writtenOf(sealableEvents([{ isDropped: true }])).segment.blocks.bytes;
    expect(await catalogue.totals()).toEqual([
      { class: 1, segments: 3, events: 5, bytes: bytes(some[0]) + bytes(some[2]) + gone },
      { class: 2, segments: 1, events: 2, bytes: bytes(some[1]) },
    ]);
  });

  test("takes no more in one call than it can", async () => {
    const { catalogue } = sceneOf(kind);
    const place = freshPlace();
    const one = entry(1);
    const many = { code: "catalogue_call_too_large" };
    expect(await failureOf(catalogue.add(place, Array(17).fill(one)))).toMatchObject(many);
    expect(await failureOf(catalogue.remove(place, Array(1_001).fill(one.root)))).toMatchObject(many);
    const roots = Array.from({ length: 1_000 }, (_, i) => suite.sha256(uint64Bytes(BigInt(i))));
    await catalogue.replace(place, roots, entries(16));
    expect(await catalogue.ofShard(place, null, 99)).toHaveLength(16);
  });

  test.each(FAULT_KINDS)("fails in time when storage %s, and a repeat completes it", async (fault) => {
    const { catalogue, faults } = sceneOf(kind);
    const place = freshPlace();
    const [one, two] = entries(2) as [NewCatalogueEntry, NewCatalogueEntry];
    await catalogue.add(place, [one]);
    const change = () => catalogue.replace(place, [one.root], [two]);
    faults.failAt(1, fault);
    expect(await failureOf(change())).toMatchObject({ code: "storage_unavailable", httpStatus: 503 });
    const isDone = fault !== "throws before";
    expect(await catalogue.ofShard(place, null, 9)).toEqual([told(isDone ? two : one)]);
    await change();
    expect(await catalogue.ofShard(place, null, 9)).toEqual([told(two)]);
  });
});

describe("a catalogue in D1", () => {
  test("writes two rows a segment and two a part of its topics; none for what is there; one each to take them out", async () => {
    const { catalogue } = sceneOf("D1");
    const place = freshPlace();
    await catalogue.add(place, [entry(1)]);
    expect(rowsWritten).toBe(4);
    await catalogue.add(place, [entry(1)]);
    expect(rowsWritten).toBe(4);
    const seeds = Array.from({ length: 1_100 }, (_, i) => ({ seq: BigInt(i), topic: `t${i}` }));
    const large = entryOf(writtenOf(sealableEvents(seeds)), 1);
    await catalogue.add(place, [large]);
    expect(rowsWritten).toBe(4 + 8);
    rowsWritten = 0;
    await catalogue.remove(place, [entry(1).root, large.root]);
    expect(rowsWritten).toBe(1 + 1 + 1 + 3);
  });

  test("takes the segment with the most topics that there can be", async () => {
    const { catalogue } = sceneOf("D1");
    const place = freshPlace();
    const packedTopics = Array.from({ length: 64 }, (_, i) => new Uint8Array(36_864).fill(i));
    const one = entry(1);
    await catalogue.add(place, [{ ...one, packedTopics }]);
    expect((await catalogue.topics(place, one.root, 63))?.[511]?.topicKey).toEqual(
      new Uint8Array(32).fill(63),
    );
  });

  test("changes all or nothing", async () => {
    const { catalogue } = sceneOf("D1");
    const place = freshPlace();
    const [one, two] = entries(2) as [NewCatalogueEntry, NewCatalogueEntry];
    await catalogue.add(place, [one]);
    await env.DB.exec("ALTER TABLE segment_topics RENAME TO elsewhere");
    expect(await failureOf(catalogue.replace(place, [one.root], [two]))).toMatchObject({
      code: "storage_unavailable",
    });
    await env.DB.exec("ALTER TABLE elsewhere RENAME TO segment_topics");
    expect(await catalogue.ofShard(place, null, 9)).toEqual([told(one)]);
  });

  test("reads a shard's page by its key, sorting nothing", async () => {
    const { results } = await env.DB.prepare(
      "EXPLAIN QUERY PLAN SELECT * FROM segments WHERE shard_count = 4 AND shard = 1 AND root > 'a' ORDER BY root LIMIT 5",
    ).all<{ detail: string }>();
    expect(results.map(({ detail }) => detail)).toEqual([
      "SEARCH segments USING INDEX sqlite_autoindex_segments_1 (shard_count=? AND shard=? AND root>?)",
    ]);
  });

  test("says which row is none", async () => {
    const { catalogue } = sceneOf("D1");
    const place = freshPlace();
    const one = entry(1);
    await catalogue.add(place, [one]);
    await env.DB.exec("UPDATE segments SET blocks_digest = 'xyz'");
    expect(await failureOf(catalogue.ofShard(place, null, 9))).toMatchObject({
      code: "catalogue_damaged",
      data: { what: "xyz" },
    });
    await env.DB.exec("UPDATE segment_topics SET packed = x'0102'");
    expect(await failureOf(catalogue.topics(place, one.root, 0))).toMatchObject({
      code: "catalogue_damaged",
    });
  });
});
