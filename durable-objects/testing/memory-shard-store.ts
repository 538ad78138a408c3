import { type Bytes, compareBytes, equalBytes } from "../../protocol/bytes.ts";
import { bytesOfWire, isWhole } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { HotShardStore } from "../sealed/tiered-shard-store.ts";
import {
  type Checkpoint,
  ECHO,
  type Outline,
  PENDING_BASE,
  type PlacedName,
  type SealedEvent,
  type ShownEvent,
  type StoredEvent,
  type TimeRange,
} from "../topic-shard/shard-store.ts";
import { MemoryEventTable } from "./memory-event-table.ts";
import { MemoryHotPartitions } from "./memory-hot-partitions.ts";
import { MemoryLinkStore } from "./memory-link-store.ts";
import { MemoryRecordStore } from "./memory-record-store.ts";
import { MemoryRemovedEvents } from "./memory-removed-events.ts";
import { MemorySealedStore } from "./memory-sealed-store.ts";
import { MemoryTreeStore } from "./memory-tree-store.ts";
import { UndoLog } from "./undo-log.ts";

/** Events up to a number of bytes, but at least one. */
function upToBytes<Event extends StoredEvent>(
  events: Iterable<Event>,
  maxBytes: number,
  size: (event: Event) => number,
): Event[] {
  const page: Event[] = [];
  let taken = 0;
  for (const event of events) {
    taken += size(event);
    if (page.length > 0 && taken > maxBytes) break;
    page.push(event);
  }
  return page;
}

/**
 * A shard's storage in memory: what `SqlShardStore` must agree with, call by call, and the storage of simulated nodes.
 */
