import { env } from "cloudflare:workers";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { envelopeOf, keyOf, TOPICS } from "../testing/shard-world.ts";

/** What a shard gives of its segments to others. */

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

const largeText = "x".repeat(70_000);

const onSealed = (work: (node: SealingNode) => Promise<void>) =>
  onSealingNode(async (node) => {
    await node.shard.publish([envelopeOf(TOPICS[2], 1, largeText)]);
    await node.publishDaily(6);
    await work(node);
  });

const whole = { offset: 0, length: 1_000_000 };

test("segments are listed by their numbers, in pages", () =>
  onSealed(async ({ shard }) => {
    const all = await shard.listSegments(0, 1_000);
    expect(all.length).toBeGreaterThan(4);
    const paged = [];
    for (let after = 0; ; ) {
      const [segment] = await shard.listSegments(after, 1);
      if (!segment) break;
      paged.push(segment);
      after = segment.number;
    }
    expect(paged).toEqual(all);
  }));

test("their files are given in parts, up to their ends", () =>
  onSealed(async ({ shard }) => {
    const [segment] = await shard.listSegments(0, 1);
    if (!segment) return expect.unreachable();
    const { root } = segment;
    const object = await env.BUCKET.get(`segments/1/0/${toHex(root)}.blocks.car`);
    const bytes = new Uint8Array((await object?.arrayBuffer()) as ArrayBuffer);
    const read = (offset: number, length: number) =>
      shard.readSegmentFile({ shard: 0, root, file: "blocks", offset, length });
    expect(await read(0, 1_000_000)).toEqual(bytes);
    expect(await read(10, 20)).toEqual(bytes.slice(10, 30));
    expect(await read(bytes.length - 5, 20)).toEqual(bytes.slice(-5));
    expect([await read(bytes.length, 1), await read(2 ** 32 - 1, 1)]).toEqual([null, null]);
  }));

test("so are large messages, if they are what their names say", () =>
  onSealed(async ({ shard, files }) => {
    const [segment] = await shard.listSegments(0, 1);
    const file = suite.sha256(utf8(largeText));
    const read = () => shard.readSegmentFile({ shard: 0, root: segment?.root as Bytes, file, ...whole });
    expect(await read()).toEqual(utf8(largeText));
    const [key] = (await files()).filter((each) => each.startsWith("large/"));
    await env.BUCKET.put(key as string, "other");
    expect(await read()).toBeNull();
    await env.BUCKET.delete(key as string);
    expect(await read()).toBeNull();
  }));

test("nothing is given of what is not read any more, nor of what was never there", () =>
  onSealed(async (node) => {
    const [first] = await node.shard.listSegments(0, 1);
    const of = (root: Bytes) => node.shard.readSegmentFile({ shard: 0, root, file: "blocks", ...whole });
    expect(await of(new Uint8Array(32))).toBeNull();
    node.advance(200 * 24 * HOUR_MS);
    await node.handOver();
    node.advance(HOUR_MS);
    await node.maintain();
    expect(await of(first?.root as Bytes)).toBeNull();
  }));

test("the events of a span are counted in both tiers, up to a limit", () =>
  onSealed(async ({ shard }) => {
    const bucket = bucketOf(keyOf(TOPICS[0]));
    const classId = (await shard.listSegments(0, 1_000)).find(
      (each) => each.firstBucket <= bucket && bucket <= each.lastBucket,
    )?.class as number;
    const count = (part: object, limit = 1_000) =>
      shard.countWithin(
        { class: classId, firstBucket: bucket, lastBucket: bucket, from: 0, to: 2 ** 31, ...part },
        limit,
      );
    expect(await count({})).toBe(36);
    expect(await count({}, 7)).toBe(7);
    expect(await count({ class: 99 })).toBe(0);
    expect(await count({ firstBucket: bucket + 1 })).toBe(0);
    const [segment] = await shard.listSegments(0, 1_000);
    const first = await count({ to: segment?.to });
    expect(first).toBeGreaterThan(0);
    expect(first + (await count({ from: segment?.to }))).toBe(36);
  }));
