import { type Bytes, compareBytes, concatBytes, readUint64, toHex } from "../../protocol/bytes.ts";
import { DIGEST_BYTES, digestOfId, EVENT_ID_BYTES, seqOfId } from "../../protocol/event-id.ts";
import { mergeSorted } from "../../protocol/merge-sorted.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { slotOfSeq } from "../../protocol/retention.ts";
import { numbersWithPrefix } from "../../protocol/segment-digests.ts";
import { SegmentIndex, type TimeBounds, type TimeSpan } from "../../protocol/segment-index.ts";
import { partsOf, type RunKind, type Runs, type TopicRun } from "../../protocol/segment-runs.ts";
import { END_OF_IDS, firstIdOfSeq, slotOfId } from "../topic-shard/sync-tree/slot-spans.ts";
import type { TopicKeyRange } from "../topic-shard/sync-tree/tree-store.ts";
import { RememberedParts } from "./remembered-parts.ts";
import { messageOf } from "./sealed-parts.ts";
import type { HeldSegment } from "./sealed-store.ts";
import { isWithoutMessages, type SealedPlace, type Segment } from "./segment.ts";
import { SegmentList } from "./segment-list.ts";

/** Topics of which the greatest sealed id is remembered, or that there is none. */
const MAX_REMEMBERED_TOPICS = 4_096;
/** Bytes of parts that are remembered. */
const MAX_REMEMBERED_BYTES = 2 * 1024 * 1024;

const ALL_TOPICS: TopicKeyRange = { from: new Uint8Array(DIGEST_BYTES), to: null };
const BEFORE_IDS = new Uint8Array(EVENT_ID_BYTES);

/** A place in a segment that the shard holds to. */
export interface HeldPlace extends SealedPlace {
  readonly segment: HeldSegment;
}

/** A topic that was read to the end of the span, maybe without an event: a reader may stop behind it. */
export interface PassedTopic {
  readonly passed: Bytes;
}

/** What is read in the order of topic and id: ids from one on and below another, of a range of topics, after a name. */
interface NameSpanOfTopics {
  readonly topics: TopicKeyRange;
  readonly fromId: Bytes;
  readonly toId: Bytes;
  readonly after: EventName | null;
}

/**
 * Finds the sealed events of a shard by what it keeps of its segments: no file is read. The list of segments is a cache of the store, which
 * `reload` reads anew.
 */
export class SealedIndex extends SegmentList {
  readonly #greatest = new Map<string, Bytes | null>();
  readonly #parts = new RememberedParts(MAX_REMEMBERED_BYTES);

  override reload(): void {
    super.reload();
    this.#parts.clear();
  }

  protected override changed(): void {
    super.changed();
    this.#greatest.clear();
  }

