import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Bytes,
  compareBytes,
  concatBytes,
  readUint64,
  toHex,
  uint64Bytes,
} from "../../protocol/bytes.ts";
import { digestOfId, seqOfId } from "../../protocol/event-id.ts";
import type { SegmentEvent } from "../../protocol/segment-file.ts";
import { byTopicAndId, sealedEvents } from "../../protocol/testing/sealed-events.ts";
import { segmentOf } from "../testing/held-segments.ts";
import { MemorySealedStore } from "../testing/memory-sealed-store.ts";
import { UndoLog } from "../testing/undo-log.ts";
import { END_OF_IDS } from "../topic-shard/sync-tree/slot-spans.ts";
import { type HeldPlace, SealedIndex } from "./sealed-index.ts";
import type { NewSegment } from "./segment-list.ts";

/** What the index finds in segments, against what a plain list of the events says. */

const BEFORE_IDS = new Uint8Array(40);
const ALL = { from: new Uint8Array(32), to: null };
const MIDST = new Uint8Array(32).fill(128);

/** Events, each given to one of three groups; one class in a segment. */
const scenes = fc
  .tuple(sealedEvents, fc.infiniteStream(fc.nat(2)))
  .filter(([events]) => events.length > 0)
  .map(([events, groups]) => {
    const groupOf = new Map(events.map(({ id }) => [toHex(id), groups.next().value as number]));
    const byGroup = Map.groupBy(events, ({ id }) => groupOf.get(toHex(id)) as number);
    const index = new SealedIndex(new MemorySealedStore(new UndoLog()));
    for (const members of byGroup.values()) index.addGroup(segmentsOf(members));
    return { events, index };
  });

/** Two segments, if there are enough: the first half of the topics and the second. */
function segmentsOf(events: readonly SegmentEvent[]): NewSegment[] {
  const sorted = events.toSorted(byTopicAndId);
  const middle = sorted[sorted.length >> 1] as SegmentEvent;
  const isFirst = (event: SegmentEvent) => byTopicAndId(event, middle) < 0;
  const byClass = Map.groupBy(sorted, (event) => `${classOf(event)} ${isFirst(event)}`);
  return [...byClass.values()].map(segmentOf);
}

const classOf = (event: SegmentEvent): number => segmentOf([event]).segment.class;
const nameOf = ({ topicKey, id }: { readonly topicKey: Bytes; readonly id: Bytes }) =>
  toHex(topicKey) + toHex(id);
const nameOfPlace = ({ topicKey, entry }: HeldPlace) => nameOf({ topicKey, id: entry.id });
const topicsOf = (events: readonly SegmentEvent[]) => [
  ...new Map(events.map(({ topicKey }) => [toHex(topicKey), topicKey])).values(),
];

