import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import { EVENT_ID_BYTES } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { messageRange } from "../../protocol/segment-places.ts";
import type {
  Checkpoint,
  PlacedName,
  SealedEvent,
  ShardStore,
  ShownEvent,
  StoredEvent,
  TimeRange,
} from "../topic-shard/shard-store.ts";
import { type HeldPlace, SealedIndex } from "./sealed-index.ts";
import type { SealedStore } from "./sealed-store.ts";
import { TieredLinkStore } from "./tiered-link-store.ts";
import { TieredTreeStore } from "./tiered-tree-store.ts";

/** Where a sealed event stands in the order of arrival: before all hot ones. */
export const SEALED_POSITION = 0;

const BEFORE_IDS = new Uint8Array(EVENT_ID_BYTES);

/** What a shard keeps in its own SQLite: hot events, and what it knows of the sealed ones. */
export interface HotShardStore extends ShardStore {
  readonly sealed: SealedStore;
}

/**
 * A shard's storage as the rules see it: what is known is hot or sealed. What asks for an event's content, or by its envelope, gets the
 * hot ones alone: the content of the others is read from their files, and an envelope is one only within the hot window. What is gone is
 * counted in both.
 */
export class TieredShardStore implements ShardStore {
  readonly hot: HotShardStore;
  readonly index: SealedIndex;
  readonly tree: TieredTreeStore;
  readonly links: TieredLinkStore;
  readonly partitions: ShardStore["partitions"];
  readonly records: ShardStore["records"];
  readonly removed: ShardStore["removed"];

  #removals = 0;
  /** The partition of which a step of sealing reads the events. */
  #underSeal: number | undefined;

  constructor(hot: HotShardStore) {
    this.hot = hot;
    this.index = new SealedIndex(hot.sealed);
    this.tree = new TieredTreeStore(hot.tree, this.index);
    this.links = new TieredLinkStore(hot.links, this.index);
    this.partitions = hot.partitions;
    this.records = hot.records;
    this.removed = hot.removed;
  }

  /** How many events this life took out of the hot tier: what was read of it before may be other now. */
  get removals(): number {
    return this.#removals;
  }

  reload(): void {
    this.hot.reload();
    this.index.reload();
  }

  transaction<T>(work: () => T): T {
    return this.hot.transaction(work);
  }

  insert(event: StoredEvent): void {
    this.hot.insert(event);
  }

  deliver(pendingPosition: number, position: number, flags: number): void {
    this.hot.deliver(pendingPosition, position, flags);
  }

  clearEcho(position: number): void {
    this.hot.clearEcho(position);
  }

  replace(position: number, event: StoredEvent): void {
    this.hot.replace(position, event);
  }

  /** What is being sealed may have it: it is made anew. */
  remove(position: number): void {
    if (this.index.isSealing) this.index.discardSealing();
    this.#removals++;
    this.hot.remove(position);
  }

  positionOf(name: EventName): number | undefined {
    return this.hot.positionOf(name) ?? (this.index.has(name) ? SEALED_POSITION : undefined);
  }

  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[] {
    const hot = this.hot.idsWithSeq(topicKey, seq, limit);
    const sealed = this.index.idsWithSeq(topicKey, seq, limit);
    return sealed.length === 0 ? hot : [...hot, ...sealed].sort(compareBytes).slice(0, limit);
  }

  get(name: EventName): StoredEvent | undefined {
    return this.hot.get(name);
  }

  isWithoutMessage(name: EventName): boolean {
    const position = this.hot.positionOf(name);
    if (position === undefined) return this.isSealedWithoutMessage(name);
    return this.hot.isWithoutMessage(name) && !this.#isBeingSealed(position);
  }

  /** Whether an event had no message when it was sealed; what the shard itself has dropped later is another matter. */
  isSealedWithoutMessage(name: EventName): boolean {
    const place = this.index.find(name);
    return place !== undefined && messageRange(place.entry) === "gone";
  }