  /** For one use: it remembers all parts that it has read. */
  #indexOf({ number, topics, count }: HeldSegment): SegmentIndex {
    const parts = {
      part: (kind: RunKind, part: number) =>
        this.#parts.get(`${number} ${kind} ${part}`, () => this.store.part(number, kind, part)),
    };
    return new SegmentIndex(parts, { topics, events: count });
  }

  /** Where the block of a segment's last event ends in the file of blocks: behind it are the signatures. */
  blocksEnd(segment: HeldSegment): number {
    const { blockAt, blockLength } = this.#indexOf(segment).entry(segment.count - 1);
    return blockAt + blockLength;
  }

  /** Some of a segment's topics, in order, from a number on. */
  topicsOf(segment: HeldSegment, from: number, limit: number): Bytes[] {
    const index = this.#indexOf(segment);
    const count = Math.max(0, Math.min(limit, segment.topics - from));
    return Array.from({ length: count }, (_, i) => index.topicAt(from + i));
  }

  /** All events of a segment in their order, also those that records took out. */
  allOf(segment: HeldSegment): HeldPlace[] {
    const index = this.#indexOf(segment);
    return Array.from({ length: segment.count }, (_, number) => ({
      segment,
      number,
      topicKey: index.topicOf(number),
      entry: index.entry(number),
    }));
  }

  /** The runs of a segment, as its file has them. */
  runsOf({ number, topics, count }: HeldSegment): Runs {
    const partsOfRun = (kind: RunKind, entries: number) =>
      Array.from({ length: partsOf(entries) }, (_, part) => this.store.part(number, kind, part));
    return {
      topics: partsOfRun("topics", topics),
      ids: partsOfRun("ids", count),
      times: partsOfRun("times", count),
    };
  }

  /** The segments that may have events of a topic. */
  #withTopic(topicKey: Bytes): HeldSegment[] {
    return this.segments.filter((segment) => isWithin(segment, topicKey));
  }

  find(name: EventName): HeldPlace | undefined {
    const slot = slotOfId(name.id);
    for (const segment of this.#withTopic(name.topicKey)) {
      if (slot < segment.from || slot >= segment.to) continue;
      const index = this.#indexOf(segment);
      const run = index.topic(name.topicKey);
      const found = run && index.find(run, name.id);
      if (found && !this.isOut(segment, found.number)) return { segment, topicKey: name.topicKey, ...found };
    }
    return undefined;
  }

  has(name: EventName): boolean {
    return this.find(name) !== undefined;
  }

  /** The greatest id of a topic. */
  greatest(topicKey: Bytes): Bytes | undefined {
    const key = toHex(topicKey);
    const known = this.#greatest.get(key);
    if (known !== undefined) return known ?? undefined;
    const found = this.#findGreatest(topicKey);
    if (this.#greatest.size >= MAX_REMEMBERED_TOPICS) this.#greatest.clear();
    this.#greatest.set(key, found ?? null);
    return found;
  }

  #findGreatest(topicKey: Bytes): Bytes | undefined {
    let greatest: Bytes | undefined;
    for (const segment of this.#withTopic(topicKey).sort((a, b) => b.to - a.to)) {
      if (greatest && slotOfId(greatest) >= segment.to) break;
      const index = this.#indexOf(segment);
      const run = index.topic(topicKey);
      if (!run) continue;
      let last = run.first + run.count - 1;
      while (last >= run.first && this.isOut(segment, last)) last--;
      if (last < run.first) continue;
      const { id } = index.entry(last);
      if (!greatest || compareBytes(id, greatest) > 0) greatest = id;
    }
    return greatest;
  }

  /** The ids of a topic's events with this seq, in order. */
  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[] {
    const slot = slotOfSeq(seq);
    const ids: Bytes[] = [];
    for (const segment of this.#withTopic(topicKey)) {
      if (slot < segment.from || slot >= segment.to) continue;
      for (const { entry } of this.#fromId(segment, topicKey, firstIdOfSeq(seq))) {
        if (seqOfId(entry.id) !== seq || ids.length >= limit) break;
        ids.push(entry.id);
      }
    }
    return ids.sort(compareBytes).slice(0, limit);
  }

  /** A topic's events of one segment from an id on. */
  *#fromId(segment: HeldSegment, topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    const index = this.#indexOf(segment);
    const run = index.topic(topicKey);
    if (run) yield* this.#placesFrom(index, segment, run, id);
  }

  *#placesFrom(index: SegmentIndex, segment: HeldSegment, run: TopicRun, id: Bytes): Iterable<HeldPlace> {
    for (let number = index.firstFrom(run, id); number < run.first + run.count; number++)
      if (!this.isOut(segment, number))
        yield { segment, number, topicKey: run.topicKey, entry: index.entry(number) };
  }

  /** A topic's events with ids below one, the greatest first. */
  belowId(topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    const sequences = this.#withTopic(topicKey).map((segment) => this.#belowIdIn(segment, topicKey, id));
    return mergeSorted(sequences, (a, b) => byId(b, a));
  }

  *#belowIdIn(segment: HeldSegment, topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    const index = this.#indexOf(segment);
    const run = index.topic(topicKey);
    if (!run) return;
    for (let number = index.firstFrom(run, id) - 1; number >= run.first; number--)
      if (!this.isOut(segment, number)) yield { segment, number, topicKey, entry: index.entry(number) };
  }

  /** A topic's events with ids above one, in their order: a causal order. */
  afterId(topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    return this.#afterIdIn(this.#withTopic(topicKey), topicKey, id);
  }

  /** Of these, the ones whose messages are there. */
  shownAfterId(topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    return shown(this.#afterIdIn(this.#withMessages(topicKey), topicKey, id));
  }

  #afterIdIn(segments: readonly HeldSegment[], topicKey: Bytes, id: Bytes): Iterable<HeldPlace> {
    const first = successorOf(id);
    const sequences = segments.map((segment) => this.#fromId(segment, topicKey, first));
    return mergeSorted(sequences, byId);
  }

  /** The segments that may have events of a topic with their messages: what has none is not looked into. */
  #withMessages(topicKey: Bytes): HeldSegment[] {
    return this.#withTopic(topicKey).filter((segment) => !isWithoutMessages(segment));
  }

  /** How many of a topic's events above one id and up to another have no message. */
  goneInIds(topicKey: Bytes, afterId: Bytes, lastId: Bytes): number {
    let count = 0;
    for (const segment of this.#withTopic(topicKey)) {
      const index = this.#indexOf(segment);
      const run = hasGone(segment) ? index.topic(topicKey) : undefined;
      if (!run) continue;
      const first = successorOf(afterId);
      const [from, behind] = [index.firstFrom(run, first), index.firstFrom(run, successorOf(lastId))];
      if (isWholeAndGone(segment)) count += Math.max(0, behind - from);
      else
        for (const place of this.#placesFrom(index, segment, run, first)) {
          if (place.number >= behind) break;
          if (isGone(place)) count++;
        }
    }
    return count;
  }

  /** How many of a topic's events with ids from one on have no message, within a stretch of time. */
  goneInTime(topicKey: Bytes, span: TimeSpan, leastId: Bytes): number {
    let count = 0;
    for (const segment of this.#withTopic(topicKey)) {
      if (!hasGone(segment)) continue;
      const index = this.#indexOf(segment);
      const run = index.topic(topicKey);
      const isSimple = isWholeAndGone(segment) && segment.from > slotOfId(leastId);
      if (run && isSimple) count += index.countByTime(run, span);
      else
        for (const place of this.#byTimeIn(segment, topicKey, { ...span, isDescending: false }))
          if (isGone(place) && compareBytes(place.entry.id, leastId) >= 0) count++;
    }
    return count;
  }

  /** A topic's events within bounds in the order of time key and id, or in the opposite one. */
  byTime(topicKey: Bytes, bounds: TimeBounds): Iterable<HeldPlace> {
    return this.#byTimeOf(this.#withTopic(topicKey), topicKey, bounds);
  }

  /** Of these, the ones whose messages are there. */
  shownByTime(topicKey: Bytes, bounds: TimeBounds): Iterable<HeldPlace> {
    return shown(this.#byTimeOf(this.#withMessages(topicKey), topicKey, bounds));
  }

  #byTimeOf(segments: readonly HeldSegment[], topicKey: Bytes, bounds: TimeBounds): Iterable<HeldPlace> {
    const sequences = segments.map((segment) => this.#byTimeIn(segment, topicKey, bounds));
    return mergeSorted(sequences, (a, b) => (bounds.isDescending ? byTime(b, a) : byTime(a, b)));
  }

  *#byTimeIn(segment: HeldSegment, topicKey: Bytes, bounds: TimeBounds): Iterable<HeldPlace> {
    const index = this.#indexOf(segment);
    const run = index.topic(topicKey);
    if (!run || run.greatestTs < readUint64(bounds.from) || run.leastTs > readUint64(bounds.to)) return;
    for (const found of index.byTime(run, bounds))
      if (!this.isOut(segment, found.number)) yield { segment, topicKey, ...found };
  }

  /** Events in the order of topic and id. What was passed is told, too, so that a reader can stop. */
  inOrder(span: NameSpanOfTopics): Iterable<HeldPlace | PassedTopic> {
    const [from, to] = [slotOfId(span.fromId), slotOfId(span.toId)];
    const sequences = this.segments
      .filter((segment) => segment.to > from && segment.from <= to && overlaps(segment, span.topics))
      .map((segment) => this.#inOrderIn(segment, span));
    return mergeSorted(sequences, (a, b) => byName(nameOf(a), nameOf(b)));
  }

  *#inOrderIn(segment: HeldSegment, span: NameSpanOfTopics): Iterable<HeldPlace | PassedTopic> {
    const { topics, fromId, toId, after } = span;
    const index = this.#indexOf(segment);
    const first = after && compareBytes(after.topicKey, topics.from) > 0 ? after.topicKey : topics.from;
    for (const run of index.topicsFrom(first)) {
      const { topicKey } = run;
      if (topics.to && compareBytes(topicKey, topics.to) >= 0) return;
      const isFirst = after !== null && compareBytes(topicKey, after.topicKey) === 0;
      let start = fromId;
      if (isFirst && compareBytes(after.id, fromId) >= 0) start = successorOf(after.id);
      for (const place of this.#placesFrom(index, segment, run, start)) {
        if (compareBytes(place.entry.id, toId) >= 0) break;
        yield place;
      }
      if (!isFirst || compareBytes(after.id, END_OF_IDS) < 0) yield { passed: topicKey };
    }
  }

  /** Events of some groups in the order of topic and id, from behind a name. A group's segments are opened one after the other. */
  inGroupOrder(groups: Iterable<readonly HeldSegment[]>, after: EventName | null): Iterable<HeldPlace> {
    const sequences = [...groups].map((segments) => this.#inGroup(segments, after));
    return mergeSorted(sequences, (a, b) => byName(nameOf(a), nameOf(b)));
  }

  *#inGroup(segments: readonly HeldSegment[], after: EventName | null): Iterable<HeldPlace> {
    const last = after && concatBytes(after.topicKey, after.id);
    const span = { topics: ALL_TOPICS, fromId: BEFORE_IDS, toId: END_OF_IDS, after };
    for (const segment of segments.toSorted((a, b) => compareBytes(a.firstName, b.firstName))) {
      if (last && compareBytes(segment.lastName, last) <= 0) continue;
      for (const each of this.#inOrderIn(segment, span)) if (!("passed" in each)) yield each;
    }
  }

  /** The first topic of a range, or the first one after a topic. */
  topicAfter({ from, to }: TopicKeyRange, after: Bytes | null): Bytes | undefined {
    const start = after ? successorOf(after) : from;
    const firsts = this.segments.flatMap((segment) => {
      if (!overlaps(segment, { from: start, to })) return [];
      for (const { topicKey } of this.#indexOf(segment).topicsFrom(start)) return [topicKey];
      return [];
    });
    const [first] = firsts.sort(compareBytes);
    return first && (!to || compareBytes(first, to) < 0) ? first : undefined;
  }

  /** The event with this block digest. */
  findByDigest(blockDigest: Bytes): HeldPlace | undefined {
    for (const place of this.withPrefixes(new Set([readUint64(blockDigest) >> 2n])))
      if (compareBytes(digestOfId(place.entry.id), blockDigest) === 0) return place;
    return undefined;
  }

  /** Events whose block digest begins with one of these: the first 62 bits, as a number. */
  *withPrefixes(prefixes: ReadonlySet<bigint>): Iterable<HeldPlace> {
    for (const segment of this.segments) {
      const index = this.#indexOf(segment);
      const partOf = remembered((part) => this.store.part(segment.number, "digests", part));
      for (const prefix of prefixes) {
        for (const number of numbersWithPrefix(prefix, segment.count, partOf))
          if (!this.isOut(segment, number))
            yield { segment, number, topicKey: index.topicOf(number), entry: index.entry(number) };
      }
    }
  }
}

/** A part that is asked for several times in a row is read once. */
function remembered(read: (part: number) => Bytes): (part: number) => Bytes {
  let last: { readonly part: number; readonly bytes: Bytes } | undefined;
  return (part) => {
    if (last?.part !== part) last = { part, bytes: read(part) };
    return last.bytes;
  };
}

const isGone = (place: HeldPlace): boolean => messageOf(place) === "gone";
const hasGone = ({ gone = 0 }: HeldSegment): boolean => gone > 0;
/** Its runs alone tell how many are gone. */
const isWholeAndGone = (segment: HeldSegment): boolean =>
  isWithoutMessages(segment) && segment.outCount === 0;

function* shown(places: Iterable<HeldPlace>): Iterable<HeldPlace> {
  for (const place of places) if (!isGone(place)) yield place;
}

const byId = (a: HeldPlace, b: HeldPlace): number => compareBytes(a.entry.id, b.entry.id);
const byTime = (a: HeldPlace, b: HeldPlace): number =>
  compareBytes(a.entry.timeKey, b.entry.timeKey) || byId(a, b);

const nameOf = (each: HeldPlace | PassedTopic): EventName =>
  "passed" in each
    ? { topicKey: each.passed, id: END_OF_IDS }
    : { topicKey: each.topicKey, id: each.entry.id };

const topicKeyOf = (name: Bytes): Bytes => name.subarray(0, DIGEST_BYTES);

const isWithin = ({ firstName, lastName }: Segment, topicKey: Bytes): boolean =>
  compareBytes(topicKeyOf(firstName), topicKey) <= 0 && compareBytes(topicKey, topicKeyOf(lastName)) <= 0;

const overlaps = ({ firstName, lastName }: Segment, { from, to }: TopicKeyRange): boolean =>
  compareBytes(topicKeyOf(lastName), from) >= 0 &&
  (to === null || compareBytes(topicKeyOf(firstName), to) < 0);

/** The least byte string of this length above one; the same for the greatest, which no event and no topic has. */
function successorOf(bytes: Bytes): Bytes {
  const next = bytes.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    const value = ((next[i] as number) + 1) & 255;
    next[i] = value;
    if (value !== 0) return next;
  }
  return bytes.slice();
}
