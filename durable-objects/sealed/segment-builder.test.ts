import { CarReader } from "@ipld/car";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { PennypostError } from "../../protocol/errors.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { messageCid } from "../../protocol/event-id.ts";
import { slotOfSeq } from "../../protocol/retention.ts";
import { MAX_INLINE_MESSAGE_BYTES, readMessages, readSegment } from "../../protocol/segment-file.ts";
import { suite } from "../platform-suite.ts";
import {
  largeMessage,
  NET,
  type SealableSeed,
  sealableEvent,
  sealableEvents,
} from "../testing/sealing-scene.ts";
import {
  type BuilderLimits,
  type Built,
  buildSegments,
  SEGMENT_CONTENT_BYTES,
  type SealableEvent,
  type WrittenSegment,
} from "./segment-builder.ts";

const build = (pages: Iterable<readonly SealableEvent[]>, limits?: BuilderLimits): Built[] => [
  ...buildSegments({ net: NET, class: 1, pages }, suite, limits),
];
const segmentsOf = (built: readonly Built[]): WrittenSegment[] =>
  built.flatMap((each) => (each.kind === "segment" ? [each.written] : []));
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as PennypostError).code;
  }
  return "ok";
};

const seeds: fc.Arbitrary<SealableSeed[]> = fc.uniqueArray(
  fc.record({
    topic: fc.constantFrom("a", "b", "c", "d"),
    seq: fc.bigInt({ min: 0n, max: 2n ** 45n }),
    ts: fc.bigInt({ min: 0n, max: 9n }),
    origin: fc.nat(3),
    isDropped: fc.boolean(),
    message: fc.oneof(
      { weight: 9, arbitrary: fc.string({ maxLength: 30 }).map(utf8) },
      { weight: 1, arbitrary: fc.nat(2).map(largeMessage) },
    ),
  }),
  { selector: ({ seq }) => seq, minLength: 1, maxLength: 30 },
);
const pagesOf = (events: readonly SealableEvent[], size: number): SealableEvent[][] =>
  Array.from({ length: Math.ceil(events.length / size) }, (_, i) => events.slice(i * size, (i + 1) * size));

/** The blocks of a CAR file in order, as the public library reads them. */
async function carBlocks(file: Bytes): Promise<{ cid: string; bytes: Uint8Array }[]> {
  const reader = await CarReader.fromBytes(file);
  const blocks: { cid: string; bytes: Uint8Array }[] = [];
  for await (const { cid, bytes } of reader.blocks()) blocks.push({ cid: cid.toString(), bytes });
  return blocks;
}

describe("segments that are built", () => {
  test("have all events in order, with what @ipld/car reads of their files", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.integer({ min: 1, max: 7 }), async (some, events) => {
        const all = sealableEvents(some);
        const built = build([all], { contentBytes: SEGMENT_CONTENT_BYTES, events });
        const written = segmentsOf(built);
        const read = await Promise.all(written.map(({ blocks }) => carBlocks(blocks)));
        const blocks = read.flatMap((each, i) => each.slice(0, written[i]?.segment.count));
        expect(blocks.map(({ bytes }) => toHex(bytes))).toEqual(all.map(({ block }) => toHex(block)));
        const messages = new Map<string, string>();
        for (const { messages: file } of written)
          for (const { cid, bytes } of file ? await carBlocks(file) : []) messages.set(cid, toHex(bytes));
        for (const each of built)
          if (each.kind === "large")
            messages.set(messageCid(each.message.digest).toString(), toHex(each.message.bytes));
        for (const { block, message } of all)
          if (message)
            expect(messages.get(messageCid(decodeBlock(block).msg).toString())).toBe(toHex(message));
      }),
      { numRuns: 60 },
    );
  });

  test("say what is in them", () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 7 }), (some, limit) => {
        const all = sealableEvents(some);
        let first = 0;
        for (const { segment, ...written } of segmentsOf(
          build([all], { contentBytes: 2 ** 23, events: limit }),
        )) {
          const own = all.slice(first, first + segment.count);
          first += segment.count;
          const content = readSegment(written.blocks, suite);
          const seqs = own.map(({ block }) => decodeBlock(block).seq).sort((a, b) => (a < b ? -1 : 1));
          expect([written.leastSeq, written.greatestSeq]).toEqual([seqs[0], seqs.at(-1)]);
          expect(content).toMatchObject({ root: segment.root, origins: segment.origins, runs: written.runs });
          expect(content.facts).toEqual({ net: NET, class: 1, from: segment.from, to: segment.to });
          expect([segment.from, segment.to]).toEqual([
            slotOfSeq(written.leastSeq),
            slotOfSeq(written.greatestSeq) + 1,
          ]);
          expect(segment.topics).toBe(new Set(own.map(({ topicKey }) => toHex(topicKey))).size);
          const names = own.map(({ topicKey, id }) => concatBytes(topicKey, id));
          expect([segment.firstName, segment.lastName]).toEqual([names[0], names.at(-1)]);
          expect(segment.blocks).toEqual({
            bytes: written.blocks.length,
            digest: suite.sha256(written.blocks),
          });
          expect(segment.messages?.digest).toEqual(
            written.messages ? suite.sha256(written.messages) : undefined,
          );
          const large = own.flatMap(({ message }) =>
            message && message.length > MAX_INLINE_MESSAGE_BYTES ? [toHex(suite.sha256(message))] : [],
          );
          expect(written.large.map(toHex)).toEqual([...new Set(large)]);
        }
        expect(first).toBe(all.length);
      }),
      { numRuns: 60 },
    );
  });

  test("are the same however the events come in pages", () => {
    fc.assert(
      fc.property(seeds, fc.nat(8), fc.nat(8), (some, a, b) => {
        const all = sealableEvents(some);
        const limits = { contentBytes: 2_000, events: 9 };
        const built = build(pagesOf(all, a + 1), limits);
        expect(build([[], ...pagesOf(all, b + 1), []], limits)).toEqual(built);
      }),
      { numRuns: 60 },
    );
  });

  test("are none where there are no events", () => {
    expect(build([])).toEqual([]);
    expect(build([[]])).toEqual([]);
  });
});