export class MemoryShardStore implements HotShardStore {
  readonly #log = new UndoLog();
  readonly #events = new MemoryEventTable(this.#log);
  readonly partitions = new MemoryHotPartitions(this.#events, this.#log);
  readonly links = new MemoryLinkStore(this.#events, this.#log);
  readonly removed = new MemoryRemovedEvents(this.#log);
  readonly records = new MemoryRecordStore(this.#log);
  readonly sealed = new MemorySealedStore(this.#log);
  readonly tree = new MemoryTreeStore({
    events: () => this.#events.byPosition.items,
    notedTopics: () => this.links.notedTopics,
    do: (step, undo) => this.#log.do(step, undo),
  });
  #checkpoint: Checkpoint = { position: 0, lastSeq: 0n, lastOwn: null };
  #generation: Bytes;

  constructor(generation: Bytes = new Uint8Array(8)) {
    this.#generation = generation;
  }

  reload(): void {
    // All of it is in memory.
  }

  transaction<T>(work: () => T): T {
    return this.#log.transaction(work);
  }

  insert(event: StoredEvent): void {
    this.partitions.noteClass(event.class);
    this.#events.insert(event);
  }

  deliver(pendingPosition: number, position: number, flags: number): void {
    const pending = this.#events.at(pendingPosition);
    if (pending) this.#events.update(pending, { position, flags });
  }

  clearEcho(position: number): void {
    const event = this.#events.at(position);
    if (event) this.#events.update(event, { flags: event.flags & ~ECHO });
  }

  remove(position: number): void {
    const event = this.#events.at(position);
    if (event) this.#events.delete(event);
  }

  replace(position: number, event: StoredEvent): void {
    this.remove(position);
    this.insert(event);
  }

  positionOf(name: EventName): number | undefined {
    return this.#events.positionOf(name);
  }

  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[] {
    const { byId: list } = this.#events.topic(topicKey);
    const ids = list.items.slice(list.firstNot(({ id }) => seqOfId(id) < seq)).map(({ id }) => id);
    const end = ids.findIndex((id) => seqOfId(id) !== seq);
    return ids.slice(0, end < 0 ? limit : Math.min(end, limit));
  }

  get(name: EventName): StoredEvent | undefined {
    return this.#events.get(name);
  }

  isWithoutMessage(name: EventName): boolean {
    const event = this.#events.get(name);
    return event !== undefined && !isWhole(event);
  }

  outline(name: EventName): Outline | undefined {
    return this.#events.get(name);
  }

  findByDigest(blockDigest: Bytes): StoredEvent | undefined {
    return this.#events.withDigest(blockDigest);
  }

  *#withEnvelope(topicKey: Bytes, timeKey: Bytes): Iterable<StoredEvent> {
    const { byTime: list } = this.#events.topic(topicKey);
    for (let i = list.firstNot((each) => compareBytes(each.timeKey, timeKey) < 0); ; i++) {
      const row = list.items[i];
      const event =
        row && equalBytes(row.timeKey, timeKey) ? this.#events.get({ topicKey, id: row.id }) : undefined;
      if (!event) return;
      yield event;
    }
  }

  findEnvelope(topicKey: Bytes, timeKey: Bytes, leastId: Bytes): Bytes | undefined {
    for (const event of this.#withEnvelope(topicKey, timeKey))
      if (isWhole(event) && compareBytes(event.id, leastId) >= 0) return event.id;
    return undefined;
  }

  isEnvelopeDelivered(topicKey: Bytes, timeKey: Bytes): boolean {
    for (const { position } of this.#withEnvelope(topicKey, timeKey))
      if (position < PENDING_BASE) return true;
    return false;
  }

  firstDelivered(topicKey: Bytes, timeKey: Bytes): number | undefined {
    let first = PENDING_BASE;
    for (const { position } of this.#withEnvelope(topicKey, timeKey)) first = Math.min(first, position);
    return first < PENDING_BASE ? first : undefined;
  }

  /** Segments are read by `TieredShardStore` alone. */
  isSealed(): boolean {
    return false;
  }

  findSealed(): SealedEvent | undefined {
    return undefined;
  }

  sealedOf(): Iterable<SealedEvent> {
    return [];
  }

  removeSealed(): void {
    // There is none.
  }

  greatestSealed(): Bytes | undefined {
    return undefined;
  }

  greatest(topicKey: Bytes) {
    const last = this.#events.topic(topicKey).byId.items.at(-1);
    const event = last && this.#events.get({ topicKey, id: last.id });
    return event && { id: event.id, position: event.position };
  }

  get #firstPending(): number {
    return this.#events.byPosition.firstNot(({ position }) => position < PENDING_BASE);
  }

  lastPosition(): number {
    return this.partitions.lastPosition;
  }

  lastPending(): number | undefined {
    const last = this.#events.byPosition.items.at(-1)?.position;
    return last !== undefined && last >= PENDING_BASE ? last : undefined;
  }

  pendingStoredUntil(storedMs: number, limit: number): PlacedName[] {
    const pending = this.#events.byPosition.items.slice(this.#firstPending);
    return pending.filter((event) => event.storedMs <= storedMs).slice(0, limit);
  }

  firstPendingMs(): number | undefined {
    return this.#events.byPosition.items[this.#firstPending]?.storedMs;
  }

  *#deliveredFrom(position: number, limit: number): Iterable<StoredEvent> {
    const from = this.#events.byPosition.firstNot((each) => each.position <= position);
    const end = Math.min(from + limit, this.#firstPending);
    for (let i = from; i < end; i++) yield this.#events.byPosition.items[i] as StoredEvent;
  }

  deliveredAfter(position: number, limit: number, maxBytes: number): StoredEvent[] {
    return upToBytes(this.#deliveredFrom(position, limit), maxBytes, bytesOfWire);
  }

  namesAfter(position: number, limit: number): PlacedName[] {
    return [...this.#deliveredFrom(position, limit)].map(
      ({ position: at, topicKey, id, class: retention, flags }) => ({
        position: at,
        topicKey,
        id,
        class: retention,
        flags,
      }),
    );
  }

  #inTime({ topicKey, from, to, leastId }: TimeRange): StoredEvent[] {
    const { byTime: list } = this.#events.topic(topicKey);
    const start = list.firstNot((each) => compareBytes(each.timeKey, from) < 0);
    const end = list.firstNot((each) => compareBytes(each.timeKey, to) <= 0);
    return list.items
      .slice(start, end)
      .filter(({ id }) => compareBytes(id, leastId) >= 0)
      .flatMap(({ id }) => this.#events.get({ topicKey, id }) ?? []);
  }

  #inIds(topicKey: Bytes, afterId: Bytes): StoredEvent[] {
    const { byId: list } = this.#events.topic(topicKey);
    return list.items
      .slice(list.firstNot(({ id }) => compareBytes(id, afterId) <= 0))
      .flatMap(({ id }) => this.#events.get({ topicKey, id }) ?? []);
  }

  #envelopes(range: TimeRange): ShownEvent[] {
    const rows = this.#inTime(range).filter(isWhole);
    const firsts = rows.filter(({ timeKey }, i) => {
      const before = rows[i - 1];
      return !before || !equalBytes(before.timeKey, timeKey);
    });
    return range.isDescending ? firsts.reverse() : firsts;
  }

  timePage(range: TimeRange, limit: number, maxBytes: number): ShownEvent[] {
    return upToBytes(this.#envelopes(range), maxBytes, ({ message }) => message.length).slice(0, limit);
  }

  causalPage(topicKey: Bytes, afterId: Bytes, limit: number, maxBytes: number): ShownEvent[] {
    const events = this.#inIds(topicKey, afterId).filter(isWhole);
    return upToBytes(events.slice(0, limit), maxBytes, bytesOfWire);
  }

  goneInTime(range: TimeRange): number {
    return this.#inTime(range).filter((event) => !isWhole(event)).length;
  }

  goneInIds(topicKey: Bytes, afterId: Bytes, lastId: Bytes): number {
    return this.#inIds(topicKey, afterId).filter(
      (event) => !isWhole(event) && compareBytes(event.id, lastId) <= 0,
    ).length;
  }

  generation(): Bytes {
    return this.#generation;
  }

  saveGeneration(generation: Bytes): void {
    const before = this.#generation;
    this.#log.do(
      () => {
        this.#generation = generation;
      },
      () => {
        this.#generation = before;
      },
    );
  }

  checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  saveCheckpoint(checkpoint: Checkpoint): void {
    const before = this.#checkpoint;
    this.#log.do(
      () => {
        this.#checkpoint = checkpoint;
      },
      () => {
        this.#checkpoint = before;
      },
    );
  }
}