  /** Whether an event is in a partition that is being sealed: what its segments have is not to change meanwhile. */
  #isBeingSealed(position: number): boolean {
    const holder = this.partitions.all().find(({ upTo }) => upTo !== null && position <= upTo);
    if (!holder) return false;
    return holder.number === this.#underSeal || this.index.building(holder.number).length > 0;
  }

  /** Does a step of sealing a partition, which may take its time. Never two at once. */
  async whileSealing<T>(partition: number, step: () => Promise<T>): Promise<T> {
    this.#underSeal = partition;
    try {
      return await step();
    } finally {
      this.#underSeal = undefined;
    }
  }

  outline(name: EventName) {
    return this.hot.outline(name);
  }

  findByDigest(blockDigest: Bytes): StoredEvent | undefined {
    return this.hot.findByDigest(blockDigest);
  }

  findEnvelope(topicKey: Bytes, timeKey: Bytes, leastId: Bytes): Bytes | undefined {
    return this.hot.findEnvelope(topicKey, timeKey, leastId);
  }

  isEnvelopeDelivered(topicKey: Bytes, timeKey: Bytes): boolean {
    return this.hot.isEnvelopeDelivered(topicKey, timeKey);
  }

  firstDelivered(topicKey: Bytes, timeKey: Bytes): number | undefined {
    return this.hot.firstDelivered(topicKey, timeKey);
  }

  isSealed(name: EventName): boolean {
    return this.index.has(name);
  }

  findSealed(name: EventName): SealedEvent | undefined {
    const place = this.index.find(name);
    return place && sealedEventOf(place);
  }

  *sealedOf(topicKey: Bytes): Iterable<SealedEvent> {
    for (const place of [...this.index.afterId(topicKey, BEFORE_IDS)]) yield sealedEventOf(place);
  }

  /** What is being merged may have it: it is made anew. */
  removeSealed(name: EventName): void {
    const place = this.index.find(name);
    if (!place) return;
    if (this.index.merge) this.index.discardMerge();
    this.index.takeOut(place.segment, [place.number]);
  }

  greatestSealed(topicKey: Bytes): Bytes | undefined {
    return this.index.greatest(topicKey);
  }

  greatest(topicKey: Bytes) {
    const hot = this.hot.greatest(topicKey);
    const sealed = this.index.greatest(topicKey);
    if (!sealed || (hot && compareBytes(hot.id, sealed) > 0)) return hot;
    return { id: sealed, position: SEALED_POSITION };
  }

  lastPosition(): number {
    return this.hot.lastPosition();
  }

  lastPending(): number | undefined {
    return this.hot.lastPending();
  }

  pendingStoredUntil(storedMs: number, limit: number): PlacedName[] {
    return this.hot.pendingStoredUntil(storedMs, limit);
  }

  firstPendingMs(): number | undefined {
    return this.hot.firstPendingMs();
  }

  deliveredAfter(position: number, limit: number, maxBytes: number): StoredEvent[] {
    return this.hot.deliveredAfter(position, limit, maxBytes);
  }

  namesAfter(position: number, limit: number): PlacedName[] {
    return this.hot.namesAfter(position, limit);
  }

  timePage(range: TimeRange, limit: number, maxBytes: number): ShownEvent[] {
    return this.hot.timePage(range, limit, maxBytes);
  }

  causalPage(topicKey: Bytes, afterId: Bytes, limit: number, maxBytes: number): ShownEvent[] {
    return this.hot.causalPage(topicKey, afterId, limit, maxBytes);
  }

  goneInTime(range: TimeRange): number {
    const sealed = this.index.goneInTime(range.topicKey, range, range.leastId);
    return this.hot.goneInTime(range) + sealed;
  }

  goneInIds(topicKey: Bytes, afterId: Bytes, lastId: Bytes): number {
    const sealed = this.index.goneInIds(topicKey, afterId, lastId);
    return this.hot.goneInIds(topicKey, afterId, lastId) + sealed;
  }

  generation(): Bytes {
    return this.hot.generation();
  }

  saveGeneration(generation: Bytes): void {
    this.hot.saveGeneration(generation);
  }

  checkpoint(): Checkpoint {
    return this.hot.checkpoint();
  }

  saveCheckpoint(checkpoint: Checkpoint): void {
    this.hot.saveCheckpoint(checkpoint);
  }
}

const sealedEventOf = ({ segment, entry }: HeldPlace): SealedEvent => ({
  id: entry.id,
  class: segment.class,
  origin: segment.origins[entry.origin] as Bytes,
});