describe("what a shard keeps of its segments", () => {
  test("finds every event by its name and its digest, and no other", () => {
    fc.assert(
      fc.property(scenes, ({ events, index }) => {
        for (const event of events) {
          const found = index.find(event);
          expect(found?.entry).toMatchObject({ id: event.id, timeKey: event.timeKey });
          expect(found?.segment.origins[found.entry.origin]).toEqual(event.origin);
          expect(index.findByDigest(digestOfId(event.id))?.entry.id).toEqual(event.id);
          const other = concatBytes(event.id.slice(0, 39), Uint8Array.of((event.id[39] as number) ^ 1));
          expect(index.has({ topicKey: event.topicKey, id: other })).toBe(false);
          expect(index.has({ topicKey: MIDST, id: event.id })).toBe(false);
          expect(index.findByDigest(digestOfId(other))).toBeUndefined();
        }
      }),
    );
  });

  test("says which events have a digest that begins so", () => {
    fc.assert(
      fc.property(scenes, ({ events, index }) => {
        const wanted = new Set(events.slice(0, 5).map(({ id }) => readUint64(digestOfId(id)) >> 2n));
        wanted.add(5n);
        const found = [...index.withPrefixes(wanted)].map(nameOfPlace).sort();
        expect(found).toEqual(events.slice(0, 5).map(nameOf).sort());
      }),
    );
  });

  test("knows each topic's greatest id, and the ids of a seq", () => {
    fc.assert(
      fc.property(scenes, ({ events, index }) => {
        for (const topicKey of topicsOf(events)) {
          const own = events.filter((event) => compareBytes(event.topicKey, topicKey) === 0);
          // The second time it is remembered.
          for (let i = 0; i < 2; i++) expect(index.greatest(topicKey)).toEqual(own.at(-1)?.id);
          for (const { id } of own.slice(0, 3)) {
            const same = own.filter((each) => seqOfId(each.id) === seqOfId(id)).map((each) => each.id);
            expect(index.idsWithSeq(topicKey, seqOfId(id), 10)).toEqual(same);
            expect(index.idsWithSeq(topicKey, seqOfId(id), 1)).toEqual(same.slice(0, 1));
            expect(index.idsWithSeq(topicKey, seqOfId(id) + 2n ** 40n, 1)).toEqual([]);
          }
        }
        expect(index.greatest(MIDST)).toBeUndefined();
      }),
    );
  });

  test("lists a topic by time, both ways, and by id", () => {
    const bound = fc.bigInt({ min: 0n, max: 4n });
    fc.assert(
      fc.property(scenes, bound, bound, fc.boolean(), ({ events, index }, a, b, isWide) => {
        const from = concatBytes(uint64Bytes(a), new Uint8Array(32));
        const to = concatBytes(uint64Bytes(isWide ? 2n ** 64n - 1n : b), new Uint8Array(32).fill(255));
        for (const topicKey of topicsOf(events)) {
          const own = events.filter((event) => compareBytes(event.topicKey, topicKey) === 0);
          const within = own.filter(
            ({ timeKey }) => compareBytes(timeKey, from) >= 0 && compareBytes(timeKey, to) <= 0,
          );
          within.sort((x, y) => compareBytes(x.timeKey, y.timeKey) || compareBytes(x.id, y.id));
          const listed = (isDescending: boolean) =>
            [...index.byTime(topicKey, { from, to, isDescending })].map(nameOfPlace);
          expect(listed(false)).toEqual(within.map(nameOf));
          expect(listed(true)).toEqual(within.map(nameOf).reverse());
          const after = own[1]?.id ?? BEFORE_IDS;
          const rest = own.filter(({ id }) => compareBytes(id, after) > 0);
          expect([...index.afterId(topicKey, after)].map(nameOfPlace)).toEqual(rest.map(nameOf));
        }
      }),
    );
  });

  test("lists the topics and their events in order, from any place on", () => {
    const places = fc.nat(50);
    fc.assert(
      fc.property(scenes, places, places, fc.boolean(), ({ events, index }, first, last, isEnded) => {
        const place = events[first % events.length] as SegmentEvent;
        const to = (events[last % events.length] as SegmentEvent).id;
        const after = { topicKey: place.topicKey, id: isEnded ? END_OF_IDS : place.id };
        const span = { topics: ALL, fromId: BEFORE_IDS, toId: to, after };
        const listed = [...index.inOrder(span)].flatMap((each) =>
          "passed" in each ? [] : nameOfPlace(each),
        );
        const expected = events.filter(
          (event) => compareBytes(event.id, to) < 0 && nameOf(event) > nameOf(after),
        );
        expect(listed).toEqual(expected.map(nameOf));
        for (const key of topicsOf(events)) {
          const next = topicsOf(events).find((each) => compareBytes(each, key) > 0);
          expect(index.topicAfter(ALL, key)).toEqual(next);
          expect(index.topicAfter({ from: ALL.from, to: key }, key)).toBeUndefined();
        }
        expect(index.topicAfter(ALL, null)).toEqual(events[0]?.topicKey);
      }),
    );
  });

  test("forgets what is removed, and never gives a number again", () => {
    fc.assert(
      fc.property(scenes, ({ events, index }) => {
        const numbers = index.segments.map(({ number }) => number);
        const gone = index.segments[0]?.number as number;
        const [kept, lost] = [
          events.filter((event) => index.find(event)?.segment.number !== gone),
          events.filter((event) => index.find(event)?.segment.number === gone),
        ];
        index.remove([gone]);
        expect(kept.every((event) => index.has(event))).toBe(true);
        expect(lost.some((event) => index.has(event))).toBe(false);
        index.addGroup(segmentsOf(lost));
        expect(events.every((event) => index.has(event))).toBe(true);
        expect(index.segments.filter(({ number }) => numbers.includes(number))).toHaveLength(
          numbers.length - 1,
        );
      }),
    );
  });

  test("an empty one finds nothing", () => {
    const index = new SealedIndex(new MemorySealedStore(new UndoLog()));
    const span = { topics: ALL, fromId: BEFORE_IDS, toId: END_OF_IDS, after: null };
    expect([...index.inOrder(span), ...index.withPrefixes(new Set([1n]))]).toEqual([]);
    expect([index.topicAfter(ALL, null), index.greatest(MIDST)]).toEqual([undefined, undefined]);
  });
});
