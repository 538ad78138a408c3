import { createHash } from "node:crypto";
import { CarReader } from "@ipld/car";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, toHex } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import {
  MAX_INLINE_MESSAGE_BYTES,
  MESSAGE_APART,
  MESSAGE_GONE,
  readMessages,
  readSegment,
  type SegmentEvent,
  writeSegment,
} from "./segment-file.ts";
import { SegmentIndex } from "./segment-index.ts";
import type { RunKind, TopicRun } from "./segment-runs.ts";
import { network, suite } from "./testing/arbitraries.ts";
import { sealedEvent, sealedEvents } from "./testing/sealed-events.ts";

const FACTS = { net: network.id, class: 1, from: 1_000, to: 2_000 };
const write = (events: readonly SegmentEvent[]) => writeSegment(FACTS, events, suite);
const topicsOf = (events: readonly SegmentEvent[]) =>
  new Set(events.map(({ topicKey }) => toHex(topicKey))).size;

function indexOf(events: readonly SegmentEvent[]): SegmentIndex {
  const { runs } = write(events);
  const parts = {
    part: (kind: RunKind, part: number) => runs[kind][part] ?? expect.fail(`no part ${kind} ${part}`),
  };
  return new SegmentIndex(parts, { topics: topicsOf(events), events: events.length });
}

describe("a segment's files", () => {
  test("open with public tools, which recompute every CID", async () => {
    await fc.assert(
      fc.asyncProperty(sealedEvents, async (events) => {
        const files = write(events);
        for (const file of [files.blocks, files.messages]) {
          if (!file) continue;
          const reader = await CarReader.fromBytes(file);
          const [root] = await reader.getRoots();
          expect(root && Buffer.from(root.multihash.digest)).toEqual(Buffer.from(files.root));
          expect(root && (await reader.has(root))).toBe(true);
          for await (const { cid, bytes } of reader.blocks())
            expect(createHash("sha256").update(bytes).digest("hex")).toBe(toHex(cid.multihash.digest));
        }
      }),
      { numRuns: 50 },
    );
  });

  test("give back what was written, and the same for the same events", () => {
    fc.assert(
      fc.property(sealedEvents, (events) => {
        const files = write(events);
        expect(write(events)).toEqual(files);
        const content = readSegment(files.blocks, suite);
        expect(content).toMatchObject({
          root: files.root,
          facts: FACTS,
          origins: files.origins,
          runs: files.runs,
        });
        expect(content.events).toEqual(events.map(({ block, signature }) => ({ block, signature })));
        const messages = files.messages ? readMessages(files.messages, suite) : new Map();
        for (const { msg, message } of events) if (message) expect(messages.get(toHex(msg))).toEqual(message);
      }),
      { numRuns: 50 },
    );
  });

  test("are not read with a byte changed anywhere", () => {
    fc.assert(
      fc.property(sealedEvents, fc.nat(), fc.integer({ min: 1, max: 255 }), (events, at, change) => {
        const { blocks } = write(events);
        const broken = blocks.slice();
        broken[at % broken.length] = (broken[at % broken.length] as number) ^ change;
        expect(() => readSegment(broken, suite)).toThrow(PennypostError);
      }),
      { numRuns: 300 },
    );
  });

  test.each([0, 1, 40, 100])("are not read when they end %i bytes early, or late", (cut) => {
    const { blocks } = write([someEvent(1n)]);
    const other = cut === 0 ? new Uint8Array([...blocks, 1]) : blocks.slice(0, -cut);
    expect(() => readSegment(other, suite)).toThrow(PennypostError);
  });

  test("have no large message, and none that was dropped", () => {
    const large = new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1);
    const events = [
      { ...someEvent(1n), message: null },
      someEvent(2n, large),
      someEvent(3n, large.slice(1)),
    ].sort((a, b) => compareBytes(a.id, b.id));
    const index = indexOf(events);
    expect(index.entry(0)).toMatchObject({ messageAt: MESSAGE_GONE, messageLength: 3 });
    expect(index.entry(1)).toMatchObject({ messageAt: MESSAGE_APART, messageLength: large.length });
    const { messageAt, messageLength } = index.entry(2);
    expect(write(events).messages?.subarray(messageAt, messageAt + messageLength)).toEqual(large.slice(1));
    expect(write(events.slice(0, 2)).messages).toBeNull();
  });
});

const someEvent = (seq: bigint, message = new Uint8Array(3)): SegmentEvent =>
  sealedEvent({ topic: new Uint8Array([97]), message, ts: 5n, seq, isOther: false, isDropped: false });

describe("the index of a segment", () => {
  test("finds each event, its block and its message, and no other", () => {
    fc.assert(
      fc.property(sealedEvents, (events) => {
        const index = indexOf(events);
        const { blocks, messages, origins } = write(events);
        for (const event of events) {
          const run = index.topic(event.topicKey) as TopicRun;
          const entry = index.find(run, event.id)?.entry;
          expect(entry).toMatchObject({ id: event.id, timeKey: event.timeKey, messageLength: event.size });
          if (!entry) continue;
          expect(blocks.subarray(entry.blockAt, entry.blockAt + entry.blockLength)).toEqual(event.block);
          expect(origins[entry.origin]).toEqual(event.origin);
          if (event.message === null) expect(entry.messageAt).toBe(MESSAGE_GONE);
          else
            expect(messages?.subarray(entry.messageAt, entry.messageAt + entry.messageLength)).toEqual(
              event.message,
            );
          expect(index.find(run, suite.sha256(event.id))).toBeUndefined();
        }
        expect(index.topic(suite.sha256(new Uint8Array()))).toBeUndefined();
      }),
      { numRuns: 50 },
    );
  });

  test("lists a topic in the order of time, both ways, within bounds", () => {
    fc.assert(
      fc.property(sealedEvents, fc.nat(), fc.nat(), fc.boolean(), (events, a, b, isDescending) => {
        const index = indexOf(events);
        const keys = events.map(({ timeKey }) => timeKey).sort(compareBytes);
        const [from, to] = [keys[a % keys.length], keys[b % keys.length]];
        if (!from || !to) return;
        for (const run of index.topicsFrom(new Uint8Array(32))) {
          const expected = events
            .filter(({ topicKey }) => compareBytes(topicKey, run.topicKey) === 0)
            .filter(({ timeKey }) => compareBytes(timeKey, from) >= 0 && compareBytes(timeKey, to) <= 0)
            .sort((x, y) => compareBytes(x.timeKey, y.timeKey) || compareBytes(x.id, y.id))
            .map(({ id }) => toHex(id));
          const listed = [...index.byTime(run, { from, to, isDescending })].map(({ entry }) =>
            toHex(entry.id),
          );
          expect(listed).toEqual(isDescending ? expected.toReversed() : expected);
        }
      }),
      { numRuns: 100 },
    );
  });
});
