import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { envelopeDigest } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { Cursor } from "../../protocol/peer-messages.ts";
import { readSegment } from "../../protocol/segment-file.ts";
import { suite } from "../platform-suite.ts";
import { ASK, segmentOf } from "../testing/held-segments.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { envelopeOf, forgeEvent, START_MS, signers, TOPICS } from "../testing/shard-world.ts";

/** What a backup reads of a shard: the list of its hot events, and its segments. */

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

async function namesAfter({ shard }: SealingNode, after: Cursor | null, limit = 4) {
  const names: string[] = [];
  for (let cursor = after; ; ) {
    const page = await shard.listHot(cursor, limit);
    names.push(...page.names.map(({ id }) => toHex(id)));
    cursor = page.cursor;
    if (!page.more) return { names, cursor, oldest: page.oldest };
  }
}

/** The digests of all sealed events' blocks. */
async function sealedDigests({ shard }: SealingNode): Promise<string[]> {
  const digests: string[] = [];
  for (const { root } of await shard.listSegments(0, 1_000)) {
    const file = await shard.readSegmentFile({ shard: 0, root, file: "blocks", offset: 0, length: 2 ** 24 });
    if (!file) throw new Error("a listed segment has a file");
    digests.push(...readSegment(file, suite).events.map(({ block }) => toHex(suite.sha256(block))));
  }
  return digests;
}

test("the hot events, read before the list of segments, are with those all that there are, while partitions are dropped", () =>
  onSealingNode(async (node) => {
    const published = new Set<string>();
    let cursor: Cursor | null = null;
    let oldest = 0;
    /** What was read in batches, with the position up to which. */
    let batches: { readonly upTo: number; readonly names: string[] }[] = [];
    for (let day = 0; day < 6; day++) {
      for (let n = 0; n < 6; n++) {
        node.advance(4 * HOUR_MS);
        const nowNs = BigInt(node.clock.nowMs()) * 1_000_000n;
        const made = await node.shard.publish(TOPICS.map((topic) => envelopeOf(topic, nowNs, `${day} ${n}`)));
        for (const { id } of made) published.add(toHex(id));
        await node.maintain();
      }
      const read = await namesAfter(node, cursor);
      ({ cursor, oldest } = read);
      batches = [
        ...batches.filter(({ upTo }) => upTo > read.oldest),
        { upTo: cursor.position, names: read.names },
      ];
      const found = new Set(batches.flatMap(({ names }) => names.map((id) => id.slice(16))));
      for (const digest of await sealedDigests(node)) found.add(digest);
      expect([...published].filter((id) => !found.has(id.slice(16)))).toEqual([]);
    }
    expect(oldest).toBeGreaterThan(0);
    expect(batches.length).toBeLessThan(6);
  }));

test("events that came before others were adopted are listed still, where a peer's pull begins behind them", () =>
  onSealingNode(async (node) => {
    const [first] = await node.shard.publish([envelopeOf(TOPICS[1], 1, "hot")]);
    const events = Array.from({ length: 200 }, (_, n) =>
      forgeEvent({
        ...{ topic: TOPICS[0], ts: n, message: `${n}`, links: [], signer: signers[1] as never },
        seq: firstSeqOf(START_MS - HOUR_MS + n),
      }),
    );
    const { files } = segmentOf(
      events.map(({ id, fields, signature, block, message }) => ({
        ...{ topicKey: suite.sha256(fields.topic), id, origin: fields.origin, msg: fields.msg },
        ...{ size: fields.size, signature, block, message },
        timeKey: concatBytes(uint64Bytes(fields.ts), envelopeDigest(fields.topic, message, suite)),
      })),
    );
    expect((await node.shard.adopt(files, ASK)).stored).toBe(200);
    expect((await node.shard.pull(null, 10)).names).toEqual([]);
    const { names } = await namesAfter(node, null);
    expect(names).toEqual([toHex(first?.id as Uint8Array)]);
  }));

test("a cursor of another life, or beyond the end, begins anew, and says so", () =>
  onSealingNode(async ({ shard }) => {
    await shard.publish([1, 2, 3].map((n) => envelopeOf(TOPICS[0], n, `${n}`)));
    const { cursor } = await shard.listHot(null, 2);
    expect(await shard.listHot(cursor, 2)).toMatchObject({ restart: false, more: false, names: [{}] });
    for (const other of [
      { ...cursor, generation: new Uint8Array(8).fill(7) },
      { ...cursor, position: 4 },
    ])
      expect(await shard.listHot(other, 10)).toMatchObject({ restart: true, names: [{}, {}, {}] });
    expect(await shard.listHot(null, 0)).toMatchObject({ names: [], more: true, restart: false });
  }));
