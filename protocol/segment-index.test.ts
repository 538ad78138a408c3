import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes } from "./bytes.ts";
import { SegmentIndex } from "./segment-index.ts";
import {
  ENTRY_BYTES,
  PART_ENTRIES,
  type PackedEvent,
  packRuns,
  partsOf,
  type RunKind,
  type TopicRun,
} from "./segment-runs.ts";
import { suite } from "./testing/arbitraries.ts";

const hashOf = (value: number): Bytes => suite.sha256(uint64Bytes(BigInt(value)));

/** Events of as many topics as fill several parts, and of one topic that does. Their times go back and forth. */
const EVENTS: readonly PackedEvent[] = Array.from({ length: 3 * PART_ENTRIES + 7 }, (_, i) => ({
  topicKey: hashOf(i < 2 * PART_ENTRIES ? 1_000_000 : i),
  id: concatBytes(uint64Bytes(BigInt(i)), hashOf(i)),
  timeKey: concatBytes(uint64Bytes(BigInt((i * 7_919) % 1_000)), hashOf(i + 5)),
  blockAt: 100 + i,
  blockLength: 65_535 - i,
  messageAt: 2 ** 32 - 1 - i,
  messageLength: 2 ** 20 - i,
  origin: i % 256,
})).sort((a, b) => compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id));
const LARGE_TOPIC = hashOf(1_000_000);
const TOPICS = PART_ENTRIES + 8;

const runs = packRuns(EVENTS);
/** How often a part was asked for. */
let asked = 0;
const parts = {
  part(kind: RunKind, part: number): Bytes {
    asked++;
    return runs[kind][part] ?? expect.fail(`no part ${kind} ${part}`);
  },
};
const freshIndex = () => new SegmentIndex(parts, { topics: TOPICS, events: EVENTS.length });

describe("an index of several parts", () => {
  test("has full parts, and what is left in the last", () => {
    for (const [kind, entries] of [
      ["topics", TOPICS],
      ["ids", EVENTS.length],
      ["times", EVENTS.length],
    ] as const) {
      expect(runs[kind]).toHaveLength(partsOf(entries));
      expect(runs[kind].map((part) => part.length / ENTRY_BYTES[kind])).toEqual([
        ...Array.from({ length: runs[kind].length - 1 }, () => PART_ENTRIES),
        entries % PART_ENTRIES,
      ]);
    }
  });

  test("finds every event as it was", () => {
    const index = freshIndex();
    for (const { topicKey, ...entry } of EVENTS)
      expect(index.find(index.topic(topicKey) as TopicRun, entry.id)?.entry).toEqual(entry);
  });

  test("finds where ids begin, also those that are no event's", () => {
    const index = freshIndex();
    const run = index.topic(LARGE_TOPIC) as TopicRun;
    const own = EVENTS.filter(({ topicKey }) => toHex(topicKey) === toHex(LARGE_TOPIC));
    for (const i of [0, 1, 511, 512, 700, 1_023]) {
      expect(index.firstFrom(run, own[i]?.id as Bytes)).toBe(run.first + i);
      expect(index.firstFrom(run, uint64Bytes(BigInt(i)))).toBe(run.first + i);
    }
    expect(index.firstFrom(run, new Uint8Array(40).fill(255))).toBe(run.first + own.length);
  });

  test("says of a topic how many events it has, and from when to when", () => {
    expect(freshIndex().topic(LARGE_TOPIC)).toMatchObject({
      count: 2 * PART_ENTRIES,
      leastTs: 0n,
      greatestTs: 999n,
    });
  });

  test("lists all topics from one on", () => {
    const keys = [...new Set(EVENTS.map(({ topicKey }) => toHex(topicKey)))];
    const from = keys[PART_ENTRIES - 3] as string;
    const listed = [...freshIndex().topicsFrom(Uint8Array.from(Buffer.from(from, "hex")))];
    expect(listed.map(({ topicKey }) => toHex(topicKey))).toEqual(keys.slice(PART_ENTRIES - 3));
  });

  test("counts what it would list of a stretch of time, and reads no event for it", () => {
    const run = freshIndex().topic(LARGE_TOPIC) as TopicRun;
    for (const [from, to] of [
      [0n, 999n],
      [100n, 100n],
      [250n, 700n],
      [700n, 250n],
      [1_000n, 2_000n],
    ] as const) {
      const span = {
        from: concatBytes(uint64Bytes(from), new Uint8Array(32)),
        to: concatBytes(uint64Bytes(to), new Uint8Array(32).fill(255)),
      };
      const listed = [...freshIndex().byTime(run, { ...span, isDescending: false })];
      expect(freshIndex().countByTime(run, span)).toBe(Math.max(0, listed.length));
    }
  });

  test("lists a topic in the order of time", () => {
    const index = freshIndex();
    const run = index.topic(LARGE_TOPIC) as TopicRun;
    const bounds = { from: new Uint8Array(40), to: new Uint8Array(40).fill(255) };
    const expected = EVENTS.filter(({ topicKey }) => toHex(topicKey) === toHex(LARGE_TOPIC))
      .map(({ timeKey }) => toHex(timeKey))
      .sort();
    for (const isDescending of [false, true]) {
      const listed = [...index.byTime(run, { ...bounds, isDescending })].map(({ entry }) =>
        toHex(entry.timeKey),
      );
      expect(listed).toEqual(isDescending ? expected.toReversed() : expected);
    }
  });

  test("reads few parts for one event, and none again", () => {
    const index = freshIndex();
    const event = EVENTS.at(-1) as PackedEvent;
    asked = 0;
    const run = index.topic(event.topicKey) as TopicRun;
    index.find(run, event.id);
    expect(asked).toBeLessThanOrEqual(4);
    asked = 0;
    index.find(run, event.id);
    expect(asked).toBe(0);
  });
});
