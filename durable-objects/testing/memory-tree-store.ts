import { type Bytes, compareBytes, readUint64, toHex } from "../../protocol/bytes.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import { SLOTS_PER_GROUP, slotGroupOf } from "../../protocol/sync-tree.ts";
import { topicKeysOf } from "../../protocol/topic.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import { END_OF_IDS } from "../topic-shard/sync-tree/slot-spans.ts";
import type {
  BlockPage,
  BucketPage,
  ListedEvent,
  SavedSlotGroup,
  TopicKeyRange,
  TreeStore,
} from "../topic-shard/sync-tree/tree-store.ts";

/** The store that this is a part of. */
interface Whole {
  events(): readonly StoredEvent[];
  /** The topics that have heads, or notes on missing parents. */
  notedTopics(): Bytes[];
  do(step: () => void, undo: () => void): void;
}

/** What `SqlTreeStore` must agree with, by the plainest means. */
export class MemoryTreeStore implements TreeStore {
  readonly #whole: Whole;
  readonly #values = new Map<string, Bytes>();
  readonly #groups = new Map<string, SavedSlotGroup & { readonly bucket: number }>();

  constructor(whole: Whole) {
    this.#whole = whole;
  }

  #of({ from, to }: TopicKeyRange): StoredEvent[] {
    const isIn = ({ topicKey }: StoredEvent) =>
      compareBytes(topicKey, from) >= 0 && (to === null || compareBytes(topicKey, to) < 0);
    return this.#whole.events().filter(isIn).sort(byName);
  }

  pageOfBucket(
    bucket: number,
    fromId: Bytes,
    toId: Bytes,
    after: EventName | null,
    limit: number,
  ): BucketPage {
    const isBefore = (name: EventName) => after !== null && byName(name, after) <= 0;
    const rows: (EventName & { readonly event: ListedEvent | undefined })[] = [];
    const topics = Map.groupBy(this.#of(topicKeysOf(bucket, bucket + 1)), ({ topicKey }) => toHex(topicKey));
    for (const topic of topics.values()) {
      const { topicKey } = topic[0] as StoredEvent;
      if (isBefore({ topicKey, id: END_OF_IDS })) continue;
      const isWanted = (each: StoredEvent) =>
        compareBytes(each.id, fromId) >= 0 && compareBytes(each.id, toId) < 0 && !isBefore(each);
      const events = topic.filter(isWanted);
      for (const { id, class: retention } of events)
        rows.push({ topicKey, id, event: { topicKey, id, class: retention } });
      if (events.length === 0) rows.push({ topicKey, id: END_OF_IDS, event: undefined });
      if (rows.length >= limit) break;
    }
    const page = rows.slice(0, limit);
    const last = page.length === limit ? page.at(-1) : undefined;
    return {
      events: page.flatMap(({ event }) => event ?? []),
      rows: page.length,
      next: last ? { topicKey: last.topicKey, id: last.id } : null,
    };
  }

  eventsOfTopics(
    range: TopicKeyRange,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    const page: StoredEvent[] = [];
    let bytes = 0;
    for (const event of this.#of(range)) {
      if (after && byName(event, after) <= 0) continue;
      bytes += bytesOfWire(event);
      if (page.length === limit || (page.length > 0 && bytes > maxBytes)) break;
      page.push(event);
    }
    return page;
  }

  topicAfter({ from, to }: TopicKeyRange, after: Bytes | null): Bytes | undefined {
    const keys = [...this.#whole.events().map(({ topicKey }) => topicKey), ...this.#whole.notedTopics()];
    const isIn = (key: Bytes) =>
      compareBytes(key, from) >= 0 &&
      (!after || compareBytes(key, after) > 0) &&
      (to === null || compareBytes(key, to) < 0);
    return keys.filter(isIn).sort(compareBytes)[0];
  }

  allBlocksBelow(topicKey: Bytes, id: Bytes, limit: number): BlockPage {
    const blocks = this.blocksBelow(topicKey, id, limit);
    return { blocks, isEnd: blocks.length < limit, isWaiting: false };
  }

  blocksBelow(topicKey: Bytes, id: Bytes, limit: number) {
    const events = this.#whole.events().filter((each) => compareBytes(each.topicKey, topicKey) === 0);
    const below = events.filter((each) => compareBytes(each.id, id) < 0);
    return below
      .sort((a, b) => compareBytes(b.id, a.id))
      .slice(0, limit)
      .map(({ id: own, block }) => ({ id: own, block }));
  }

  namesByDigestPrefix(prefixes: ReadonlySet<bigint>): EventName[] {
    const isWanted = ({ id }: StoredEvent) => prefixes.has(readUint64(id, 8) >> 2n);
    return this.#whole
      .events()
      .filter(isWanted)
      .map(({ topicKey, id }) => ({ topicKey, id }));
  }

  treeValue(name: string): Bytes | undefined {
    return this.#values.get(name);
  }

  saveTreeValue(name: string, value: Bytes): void {
    this.#set(this.#values, name, value);
  }

  #set<T>(map: Map<string, T>, name: string, value: T | undefined): void {
    const put = (each: T | undefined) => (each === undefined ? map.delete(name) : map.set(name, each));
    const before = map.get(name);
    this.#whole.do(
      () => put(value),
      () => put(before),
    );
  }

  savedSlotGroups(bucket: number): SavedSlotGroup[] {
    const saved = [...this.#groups.values()].filter((each) => each.bucket === bucket);
    return saved.map(({ bucket: _, ...group }) => group).sort((a, b) => a.group - b.group);
  }

  saveSlotGroup(bucket: number, saved: Omit<SavedSlotGroup, "late">): void {
    this.#set(this.#groups, `${bucket} ${saved.group}`, { ...saved, bucket, late: [] });
  }

  dropSlotGroups(bucket: number): void {
    for (const { group } of this.savedSlotGroups(bucket)) this.dropSlotGroup(bucket, group);
  }

  dropSlotGroup(bucket: number, group: number): void {
    this.#set(this.#groups, `${bucket} ${group}`, undefined);
  }

  markLate(bucket: number, slot: number): void {
    const group = slotGroupOf(slot);
    const name = `${bucket} ${group}`;
    const isBehind = !this.savedSlotGroups(bucket).some((each) => each.group >= group);
    if (isBehind) return;
    const nothing = { group, bucket, covered: group * SLOTS_PER_GROUP, leaves: new Uint8Array(), late: [] };
    const saved = this.#groups.get(name) ?? nothing;
    if (saved.late.includes(slot)) return;
    this.#set(this.#groups, name, { ...saved, late: [...saved.late, slot].sort((a, b) => a - b) });
  }
}
