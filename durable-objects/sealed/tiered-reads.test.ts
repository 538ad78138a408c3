import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Bytes,
  compareBytes,
  concatBytes,
  equalBytes,
  toHex,
  uint64Bytes,
  utf8,
} from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { envelopeDigest, type WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { sealUpTo } from "../testing/held-segments.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { PREFIX } from "../testing/sealed-scene.ts";
import { forgeEvent, keyOf, network, START_MS } from "../testing/shard-world.ts";
import { GONE, type StoredEvent } from "../topic-shard/shard-store.ts";
import { blocksKey, largeKey, messagesKey } from "./archive-keys.ts";
import { BodyReader } from "./body-reader.ts";
import type { HeldSegment } from "./sealed-store.ts";
import { TieredReads } from "./tiered-reads.ts";
import { SEALED_POSITION, TieredShardStore } from "./tiered-shard-store.ts";

/** Pages of a shard whose events lie partly in files, against those of one that has them all in one table. */

const TOPICS = ["/xmtp/0/m-one/proto", "/xmtp/0/m-two/proto"];
const SIGNERS = [1, 2].map((n) => platformSigner(new Uint8Array(32).fill(0xa0 + n)));

interface Seed {
  readonly topic: number;
  readonly ts: number;
  readonly text: number;
  readonly origin: number;
  readonly isLarge: boolean;
  /** It came without its message. */
  readonly isGone: boolean;
}

const seeds = fc.array(
  fc.record({
    topic: fc.nat(1),
    ts: fc.nat(6),
    // So that envelopes come twice, from two origins.
    text: fc.nat(2),
    origin: fc.nat(1),
    isLarge: fc.integer({ min: 0, max: 19 }).map((n) => n === 0),
    isGone: fc.integer({ min: 0, max: 4 }).map((n) => n === 0),
  }),
  { minLength: 1, maxLength: 30 },
);

function eventOf({ topic, ts, text, origin, isLarge, isGone }: Seed, position: number): StoredEvent {
  const name = TOPICS[topic] as string;
  const message = isLarge ? new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1).fill(text) : utf8(`text ${text}`);
  const seq = firstSeqOf(START_MS + position * 300_000);
  const { id, block, signature, fields } = forgeEvent({
    topic: name,
    signer: SIGNERS[origin] as Signer,
    ts,
    message,
    seq,
  });
  return {
    position,
    topicKey: keyOf(name),
    timeKey: concatBytes(
      uint64Bytes(BigInt(ts)),
      isGone ? fields.msg : envelopeDigest(utf8(name), message, suite),
    ),
    id,
    class: fields.class,
    flags: isGone ? GONE : 0,
    storedMs: START_MS,
    signature,
    block,
    message: isGone ? null : message,
  };
}

/** Both shards, with the objects of what one of them sealed in some goes; of some segments it has dropped the messages, and their files. */
function scene(all: readonly Seed[], cuts: readonly number[], drops: readonly number[] = []) {
  const plain = new MemoryShardStore();
  const tiered = new TieredShardStore(new MemoryShardStore());
  const objects = new Map<string, Bytes>();
  let reads = 0;
  const sealed = (position: number) => {
    for (const { segment, files } of sealUpTo(tiered, position)) {
      objects.set(blocksKey(PREFIX, segment.root), files.blocks);
      if (files.messages) objects.set(messagesKey(PREFIX, segment.root), files.messages);
    }
  };
  const events = all.map((seed, i) => eventOf(seed, i + 1));
  for (const event of events) {
    plain.insert(event);
    tiered.insert(event);
    if (event.message && event.message.length > MAX_INLINE_MESSAGE_BYTES)
      objects.set(largeKey(PREFIX, suite.sha256(event.message)), event.message);
    if (cuts.includes(event.position)) sealed(event.position);
  }
  for (const segment of tiered.index.segments.filter((_, i) => drops.includes(i))) {
    tiered.transaction(() => tiered.index.dropMessages(segment, START_MS));
    objects.delete(messagesKey(PREFIX, segment.root));
    for (const event of events) {
      if (tiered.index.find(event)?.segment.number !== segment.number) continue;
      plain.remove(event.position);
      plain.insert({ ...event, flags: GONE, message: null });
    }
  }
  const source = {
    async read(key: string, offset: number, length: number) {
      reads++;
      return objects.get(key)?.slice(offset, offset + length) ?? null;
    },
  };
  const bodies = new BodyReader({
    source,
    suite,
    prefix: PREFIX,
    blocksEnd: (segment) => tiered.index.blocksEnd(segment as HeldSegment),
    damaged: () => expect.fail("no file is damaged"),
  });
  return { plain, tiered, reader: new TieredReads(tiered, bodies), events, reads: () => reads };
}

