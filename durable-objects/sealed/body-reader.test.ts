import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { type Bytes, equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { MAX_INLINE_MESSAGE_BYTES, type SegmentEvent } from "../../protocol/segment-file.ts";
import { blockRange, signatureRange } from "../../protocol/segment-places.ts";
import { byTopicAndId, sealedEvents } from "../../protocol/testing/sealed-events.ts";
import { topicKey } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { BucketSource, eventToSeal, PREFIX, type SealedScene, sealEvents } from "../testing/sealed-scene.ts";
import { blocksKey, largeKey, messagesKey } from "./archive-keys.ts";
import { BodyReader } from "./body-reader.ts";
import { MAX_PLACES_PER_READ, type SealedBody, type WantedParts } from "./sealed-parts.ts";
import type { SealedPlace, Segment } from "./segment.ts";

const TOPIC = utf8("/xmtp/0/m-sealed/proto");
const OTHER_TOPIC = utf8("/xmtp/0/m-other/proto");
const MESSAGES: WantedParts = { parts: "messages", topic: TOPIC };
const ALL: WantedParts = { parts: "all" };
const FIRST_SEQ = 2n ** 60n;

const messageOf = (number: number, length = 100): Bytes =>
  Uint8Array.from({ length }, (_, i) => (number * 37 + i) & 255);
const LARGE = messageOf(5, MAX_INLINE_MESSAGE_BYTES + 1);

/** Events of two topics, one of them large, one empty, one without its message. */
const EVENTS: readonly SegmentEvent[] = [
  ...[0, 1, 2, 3].map((n) => eventToSeal(TOPIC, BigInt(n), FIRST_SEQ + BigInt(n), messageOf(n))),
  { ...eventToSeal(TOPIC, 4n, FIRST_SEQ + 4n, messageOf(4)), message: null },
  eventToSeal(TOPIC, 5n, FIRST_SEQ + 5n, LARGE),
  eventToSeal(TOPIC, 6n, FIRST_SEQ + 6n, new Uint8Array()),
  eventToSeal(OTHER_TOPIC, 7n, FIRST_SEQ + 7n, messageOf(7)),
].sort(byTopicAndId);
const SCENE = sealEvents(EVENTS);

type Seven<T> = [T, T, T, T, T, T, T];

/** Events by the topic that they are of, in the order of their ids. */
const ownPlaces = ({ places }: SealedScene, topic: Bytes): SealedPlace[] =>
  places.filter((place) => equalBytes(place.topicKey, topicKey(topic, suite)));
const [FIRST, SECOND, , , GONE, APART, EMPTY] = ownPlaces(SCENE, TOPIC) as Seven<SealedPlace>;
const BLOCKS_KEY = blocksKey(PREFIX, SCENE.segment.root);
const MESSAGES_KEY = messagesKey(PREFIX, SCENE.segment.root);
const LARGE_KEY = largeKey(PREFIX, suite.sha256(LARGE));

const told: [root: string, file: string][] = [];
let source = new BucketSource(env.BUCKET);

async function store(...scenes: readonly SealedScene[]): Promise<void> {
  for (const { objects } of scenes) for (const [key, bytes] of objects) await env.BUCKET.put(key, bytes);
}

function readerOf(...scenes: readonly SealedScene[]): BodyReader {
  const ends = new Map(scenes.map(({ segment, blocksEnd }) => [segment, blocksEnd]));
  return new BodyReader({
    source,
    suite,
    prefix: PREFIX,
    blocksEnd: (segment) => ends.get(segment) ?? expect.fail("no such segment"),
    damaged: (segment: Segment, file) => void told.push([toHex(segment.root), file]),
  });
}

beforeEach(async () => {
  source = new BucketSource(env.BUCKET);
  told.length = 0;
  await store(SCENE);
});

/** What a reading of an event is to give. */
function bodyOf({ block, signature, message }: SegmentEvent, { parts }: WantedParts): SealedBody {
  return {
    ...(parts === "messages" ? {} : { block, signature }),
    message: parts === "blocks" ? null : message,
    ...(parts !== "blocks" && message === null ? { why: "gone" } : {}),
  };
}

describe("sealed events", () => {
  test.each(["blocks", "all"] as const)("are read as they were: %s", async (parts) => {
    const bodies = await readerOf(SCENE).read(SCENE.places, { parts });
    expect(bodies).toEqual(EVENTS.map((event) => bodyOf(event, { parts })));
  });

  test("are read as they were: what the files have, and no large message", async () => {
    const bodies = await readerOf(SCENE).read(SCENE.places, { parts: "inFiles" });
    expect(bodies).toEqual(
      EVENTS.map((event) => {
        const isLarge = event.message === LARGE;
        return { ...bodyOf(event, ALL), ...(isLarge ? { message: null, why: "apart" } : {}) };
      }),
    );
    expect(bodies.filter(({ why }) => why === "apart").length).toBeGreaterThan(0);
    expect(source.reads.some(({ key }) => key.startsWith("large/"))).toBe(false);
  });

  test("are read as they were: messages of one topic", async () => {
    const bodies = await readerOf(SCENE).read(ownPlaces(SCENE, TOPIC), MESSAGES);
    expect(bodies.map(({ message }) => message)).toEqual([
      ...[0, 1, 2, 3].map((n) => messageOf(n)),
      null,
      LARGE,
      new Uint8Array(),
    ]);
    expect(bodies.filter(({ why }) => why === "gone")).toHaveLength(1);
    expect(bodies.some(({ block, signature }) => block || signature)).toBe(false);
  });

  test("of any segments are read, in any order, also several times", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(sealedEvents, sealedEvents).filter((lists) => lists.every((list) => list.length > 0)),
        fc.array(fc.nat(), { maxLength: 30 }),
        fc.constantFrom<WantedParts>({ parts: "blocks" }, ALL),
        async (lists, picks, wanted) => {
          const scenes = lists.map(sealEvents);
          await store(...scenes);
          const events = lists.flat();
          const places = scenes.flatMap((scene) => scene.places);
          const picked = picks.map((pick) => pick % places.length);
          const bodies = await readerOf(...scenes).read(
            picked.map((number) => places[number] as SealedPlace),
            wanted,
          );
          expect(bodies).toEqual(picked.map((number) => bodyOf(events[number] as SegmentEvent, wanted)));
        },
      ),
      { numRuns: 15 },
    );
  });

  test("of a segment of several parts of signatures have their own", async () => {
    const many = Array.from({ length: 1_030 }, (_, i) =>
      eventToSeal(TOPIC, BigInt(i), FIRST_SEQ + BigInt(i), messageOf(i, 3)),
    );
    const scene = sealEvents(many);
    await store(scene);
    const numbers = [0, 511, 512, 1_023, 1_024, 1_029];
    const places = numbers.map((number) => scene.places[number] as SealedPlace);
    expect(await readerOf(scene).read(places, ALL)).toEqual(
      numbers.map((number) => bodyOf(many[number] as SegmentEvent, ALL)),
    );
  });

  test("have no messages once the file of them is dropped, but large ones", async () => {
    const segment = { ...SCENE.segment, messages: null };
    await env.BUCKET.delete(MESSAGES_KEY);
    const places = [FIRST, APART].map((place) => ({ ...place, segment }));
    const bodies = await readerOf({ ...SCENE, segment }).read(places, MESSAGES);
    expect(bodies).toEqual([{ message: null, why: "gone" }, { message: LARGE }]);
    expect(told).toEqual([]);
  });

  test("that are none are not read", async () => {
    expect(await readerOf(SCENE).read([], ALL)).toEqual([]);
    expect(await readerOf(SCENE).read([GONE, EMPTY], MESSAGES)).toHaveLength(2);
    expect(source.reads).toEqual([]);
  });

  test("are refused when they are too many, or of another topic than their messages are asked for", async () => {
    const many = Array.from({ length: MAX_PLACES_PER_READ + 1 }, () => FIRST);
    await expect(readerOf(SCENE).read(many, ALL)).rejects.toThrow(RangeError);
    await expect(readerOf(SCENE).read(SCENE.places, MESSAGES)).rejects.toThrow(RangeError);
    expect(source.reads).toEqual([]);
  });
});

