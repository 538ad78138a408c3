import { type Bytes, compareBytes, equalBytes, readUint64, toHex } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { bytesOfWire, toWire } from "../../../protocol/event.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../../protocol/limits.ts";
import type { EventName } from "../../../protocol/peer-messages.ts";
import { placeOfSymbol, symbolOf } from "../../../protocol/sketch-symbol.ts";
import {
  type AskedSlots,
  type BucketClass,
  type BucketListing,
  MAX_LISTED_IDS,
  type RangeAnswer,
  type RangeQuestion,
  type SlotsAnswer,
} from "../../../protocol/sync-messages.ts";
import { isInRange, type SlotRange } from "../../../protocol/sync-range.ts";
import { type SlotLeaf, slotGroupOf, slotGroups } from "../../../protocol/sync-tree.ts";
import { bucketOf, topicKeysOf } from "../../../protocol/topic.ts";
import type { ShardStore, StoredEvent } from "../shard-store.ts";
import { BucketLeaves, SMALL_BUCKET_EVENTS } from "./bucket-leaves.ts";
import {
  eventsOfClass,
  type IdsOfSlot,
  idsOfSlot,
  type ListedSlots,
  listSlots,
  type NameSpan,
  pageOfSlots,
  topicsOf,
} from "./list-slots.ts";
import type { ShardTree } from "./shard-tree.ts";
import { rangesOf, slotOfId, spanOfSlots } from "./slot-spans.ts";
import { eventsOfSpans } from "./span-walk.ts";
import type { ListedEvent } from "./tree-store.ts";

/** Rows of one read of a range; those outside the compared range are passed over. */
const ROWS_PER_READ = 512;
/** Reads of one page of a range: what is left is on the next page, and so is nothing when all was passed over. */
const READS_PER_PAGE = 16;

interface ListingContext {
  readonly suite: CryptoSuite;
  readonly smallBucketEvents?: number;
}

/** `groups`: the slot groups' hashes, however few ids there are. */
export type ListingForm = "shortest" | "groups";
/** What one part of a question about slots is answered with. */
export interface DifferingSlots extends ListedSlots {
  readonly slots: SlotsAnswer["slots"];
}

export interface NamePage {
  readonly names: EventName[];
  /** The last name, when there are more behind it. */
  readonly next: EventName | null;
}

export type SlotHash = Pick<SlotLeaf, "slot" | "hash">;

/** Answers what a shard holds of the compared range, read from its events as they are now. */
export class Listings {
  readonly #store: ShardStore;
  readonly #tree: ShardTree;
  readonly #context: ListingContext;
  readonly #leaves: BucketLeaves;

  constructor(store: ShardStore, tree: ShardTree, context: ListingContext) {
    this.#store = store;
    this.#tree = tree;
    this.#context = context;
    this.#leaves = new BucketLeaves(store.tree, context.suite);
  }

