import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, test, vi } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { SLOT_MS, slotOfSeq } from "../../protocol/retention.ts";
import { symbolOf } from "../../protocol/sketch-symbol.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { slotGroupOf } from "../../protocol/sync-tree.ts";
import { bucketOf, shardOf } from "../../protocol/topic.ts";
import { development, envelopeOf, forgeEvent, keyOf, madeUpId } from "../testing/shard-world.ts";
import { SqlHubNames } from "./sql-hub-names.ts";
import { SqlShardStore } from "./sql-shard-store.ts";
import type { TopicShard } from "./topic-shard.ts";

/** What a shard's SQL costs: rows written are the bill, and a scan of a table makes every request dear. */

const TOPIC = "/xmtp/0/m-costs/proto";
const OF_SHARD_1 = "/xmtp/0/m-0/proto";

/** Works with a running shard whose SQL is written down. */
async function watch(
  name: string,
  work: (
    shard: TopicShard,
    rowsOf: (act: () => Promise<unknown>) => Promise<number>,
    storage: DurableObjectStorage,
  ) => Promise<void>,
): Promise<{ query: string; bindings: SqlStorageValue[] }[]> {
  return runInDurableObject(
    env.TOPIC_SHARD.get(env.TOPIC_SHARD.idFromName(name)),
    async (shard, { storage }) => {
      const { sql } = storage;
      const run = sql.exec.bind(sql);
      const seen: { query: string; bindings: SqlStorageValue[]; cursor: { readonly rowsWritten: number } }[] =
        [];
      vi.spyOn(sql, "exec").mockImplementation((query, ...bindings: SqlStorageValue[]) => {
        const cursor = run(query, ...bindings);
        seen.push({ query, bindings, cursor });
        return cursor as never;
      });
      const rowsOf = async (act: () => Promise<unknown>) => {
        const before = seen.length;
        await act();
        return seen.slice(before).reduce((sum, { cursor }) => sum + cursor.rowsWritten, 0);
      };
      await work(shard, rowsOf, storage);
      vi.restoreAllMocks();
      for (const { query, bindings } of seen) planOf(run, query, bindings);
      // The plan of a statement over the view is another with each number of partitions.
      const store = new SqlShardStore(storage);
      while (store.partitions.canRoll()) store.transaction(() => store.partitions.roll(0));
      for (const { query, bindings } of seen) if (isOfEvents(query)) planOf(run, query, bindings);
      return seen;
    },
  );
}

const ALLOWED = [
  // The list of segments, which a shard keeps in memory: read once in a life, and after each change of it.
  /SCAN segments$/,
  // As many rows as a node has hubs.
  /SCAN hubs$/,
  // At most five.
  /SCAN partitions$/,
  // The list of missing parents is read in its own order, and ends at the limit.
  /SCAN u USING PRIMARY KEY$/,
  // The topics of one bucket, which a recursive query has found with one seek each.
  /SCAN topics$/,
  // A list that was handed in: each of its members is one seek.
  /SCAN wanted VIRTUAL TABLE INDEX/,
];

const isOfEvents = (query: string) => /\bevents\b/.test(query);

function planOf(run: SqlStorage["exec"], query: string, bindings: SqlStorageValue[]): void {
  if (!/^\s*(SELECT|UPDATE|DELETE|INSERT|WITH)/.test(query)) return;
  for (const { detail } of run(`EXPLAIN QUERY PLAN ${query}`, ...bindings)) {
    // A view that is read as a whole is named as such: row by row, or into a table of its own.
    const isScan = /^SCAN (?!CONSTANT)|TEMP B-TREE|^(CO-ROUTINE|MATERIALIZE) (?!topics)|^SEARCH \w+$/.test(
      String(detail),
    );
    if (isScan && !ALLOWED.some((each) => each.test(String(detail))))
      expect(`${query}: ${detail}`).toBe("no scan");
  }
}

const publish = (shard: TopicShard, ts: number, topic = TOPIC) =>
  shard.publish([envelopeOf(topic, ts, `m${ts}`)]);
