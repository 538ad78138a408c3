import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { bytesOfWire, isWhole, toWire, type WireEvent } from "../../protocol/event.ts";
import { EVENT_ID_BYTES } from "../../protocol/event-id.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import { mergeSorted } from "../../protocol/merge-sorted.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { messageRange } from "../../protocol/segment-places.ts";
import type { RangeAnswer, RangeQuestion } from "../../protocol/sync-messages.ts";
import { topicKeysOf } from "../../protocol/topic.ts";
import { neighbour } from "../topic-shard/queries.ts";
import { GONE, type ShownEvent, type StoredEvent, type TimeRange } from "../topic-shard/shard-store.ts";
import { END_OF_IDS } from "../topic-shard/sync-tree/slot-spans.ts";
import type { TopicKeyRange } from "../topic-shard/sync-tree/tree-store.ts";
import type { BodyReader } from "./body-reader.ts";
import type { HeldPlace, PassedTopic } from "./sealed-index.ts";
import { bytesOfParts, cutPlaces, MAX_BYTES_PER_READ, type WantedParts } from "./sealed-parts.ts";
import { type Hit, type HitPage, type HitSource, mergeIdPage, mergeTimePage } from "./tier-merge.ts";
import { SEALED_POSITION, type TieredShardStore } from "./tiered-shard-store.ts";

/** An event of either tier: hot ones are read already. */
export type Found = { readonly event: StoredEvent } | { readonly place: HeldPlace };

type TierHit = Hit & Found;

/**
 * Events of a page, whose messages are there; a short one may be full, too, since it ended at a limit other than its number. One that is
 * full has an event: what is gone is passed over as if it were not there.
 */
interface EventPageOfTiers {
  readonly events: ShownEvent[];
  readonly isFull: boolean;
}

/** An event that was asked for by its CID. */
export type FoundEvent = StoredEvent & {
  /** Why it has no message: this node dropped it, or never had it. */
  readonly why?: "dropped" | "absent";
};

/** What an envelope is made of. */
interface EnvelopeOfTiers {
  readonly timeKey: Bytes;
  readonly message: Bytes;
}

/** Hot events of one read while two tiers are merged. */
const HOT_PER_READ = 256;
/** Events and topics that one page of a range looks at: what is left is on the next page, and so is nothing when all was passed over. */
const MAX_ROWS_PER_RANGE = 8_192;
const BEFORE_IDS = new Uint8Array(EVENT_ID_BYTES);
const ALL: WantedParts = { parts: "all" };

/**
 * Reads the events of a shard, hot and sealed as one. What is to be read is decided in one go, from the shard's own storage; only then the
 * sealed events' files are read, so that nothing is missing or doubled while a seal runs.
 */
export class TieredReads {
  readonly #store: TieredShardStore;
  readonly #bodies: Pick<BodyReader, "read">;

  constructor(store: TieredShardStore, bodies: Pick<BodyReader, "read">) {
    this.#store = store;
    this.#bodies = bodies;
  }

  /** Whether a topic has sealed events. */
  isSealed(topicKey: Bytes): boolean {
    return this.#store.index.greatest(topicKey) !== undefined;
  }

