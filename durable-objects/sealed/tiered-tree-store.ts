import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { topicKeysOf } from "../../protocol/topic.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import { END_OF_IDS } from "../topic-shard/sync-tree/slot-spans.ts";
import type {
  BlockPage,
  BucketPage,
  IdAndBlock,
  ListedEvent,
  SavedSlotGroup,
  TopicKeyRange,
  TreeStore,
} from "../topic-shard/sync-tree/tree-store.ts";
import type { HeldPlace, SealedIndex } from "./sealed-index.ts";

/**
 * What anti-entropy lists, hot and sealed as one. Blocks and messages are those of hot events alone: the others' are in files, which
 * nothing here reads.
 */
export class TieredTreeStore implements TreeStore {
  readonly #hot: TreeStore;
  readonly #sealed: SealedIndex;

  #wanted: readonly HeldPlace[] = [];
  /** Blocks that were read from files: those of one page. */
  #read: ReadonlyMap<string, Bytes> = new Map();

  constructor(hot: TreeStore, sealed: SealedIndex) {
    this.#hot = hot;
    this.#sealed = sealed;
  }

  pageOfBucket(
    bucket: number,
    fromId: Bytes,
    toId: Bytes,
    after: EventName | null,
    limit: number,
  ): BucketPage {
    const hot = this.#hot.pageOfBucket(bucket, fromId, toId, after, limit);
    if (this.#sealed.segments.length === 0) return hot;
    const topics = topicKeysOf(bucket, bucket + 1);
    const sealed = this.#sealedPage({ topics, fromId, toId, after }, hot.next, limit);
    // Each of the two is whole up to its end: so is the page, up to the lesser one.
    const next = sealed.next ?? hot.next;
    const events = [...hot.events, ...sealed.events].sort(byName);
    return {
      events: next ? events.filter((event) => byName(event, next) <= 0) : events,
      rows: hot.rows + sealed.rows,
      next,
    };
  }

  /** At most so many events and topics, none behind `upTo`. */
  #sealedPage(
    span: Parameters<SealedIndex["inOrder"]>[0],
    upTo: EventName | null,
    limit: number,
  ): BucketPage {
    const events: ListedEvent[] = [];
    let rows = 0;
    for (const each of this.#sealed.inOrder(span)) {
      const name =
        "passed" in each
          ? { topicKey: each.passed, id: END_OF_IDS }
          : { topicKey: each.topicKey, id: each.entry.id };
      if (upTo && byName(name, upTo) > 0) break;
      if (!("passed" in each)) events.push({ ...name, class: each.segment.class });
      if (++rows === limit) return { events, rows, next: name };
    }
    return { events, rows, next: null };
  }

  eventsOfTopics(
    range: TopicKeyRange,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    return this.#hot.eventsOfTopics(range, after, limit, maxBytes);
  }

  topicAfter(range: TopicKeyRange, after: Bytes | null): Bytes | undefined {
    const hot = this.#hot.topicAfter(range, after);
    const sealed = this.#sealed.topicAfter({ from: range.from, to: hot ?? range.to }, after);
    return sealed ?? hot;
  }

  blocksBelow(topicKey: Bytes, id: Bytes, limit: number) {
    return this.#hot.blocksBelow(topicKey, id, limit);
  }

  allBlocksBelow(topicKey: Bytes, id: Bytes, limit: number): BlockPage {
    const sealed = taken(this.#sealed.belowId(topicKey, id), limit);
    const hot = this.#hot.blocksBelow(topicKey, id, limit);
    const all = [...hot, ...sealed.map((place) => ({ id: place.entry.id, place }))];
    all.sort((a, b) => compareBytes(b.id, a.id));
    const blocks: IdAndBlock[] = [];
    for (const each of all.slice(0, limit)) {
      const block = "block" in each ? each.block : this.#read.get(keyOf(each.place));
      if (!block) {
        this.#wanted = sealed.filter((place) => compareBytes(place.entry.id, each.id) <= 0);
        return { blocks, isEnd: false, isWaiting: true };
      }
      blocks.push({ id: each.id, block });
    }
    return { blocks, isEnd: all.length < limit, isWaiting: false };
  }

  /** The sealed events whose blocks are to be read before work goes on. */
  takeWanted(): readonly HeldPlace[] {
    const wanted = this.#wanted;
    this.#wanted = [];
    return wanted;
  }

  /** The blocks that were wanted, in order; those of before are forgotten. */
  keepBlocks(places: readonly HeldPlace[], blocks: readonly Bytes[]): void {
    this.#read = new Map(places.map((place, i) => [keyOf(place), blocks[i] as Bytes]));
  }

  namesByDigestPrefix(prefixes: ReadonlySet<bigint>): EventName[] {
    const names = this.#hot.namesByDigestPrefix(prefixes);
    for (const { topicKey, entry } of this.#sealed.withPrefixes(prefixes))
      names.push({ topicKey, id: entry.id });
    return names;
  }

  treeValue(name: string): Bytes | undefined {
    return this.#hot.treeValue(name);
  }

  saveTreeValue(name: string, value: Bytes): void {
    this.#hot.saveTreeValue(name, value);
  }

  savedSlotGroups(bucket: number): SavedSlotGroup[] {
    return this.#hot.savedSlotGroups(bucket);
  }

  saveSlotGroup(bucket: number, saved: Omit<SavedSlotGroup, "late">): void {
    this.#hot.saveSlotGroup(bucket, saved);
  }

  markLate(bucket: number, slot: number): void {
    this.#hot.markLate(bucket, slot);
  }

  dropSlotGroups(bucket: number): void {
    this.#hot.dropSlotGroups(bucket);
  }

  dropSlotGroup(bucket: number, group: number): void {
    this.#hot.dropSlotGroup(bucket, group);
  }
}

const keyOf = ({ topicKey, entry }: HeldPlace): string => toHex(topicKey) + toHex(entry.id);

/** The first of a sequence. */
function taken<Item>(items: Iterable<Item>, limit: number): Item[] {
  const first: Item[] = [];
  for (const item of items) {
    first.push(item);
    if (first.length === limit) break;
  }
  return first;
}