const fromPeer = (shard: TopicShard, ts: number, links: Uint8Array<ArrayBuffer>[] = [], topic = TOPIC) =>
  shard.ingest(
    [forgeEvent({ topic, ts, links, network: development, timeMs: Date.now() - 500 + ts })],
    "peer",
    [],
  );

test("a publish writes three rows; a repeated one none; heads and missing parents a few more", async () => {
  await watch("shard-0", async (shard, rowsOf) => {
    // The first event of a class in a partition is one row more.
    expect(await rowsOf(() => publish(shard, 1))).toBe(4);
    expect(await rowsOf(() => publish(shard, 2))).toBe(3);
    expect(await rowsOf(() => publish(shard, 1, "another topic"))).toBe(4);
    expect(await rowsOf(() => publish(shard, 2, "another topic"))).toBe(3);
    expect(await rowsOf(() => publish(shard, 2))).toBe(0);
    expect(
      await rowsOf(() => shard.publish(Array.from({ length: 10 }, (_, i) => envelopeOf(TOPIC, 10 + i)))),
    ).toBe(30);
    expect(await rowsOf(() => shard.publish([envelopeOf("/xmtp/0/mE-x/proto", 1)]))).toBe(0);
    // A second head is a row; the event that joins the two takes it away.
    expect(await rowsOf(() => fromPeer(shard, 3))).toBe(4);
    expect(await rowsOf(() => publish(shard, 4))).toBe(4);
    expect(await rowsOf(() => publish(shard, 5))).toBe(3);
    // An event whose parent is missing: itself, a head, and the note of the parent.
    expect(await rowsOf(() => fromPeer(shard, 6, [madeUpId(Date.now() - 9_000)]))).toBe(5);
  });
});

test("reading writes nothing, and no statement reads a table from end to end", async () => {
  const seen = await watch("shard-1", async (shard, rowsOf, storage) => {
    for (let ts = 1; ts <= 5; ts++) await publish(shard, ts);
    await fromPeer(shard, 6, [madeUpId(Date.now() - 9_000)], OF_SHARD_1);
    const { topic, topicKey } = envelopeOf(TOPIC, 0);
    const range = { topic, topicKey, startNs: 1n, endNs: 4n, limit: 2, maxBytes: 1e6, after: null };
    const rows = await rowsOf(async () => {
      for (const isDescending of [false, true]) {
        await shard.query({ ...range, isDescending });
        await shard.eventsByTime({ ...range, isDescending });
      }
      await shard.eventsByCause(topic, topicKey, null, 2);
      const heads = await shard.heads(utf8(TOPIC), topicKey);
      const id = heads.ok && heads.value[0] ? heads.value[0] : madeUpId(1);
      await shard.event(id.slice(8));
      await shard.event(new Uint8Array(32));
      await shard.pull(null, 3);
      await shard.lacking([{ topicKey, id }]);
      await shard.want({ wanted: [{ topicKey, id }], ancestors: true, have: [] }, 1_000_000);
      await shard.deliveredAfter(1, new Set([toHex(keyOf(TOPIC))]));
      await shard.checkClock();
    });
    expect(rows).toBe(0);
    await shard.attachHub("hub-test");
    await shard.alarm();
    expect(new SqlShardStore(storage).links.missingParents(5, null)).toHaveLength(1);
    new SqlHubNames(storage).all();
  });
  const tables = seen.map(({ query }) => /(?:FROM|INTO|UPDATE) (\w+)/.exec(query)?.[1]);
  expect([...new Set(tables)].sort()).toEqual(
    expect.arrayContaining(["digest_runs", "events", "events_1", "heads", "hubs", "unmet"]),
  );
});

/** The share of shard 2 in what anti-entropy does: settles, late events, listings, a scrub. */
const OF_SHARD_2 = Array.from({ length: 999 }, (_, n) => `plain-${n}`)
  .filter((topic) => shardOf(keyOf(topic), 4) === 2)
  .slice(0, 3);