describe("a segment ends", () => {
  const events = sealableEvents(Array.from({ length: 10 }, (_, i) => ({ seq: BigInt(i) })));
  const bytesOf = ({ block, message }: SealableEvent) => block.length + (message?.length ?? 0);

  test("before more bytes of blocks and messages than its limit, and has no fewer", () => {
    const contentBytes = events.slice(0, 4).reduce((sum, event) => sum + bytesOf(event), 0);
    const counts = (limit: number) =>
      segmentsOf(build([events], { contentBytes: limit, events: 99 })).map(({ segment }) => segment.count);
    expect(counts(contentBytes)).toEqual([4, 4, 2]);
    expect(counts(contentBytes - 1)).toEqual([3, 3, 3, 1]);
    expect(counts(1)).toEqual(Array.from({ length: 10 }, () => 1));
  });

  test("at so many events", () => {
    const built = segmentsOf(build([events], { contentBytes: 2 ** 23, events: 3 }));
    expect(built.map(({ segment }) => segment.count)).toEqual([3, 3, 3, 1]);
  });

  test("before an origin more than an entry can name", () => {
    const many = sealableEvents(Array.from({ length: 600 }, (_, i) => ({ seq: BigInt(i), origin: i % 300 })));
    const built = segmentsOf(build([many]));
    expect(built.map(({ segment }) => segment.origins.length)).toEqual([256, 256, 88]);
    expect(built.map(({ segment }) => segment.count)).toEqual([256, 256, 88]);
  });

  test("below 8 MiB by itself", () => {
    const large = Array.from({ length: 140 }, (_, i) => ({
      seq: BigInt(i),
      message: new Uint8Array(MAX_INLINE_MESSAGE_BYTES).fill(i),
    }));
    const built = segmentsOf(build([sealableEvents(large)]));
    expect(built.map(({ segment }) => segment.count)).toEqual([127, 13]);
  });
});

describe("a large message", () => {
  test("comes before its segment, once, and counts for none of its bytes", () => {
    const events = sealableEvents([
      { seq: 1n, message: largeMessage(1) },
      { seq: 2n, message: largeMessage(2) },
      { seq: 3n, message: largeMessage(1) },
      { seq: 4n, message: new Uint8Array(MAX_INLINE_MESSAGE_BYTES).fill(4) },
    ]);
    const built = build([events], { contentBytes: 70_000, events: 99 });
    expect(built.map(({ kind }) => kind)).toEqual(["large", "large", "segment"]);
    const [one, two, segment] = built;
    expect(one).toEqual({
      kind: "large",
      message: { digest: suite.sha256(largeMessage(1)), bytes: largeMessage(1) },
    });
    if (two?.kind !== "large" || segment?.kind !== "segment") return expect.unreachable();
    expect(segment.written.large).toEqual([suite.sha256(largeMessage(1)), two.message.digest]);
    const messages = readMessages(segment.written.messages ?? new Uint8Array(), suite);
    expect([...messages.values()].map(({ length }) => length)).toEqual([MAX_INLINE_MESSAGE_BYTES]);
  });

  test("that is stored already is named alike, and is not handed out", () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 1, max: 7 }), (some, events) => {
        const limits = { contentBytes: SEGMENT_CONTENT_BYTES, events };
        const all = sealableEvents(some);
        const apart = all.map((event): SealableEvent => {
          const isLarge = (event.message?.length ?? 0) > MAX_INLINE_MESSAGE_BYTES;
          return isLarge ? { ...event, message: "apart" } : event;
        });
        expect(build([apart], limits)).toEqual(build([all], limits).filter(({ kind }) => kind === "segment"));
      }),
      { numRuns: 60 },
    );
  });

  test("that was dropped is none", () => {
    const built = build([[sealableEvent({ message: largeMessage(1), isDropped: true })]]);
    expect(built).toMatchObject([{ kind: "segment", written: { large: [], messages: null } }]);
  });
});

describe("nothing is built of", () => {
  const [first, second] = sealableEvents([{ seq: 1n }, { seq: 2n }]);
  if (!first || !second) throw new Error("two events");

  test.each<[string, string, readonly SealableEvent[]]>([
    ["events out of order", "segment_order", [second, first]],
    ["an event twice", "segment_order", [first, first]],
    ["an event of another class", "segment_class", [first, { ...second, class: 2 }]],
    ["a block that is not its id's", "event_damaged", [{ ...first, block: second.block }]],
    ["a message that is not its block's", "event_damaged", [{ ...first, message: second.message }]],
    [
      "a small message that is said to be an object of its own",
      "event_damaged",
      [{ ...first, message: "apart" }],
    ],
  ])("%s", (_, code, events) => {
    expect(codeOf(() => build([events]))).toBe(code);
    expect(codeOf(() => build(events.map((event) => [event])))).toBe(code);
  });

  test("pages that are not asked for: one segment is in memory", () => {
    let read = 0;
    function* pages() {
      for (let i = 0; i < 5; i++) {
        read++;
        yield [sealableEvent({ seq: BigInt(i) })];
      }
    }
    const building = buildSegments({ net: NET, class: 1, pages: pages() }, suite, {
      contentBytes: 2 ** 23,
      events: 2,
    });
    building.next();
    expect(read).toBe(3);
    building.next();
    expect(read).toBe(5);
  });
});
