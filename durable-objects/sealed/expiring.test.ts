import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { envelopeOf, forgeEvent, keyOf, network, START_MS } from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import { REAP_AFTER_MS } from "./reaping.ts";

/** What a shard has sealed goes when it has expired: from what is read, from D1 and from R2. */

const DAY_MS = 24 * 3_600_000;
const SHORT = "plain";
const LONG = "/xmtp/0/contact-long/proto";
const SHORT_CLASS = network.classOf(utf8(SHORT)).id;
const SHORT_MS = network.classOf(utf8(SHORT)).durationMs as number;

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

const large = "x".repeat(70_000);

/** Two events a day in each topic, while the tree is asked for as the sync object asks. */
async function live(node: SealingNode, days: number): Promise<void> {
  for (let half = 0; half < days * 2; half++) {
    const text = half % 8 === 0 ? `${large} ${half}` : `text ${half}`;
    const ts = node.clock.nowMs();
    await node.shard.publish([envelopeOf(SHORT, ts, text), envelopeOf(LONG, ts, text)]);
    node.advance(DAY_MS / 2);
    await node.handOver();
    await node.maintain();
  }
}

const idsOf = async (node: SealingNode, topic: string) =>
  (await node.shard.eventsByCause(utf8(topic), keyOf(topic), null, 10_000)).events.map(({ id }) => toHex(id));

/** Segments in the catalogue, of all classes or one. */
async function catalogued(classId: number | null = null): Promise<number> {
  const query =
    "SELECT count(*) AS n FROM segments WHERE shard_count = 1 AND shard = ?1 AND class = coalesce(?2, class)";
  return (await env.DB.prepare(query).bind(0, classId).first<{ n: number }>())?.n ?? 0;
}

const rowsOf = (node: SealingNode, table: string): number =>
  node.storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${table}`).one().n;

describe("a shard over more days than its events last", () => {
  test("has no more files, entries and parts than its classes say, and reads what they say", () =>
    onSealingNode(async (node) => {
      const days = SHORT_MS / DAY_MS;
      await live(node, days + 20);
      const expected = 2 * days;
      const short = await idsOf(node, SHORT);
      expect(short.length).toBeGreaterThanOrEqual(expected - 1);
      expect(short.length).toBeLessThanOrEqual(expected + 1);
      expect(await idsOf(node, LONG)).toHaveLength(2 * (days + 20));
      const counts = [(await node.files()).length, await catalogued(), rowsOf(node, "segments")];
      await live(node, 10);
      // What ten days are of the class that is kept for ever; the other has as much as before.
      const grown = [(await node.files()).length, await catalogued(), rowsOf(node, "segments")];
      expect((grown[0] as number) - (counts[0] as number)).toBeLessThanOrEqual(2 * 14);
      expect((grown[1] as number) - (counts[1] as number)).toBeLessThanOrEqual(14);
      expect(grown[1]).toBe(grown[2]);
    }));

  test("shows nothing that has expired, and deletes it two slots later, when the hash tree has left it", () =>
    onSealingNode(async (node) => {
      await live(node, 6);
      const segments = await catalogued(SHORT_CLASS);
      expect(segments).toBeGreaterThan(1);
      node.advance(SHORT_MS + 2 * DAY_MS);
      expect(await idsOf(node, SHORT)).toEqual([]);
      // Nobody has asked for the tree since: what leaves its range is still to be read.
      await node.maintain();
      expect(await catalogued(SHORT_CLASS)).toBeGreaterThanOrEqual(segments);
      const asOf = await node.handOver();
      expect(asOf).toBe(newestAsOf(node.clock.nowMs()));
      await node.maintain();
      node.advance(REAP_AFTER_MS);
      await node.maintain();
      expect(await catalogued(SHORT_CLASS)).toBe(0);
      expect(await node.everyKeyIsHeld()).toBe(true);
      expect((await node.shard.scrub()).roots).toBe(0);
    }));

  test("keeps a large message that another event has", () =>
    onSealingNode(async (node) => {
      await node.shard.publish([envelopeOf(SHORT, 1, large), envelopeOf(LONG, 1, large)]);
      node.advance(DAY_MS);
      await node.handOver();
      for (let rounds = 0; rounds < 3; rounds++) {
        await node.maintain();
        node.advance(3 * DAY_MS);
      }
      node.advance(SHORT_MS);
      await node.handOver();
      for (let rounds = 0; rounds < 2; rounds++) {
        await node.maintain();
        node.advance(REAP_AFTER_MS);
      }
      const { events } = await node.shard.eventsByCause(utf8(LONG), keyOf(LONG), null, 10);
      expect(events.map(({ message }) => message.length)).toEqual([large.length]);
      expect(await node.everyKeyIsHeld()).toBe(true);
    }));

  test("forgets the heads and notes of what expired", () =>
    onSealingNode(async (node) => {
      const orphan = new Uint8Array(40).fill(1);
      orphan.set(forgeEvent({ topic: SHORT, timeMs: START_MS - 9_000 }).id.subarray(0, 8));
      for (let n = 0; n < 3; n++)
        await node.shard.ingest(
          [forgeEvent({ topic: SHORT, ts: n, timeMs: START_MS - 5_000 + n, links: n === 0 ? [orphan] : [] })],
          "peer",
          [],
        );
      node.advance(DAY_MS);
      await node.shard.wake();
      await node.handOver();
      expect([rowsOf(node, "heads"), rowsOf(node, "unmet")]).toEqual([2, 1]);
      await live(node, SHORT_MS / DAY_MS + 6);
      expect([rowsOf(node, "heads"), rowsOf(node, "unmet")]).toEqual([0, 0]);
    }));
});

test.each(FAULT_KINDS)("an end that is cut at each call in turn is made again: %s", (kind) =>
  onSealingNode(async (node) => {
    let cuts = 0;
    for (let call = 1; ; call++) {
      await live(node, 4);
      node.advance(SHORT_MS + 4 * DAY_MS);
      await node.handOver();
      await node.maintain();
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
      node.advance(REAP_AFTER_MS);
      await node.maintain();
      expect(await node.everyKeyIsHeld()).toBe(true);
      if (!isCut) break;
      cuts++;
    }
    expect(cuts).toBeGreaterThanOrEqual(2);
  }),
);