const [SMALL_TOPIC = "", LARGE_TOPIC = ""] = OF_SHARD_2;
const NOW_MS = Date.now();
const pastEvent = (ts: number, topic: string, agoSlots: number) =>
  forgeEvent({ topic, ts, network: development, timeMs: NOW_MS - agoSlots * SLOT_MS - ts });

test("a settle writes a row for each 256 buckets and one more, a late event none but its own, and listings none", async () => {
  const asOf = newestAsOf(NOW_MS);
  const seen = await watch("shard-2", async (shard, rowsOf, storage) => {
    const ingest = (...events: ReturnType<typeof pastEvent>[]) => shard.ingest(events, "peer", []);
    await ingest(pastEvent(1, SMALL_TOPIC, 5));
    // Its buckets in four parts, and the mark with the sketches: with the 16 shards of a usual node it is one part.
    const SETTLE_ROWS = 4 + 1;
    expect(await rowsOf(() => shard.handOver(asOf))).toBe(SETTLE_ROWS);
    expect(await rowsOf(() => ingest(pastEvent(2, OF_SHARD_2[2] ?? "", 5)))).toBe(3);
    expect(await rowsOf(() => shard.handOver(asOf + 1))).toBe(SETTLE_ROWS);
    // The leaves of a bucket with more than 512 events are written down, a row for each slot group that has closed.
    const many = Array.from({ length: 600 }, (_, n) => pastEvent(10 + n, LARGE_TOPIC, 70 + 64 * (n % 2)));
    await ingest(...many);
    expect(await rowsOf(() => shard.handOver(asOf + 1))).toBe(SETTLE_ROWS + 2);
    // One that comes late into such a group marks its slot in that row, and the next settle writes the row anew.
    expect(await rowsOf(() => ingest(pastEvent(9, LARGE_TOPIC, 70)))).toBe(3 + 1 + 1);
    expect(await rowsOf(() => shard.handOver(asOf + 1))).toBe(SETTLE_ROWS + 1);
    const rows = await rowsOf(async () => {
      for (const topic of [SMALL_TOPIC, LARGE_TOPIC]) await list(shard, topic, asOf + 1);
      await shard.newestOf(new Uint8Array(32));
    });
    expect(rows).toBe(0);
    const scrubbed = await shard.scrub();
    expect(scrubbed).toMatchObject({
      ok: true,
      value: { roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true },
    });
    new SqlShardStore(storage).tree.dropSlotGroups(1);
  });
  const tables = seen.map(({ query }) => /(?:FROM|INTO|UPDATE) (\w+)/.exec(query)?.[1]);
  expect([...new Set(tables)]).toEqual(expect.arrayContaining(["events", "slot_groups", "tree"]));
});

/** All that a peer may ask about a bucket. */
async function list(shard: TopicShard, topic: string, asOf: number): Promise<void> {
  const at = { bucket: bucketOf(keyOf(topic)), class: development.classOf(utf8(topic)).id };
  const listing = await shard.listBuckets([at], asOf, "shortest");
  expect(listing).toMatchObject({ ok: true, value: [{ kind: topic === LARGE_TOPIC ? "groups" : "ids" }] });
  const slot = slotOfSeq(firstSeqOf(NOW_MS - 5 * SLOT_MS));
  const groups = [slotGroupOf(slot)];
  await shard.listBuckets([at], asOf, "groups");
  await shard.listSlotHashes(at, groups, asOf);
  await shard.listDifferingSlots({ ...at, groups, slots: [], place: null }, asOf, 100);
  const name = { topicKey: keyOf(topic), id: madeUpId(Date.now() - 9_000_000) };
  await shard.listIdsOfSlot(at, slot, { after: name, upTo: null });
  await shard.listNames(at, asOf, name);
  const range = { asOf, class: null, fromBucket: at.bucket, toBucket: at.bucket + 1 };
  for (const after of [null, name]) await shard.listRange({ ...range, after });
  await shard.bySymbols([symbolOf(at.bucket, name.id)]);
}
