import { type Bytes, compareBytes, equalBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { digestOfId, seqOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import {
  type Checkpoint,
  ECHO,
  type Outline,
  PENDING_BASE,
  type PlacedName,
  type ShardStore,
  type StoredEvent,
  type TimeRange,
  type UnmetNote,
} from "../topic-shard/shard-store.ts";
import { MemoryRecordStore } from "./memory-record-store.ts";
import { MemoryTreeStore } from "./memory-tree-store.ts";
import { SortedList } from "./sorted-list.ts";
import { UndoLog } from "./undo-log.ts";

interface Topic {
  readonly byId: SortedList<Pick<StoredEvent, "id">>;
  readonly byTime: SortedList<Pick<StoredEvent, "timeKey" | "id">>;
  readonly heads: SortedList<Bytes>;
}

interface Unmet extends UnmetNote {
  readonly topicKey: Bytes;
}

const byId = (a: Pick<StoredEvent, "id">, b: Pick<StoredEvent, "id">) => compareBytes(a.id, b.id);
const byTime = (a: Pick<StoredEvent, "timeKey" | "id">, b: Pick<StoredEvent, "timeKey" | "id">) =>
  compareBytes(a.timeKey, b.timeKey) || compareBytes(a.id, b.id);
const byUnmet = (a: Unmet, b: Unmet) =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.parent, b.parent) || compareBytes(a.child, b.child);

const sizeOf = ({ block, message }: StoredEvent) => block.length + message.length;

/** Events up to a number of bytes, but at least one. */
function upToBytes(
  events: Iterable<StoredEvent>,
  maxBytes: number,
  size: (event: StoredEvent) => number,
): StoredEvent[] {
  const page: StoredEvent[] = [];
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
export class MemoryShardStore implements ShardStore {
  readonly #byPosition = new SortedList<StoredEvent>((a, b) => a.position - b.position);
  readonly #byDigest = new Map<string, EventName>();
  readonly #positions = new Map<string, number>();
  readonly #topics = new Map<string, Topic>();
  readonly #unmet = new SortedList<Unmet>(byUnmet);
  #checkpoint: Checkpoint = { position: 0, lastSeq: 0n, lastOwn: null };
  #generation: Bytes;
  readonly #log = new UndoLog();
  readonly tree = new MemoryTreeStore({
    events: () => this.#byPosition.items,
    notedTopics: () => [
      ...[...this.#topics].flatMap(([hex, { heads }]) => (heads.items.length > 0 ? [fromHex(hex)] : [])),
      ...this.#unmet.items.map(({ topicKey }) => topicKey),
    ],
    do: (step, undo) => this.#do(step, undo),
  });
  readonly records = new MemoryRecordStore(this.#log);
  readonly #removed = new Set<string>();

  constructor(generation: Bytes = new Uint8Array(8)) {
    this.#generation = generation;
  }

  transaction<T>(work: () => T): T {
    return this.#log.transaction(work);
  }

  #do(step: () => void, undo: () => void): void {
    this.#log.do(step, undo);
  }

  #topic(topicKey: Bytes): Topic {
    const known = this.#topics.get(toHex(topicKey));
    if (known) return known;
    const topic = {
      byId: new SortedList(byId),
      byTime: new SortedList(byTime),
      heads: new SortedList<Bytes>(compareBytes),
    };
    this.#topics.set(toHex(topicKey), topic);
    return topic;
  }

  #at(position: number): StoredEvent | undefined {
    const found = this.#byPosition.items[this.#byPosition.firstNot((each) => each.position < position)];
    return found?.position === position ? found : undefined;
  }

  /** A row of the table. @throws Error where a primary key or a unique index would refuse it. */
  #add(event: StoredEvent): void {
    const name = toHex(event.topicKey) + toHex(event.id);
    if (this.#at(event.position)) throw new Error(`position ${event.position} is taken`);
    if (this.#positions.has(name)) throw new Error("the event is stored already");
    this.#byPosition.add(event);
    this.#positions.set(name, event.position);
    this.#topic(event.topicKey).byId.add(event);
    this.#topic(event.topicKey).byTime.add(event);
    this.#byDigest.set(toHex(digestOfId(event.id)), event);
  }

  #remove(event: StoredEvent): void {
    this.#byPosition.delete(event);
    this.#positions.delete(toHex(event.topicKey) + toHex(event.id));
    this.#topic(event.topicKey).byId.delete(event);
    this.#topic(event.topicKey).byTime.delete(event);
    this.#byDigest.delete(toHex(digestOfId(event.id)));
  }

  insert(event: StoredEvent): void {
    this.#do(
      () => this.#add(event),
      () => this.#remove(event),
    );
  }

  deliver(pendingPosition: number, position: number, flags: number): void {
    const pending = this.#at(pendingPosition);
    if (!pending) return;
    if (this.#at(position)) throw new Error(`position ${position} is taken`);
    const delivered = { ...pending, position, flags };
    this.#do(
      () => {
        this.#remove(pending);
        this.#add(delivered);
      },
      () => {
        this.#remove(delivered);
        this.#add(pending);
      },
    );
  }

  clearEcho(position: number): void {
    const event = this.#at(position);
    if (!event) return;
    const cleared = { ...event, flags: event.flags & ~ECHO };
    this.#do(
      () => {
        this.#remove(event);
        this.#add(cleared);
      },
      () => {
        this.#remove(cleared);
        this.#add(event);
      },
    );
  }

  remove(position: number): void {
    const event = this.#at(position);
    if (!event) return;
    this.#do(
      () => this.#remove(event),
      () => this.#add(event),
    );
  }

  noteRemoved({ topicKey, id }: EventName): void {
    const name = toHex(topicKey) + toHex(id);
    if (this.#removed.has(name)) return;
    this.#do(
      () => this.#removed.add(name),
      () => this.#removed.delete(name),
    );
  }

  isRemoved({ topicKey, id }: EventName): boolean {
    return this.#removed.has(toHex(topicKey) + toHex(id));
  }

  forgetRemoved({ topicKey, id }: EventName): void {
    const name = toHex(topicKey) + toHex(id);
    if (!this.#removed.has(name)) return;
    this.#do(
      () => this.#removed.delete(name),
      () => this.#removed.add(name),
    );
  }

  positionOf({ topicKey, id }: EventName): number | undefined {
    return this.#positions.get(toHex(topicKey) + toHex(id));
  }

  idsWithSeq(topicKey: Bytes, seq: bigint, limit: number): Bytes[] {
    const { byId: list } = this.#topic(topicKey);
    const ids = list.items.slice(list.firstNot(({ id }) => seqOfId(id) < seq)).map(({ id }) => id);
    const end = ids.findIndex((id) => seqOfId(id) !== seq);
    return ids.slice(0, end < 0 ? limit : Math.min(end, limit));
  }

  get(name: EventName): StoredEvent | undefined {
    const position = this.positionOf(name);
    return position === undefined ? undefined : this.#at(position);
  }

  outline(name: EventName): Outline | undefined {
    return this.get(name);
  }

  findByDigest(blockDigest: Bytes): StoredEvent | undefined {
    const name = this.#byDigest.get(toHex(blockDigest));
    return name && this.get(name);
  }

  *#withEnvelope(topicKey: Bytes, timeKey: Bytes): Iterable<StoredEvent> {
    const { byTime: list } = this.#topic(topicKey);
    for (let i = list.firstNot((each) => compareBytes(each.timeKey, timeKey) < 0); ; i++) {
      const row = list.items[i];
      const event = row && equalBytes(row.timeKey, timeKey) ? this.get({ topicKey, id: row.id }) : undefined;
      if (!event) return;
      yield event;
    }
  }

  findEnvelope(topicKey: Bytes, timeKey: Bytes, leastId: Bytes): Bytes | undefined {
    for (const { id } of this.#withEnvelope(topicKey, timeKey)) if (compareBytes(id, leastId) >= 0) return id;
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

  greatest(topicKey: Bytes) {
    const last = this.#topic(topicKey).byId.items.at(-1);
    const event = last && this.get({ topicKey, id: last.id });
    return event && { id: event.id, position: event.position };
  }

  extraHeads(topicKey: Bytes, limit: number): Bytes[] {
    return this.#topic(topicKey).heads.items.slice(-limit);
  }

  linkableHeads(topicKey: Bytes, lastId: Bytes, limit: number): Bytes[] {
    const isLinkable = (id: Bytes) =>
      compareBytes(id, lastId) <= 0 && (this.positionOf({ topicKey, id }) ?? PENDING_BASE) < PENDING_BASE;
    return this.#topic(topicKey).heads.items.filter(isLinkable).slice(-limit);
  }

  headsBelow(topicKey: Bytes, id: Bytes, limit: number): Bytes[] {
    const below = this.#topic(topicKey).heads.items.filter((head) => compareBytes(head, id) < 0);
    return below.reverse().slice(0, limit);
  }

  addHead(topicKey: Bytes, id: Bytes): void {
    const { heads } = this.#topic(topicKey);
    if (heads.find(id)) return;
    this.#do(
      () => heads.add(id),
      () => heads.delete(id),
    );
  }

  removeHead(topicKey: Bytes, id: Bytes): void {
    const { heads } = this.#topic(topicKey);
    if (!heads.find(id)) return;
    this.#do(
      () => heads.delete(id),
      () => heads.add(id),
    );
  }

  addUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    const note = { topicKey, parent, child };
    if (this.#unmet.find(note)) return;
    this.#do(
      () => this.#unmet.add(note),
      () => this.#unmet.delete(note),
    );
  }

  #unmetOf(topicKey: Bytes, parent: Bytes): Unmet[] {
    const first = { topicKey, parent, child: new Uint8Array() };
    const from = this.#unmet.firstNot((each) => byUnmet(each, first) < 0);
    const notes: Unmet[] = [];
    for (let i = from; ; i++) {
      const note = this.#unmet.items[i];
      if (!note || !equalBytes(note.topicKey, topicKey) || !equalBytes(note.parent, parent)) return notes;
      notes.push(note);
    }
  }

  hasUnmet(topicKey: Bytes, parent: Bytes): boolean {
    return this.#unmetOf(topicKey, parent).length > 0;
  }

  takeUnmet(topicKey: Bytes, parent: Bytes): Bytes[] {
    const notes = this.#unmetOf(topicKey, parent);
    for (const note of notes) {
      this.#do(
        () => this.#unmet.delete(note),
        () => this.#unmet.add(note),
      );
    }
    return notes.map(({ child }) => child);
  }

  unmetAfter(topicKey: Bytes, after: UnmetNote, limit: number): UnmetNote[] {
    const isUpTo = (each: Unmet) => byUnmet(each, { topicKey, ...after }) <= 0;
    const notes = this.#unmet.items.slice(this.#unmet.firstNot(isUpTo));
    const own = notes.filter((each) => equalBytes(each.topicKey, topicKey));
    return own.slice(0, limit).map(({ parent, child }) => ({ parent, child }));
  }

  removeUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    const note = { topicKey, parent, child };
    if (!this.#unmet.find(note)) return;
    this.#do(
      () => this.#unmet.delete(note),
      () => this.#unmet.add(note),
    );
  }

  missingParents(limit: number, after: EventName | null): EventName[] {
    const isBefore = ({ topicKey, parent }: Unmet) =>
      after !== null && (compareBytes(topicKey, after.topicKey) || compareBytes(parent, after.id)) <= 0;
    const missing: EventName[] = [];
    for (const { topicKey, parent } of this.#unmet.items.slice(this.#unmet.firstNot(isBefore))) {
      const last = missing.at(-1);
      const isRepeat = last && equalBytes(last.topicKey, topicKey) && equalBytes(last.id, parent);
      if (isRepeat || this.positionOf({ topicKey, id: parent }) !== undefined) continue;
      if (missing.length === limit) break;
      missing.push({ topicKey, id: parent });
    }
    return missing;
  }

  get #firstPending(): number {
    return this.#byPosition.firstNot(({ position }) => position < PENDING_BASE);
  }

  lastPosition(): number {
    return this.#byPosition.items[this.#firstPending - 1]?.position ?? 0;
  }

  lastPending(): number | undefined {
    const last = this.#byPosition.items.at(-1)?.position;
    return last !== undefined && last >= PENDING_BASE ? last : undefined;
  }

  pendingStoredUntil(storedMs: number, limit: number): PlacedName[] {
    const pending = this.#byPosition.items.slice(this.#firstPending);
    return pending.filter((event) => event.storedMs <= storedMs).slice(0, limit);
  }

  firstPendingMs(): number | undefined {
    return this.#byPosition.items[this.#firstPending]?.storedMs;
  }

  *#deliveredFrom(position: number, limit: number): Iterable<StoredEvent> {
    const from = this.#byPosition.firstNot((each) => each.position <= position);
    const end = Math.min(from + limit, this.#firstPending);
    for (let i = from; i < end; i++) yield this.#byPosition.items[i] as StoredEvent;
  }

  deliveredAfter(position: number, limit: number, maxBytes: number): StoredEvent[] {
    return upToBytes(this.#deliveredFrom(position, limit), maxBytes, sizeOf);
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

  *#envelopes({ topicKey, from, to, isDescending, leastId }: TimeRange): Iterable<StoredEvent> {
    const { byTime: list } = this.#topic(topicKey);
    const start = list.firstNot((each) => compareBytes(each.timeKey, from) < 0);
    const end = list.firstNot((each) => compareBytes(each.timeKey, to) <= 0);
    const rows = list.items.slice(start, end).filter(({ id }) => compareBytes(id, leastId) >= 0);
    const firsts = rows.filter(({ timeKey }, i) => {
      const before = rows[i - 1];
      return !before || !equalBytes(before.timeKey, timeKey);
    });
    for (const { id } of isDescending ? firsts.reverse() : firsts) {
      const event = this.get({ topicKey, id });
      if (event) yield event;
    }
  }

  timePage(range: TimeRange, limit: number, maxBytes: number): StoredEvent[] {
    return upToBytes(this.#envelopes(range), maxBytes, ({ message }) => message.length).slice(0, limit);
  }

  causalPage(topicKey: Bytes, afterId: Bytes, limit: number, maxBytes: number): StoredEvent[] {
    const { byId: list } = this.#topic(topicKey);
    const from = list.firstNot(({ id }) => compareBytes(id, afterId) <= 0);
    const events = list.items.slice(from, from + limit).flatMap(({ id }) => this.get({ topicKey, id }) ?? []);
    return upToBytes(events, maxBytes, sizeOf);
  }

  generation(): Bytes {
    return this.#generation;
  }

  saveGeneration(generation: Bytes): void {
    const before = this.#generation;
    this.#do(
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
    this.#do(
      () => {
        this.#checkpoint = checkpoint;
      },
      () => {
        this.#checkpoint = before;
      },
    );
  }
}
