import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { BUCKETS } from "../../protocol/topic.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  memberRecord,
  network,
  START_MS,
  SUBJECT,
} from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { REAP_AFTER_MS } from "./reaping.ts";
import { TieredShardStore } from "./tiered-shard-store.ts";

/** The messages of sealed events go, and their blocks stay: in what is read, in D1 and in R2. */

const SHORT = "plain";
const LONG = "/xmtp/0/contact-long/proto";
const SHORT_MS = network.classOf(utf8(SHORT)).durationMs as number;
const LARGE = "x".repeat(70_000);

beforeEach(() => {
  for (const method of ["log", "warn"] as const) vi.spyOn(console, method).mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

/** Two events of each topic in segments of their own class, one of them with a large message, and one of each that is hot. */
async function live(node: SealingNode): Promise<void> {
  for (const text of ["one", LARGE]) {
    const ts = node.clock.nowMs();
    await node.shard.publish([envelopeOf(SHORT, ts, text), envelopeOf(LONG, ts, text)]);
    node.advance(HOUR_MS);
  }
  for (let rounds = 0; rounds < 3; rounds++) {
    node.advance(48 * HOUR_MS);
    await node.handOver();
    await node.maintain();
  }
  await node.shard.publish([SHORT, LONG].map((topic) => envelopeOf(topic, node.clock.nowMs(), "hot")));
  node.advance(HOUR_MS);
}

const segmentsOf = (node: SealingNode, topic: string) => {
  const { index } = new TieredShardStore(new SqlShardStore(node.storage));
  return index.segments.filter((each) => each.class === network.classOf(utf8(topic)).id);
};

/** Drops the messages of all segments that a topic's class has. The node's next life knows of it. */
function drop(node: SealingNode, topic: string): void {
  const store = new TieredShardStore(new SqlShardStore(node.storage));
  for (const segment of segmentsOf(node, topic))
    store.transaction(() => store.index.dropMessages(segment, node.clock.nowMs()));
  node.restart();
}

const queryOf = (topic: string) => ({
  topic: utf8(topic),
  topicKey: keyOf(topic),
  startNs: 0n,
  endNs: 0n,
  isDescending: false,
  maxBytes: 1e7,
  limit: 100,
  after: null,
});

/** What peers are sent, and what they compare. */
async function compared(node: SealingNode) {
  const asOf = newestAsOf(node.clock.nowMs());
  const range = { asOf, class: null, fromBucket: 0, toBucket: BUCKETS, after: null };
  const { events } = await node.shard.listRange(range);
  const heads = await Promise.all([SHORT, LONG].map((topic) => node.shard.heads(utf8(topic), keyOf(topic))));
  return {
    events,
    ids: events.map(({ block, signature }) => toHex(block) + toHex(signature)),
    heads: heads.map((ids) => ids.map(toHex)),
  };
}

const catalogued = async () =>
  (await env.DB.prepare("SELECT class, messages_bytes AS bytes FROM segments WHERE shard_count = 1").all())
    .results as { class: number; bytes: number | null }[];

describe("a segment whose messages were dropped", () => {
  test("is read without them: counted for clients, null for peers, who compare what they did before", () =>
    onSealingNode(async (node) => {
      await live(node);
      const before = await compared(node);
      const sealed = (await node.shard.eventsByTime(queryOf(SHORT))).events.slice(0, 2);
      expect(sealed.map(({ message }) => message.length)).toEqual([3, LARGE.length]);
      drop(node, SHORT);
      const page = await node.shard.eventsByTime(queryOf(SHORT));
      expect(page).toMatchObject({ gone: 2, isFull: false, events: [{ message: utf8("hot") }] });
      const causal = await node.shard.eventsByCause(utf8(SHORT), keyOf(SHORT), null, 1);
      expect(causal).toMatchObject({ gone: 2, isFull: false, events: [{ message: utf8("hot") }] });
      expect((await node.shard.query({ ...queryOf(SHORT), limit: 1 })).json).toHaveLength(1);
      expect((await node.shard.eventsByTime(queryOf(LONG))).gone).toBe(0);
      const after = await compared(node);
      expect([after.ids, after.heads]).toEqual([before.ids, before.heads]);
      const gone = after.events.filter(({ message }) => message === null).map(({ block }) => toHex(block));
      expect(gone.sort()).toEqual(sealed.map(({ block }) => toHex(block)).sort());
      for (const { id, block, signature } of sealed)
        expect(await node.shard.event(digestOfId(id))).toMatchObject({
          ...{ id, block, signature },
          message: null,
          why: "dropped",
        });
      expect(await node.shard.lacking(sealed)).toEqual([]);
    }));

  test("keeps its files for ten minutes, also over a restart, then loses those of its messages alone", () =>
    onSealingNode(async (node) => {
      await live(node);
      // The large message is the other topic's, too.
      drop(node, SHORT);
      const files = await node.files();
      node.advance(REAP_AFTER_MS - 1);
      node.restart();
      await node.maintain();
      expect(await node.files()).toEqual(files);
      node.advance(1);
      expect(await node.shard.maintain()).toMatchObject({ failed: null, reapedBytes: expect.any(Number) });
      const [segment] = segmentsOf(node, SHORT);
      const left = await node.files();
      const lost = files.filter((key) => !left.includes(key));
      expect(lost).toEqual([expect.stringContaining(`${toHex(segment?.root ?? new Uint8Array())}.messages`)]);
      const byClass = new Map((await catalogued()).map(({ class: id, bytes }) => [id, bytes]));
      expect(byClass.get(segment?.class ?? 0)).toBeNull();
      expect([...byClass.values()].filter((bytes) => bytes !== null)).toHaveLength(1);
      expect(segment).toMatchObject({ dropped: null, largeCount: 0, gone: 2 });
      expect((await node.shard.eventsByTime(queryOf(LONG))).events).toHaveLength(3);
      drop(node, LONG);
      node.advance(REAP_AFTER_MS);
      await node.maintain();
      expect((await node.files()).every((key) => key.endsWith(".blocks.car"))).toBe(true);
      expect(await node.maintain()).toMatchObject({ reapedBytes: 0 });
      expect((await node.shard.eventsByTime(queryOf(LONG))).gone).toBe(2);
    }));

  test("expires, and is taken out of by records, as any other", () =>
    onSealingNode(async (node) => {
      await live(node);
      drop(node, SHORT);
      drop(node, LONG);
      const removal = memberRecord(SUBJECT, false, 1n, node.clock.nowMs());
      await node.shard.addRecords([removal]);
      node.advance(HOUR_MS);
      const { events, gone } = await node.shard.eventsByTime(queryOf(SHORT));
      expect([events.length, gone]).toEqual([0, 0]);
      expect((await compared(node)).ids).toEqual([]);
      node.advance(SHORT_MS);
      await node.handOver();
      for (let rounds = 0; rounds < 2; rounds++) {
        await node.maintain();
        node.advance(REAP_AFTER_MS);
      }
      expect(segmentsOf(node, SHORT)).toEqual([]);
      expect(await node.everyKeyIsHeld()).toBe(true);
      expect((await node.files()).every((key) => key.endsWith(".blocks.car"))).toBe(true);
    }));

  test("that expires before its messages are deleted leaves nothing behind", () =>
    onSealingNode(async (node) => {
      await live(node);
      node.advance(SHORT_MS);
      await node.handOver();
      drop(node, SHORT);
      for (let rounds = 0; rounds < 3; rounds++) {
        await node.maintain();
        node.advance(REAP_AFTER_MS);
      }
      expect(await node.everyKeyIsHeld()).toBe(true);
      expect((await node.shard.eventsByTime(queryOf(LONG))).events).toHaveLength(3);
    }));

  test("does nothing twice, nor to a segment that is not read", () =>
    onSealingNode(async (node) => {
      await live(node);
      drop(node, SHORT);
      const [first] = segmentsOf(node, SHORT);
      node.advance(HOUR_MS);
      drop(node, SHORT);
      expect(segmentsOf(node, SHORT)[0]?.dropped).toEqual(first?.dropped);
      const store = new TieredShardStore(new SqlShardStore(node.storage));
      store.transaction(() => store.index.dropMessages({ number: 99 }, 0));
      expect(store.index.withDropped.map(({ number }) => number)).toEqual([first?.number]);
    }));
});

test.each(FAULT_KINDS)("a deletion of messages that is cut at each call in turn is made again: %s", (kind) =>
  onSealingNode(async (node) => {
    let cuts = 0;
    for (let call = 1; ; call++) {
      await live(node);
      drop(node, SHORT);
      node.advance(REAP_AFTER_MS);
      const expected = await node.everything();
      node.faults.failAt(call, kind);
      const { failed } = await node.maintain();
      const isCut = node.faults.calls.length >= call;
      node.faults.clear();
      expect(failed).toBe(isCut ? "storage_unavailable" : null);
      node.restart();
      expect(await node.everything()).toEqual(expected);
      await node.maintain();
      expect(segmentsOf(node, SHORT).every(({ dropped }) => dropped === null)).toBe(true);
      const sealed = (await catalogued()).filter(({ bytes }) => bytes === null);
      expect(sealed.length).toBe(segmentsOf(node, SHORT).length);
      if (!isCut) break;
      cuts++;
    }
    expect(cuts).toBeGreaterThanOrEqual(2);
  }),
);

describe("an event that came without its message", () => {
  type Whole = ReturnType<typeof forgeEvent>;
  const bare = (event: WireEvent): WireEvent => ({ ...event, message: null });
  const many = (count: number) =>
    Array.from({ length: count }, (_, n) =>
      forgeEvent({ topic: SHORT, ts: n, message: `m${n}`, timeMs: START_MS - 9_000 + n }),
    );
  const seen = async (node: SealingNode, topic = SHORT) => {
    const { events, gone } = await node.shard.eventsByTime(queryOf(topic));
    return { messages: events.map(({ message }) => new TextDecoder().decode(message)), gone };
  };
  const untilDue = async (node: SealingNode) => {
    node.advance(HOUR_MS);
    await node.shard.wake();
    await node.handOver();
    node.advance(20 * HOUR_MS);
    await node.maintain();
    node.advance(49 * HOUR_MS);
  };

  test("is filled in while it is hot, also in a closed partition, and when it is sealed", () =>
    onSealingNode(async (node) => {
      const [early, late, never] = many(3) as [Whole, Whole, Whole];
      await node.shard.ingest([early, late, never].map(bare), "peer", []);
      await untilDue(node);
      expect(await node.shard.ingest([early], "peer", [])).toMatchObject({ stored: 1 });
      expect(await seen(node)).toEqual({ messages: ["m0"], gone: 2 });
      for (let rounds = 0; rounds < 2; rounds++) await node.maintain();
      expect(segmentsOf(node, SHORT)).toMatchObject([{ gone: 2 }]);
      expect(await node.shard.ingest([late], "peer", [])).toMatchObject({ stored: 1 });
      expect(await node.shard.ingest([late], "peer", [])).toMatchObject({ stored: 0, known: 1 });
      expect((await seen(node)).messages.sort()).toEqual(["m0", "m1"]);
      expect(await node.shard.event(digestOfId(never.id))).toMatchObject({ message: null, why: "absent" });
      drop(node, SHORT);
      expect(await node.shard.event(digestOfId(never.id))).toMatchObject({ message: null, why: "absent" });
    }));

  test("whose message comes while it is being sealed is there once", () =>
    onSealingNode(async (node) => {
      const events = many(3) as [Whole, Whole, Whole];
      await node.shard.ingest(events.map(bare), "peer", []);
      await untilDue(node);
      node.faults.failAt(Number.POSITIVE_INFINITY, "throws before");
      const maintaining = node.maintain();
      // Until the first file is on its way.
      for (let turns = 0; turns < 10_000 && node.faults.calls.length === 0; turns++) await Promise.resolve();
      const { known } = await node.shard.ingest(events, "peer", []);
      await maintaining;
      for (let rounds = 0; rounds < 2; rounds++) await node.maintain();
      expect(segmentsOf(node, SHORT)).toMatchObject([{ gone: known }]);
      expect(known).toBe(3);
      expect(await seen(node)).toEqual({ messages: [], gone: 3 });
      expect([node.hotRows(), (await compared(node)).ids.length]).toEqual([0, 3]);
    }));

  test.each(FAULT_KINDS)("that is being sealed stays as it is, wherever the seal is cut: %s", (kind) =>
    onSealingNode(async (node) => {
      let cuts = 0;
      for (let call = 1; ; call++) {
        const seq = (n: number) => node.clock.nowMs() - 9_000 + n;
        const events = [0, 1, 2].map((n) =>
          forgeEvent({ topic: LONG, ts: 10 * call + n, message: `m${10 * call + n}`, timeMs: seq(n) }),
        );
        const before = await seen(node, LONG);
        await node.shard.ingest(events.map(bare), "peer", []);
        await untilDue(node);
        node.faults.failAt(call, kind);
        await node.maintain();
        const isCut = node.faults.calls.length >= call;
        node.faults.clear();
        if (isCut) node.restart();
        const { stored, known } = await node.shard.ingest(events, "peer", []);
        expect(stored + known).toBe(3);
        for (let rounds = 0; rounds < 3; rounds++) await node.maintain();
        const after = await seen(node, LONG);
        expect(after.messages.length - before.messages.length).toBe(stored);
        expect(after.gone - before.gone).toBe(known);
        expect(new Set(after.messages).size).toBe(after.messages.length);
        expect((await compared(node)).ids).toHaveLength(3 * call);
        if (!isCut) break;
        cuts++;
      }
      expect(cuts).toBeGreaterThanOrEqual(2);
    }),
  );
});
