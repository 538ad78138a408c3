import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ASK, segmentOf, toSegmentEvent } from "../../durable-objects/testing/held-segments.ts";
import type { MemoryArchive } from "../../durable-objects/testing/memory-archive.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import {
  decodeFilePart,
  decodeFilePartAnswer,
  decodeSegmentsAnswer,
  encodeFilePartAnswer,
  encodeSegmentsAnswer,
} from "../../protocol/segment-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { BUCKETS, shardOf, topicKey } from "../../protocol/topic.ts";
import type { MemoryNode } from "../testing/memory-network.ts";
import { Pair } from "../testing/node-pair.ts";

/** A node that is new, or was away, copies what a peer has in segments. */

/** So many that segments are worth it. */
const EVENTS = 1_600;
const MANY_LACKING = 400;
const TOPICS = 24;

beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());

const topicOf = (n: number): string => `${n % 2 ? "kept" : "topic"} ${n % TOPICS}`;

const pairOf = (a: number, b: number): Pair =>
  new Pair({ shardCount: a, manyLacking: MANY_LACKING }, { shardCount: b, manyLacking: MANY_LACKING });

let made = 0;
/** Events of some slots, told by how many they lie back. */
const eventsOf = (pair: Pair, count = EVENTS, from = 4, to = 94): EncodedEvent[] =>
  Array.from({ length: count }, (_, n) => pair.event(made++, topicOf(n), from + (n % (to - from))));

/** Waits for work that lets others have their turns. */
async function done<T>(pair: Pair, work: Promise<T>): Promise<T> {
  let isDone = false;
  const noted = work.finally(() => {
    isDone = true;
  });
  noted.catch(() => {});
  for (let turns = 0; !isDone; turns++) {
    if (turns > 20_000) throw new Error("it never ends");
    await pair.world.pass(0);
  }
  return noted;
}

/** Gives a node events that it has sealed. */
async function seal(pair: Pair, node: MemoryNode, events: readonly EncodedEvent[]): Promise<void> {
  const groups = Map.groupBy(
    events,
    ({ fields }) => `${shardOf(topicKey(fields.topic, suite), node.shards.length)} ${fields.class}`,
  );
  for (const [name, group] of groups) {
    const { blocks, messages } = segmentOf(group.map(toSegmentEvent)).files;
    const shard = node.shards[Number(name.split(" ")[0])];
    for (const event of group)
      if (event.message && event.message.length > MAX_INLINE_MESSAGE_BYTES)
        await shard?.keepLarge(event.message);
    expect(
      (await done(pair, shard?.adopt({ blocks, messages }, ASK) as Promise<{ stored: number }>)).stored,
    ).toBe(group.length);
  }
}

const all = { fromBucket: 0, toBucket: BUCKETS, class: null };

/** The events of a node, read from both tiers. */
async function eventsAt(node: MemoryNode, asOf: number): Promise<string[]> {
  const blocks: string[] = [];
  for (const shard of node.shards)
    for (let after = null; ; ) {
      const page = await shard.listRange({ ...all, asOf, after });
      blocks.push(...page.events.map(({ block, message }) => toHex(suite.sha256(block)) + message?.length));
      if (!page.next) break;
      after = page.next as never;
    }
  return blocks.sort();
}

async function expectSame(pair: Pair): Promise<void> {
  const asOf = newestAsOf(pair.world.clock.nowMs());
  expect(await eventsAt(pair.a, asOf)).toEqual(await eventsAt(pair.b, asOf));
  for (const [from, to] of [
    [pair.a, pair.b],
    [pair.b, pair.a],
  ] as const)
    expect(await done(pair, pair.sync(from, to))).toMatchObject({ outcome: "same", received: 0, sent: 0 });
}

const hotOf = (node: MemoryNode): number =>
  node.stores.reduce((sum, store) => sum + store.namesAfter(0, 1e6).length, 0);
const asked = (pair: Pair, from: MemoryNode) =>
  pair.world.log
    .filter((line) => line.split(" ")[1] === from.url)
    .map((line) => line.split("/").slice(3).join("/").split(" ")[0]);

