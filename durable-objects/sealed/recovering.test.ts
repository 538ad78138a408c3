import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { segmentOf, toSegmentEvent } from "../testing/held-segments.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { forgeEvent, keyOf, memberRecord, signers, TOPICS, wipe } from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { blocksKey, largeKey, messagesKey } from "./archive-keys.ts";
import { D1Catalogue } from "./d1-catalogue.ts";
import { ORPHAN_AGE_MS, RECOVER_EVERY_MS } from "./recovering.ts";
import { SealedIndex } from "./sealed-index.ts";

/** A shard on a real SQLite, R2 and D1 finds there what it does not hold to: nothing of it is lost, and nothing lies there for ever. */

const PLACE = { shardCount: 1, shard: 0 };
const TOPIC = TOPICS[2];

let logged: string[] = [];
beforeEach(() => {
  logged = [];
  for (const level of ["log", "warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation((line) => void logged.push(String(line)));
});
afterEach(() => vi.restoreAllMocks());
const said = (what: string): boolean => logged.some((line) => line.includes(`"${what}"`));

const read = async (node: SealingNode): Promise<string[]> => {
  const pages = await Promise.all(
    TOPICS.map((topic) => node.shard.eventsByCause(utf8(topic), keyOf(topic), null, 1_000)),
  );
  return pages
    .flatMap(({ events }) => events.map(({ id, message }) => toHex(id) + toHex(message ?? id)))
    .sort();
};

/** Its store is empty, as if it were lost; R2 and D1 are as they were. */
function lose(node: SealingNode): void {
  wipe(node.storage);
  new SqlShardStore(node.storage).saveGeneration(new Uint8Array(8).fill(2));
  node.restart();
}

const aged = (node: SealingNode): void => node.advance(ORPHAN_AGE_MS + HOUR_MS);

async function recover(node: SealingNode): Promise<number> {
  let events = 0;
  for (let turns = 0; turns < 30; turns++) {
    const { recoveredEvents, isMore } = await node.maintain();
    events += recoveredEvents;
    if (!isMore) break;
  }
  return events;
}

const sealedRoots = (node: SealingNode): string[] =>
  new SealedIndex(new SqlShardStore(node.storage).sealed).segments.map(({ root }) => toHex(root)).sort();

function eventsOf(count: number, seq: bigint, signer = signers[1] as Signer): EncodedEvent[] {
  return Array.from({ length: count }, (_, n) =>
    forgeEvent({ topic: TOPIC, ts: n, seq: seq + BigInt(n) * 2n ** 21n, message: `message ${n}`, signer }),
  );
}

/** Files of a segment that lie in R2, and an entry in D1, of which the shard knows nothing. */
async function leave(events: readonly EncodedEvent[]): Promise<Bytes> {
  const { files } = segmentOf(events.map(toSegmentEvent));
  await env.BUCKET.put(blocksKey(PLACE, files.root), files.blocks);
  if (files.messages) await env.BUCKET.put(messagesKey(PLACE, files.root), files.messages);
  return files.root;
}

const nowSeq = (node: SealingNode, agoMs: number): bigint => firstSeqOf(node.clock.nowMs() - agoMs);

test("a store that was lost has all sealed events again after a day, and what lies in R2 and D1 is held", () =>
  onSealingNode(async (node) => {
    await node.publishDaily(8);
    const [before, roots] = [new Set(await read(node)), sealedRoots(node)];
    expect(roots.length).toBeGreaterThan(5);
    lose(node);
    expect(await read(node)).toEqual([]);
    aged(node);
    const events = await recover(node);
    expect(events).toBeGreaterThan(50);
    const after = await read(node);
    expect(after).toHaveLength(events);
    for (const event of after) expect(before).toContain(event);
    expect(said("segment_recovered")).toBe(true);
    aged(node);
    await recover(node);
    node.advance(RECOVER_EVERY_MS);
    await recover(node);
    expect(await read(node)).toEqual(after);
    expect(await node.everyKeyIsHeld()).toBe(true);
  }));

test("it looks once a day, also over several lives", () =>
  onSealingNode(async (node) => {
    await node.maintain();
    const { faults } = node;
    const lists = async () => {
      faults.failAt(0, "throws before");
      await node.maintain();
      return faults.calls.filter((call) => call === "list").length;
    };
    expect(await lists()).toBe(0);
    node.restart();
    node.advance(RECOVER_EVERY_MS - 1);
    expect(await lists()).toBe(0);
    node.advance(1);
    expect(await lists()).toBe(2);
  }));

describe("of what lies in R2", () => {
  const withNode = (work: (node: SealingNode) => Promise<void>) =>
    onSealingNode(async (node) => {
      aged(node);
      await work(node);
    });
  const old = async (node: SealingNode) => {
    aged(node);
    return recover(node);
  };

  test("a segment's lacking events are taken up, before its files go", () =>
    withNode(async (node) => {
      const events = eventsOf(10, nowSeq(node, HOUR_MS));
      await node.shard.ingest(events.slice(0, 4), "peer", []);
      await leave(events);
      expect(await old(node)).toBe(6);
      expect(await read(node)).toHaveLength(10);
      expect(await node.files()).toEqual([]);
    }));

  test("a segment whose events make the same one again stays", () =>
    withNode(async (node) => {
      const root = await leave(eventsOf(140, nowSeq(node, HOUR_MS)));
      expect(await old(node)).toBe(140);
      expect(sealedRoots(node)).toEqual([toHex(root)]);
      expect(await node.files()).toHaveLength(2);
      expect(await node.everyKeyIsHeld()).toBe(true);
    }));

  test("what has expired goes", () =>
    withNode(async (node) => {
      await leave(eventsOf(10, nowSeq(node, HOUR_MS)));
      node.advance(400 * 24 * HOUR_MS);
      expect(await old(node)).toBe(0);
      expect([await read(node), await node.files()]).toEqual([[], []]);
    }));

  test("what cannot be judged yet stays until it can", () =>
    withNode(async (node) => {
      const stranger = platformSigner(new Uint8Array(32).fill(7));
      await leave(eventsOf(10, nowSeq(node, HOUR_MS), stranger));
      expect(await old(node)).toBe(0);
      expect(said("orphan_undecided")).toBe(true);
      expect(await node.files()).toHaveLength(2);
      await node.shard.addRecords([memberRecord(stranger, true, 0n)]);
      expect(await old(node)).toBe(10);
      expect(await node.files()).toEqual([]);
    }));

  test("messages that are in no file are gone, but not those of a damaged one", () =>
    withNode(async (node) => {
      const root = await leave(eventsOf(10, nowSeq(node, HOUR_MS)));
      const key = messagesKey(PLACE, root);
      await env.BUCKET.put(key, (await (await env.BUCKET.get(key))?.arrayBuffer())?.slice(0, 300) ?? "");
      expect(await old(node)).toBe(0);
      expect(await node.files()).toHaveLength(2);
      await env.BUCKET.delete(key);
      expect(await old(node)).toBe(10);
      const { events } = await node.shard.eventsByCause(utf8(TOPIC), keyOf(TOPIC), null, 100);
      expect(events.every(({ message }) => message === null)).toBe(true);
    }));

  test("what is no segment goes, and what has another name stays", () =>
    withNode(async (node) => {
      await env.BUCKET.put(blocksKey(PLACE, new Uint8Array(32)), "no segment");
      await env.BUCKET.put(messagesKey(PLACE, new Uint8Array(32).fill(1)), "of nobody");
      const others = ["segments/1/0/readme", "segments/2/0/other.blocks.car", "backup"];
      for (const key of others) await env.BUCKET.put(key, "not ours");
      await old(node);
      expect(await node.files()).toEqual(["segments/1/0/readme"]);
      for (const key of others) expect(await env.BUCKET.head(key)).not.toBeNull();
      await env.BUCKET.delete(others);
    }));

  test("a large message that no segment has goes, and one that a segment has stays", () =>
    withNode(async (node) => {
      const large = forgeEvent({
        topic: TOPIC,
        seq: nowSeq(node, HOUR_MS),
        message: "x".repeat(70_000),
        signer: signers[1] as Signer,
      });
      await node.shard.keepLarge(large.message as Bytes);
      await node.shard.keepLarge(utf8("y".repeat(70_000)));
      const { blocks, messages } = segmentOf([large].map(toSegmentEvent)).files;
      expect(
        (await node.shard.adopt({ blocks, messages }, { asksForLarge: true, storesGone: false })).stored,
      ).toBe(1);
      await old(node);
      const kept = largeKey(PLACE, suite.sha256(large.message as Bytes));
      expect((await node.files()).filter((key) => key.startsWith("large/"))).toEqual([kept]);
      expect(await read(node)).toHaveLength(1);
    }));

  test("what is young is left alone", () =>
    onSealingNode(async (node) => {
      await leave(eventsOf(10, nowSeq(node, HOUR_MS)));
      expect(await recover(node)).toBe(0);
      expect(await node.files()).toHaveLength(2);
    }));

  test("an entry in D1 without files goes", () =>
    withNode(async (node) => {
      await node.publishDaily(0);
      await leave(eventsOf(140, nowSeq(node, HOUR_MS)));
      await old(node);
      lose(node);
      await env.BUCKET.delete(await node.files());
      const catalogue = new D1Catalogue(env.DB, node.clock);
      expect(await catalogue.ofShard(PLACE, null, 10)).toHaveLength(1);
      await old(node);
      expect(await catalogue.ofShard(PLACE, null, 10)).toEqual([]);
    }));
});

test.each(FAULT_KINDS)(
  "a pass that is cut, as a call %s, is made again",
  async (kind) => {
    for (let call = 1; ; call++) {
      let calls = 0;
      await onSealingNode(async (node) => {
        aged(node);
        const events = eventsOf(140, nowSeq(node, HOUR_MS));
        await node.shard.ingest(events.slice(0, 4), "peer", []);
        await leave(events);
        await node.shard.keepLarge(utf8("y".repeat(70_000)));
        aged(node);
        node.faults.failAt(call, kind);
        await node.maintain();
        calls = node.faults.calls.length;
        node.faults.clear();
        node.restart();
        expect((await read(node)).length).toBeGreaterThanOrEqual(4);
        await recover(node);
        aged(node);
        await recover(node);
        expect(await read(node)).toHaveLength(140);
        expect((await node.files()).filter((key) => key.startsWith("large/"))).toEqual([]);
        expect(await node.everyKeyIsHeld()).toBe(true);
      });
      if (calls < call) return;
    }
  },
  180_000,
);