/** Puts an object with one byte changed. */
async function flip(key: string, at: number): Promise<void> {
  const bytes = SCENE.objects.get(key)?.slice() ?? expect.fail(`no object ${key}`);
  bytes[at] = (bytes[at] as number) ^ 1;
  await env.BUCKET.put(key, bytes);
}

async function expectDamage(wanted: WantedParts, file: string, offset: number, place = FIRST): Promise<void> {
  const failure = readerOf(SCENE).read([place], wanted);
  const root = toHex(SCENE.segment.root);
  await expect(failure).rejects.toMatchObject({ code: "segment_damaged", data: { root, file, offset } });
  expect(told).toEqual([[root, file]]);
  told.length = 0;
}

describe("wrong bytes are never given out, and told:", () => {
  const signature = signatureRange(SCENE.segment.count, SCENE.blocksEnd, FIRST.number);

  test.each([
    ["block", BLOCKS_KEY, "blocks", FIRST.entry.blockAt, 0],
    ["block's last byte", BLOCKS_KEY, "blocks", FIRST.entry.blockAt, FIRST.entry.blockLength - 1],
    ["signature", BLOCKS_KEY, "blocks", signature.at, 0],
    ["signature's last byte", BLOCKS_KEY, "blocks", signature.at, 63],
    ["message", MESSAGES_KEY, "messages", FIRST.entry.messageAt, 0],
    ["message's last byte", MESSAGES_KEY, "messages", FIRST.entry.messageAt, 99],
  ])("a bit of the %s", async (_, key, file, at, byte) => {
    await flip(key, at + byte);
    await expectDamage(ALL, file, at);
    if (file === "messages") await expectDamage(MESSAGES, file, at);
    else expect(await readerOf(SCENE).read([FIRST], MESSAGES)).toEqual([{ message: messageOf(0) }]);
  });

  test("a bit of a large message, or of the block that names it", async () => {
    await flip(LARGE_KEY, 70);
    await expectDamage(MESSAGES, "large", 0, APART);
    await expectDamage(ALL, "large", 0, APART);
    await flip(BLOCKS_KEY, APART.entry.blockAt + 5);
    await expectDamage(MESSAGES, "blocks", APART.entry.blockAt, APART);
  });

  test("any bit that is read of an event", async () => {
    const { at, length } = blockRange(FIRST.entry);
    await fc.assert(
      fc.asyncProperty(fc.nat(length + 64 + 100 - 1), async (n) => {
        await store(SCENE);
        if (n < length) await flip(BLOCKS_KEY, at + n);
        else if (n < length + 64) await flip(BLOCKS_KEY, signature.at + n - length);
        else await flip(MESSAGES_KEY, FIRST.entry.messageAt + n - length - 64);
        await expect(readerOf(SCENE).read([FIRST], ALL)).rejects.toMatchObject({ code: "segment_damaged" });
      }),
      { numRuns: 40 },
    );
  });

  test.each([
    ["blocks", BLOCKS_KEY, FIRST.entry.blockAt],
    ["messages", MESSAGES_KEY, FIRST.entry.messageAt],
    ["large", LARGE_KEY, 0],
  ])("%s that are not there, or end before", async (file, key, offset) => {
    const place = file === "large" ? APART : FIRST;
    await env.BUCKET.delete(key);
    await expectDamage(ALL, file, offset, place);
    const whole = SCENE.objects.get(key) as Bytes;
    for (const length of [offset + 10, offset, 0]) {
      await env.BUCKET.put(key, whole.slice(0, length));
      await expectDamage(ALL, file, offset, place);
    }
  });

  test("the files of another segment under this one's keys", async () => {
    const other = sealEvents(
      EVENTS.map((_, n) =>
        eventToSeal(OTHER_TOPIC, 9n, FIRST_SEQ + 100n + BigInt(n), messageOf(n + 50, 200)),
      ),
    );
    await env.BUCKET.put(BLOCKS_KEY, other.objects.get(blocksKey(PREFIX, other.segment.root)) as Bytes);
    await expectDamage({ parts: "blocks" }, "blocks", FIRST.entry.blockAt);
    await store(SCENE);
    await env.BUCKET.put(MESSAGES_KEY, other.objects.get(messagesKey(PREFIX, other.segment.root)) as Bytes);
    await expectDamage(MESSAGES, "messages", SECOND.entry.messageAt, SECOND);
  });

  test("another event's message, of the same length and topic", async () => {
    const swapped = SCENE.objects.get(MESSAGES_KEY)?.slice() ?? expect.fail("no messages");
    swapped.set(messageOf(1), FIRST.entry.messageAt);
    swapped.set(messageOf(0), SECOND.entry.messageAt);
    await env.BUCKET.put(MESSAGES_KEY, swapped);
    await expectDamage(MESSAGES, "messages", FIRST.entry.messageAt);
    await expectDamage(ALL, "messages", FIRST.entry.messageAt);
  });

  test("another large message of the same length", async () => {
    await env.BUCKET.put(LARGE_KEY, messageOf(6, LARGE.length));
    await expectDamage(MESSAGES, "large", 0, APART);
  });
});