test.each([
  [1, 1],
  [4, 1],
  [1, 4],
])(
  "a new node with %i shards has what a node with %i has, of which only those that are few move one by one",
  async (a, b) => {
    const pair = pairOf(a, b);
    const events = eventsOf(pair);
    await seal(pair, pair.b, events.slice(200));
    await pair.give(pair.b, events.slice(0, 200));
    const report = await done(pair, pair.sync(pair.a, pair.b));
    expect(report).toMatchObject({ outcome: "different", received: EVENTS, sent: 0 });
    // What comes in files that have few of a shard's events goes the way of all that comes.
    expect(hotOf(pair.a)).toBeLessThan(EVENTS / 4);
    expect(report.requests).toBeLessThan(60);
    await expectSame(pair);
  },
);

test("a node that was away copies the segments that it lacks wholly, and fetches the rest", async () => {
  const pair = pairOf(2, 2);
  const old = eventsOf(pair, 800, 60, 94);
  const [partly, fresh] = [eventsOf(pair, 800, 50, 60), eventsOf(pair, EVENTS, 4, 50)];
  for (const node of [pair.a, pair.b]) await seal(pair, node, old);
  await seal(pair, pair.b, partly);
  // Half of it is in each segment.
  await pair.give(
    pair.a,
    partly.filter((_, n) => n % 4 < 2),
  );
  await seal(pair, pair.b, fresh);
  const before = hotOf(pair.a);
  const report = await done(pair, pair.sync(pair.a, pair.b));
  expect(report.received).toBe(fresh.length + 400);
  expect(hotOf(pair.a) - before).toBe(400);
  await expectSame(pair);
});

test("large messages come with their segments", async () => {
  const pair = pairOf(1, 1);
  const large = (n: number) => `${n}`.repeat(MAX_INLINE_MESSAGE_BYTES + 1);
  const events = eventsOf(pair);
  const withLarge = [
    ...events,
    pair.event(9_001, topicOf(0), 5, large(1)),
    pair.event(9_002, topicOf(1), 6, large(2)),
  ];
  await seal(pair, pair.b, withLarge);
  const report = await done(pair, pair.sync(pair.a, pair.b));
  expect(report.received).toBe(withLarge.length);
  expect(hotOf(pair.a)).toBe(0);
  await expectSame(pair);
});