  #leavesOf({ bucket, class: classId }: BucketClass, asOf: number): SlotLeaf[] {
    const isLarge = this.#tree.isLarge(bucket);
    const leaves = this.#leaves.read(bucket, asOf, { isLarge, mayWrite: false }).get(classId) ?? [];
    const range = this.#tree.rangeOf(classId, asOf);
    return leaves.filter(({ slot }) => isInRange(range, slot));
  }

  /** All ids of a bucket and class, or the hashes of its slot groups when they are many. */
  bucket(target: BucketClass, asOf: number, form: ListingForm): BucketListing {
    const { bucket, class: classId } = target;
    const range = this.#tree.rangeOf(classId, asOf);
    if (range.from >= range.to && form === "shortest") return { ...target, kind: "ids", topics: [] };
    const isSmall = form === "shortest" && !this.#tree.isLarge(bucket);
    const few = isSmall ? this.#few(bucket, range) : undefined;
    if (few) {
      const own = few.filter((event) => event.class === classId);
      return { bucket, class: classId, kind: "ids", topics: topicsOf(own) };
    }
    const leaves = this.#leavesOf(target, asOf);
    const count = leaves.reduce((sum, leaf) => sum + leaf.count, 0);
    if (form === "groups" || count > this.#small) {
      const groups = slotGroups(leaves, range, this.#context.suite);
      return { bucket, class: classId, kind: "groups", groups };
    }
    const slots = rangesOf(leaves.map(({ slot }) => slot));
    const { events } = eventsOfClass(this.#store.tree, target, slots);
    return { bucket, class: classId, kind: "ids", topics: topicsOf(events) };
  }

  /** A bucket with at most so many events is listed as a whole. */
  get #small(): number {
    return this.#context.smallBucketEvents ?? SMALL_BUCKET_EVENTS;
  }

  /** The events of some slots; undefined when they are more than those of a small bucket. */
  #few(bucket: number, range: SlotRange): ListedEvent[] | undefined {
    const events: ListedEvent[] = [];
    for (const event of eventsOfSpans(this.#store.tree, bucket, [spanOfSlots(range)])) {
      if (events.length === this.#small) return undefined;
      events.push(event);
    }
    return events;
  }

  /** The hashes of all slots of some slot groups, in order of slots. */
  slots(target: BucketClass, groups: ReadonlySet<number>, asOf: number): SlotHash[] {
    const leaves = this.#leavesOf(target, asOf).filter(({ slot }) => groups.has(slotGroupOf(slot)));
    return leaves.map(({ slot, hash }) => ({ slot, hash }));
  }

  /** What is here in the slots that differ from those asked, up to `limit` ids. */
  differingSlots(part: AskedSlots, asOf: number, limit: number): DifferingSlots {
    const { bucket, class: classId, place } = part;
    const before = this.#leaves.rows;
    const groups = new Set(part.groups);
    const leaves = this.#leavesOf(part, asOf);
    const counts = new Map(leaves.map(({ slot, count }) => [slot, count]));
    const inGroups = leaves.filter(({ slot }) => groups.has(slotGroupOf(slot)));
    const mine = new Map(inGroups.map(({ slot, hash }) => [slot, hash]));
    const theirs = new Map(part.slots.map(({ slot, hash }) => [slot, hash]));
    const all = [...new Set([...mine.keys(), ...theirs.keys()])].sort((a, b) => a - b);
    const range = this.#tree.rangeOf(classId, asOf);
    const differing = all.filter((slot) => {
      if (slot < (place?.slot ?? 0) || !isInRange(range, slot)) return false;
      const [own, other] = [mine.get(slot), theirs.get(slot)];
      return !own || !other || !equalBytes(own, other);
    });
    const asked = differing.map((slot) => ({
      slot,
      count: counts.get(slot) ?? 0,
      after: slot === place?.slot ? place.after : null,
    }));
    const listed = listSlots(this.#store.tree, { bucket, class: classId }, asked, limit);
    const slots = listed.slots.map((each) => ({ bucket, class: classId, ...each }));
    return { slots, next: listed.next, left: listed.left, rows: this.#leaves.rows - before + listed.rows };
  }

  /** The ids of a slot in the order of topic and id, up to `limit`. */
  idsOfSlot(target: BucketClass, slot: number, span: NameSpan, limit: number): IdsOfSlot {
    return idsOfSlot(this.#store.tree, target, slot, span, limit);
  }

  /** The names of a bucket and class in range, after one, in the order of topic and id. */
  names(target: BucketClass, asOf: number, after: EventName | null): NamePage {
    const range = this.#tree.rangeOf(target.class, asOf);
    if (range.from >= range.to) return { names: [], next: null };
    const span = { after, upTo: null };
    const { events, next } = pageOfSlots(this.#store.tree, target, range, span, MAX_LISTED_IDS);
    return { names: events.map(({ topicKey, id }) => ({ topicKey, id })), next };
  }

  /** Whether an event of a class is in the compared range, and of the class that is asked for, if one is. */
  isAsked({ asOf, class: asked }: RangeQuestion, classId: number, id: Bytes): boolean {
    return (
      (asked === null || classId === asked) && isInRange(this.#tree.rangeOf(classId, asOf), slotOfId(id))
    );
  }

  /** A page of all events in range of some buckets, in the order of topic and id. */
  range(question: RangeQuestion): RangeAnswer {
    const { fromBucket, toBucket, after } = question;
    const page: StoredEvent[] = [];
    const keys = topicKeysOf(fromBucket, toBucket);
    let place = after && compareBytes(after.topicKey, keys.from) >= 0 ? after : null;
    let bytes = 0;
    for (let reads = 0; reads < READS_PER_PAGE; reads++) {
      const rows = this.#store.tree.eventsOfTopics(keys, place, ROWS_PER_READ, MAX_PEER_PAGE_BYTES);
      for (const event of rows) {
        if (this.isAsked(question, event.class, event.id)) {
          bytes += bytesOfWire(event);
          const isFull = bytes > MAX_PEER_PAGE_BYTES || page.length === MAX_PEER_EVENTS;
          if (page.length > 0 && isFull) return { events: page.map(toWire), next: place };
          page.push(event);
        }
        place = { topicKey: event.topicKey, id: event.id };
      }
      if (rows.length === 0) return { events: page.map(toWire), next: null };
    }
    return { events: page.map(toWire), next: place };
  }

  /** The events here that the symbols of a sketch stand for: in a small bucket by slot, in a large one by the digest. */
  bySymbols(symbols: readonly Bytes[]): EventName[] {
    const wanted = new Set(symbols.map(toHex));
    const found = new Map<string, EventName>();
    const look = (names: Iterable<EventName>) => {
      for (const { topicKey, id } of names)
        if (wanted.has(toHex(symbolOf(bucketOf(topicKey), id))))
          found.set(toHex(topicKey) + toHex(id), { topicKey, id });
    };
    const isOfLarge = (symbol: Bytes) => this.#tree.isLarge(placeOfSymbol(symbol).bucket);
    // Each slot is read once, however many symbols name it.
    const places = symbols.filter((symbol) => !isOfLarge(symbol)).map(placeOfSymbol);
    for (const [bucket, own] of Map.groupBy(places, (place) => place.bucket)) {
      const slots = [...new Set(own.map(({ slot }) => slot))].sort((a, b) => a - b);
      look(eventsOfSpans(this.#store.tree, bucket, rangesOf(slots).map(spanOfSlots)));
    }
    // The last 62 bits of a symbol are the first of the digest.
    const prefixOf = (symbol: Bytes) => readUint64(symbol, 4) & (2n ** 62n - 1n);
    const prefixes = new Set(symbols.filter(isOfLarge).map(prefixOf));
    if (prefixes.size > 0) look(this.#store.tree.namesByDigestPrefix(prefixes));
    return [...found.values()];
  }
}