  /** Distinct envelopes in time order, as `ShardStore.timePage` has them. @throws PennypostError of `BodyReader.read`. */
  async timePage(range: TimeRange, limit: number, maxBytes: number): Promise<EventPageOfTiers> {
    const { hits, isFull } = this.#cut(this.#timeHits(range, limit, maxBytes), ALL);
    return { events: (await this.#events(hits)).filter(isWhole), isFull };
  }

  /** The same without what a query of envelopes does not need. */
  async envelopes(
    range: TimeRange,
    topic: Bytes,
    limit: number,
    maxBytes: number,
  ): Promise<{ readonly envelopes: EnvelopeOfTiers[]; readonly isFull: boolean }> {
    const wanted: WantedParts = { parts: "messages", topic };
    const { hits, isFull } = this.#cut(this.#timeHits(range, limit, maxBytes), wanted);
    const bodies = await this.#bodies.read(placesOf(hits), wanted);
    let next = 0;
    const envelopes = hits.flatMap((hit) => {
      const message = "event" in hit ? hit.event.message : bodies[next++]?.message;
      return message ? [{ timeKey: hit.timeKey, message }] : [];
    });
    return { envelopes, isFull };
  }

  #timeHits(range: TimeRange, limit: number, maxBytes: number): HitPage<TierHit> {
    const { from, to, isDescending, topicKey, leastId } = range;
    const { hot, index } = this.#store;
    const hotPages = function* () {
      for (let rest: TimeRange | undefined = range; rest; ) {
        const page = hot.timePage(rest, Math.min(limit, HOT_PER_READ), maxBytes);
        yield* page;
        const last = page.at(-1);
        rest = last && rangeBehind(rest, last.timeKey);
      }
    };
    const sealed = () => index.shownByTime(topicKey, { from, to, isDescending });
    const sources = [
      sourceOf(() => mapped(hotPages(), (event) => hitOfEvent(event, event.message.length))),
      sourceOf(() => mapped(sealed(), (place) => hitOfPlace(place, place.entry.messageLength))),
    ];
    return mergeTimePage(sources, { isDescending, leastId, limit, maxBytes });
  }

  /** Events of a topic with ids above one whose messages are there, in id order. */
  async causalPage(
    topicKey: Bytes,
    afterId: Bytes,
    limit: number,
    maxBytes: number,
  ): Promise<EventPageOfTiers> {
    const { hot, index } = this.#store;
    const hotPages = function* () {
      for (let after = afterId; ; ) {
        const page = hot.causalPage(topicKey, after, Math.min(limit, HOT_PER_READ), maxBytes);
        yield* page;
        const last = page.at(-1);
        if (!last) return;
        after = last.id;
      }
    };
    const sources = [
      sourceOf(() => mapped(hotPages(), (event) => hitOfEvent(event, bytesOfWire(event)))),
      sourceOf(() =>
        mapped(index.shownAfterId(topicKey, afterId), (place) => hitOfPlace(place, sizeOfPlace(place))),
      ),
    ];
    const { hits, isFull } = this.#cut(mergeIdPage(sources, { limit, maxBytes }), ALL);
    return { events: (await this.#events(hits)).filter(isWhole), isFull };
  }

  /** The event with this block digest, hot or sealed, also without its message. */
  async findByDigest(blockDigest: Bytes): Promise<FoundEvent | undefined> {
    const hot = this.#store.hot.findByDigest(blockDigest);
    if (hot) return hot.message ? hot : { ...hot, why: "absent" };
    const place = this.#store.index.findByDigest(blockDigest);
    const [event] = place ? await this.#events([{ place }]) : [];
    if (!place || !event || event.message) return event;
    return { ...event, why: messageRange(place.entry) === "gone" ? "absent" : "dropped" };
  }

  /** Where an event is. */
  find(name: EventName): Found | undefined {
    const event = this.#store.hot.get(name);
    if (event) return { event };
    const place = this.#store.index.find(name);
    return place && { place };
  }

  hotBlock(name: EventName): Bytes | undefined {
    return this.#store.hot.outline(name)?.block;
  }

  /** Whether an event is sealed. */
  isInFile(name: EventName): boolean {
    return this.#store.isSealed(name);
  }

  /** The blocks of sealed events, and of so many sealed ones before each in its topic. They are read in as many goes as it takes. */
  async blocksUpTo(names: readonly EventName[], before: number) {
    const places = new Map<string, HeldPlace>();
    for (const name of names) {
      const place = this.#store.index.find(name);
      if (!place) continue;
      places.set(keyOf(place), place);
      let count = 0;
      for (const each of this.#store.index.belowId(name.topicKey, name.id)) {
        if (count++ === before) break;
        places.set(keyOf(each), each);
      }
    }
    const all = [...places.values()];
    const blocks = await this.blocksAt(all);
    return all.map((place, i) => ({ name: nameOf({ place }), block: blocks[i] as Bytes }));
  }

  /** The blocks of sealed events, in order. */
  async blocksAt(places: readonly HeldPlace[]): Promise<Bytes[]> {
    const wanted: WantedParts = { parts: "blocks" };
    const blocks: Bytes[] = [];
    while (blocks.length < places.length) {
      const some = cutPlaces(places.slice(blocks.length), wanted, MAX_BYTES_PER_READ);
      for (const { block } of await this.#bodies.read(some, wanted)) blocks.push(block as Bytes);
    }
    return blocks;
  }

  /** Sealed events without their messages; those whose files are damaged are left out. @throws PennypostError of `BodyReader.read`. */
  async signed(names: readonly EventName[]): Promise<Pick<StoredEvent, "id" | "block" | "signature">[]> {
    const events: Pick<StoredEvent, "id" | "block" | "signature">[] = [];
    for (const name of names) {
      const place = this.#store.index.find(name);
      if (!place) continue;
      try {
        const [body] = await this.#bodies.read([place], { parts: "blocks" });
        if (body?.block && body.signature)
          events.push({ id: name.id, block: body.block, signature: body.signature });
      } catch (error) {
        if (!(error instanceof PennypostError && error.code === "segment_damaged")) throw error;
      }
    }
    return events;
  }

  /** Events in the order that is given, up to `maxBytes` but at least one: what a page between nodes has. */
  async wirePage(
    found: readonly Found[],
    maxBytes: number,
  ): Promise<{ readonly events: WireEvent[]; readonly count: number }> {
    let bytes = 0;
    let count = 0;
    for (const each of found) {
      bytes += sizeOfFound(each);
      if (count > 0 && (bytes > maxBytes || count === MAX_PEER_EVENTS)) break;
      count++;
    }
    const { hits } = this.#cut({ hits: found.slice(0, count), isFull: false }, ALL);
    return { events: (await this.#events(hits)).map(toWire), count: hits.length };
  }

  /**
   * A page of all events in range of some buckets, in the order of topic and id: what `Listings.range` answers from one table. `isInRange`
   * says of an event whether it is asked for.
   */
  async range(
    { fromBucket, toBucket, after }: RangeQuestion,
    isInRange: (classId: number, id: Bytes) => boolean,
  ): Promise<RangeAnswer> {
    const topics = topicKeysOf(fromBucket, toBucket);
    let place = after && compareBytes(after.topicKey, topics.from) >= 0 ? after : null;
    const page: Found[] = [];
    const names: EventName[] = [];
    let next: EventName | null = null;
    let bytes = 0;
    let rows = 0;
    for (const each of this.#inOrder(topics, place)) {
      const isEvent = !("passed" in each);
      const name = isEvent ? nameOf(each) : { topicKey: each.passed, id: END_OF_IDS };
      if (isEvent && isInRange(classOf(each), name.id)) {
        bytes += sizeOfFound(each);
        const isFull = bytes > MAX_PEER_PAGE_BYTES || page.length === MAX_PEER_EVENTS;
        if (page.length > 0 && isFull) {
          next = place;
          break;
        }
        page.push(each);
        names.push(name);
      }
      place = name;
      if (++rows < MAX_ROWS_PER_RANGE) continue;
      next = place;
      break;
    }
    const { events, count } = await this.wirePage(page, MAX_PEER_PAGE_BYTES);
    return { events, next: count < page.length ? (names[count - 1] ?? null) : next };
  }

  /** All events of some topics after a name, in order, and the topics that were passed. */
  #inOrder(topics: TopicKeyRange, after: EventName | null): Iterable<Found | PassedTopic> {
    const { hot, index } = this.#store;
    const hotEvents = function* () {
      for (let from = after; ; ) {
        const rows = hot.tree.eventsOfTopics(topics, from, HOT_PER_READ, MAX_PEER_PAGE_BYTES);
        for (const event of rows) yield { event };
        const last = rows.at(-1);
        if (!last) return;
        from = { topicKey: last.topicKey, id: last.id };
      }
    };
    const sealed = index.inOrder({ topics, fromId: BEFORE_IDS, toId: END_OF_IDS, after });
    const sealedFound = mapped(sealed, (each) => ("passed" in each ? each : { place: each }));
    return mergeSorted<Found | PassedTopic>([hotEvents(), sealedFound], (a, b) =>
      byName(nameOf(a), nameOf(b)),
    );
  }

  /** What a page has of an event, in bytes. */
  sizeOf(found: Found): number {
    return sizeOfFound(found);
  }

  /** A page that one reading of files can bring. */
  #cut<Each extends Found>(
    page: { readonly hits: readonly Each[]; readonly isFull: boolean },
    wanted: WantedParts,
  ) {
    const places = placesOf(page.hits);
    const kept = cutPlaces(places, wanted, MAX_BYTES_PER_READ).length;
    if (kept === places.length) return page;
    const first = places[kept];
    const end = page.hits.findIndex((each) => "place" in each && each.place === first);
    return { hits: page.hits.slice(0, end), isFull: true };
  }

  async #events(found: readonly Found[]): Promise<StoredEvent[]> {
    const bodies = await this.#bodies.read(placesOf(found), ALL);
    let next = 0;
    return found.flatMap((each) => {
      if ("event" in each) return [each.event];
      const { block, signature, message } = bodies[next++] ?? { message: null };
      return block && signature ? [storedEventOf(each.place, { block, signature, message })] : [];
    });
  }
}

const keyOf = ({ topicKey, entry }: HeldPlace): string => toHex(topicKey) + toHex(entry.id);

const placesOf = (found: readonly Found[]): HeldPlace[] =>
  found.flatMap((each) => ("place" in each ? [each.place] : []));

/** A sealed event as those that are hot. When it was stored is not known any more. */
function storedEventOf(
  { topicKey, segment, entry }: HeldPlace,
  body: Pick<StoredEvent, "block" | "signature" | "message">,
): StoredEvent {
  const { timeKey, id } = entry;
  return {
    position: SEALED_POSITION,
    topicKey,
    timeKey,
    id,
    class: segment.class,
    flags: body.message ? 0 : GONE,
    storedMs: 0,
    ...body,
  };
}

const sizeOfPlace = (place: HeldPlace): number => bytesOfParts(place, ALL);

const sizeOfFound = (found: Found): number =>
  "event" in found ? bytesOfWire(found.event) : sizeOfPlace(found.place);
const classOf = (found: Found): number => ("event" in found ? found.event.class : found.place.segment.class);

function nameOf(found: Found | PassedTopic): EventName {
  if ("passed" in found) return { topicKey: found.passed, id: END_OF_IDS };
  if ("event" in found) return found.event;
  return { topicKey: found.place.topicKey, id: found.place.entry.id };
}

const hitOfEvent = (event: StoredEvent, bytes: number): TierHit => ({
  id: event.id,
  timeKey: event.timeKey,
  bytes,
  event,
});

const hitOfPlace = (place: HeldPlace, bytes: number): TierHit => ({
  id: place.entry.id,
  timeKey: place.entry.timeKey,
  bytes,
  place,
});

/** Where it begins is not known before it is asked. */
const sourceOf = (hits: () => Iterable<TierHit>): HitSource<TierHit> => ({ start: new Uint8Array(), hits });

function* mapped<From, To>(items: Iterable<From>, to: (item: From) => To): Iterable<To> {
  for (const item of items) yield to(item);
}

/** What of a range lies behind an envelope; undefined when nothing does. */
function rangeBehind(range: TimeRange, timeKey: Bytes): TimeRange | undefined {
  const bound = neighbour(timeKey, range.isDescending ? -1 : 1);
  if (!bound) return undefined;
  const rest = range.isDescending ? { ...range, to: bound } : { ...range, from: bound };
  return compareBytes(rest.from, rest.to) <= 0 ? rest : undefined;
}