test("a read that fails is no damage, and may succeed later", async () => {
  const reader = readerOf(SCENE);
  const read = source.read.bind(source);
  for (const failing of [1, 2, 3]) {
    let calls = 0;
    source.read = (...args) => (++calls === failing ? Promise.reject(new Error("no route")) : read(...args));
    await expect(reader.read([FIRST, APART], ALL)).rejects.toMatchObject({
      code: "storage_unavailable",
      httpStatus: 503,
    });
  }
  expect(told).toEqual([]);
  source.read = read;
  expect(await reader.read([FIRST, APART], ALL)).toHaveLength(2);
});

describe("the reads of a page", () => {
  const HOUR_MS = 3_600_000n;
  /** What a segment of 64 slots of 2^20 ms has: 18.6 hours. */
  const SEGMENT_MS = 64n * 2n ** 20n;
  const NOISE_TOPICS = Array.from({ length: 30 }, (_, i) => utf8(`/xmtp/0/m-noise-${i}/proto`));

  /** Hours of a topic with one message each, sealed with what others wrote at the time. */
  function sealHours(hours: number): SealedScene[] {
    const segments = new Map<bigint, SegmentEvent[]>();
    for (let hour = 0n; hour < BigInt(hours); hour++) {
      const ms = hour * HOUR_MS;
      const own = segments.get(ms / SEGMENT_MS) ?? [];
      segments.set(ms / SEGMENT_MS, own);
      const seq = FIRST_SEQ + (ms << 21n);
      own.push(eventToSeal(TOPIC, ms * 1_000_000n, seq, messageOf(Number(hour), 1_000)));
      // Some 120 KB of others' messages lie on both sides of the topic's.
      for (const [i, topic] of NOISE_TOPICS.entries())
        if (Number(hour) % 6 === i % 6)
          own.push(eventToSeal(topic, ms, seq + 1n + BigInt(i), messageOf(i, 3_000)));
    }
    return [...segments.values()].map((events) => sealEvents(events.sort(byTopicAndId)));
  }

  test("of 100 messages, one an hour, are one a segment", async () => {
    const scenes = sealHours(130);
    await store(...scenes);
    const newest = scenes
      .flatMap((scene) => ownPlaces(scene, TOPIC))
      .reverse()
      .slice(0, 100);
    const segments = new Set(newest.map(({ segment }) => segment));
    const bodies = await readerOf(...scenes).read(newest, MESSAGES);
    expect(bodies.map(({ message }) => message?.[0])).toEqual(
      Array.from({ length: 100 }, (_, i) => messageOf(129 - i, 1)[0]),
    );
    expect(segments.size).toBe(6);
    expect(source.reads).toHaveLength(segments.size);
    // And they bring little else: a CID and a length for each message.
    const read = source.reads.reduce((sum, { length }) => sum + length, 0);
    expect(read).toBeLessThan(100 * 1_040);
    expect(new Set(source.reads.map(({ key }) => key))).toEqual(
      new Set([...segments].map(({ root }) => messagesKey(PREFIX, root))),
    );
  });

  test("of whole events are two or three a segment: blocks, signatures behind them, messages", async () => {
    const scenes = sealHours(60);
    await store(...scenes);
    const places = scenes.flatMap((scene) => ownPlaces(scene, TOPIC));
    await readerOf(...scenes).read(places, ALL);
    expect(source.reads.length).toBeGreaterThanOrEqual(2 * scenes.length);
    expect(source.reads.length).toBeLessThanOrEqual(3 * scenes.length);
  });
});
