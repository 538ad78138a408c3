import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { envelopeOf, keyOf, TOPICS } from "../testing/shard-world.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { TIER_GROUPS } from "./merge-policy.ts";
import { SealedIndex } from "./sealed-index.ts";

/** A shard over months: it seals and merges on a real SQLite, R2 and D1, whose clock goes as the test says. */

const DAYS = 120;
/** One of 90 days, one that is kept for ever, one of 30 days. */
const [LONG, HOURLY, SHORT] = TOPICS;
/** Twice in the time of a partition. */
const HOURS_OF_TURN = 9;

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

function envelope(node: SealingNode, topic: string, hoursAgo = 0) {
  const atMs = node.clock.nowMs() - hoursAgo * HOUR_MS;
  return envelopeOf(topic, BigInt(atMs) * 1_000_000n, `at ${atMs}`);
}

/** How many groups each class has. */
function groupsOf(node: SealingNode): number[] {
  const { segments } = new SealedIndex(new SqlShardStore(node.storage).sealed);
  const byClass = Map.groupBy(segments, (each) => each.class);
  return [...byClass.values()].map((own) => new Set(own.map(({ group }) => group)).size);
}

/** Reads of R2 for the newest page of a topic before a time. */
async function readsOfPage(node: SealingNode, topic: string, untilMs: number): Promise<number> {
  node.faults.clear();
  const query = { topic: utf8(topic), topicKey: keyOf(topic), startNs: 0n, maxBytes: 1e7, after: null };
  const endNs = BigInt(untilMs) * 1_000_000n;
  const page = await node.shard.query({ ...query, endNs, limit: 100, isDescending: true });
  expect(page.timeKeys.length / 40).toBe(100);
  return node.faults.calls.length;
}

describe("a shard that seals and merges over months", () => {
  test(
    "has few groups, reads a page with few reads, and says at each time what it said before it merged",
    () =>
      onSealingNode(async (node) => {
        let merged = 0;
        for (let hour = 0; hour < DAYS * 24; hour += HOURS_OF_TURN) {
          node.advance(HOURS_OF_TURN * HOUR_MS);
          const hourly = Array.from({ length: HOURS_OF_TURN }, (_, ago) => envelope(node, HOURLY, ago));
          await node.shard.publish([...hourly.reverse(), envelope(node, LONG), envelope(node, SHORT)]);
          await node.handOver();
          const before = hour % (12 * HOURS_OF_TURN) === 0 ? await node.everything() : undefined;
          const { failed, mergedGroups } = await node.maintain();
          expect(failed).toBeNull();
          merged += mergedGroups;
          if (before) expect(await node.everything()).toEqual(before);
        }
        expect(merged).toBeGreaterThan(3 * TIER_GROUPS * 30);
        // Of 150 partitions of the class that is kept for ever, 120 and 40 of the others.
        for (const groups of groupsOf(node)) expect(groups).toBeLessThanOrEqual(16);
        for (let days = 0; days < DAYS - 10; days += 10) {
          const untilMs = node.clock.nowMs() - days * 24 * HOUR_MS;
          expect(await readsOfPage(node, HOURLY, untilMs)).toBeLessThanOrEqual(8);
        }
        node.advance(HOUR_MS);
        await node.maintain();
        expect(await node.everyKeyIsHeld()).toBe(true);
      }),
    180_000,
  );
});