describe("pages bring what segments cannot", () => {
  const scene = async () => {
    const pair = pairOf(1, 1);
    await seal(pair, pair.b, eventsOf(pair));
    const { world } = pair;
    const send = world.send.bind(world);
    const answerAs = (
      change: (path: string, answer: () => Promise<Bytes>, body: Bytes) => Promise<Bytes>,
    ) => {
      world.send = (from, to, path, body) => change(path, () => send(from, to, path, body), body);
    };
    return { pair, answerAs };
  };

  test("from a peer that has never heard of them", async () => {
    const { pair, answerAs } = await scene();
    answerAs((path, answer) => {
      if (path.includes("segments")) throw unavailable("peer_refused", "404", { status: 404 });
      return answer();
    });
    expect((await done(pair, pair.sync(pair.a, pair.b))).received).toBe(EVENTS);
    expect(hotOf(pair.a)).toBe(EVENTS);
    await pair.world.pass(60_000);
    await expectSame(pair);
  });

  test("when this node's own storage fails", async () => {
    const { pair } = await scene();
    const shard = pair.a.shards[0] as unknown as { ports: { tier: { archive: MemoryArchive } } };
    shard.ports.tier.archive.faults.failAt(1, "throws before");
    expect((await done(pair, pair.sync(pair.a, pair.b))).received).toBe(EVENTS);
    expect(hotOf(pair.a)).toBe(EVENTS);
    await expectSame(pair);
  });

  test.each<[string, (path: string, answer: Bytes, body: Bytes) => Bytes]>([
    [
      "files are damaged",
      (path, answer, body) => {
        if (!path.endsWith("/file") || decodeFilePart(body).file !== "blocks") return answer;
        const bytes = decodeFilePartAnswer(answer)?.slice() ?? new Uint8Array();
        bytes[1_000] = (bytes[1_000] ?? 0) ^ 1;
        return encodeFilePartAnswer(bytes);
      },
    ],
    ["files are not there", (path, answer) => (path.endsWith("/file") ? encodeFilePartAnswer(null) : answer)],
    [
      "files are shorter than was said",
      (path, answer) =>
        path.endsWith("/file")
          ? encodeFilePartAnswer(decodeFilePartAnswer(answer)?.slice(1) ?? null)
          : answer,
    ],
    [
      "segments are said to be elsewhere",
      (path, answer) => {
        if (!path.endsWith("/segments")) return answer;
        const { segments, next } = decodeSegmentsAnswer(answer);
        const moved = segments.map((each) => ({ ...each, firstBucket: 4_000, lastBucket: 3 }));
        return encodeSegmentsAnswer({ segments: moved, next });
      },
    ],
    [
      "segments are said to be huge",
      (path, answer) => {
        if (!path.endsWith("/segments")) return answer;
        const { segments, next } = decodeSegmentsAnswer(answer);
        return encodeSegmentsAnswer({
          segments: segments.map((each) => ({ ...each, blocksBytes: 2 ** 32 - 1 })),
          next,
        });
      },
    ],
  ])("when %s", async (_, change) => {
    const { pair, answerAs } = await scene();
    answerAs(async (path, answer, body) => change(path, await answer(), body));
    expect((await done(pair, pair.sync(pair.a, pair.b))).received).toBe(EVENTS);
    await expectSame(pair);
    expect((await pair.a.conduct.conductRecords()).length).toBe(0);
  });

  test("a list that does not go on ends, and is not asked for again for an hour", async () => {
    const { pair, answerAs } = await scene();
    let lists = 0;
    let isLying = true;
    answerAs(async (path, answer) => {
      if (path.endsWith("/segments")) lists++;
      if (path.endsWith("/segments"))
        return encodeSegmentsAnswer({ segments: [], next: { shard: 0, number: 5 } });
      if (isLying && path.endsWith("/range")) throw unavailable("peer_unreachable", "no");
      return answer();
    });
    await expect(done(pair, pair.sync(pair.a, pair.b))).rejects.toMatchObject({ code: "peer_unreachable" });
    expect(lists).toBe(2);
    await pair.world.pass(60_000);
    isLying = false;
    expect((await done(pair, pair.sync(pair.a, pair.b))).received).toBe(EVENTS);
    expect(lists).toBe(2);
  });
});

test("events that break a rule in a peer's segment are its breach, and the others come", async () => {
  const pair = pairOf(1, 1);
  const events = eventsOf(pair);
  const bad = { ...pair.event(9_000, topicOf(0), 5), signature: new Uint8Array(64).fill(1) } as EncodedEvent;
  await seal(pair, pair.b, events);
  const { blocks, messages } = segmentOf(
    [...events.filter(({ fields }) => fields.class === 1), bad].map(toSegmentEvent),
  ).files;
  const { world } = pair;
  const send = world.send.bind(world);
  world.send = async (from, to, path, body) => {
    if (!path.endsWith("/file")) {
      const answer = await send(from, to, path, body);
      if (!path.endsWith("/segments")) return answer;
      const { segments, next } = decodeSegmentsAnswer(answer);
      const said = segments.map((each) =>
        each.class === 1
          ? { ...each, blocksBytes: blocks.length, messagesBytes: messages?.length ?? 0 }
          : each,
      );
      return encodeSegmentsAnswer({ segments: said, next });
    }
    const { file, offset, length, root } = decodeFilePart(body);
    const isFirst =
      (await pair.b.shards[0]?.listSegments(0, 9))?.find((each) => toHex(each.root) === toHex(root))
        ?.class === 1;
    if (!isFirst) return send(from, to, path, body);
    return encodeFilePartAnswer(
      (file === "blocks" ? blocks : (messages as Bytes)).slice(offset, offset + length),
    );
  };
  await done(pair, pair.sync(pair.a, pair.b)).catch(() => {});
  const [record] = await pair.a.conduct.conductRecords();
  expect(record).toBeDefined();
  expect(asked(pair, pair.a)).toContain("segments/file");
  expect((await eventsAt(pair.a, newestAsOf(world.clock.nowMs()))).length).toBeGreaterThanOrEqual(EVENTS / 2);
});
