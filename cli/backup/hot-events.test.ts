import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import type { EncodedEvent, WireEvent } from "../../protocol/event.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { HotBatch, positionOf, readHot } from "./hot-events.ts";
import type { HotPage } from "./node-api.ts";
import { readEvents } from "./segment-check.ts";
import { madeEvent, madeSegment, network } from "./testing/made-events.ts";

const NETWORK = toHex(network.id);
const LARGE = new Uint8Array(70_000).fill(1);

/** A batch as the segments that it makes. */
const segmentsOf = (events: readonly EncodedEvent[]) => {
  const batch = new HotBatch();
  const large = events.flatMap((event) => batch.add(event) ?? []);
  return { large, segments: [...batch.segments(NETWORK)] };
};

describe("a batch", () => {
  test("makes the segments that a shard would make of the same events, in whatever order they came", () => {
    const events = [madeEvent(3), madeEvent(1), madeEvent(2, "other"), madeEvent(4, "other", LARGE)];
    const { segments, large } = segmentsOf(events);
    const sealed = madeSegment(events).files;
    expect(segments.map(({ blocks, messages }) => ({ blocks, messages }))).toEqual([
      { blocks: sealed.blocks, messages: sealed.messages },
    ]);
    expect(large).toEqual([{ digest: toHex(events[3]?.fields.msg as Uint8Array), message: LARGE }]);
  });

  test("has each of its events in one segment, of its class", () => {
    const topics = fc.constantFrom("a", "b", "/xmtp/0/m-c/proto", "/xmtp/0/contact-d/proto");
    const made = fc.uniqueArray(fc.tuple(fc.nat(1_000), topics), { selector: ([n]) => n, maxLength: 30 });
    fc.assert(
      fc.property(made, (seeds) => {
        const events = seeds.map(([n, topic]) => madeEvent(n, topic));
        const found: string[] = [];
        for (const { segment, blocks, messages } of segmentsOf(events).segments)
          for (const { block, fields, message } of readEvents(toHex(segment.root), blocks, messages)) {
            expect([fields.class, message]).toEqual([segment.class, expect.any(Uint8Array)]);
            found.push(toHex(block));
          }
        expect(found.sort()).toEqual(events.map(({ block }) => toHex(block)).sort());
      }),
      { numRuns: 50 },
    );
  });

  test("is full by its events' bytes, of which large messages are none, and empty when it is cleared", () => {
    const batch = new HotBatch();
    for (let n = 0; n < 200; n++) batch.add(madeEvent(n, "topic", LARGE));
    expect(batch.isFull).toBe(false);
    for (let n = 200; n < 340; n++) batch.add(madeEvent(n, "topic", LARGE.slice(0, 65_000)));
    expect(batch.isFull).toBe(true);
    batch.clear();
    expect([batch.isFull, [...batch.segments(NETWORK)]]).toEqual([false, []]);
  });

  test("takes no event whose message is another's", () => {
    const batch = new HotBatch();
    batch.add({ ...madeEvent(1), message: madeEvent(2).message });
    expect(() => [...batch.segments(NETWORK)]).toThrow("is not that of its id");
  });
});

test("a shard is read page by page, up to where there is no more", async () => {
  const asked: (string | null)[] = [];
  const name = (n: number) => ({ topicKey: new Uint8Array(32), id: new Uint8Array(40).fill(n) });
  const node = {
    hotNames: async (_: number, after: string | null, limit: number): Promise<HotPage> => {
      asked.push(after);
      const from = after ? positionOf(after) : 0;
      const names = [1, 2, 3, 4, 5].slice(from, from + limit).map(name);
      return {
        after: `aa:${from + names.length}`,
        names,
        more: from + names.length < 5,
        restart: false,
        oldest: 0,
      };
    },
    async *hotEvents(_: number, names: readonly EventName[]): AsyncIterable<readonly WireEvent[]> {
      for (const { id } of names) yield [madeEvent(id[0] as number)];
    },
  };
  const kinds: string[] = [];
  for await (const read of readHot(node, 0, null, 2)) kinds.push(read.kind[0] as string);
  expect([asked, kinds.join("")]).toEqual([[null, "aa:2", "aa:4"], "peerpeerper"]);
});