const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 3 });
const drops = fc.array(fc.nat(5), { maxLength: 3 });
const limits = fc.integer({ min: 1, max: 12 });
const bytes = fc.oneof(fc.constant(1_000_000), fc.nat(60), fc.constant(70_000));
const textOfWire = ({ block, message }: WireEvent) =>
  `${toHex(block)} ${message && toHex(suite.sha256(message))}`;
const EMPTY = new Uint8Array();
/** What does not say of which tier it is. */
const textOf = ({ topicKey, timeKey, id, class: classId, signature, block, message }: StoredEvent) =>
  [topicKey, timeKey, id, signature, block, message ? suite.sha256(message) : EMPTY].map(toHex).join(" ") +
  classId;

describe("pages of hot and sealed events", () => {
  test("in time order are those of one table, both ways, with any bounds and limits", async () => {
    const bound = fc.integer({ min: 0, max: 7 });
    await fc.assert(
      fc.asyncProperty(
        seeds,
        fc.tuple(cuts, drops),
        fc.tuple(bound, bound, fc.nat(30)),
        fc.boolean(),
        limits,
        bytes,
        async (all, [at, dropped], [from, to, least], isDescending, limit, maxBytes) => {
          const { plain, tiered, reader, events } = scene(all, at, dropped);
          for (const topic of TOPICS) {
            const range = {
              topicKey: keyOf(topic),
              from: concatBytes(uint64Bytes(BigInt(from)), new Uint8Array(32)),
              to: concatBytes(uint64Bytes(BigInt(Math.max(from, to))), new Uint8Array(32).fill(255)),
              isDescending,
              leastId: events[least]?.id ?? new Uint8Array(40),
            };
            const expected = plain.timePage(range, limit, maxBytes);
            const page = await reader.timePage(range, limit, maxBytes);
            expect(page.events.map(textOf)).toEqual(expected.map(textOf));
            const more = plain.timePage(range, limit + 1, 1e9).length > expected.length;
            if (more) expect(page.isFull).toBe(true);
            if (page.isFull) expect(page.events).not.toHaveLength(0);
            expect(tiered.goneInTime(range)).toBe(plain.goneInTime(range));
            const { envelopes } = await reader.envelopes(range, utf8(topic), limit, maxBytes);
            expect(envelopes).toEqual(expected.map(({ timeKey, message }) => ({ timeKey, message })));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("in causal order are those of one table, from any place on", async () => {
    await fc.assert(
      fc.asyncProperty(
        seeds,
        fc.tuple(cuts, drops),
        fc.nat(30),
        limits,
        bytes,
        async (all, [at, dropped], after, limit, maxBytes) => {
          const { plain, tiered, reader, events } = scene(all, at, dropped);
          for (const topic of TOPICS) {
            const afterId = events[after]?.id ?? new Uint8Array(40);
            const expected = plain.causalPage(keyOf(topic), afterId, limit, maxBytes);
            const page = await reader.causalPage(keyOf(topic), afterId, limit, maxBytes);
            // The bytes of sealed events are known with their signatures: a page may end earlier.
            expect(expected.map(textOf).slice(0, page.events.length)).toEqual(page.events.map(textOf));
            expect(page.events.length).toBeGreaterThanOrEqual(Math.min(1, expected.length));
            if (page.events.length < expected.length) expect(page.isFull).toBe(true);
            if (page.isFull) expect(page.events).not.toHaveLength(0);
            const last = events[limit]?.id ?? new Uint8Array(40).fill(255);
            const gone = tiered.goneInIds(keyOf(topic), afterId, last);
            expect(gone).toBe(plain.goneInIds(keyOf(topic), afterId, last));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("an event is found by its digest and its name, its block without its message", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, cuts, async (all, at) => {
        const { tiered, reader, events } = scene(all, at);
        for (const event of events) {
          const found = await reader.findByDigest(digestOfId(event.id));
          expect(found && textOf(found)).toBe(textOf(event));
          expect(found?.why).toBe(event.message ? undefined : "absent");
          const isHot = tiered.hot.positionOf(event) !== undefined;
          if (!isHot) expect(found?.position).toBe(SEALED_POSITION);
          expect(reader.find(event)).toMatchObject(
            isHot ? { event: { id: event.id } } : { place: { number: expect.any(Number) } },
          );
        }
        const strange = { topicKey: keyOf("nothing"), id: new Uint8Array(40) };
        const sealed = events.filter((event) => reader.isInFile(event));
        for (const before of [0, 2]) {
          const read = await reader.blocksUpTo([...sealed, strange], before);
          expect(read.map(({ name }) => toHex(name.id)).sort()).toEqual(
            sealed.map(({ id }) => toHex(id)).sort(),
          );
        }
        const last = sealed.at(-1);
        const down = last ? await reader.blocksUpTo([last], 64) : [];
        const below = sealed.filter(
          ({ topicKey, id }) => last && equalBytes(topicKey, last.topicKey) && compareBytes(id, last.id) <= 0,
        );
        expect(down.map(({ name }) => toHex(name.id)).sort()).toEqual(
          below.map(({ id }) => toHex(id)).sort(),
        );
        for (const event of events) {
          const found = down.find(({ name }) => equalBytes(name.id, event.id));
          if (found) expect(found.block).toEqual(event.block);
          expect(reader.hotBlock(event) === undefined).toBe(reader.isInFile(event));
        }
        expect(await reader.findByDigest(suite.sha256(utf8("nothing")))).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  test("a page between nodes has events up to a number of bytes, but one at least, each whole", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, cuts, bytes, async (all, at, maxBytes) => {
        const { reader, events } = scene(all, at);
        let rest = events.flatMap((event) => reader.find(event) ?? []);
        const wires: string[] = [];
        while (rest.length > 0) {
          const { events: page, count } = await reader.wirePage(rest, maxBytes);
          expect(count).toBe(page.length);
          expect(count).toBeGreaterThan(0);
          wires.push(...page.map(textOfWire));
          rest = rest.slice(count);
        }
        expect(wires).toEqual(events.map(textOfWire));
      }),
      { numRuns: 40 },
    );
  });
});

test("a page of 100 messages, one an hour, takes one read of a file for each seal", async () => {
  const hourly = Array.from({ length: 100 }, (_, n) => ({
    topic: 0,
    ts: n,
    text: n,
    origin: 0,
    isLarge: false,
    isGone: false,
  }));
  // An event each five minutes of seq: 18 hours of one message an hour are 18 events.
  const { reader, reads } = scene(hourly, [18, 36, 54, 72, 90]);
  const range = {
    topicKey: keyOf(TOPICS[0] as string),
    from: new Uint8Array(40),
    to: new Uint8Array(40).fill(255),
    isDescending: true,
    leastId: new Uint8Array(40),
  };
  const { envelopes } = await reader.envelopes(range, utf8(TOPICS[0] as string), 100, 1e6);
  expect(envelopes).toHaveLength(100);
  expect(reads()).toBe(5);
  await reader.timePage(range, 100, 1e6);
  // Blocks with the signatures behind them, and messages.
  expect(reads() - 5).toBeLessThanOrEqual(15);
  expect(network.classOf(utf8(TOPICS[0] as string)).durationMs).not.toBe(0);
});
