import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { forgeEvent, keyOf, memberRecord, network, START_MS, signers } from "../testing/shard-world.ts";
import { REAP_AFTER_MS } from "./reaping.ts";

/** What expires in a shard's hot tier goes with its partition, and with all that derives from it. */

const DAY_MS = 24 * 3_600_000;
const SHORT = "plain";
const LONG = "/xmtp/0/contact-long/proto";
const SHORT_MS = network.classOf(utf8(SHORT)).durationMs as number;
const OTHER = signers[1] as Signer;

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

const rowsOf = (node: SealingNode, table: string): number =>
  node.storage.sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${table}`).one().n;
const derived = (node: SealingNode) => [
  rowsOf(node, "heads"),
  rowsOf(node, "unmet"),
  rowsOf(node, "removed"),
];

/** An id of some time that nothing has. */
function madeUp(topic: string, timeMs: number) {
  const id = new Uint8Array(40).fill(1);
  id.set(forgeEvent({ topic, timeMs }).id.subarray(0, 8));
  return id;
}

/** Siblings, of which the first has a parent that nobody has. */
const ingestSiblings = (node: SealingNode, topic: string, signer?: Signer) =>
  node.shard.ingest(
    [0, 1, 2].map((n) =>
      forgeEvent({
        topic,
        ts: n,
        timeMs: START_MS - 5_000 + n,
        links: n === 0 ? [madeUp(topic, START_MS - 9_000)] : [],
        ...(signer ? { signer } : {}),
      }),
    ),
    "peer",
    [],
  );

/** The partition is closed, and later dropped. */
async function sealAll(node: SealingNode, pauseMs: number): Promise<void> {
  node.advance(DAY_MS);
  await node.shard.wake();
  await node.handOver();
  await node.maintain();
  node.advance(pauseMs);
  await node.handOver();
  await node.maintain();
}

describe("a partition that is dropped", () => {
  test("takes heads and notes along of what expired while it was hot, and of nothing else", () =>
    onSealingNode(async (node) => {
      await ingestSiblings(node, SHORT);
      await ingestSiblings(node, LONG);
      expect(derived(node)).toEqual([4, 2, 0]);
      await sealAll(node, SHORT_MS + 4 * DAY_MS);
      expect(node.hotRows()).toBe(0);
      expect(rowsOf(node, "segments")).toBe(1);
      expect(derived(node)).toEqual([2, 1, 0]);
      expect(await node.shard.heads(utf8(LONG), keyOf(LONG))).toHaveLength(3);
      expect(await node.shard.scrub()).toMatchObject({ roots: 0, heads: 0, wants: 0 });
    }));

  test("takes notes on removed events along when they would have expired", () =>
    onSealingNode(async (node) => {
      await ingestSiblings(node, SHORT, signers[2] as Signer);
      await ingestSiblings(node, SHORT, OTHER);
      await node.shard.addRecords([memberRecord(OTHER, false, 0n, node.clock.nowMs())]);
      await vi.waitFor(() => expect(rowsOf(node, "removed")).toBe(3));
      await sealAll(node, SHORT_MS + 4 * DAY_MS);
      expect(derived(node)).toEqual([0, 0, 0]);
    }));

  test("leaves what has not expired as it is, when it is sealed in time", () =>
    onSealingNode(async (node) => {
      await ingestSiblings(node, SHORT);
      await sealAll(node, 3 * DAY_MS);
      expect([node.hotRows(), rowsOf(node, "segments")]).toEqual([0, 1]);
      expect(derived(node)).toEqual([2, 1, 0]);
    }));
});

test("a seal that was cut leaves no file when its events expire before it goes on", () =>
  onSealingNode(async (node) => {
    for (let call = 1; ; call++) {
      const ts = node.clock.nowMs();
      await node.shard.ingest(
        [forgeEvent({ topic: SHORT, ts: call, timeMs: ts - 5_000, message: "x".repeat(70_000) })],
        "peer",
        [],
      );
      node.advance(DAY_MS);
      await node.handOver();
      await node.maintain();
      node.advance(3 * DAY_MS);
      node.faults.failAt(call, "throws after");
      const { failed } = await node.maintain();
      const isCut = node.faults.calls.length >= call;
      node.faults.clear();
      expect(failed).toBe(isCut ? "storage_unavailable" : null);
      node.restart();
      expect(await node.everyKeyIsHeld()).toBe(true);
      node.advance(SHORT_MS + DAY_MS);
      await node.handOver();
      for (let rounds = 0; rounds < 3; rounds++) {
        await node.maintain();
        node.advance(REAP_AFTER_MS);
      }
      expect([await node.files(), rowsOf(node, "segments"), node.hotRows()]).toEqual([[], 0, 0]);
      if (!isCut) break;
      expect(call).toBeLessThan(100);
    }
  }));

test("two events of one seq are proved, though one is sealed, once its file can be read", () =>
  onSealingNode(async (node) => {
    const at = { topic: LONG, signer: OTHER, timeMs: START_MS - 5_000 };
    const [first, second] = [forgeEvent({ ...at, ts: 1 }), forgeEvent({ ...at, ts: 2 })];
    expect(toHex(first.id.subarray(0, 8))).toBe(toHex(second.id.subarray(0, 8)));
    await node.shard.ingest([first], "peer", []);
    await sealAll(node, 3 * DAY_MS);
    expect(node.hotRows()).toBe(0);
    node.faults.failAt(1, "throws before");
    await node.shard.ingest([second], "peer", []);
    await vi.waitFor(() => expect(node.faults.calls.length).toBeGreaterThan(0));
    await Promise.resolve();
    expect((await node.evidence.proofs(OTHER.publicKey, null, 10)).proofs).toEqual([]);
    node.faults.clear();
    await vi.waitFor(async () => {
      node.advance(5_000);
      expect((await node.evidence.proofs(OTHER.publicKey, null, 10)).proofs).toHaveLength(1);
    });
    const [proof] = (await node.evidence.proofs(OTHER.publicKey, null, 10)).proofs;
    const blocks = [proof?.first.block, proof?.second.block];
    for (const { block } of [first, second])
      expect(blocks.some((each) => each && equalBytes(each, block))).toBe(true);
  }));
