import { type Bytes, compareBytes, equalBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import type { LinkStore, UnmetNote } from "../topic-shard/link-store.ts";
import { PENDING_BASE } from "../topic-shard/shard-store.ts";
import type { MemoryEventTable } from "./memory-event-table.ts";
import { SortedList } from "./sorted-list.ts";
import type { UndoLog } from "./undo-log.ts";

interface Unmet extends UnmetNote {
  readonly topicKey: Bytes;
}

const byUnmet = (a: Unmet, b: Unmet) =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.parent, b.parent) || compareBytes(a.child, b.child);

/** What `SqlLinkStore` must agree with. */
export class MemoryLinkStore implements LinkStore {
  readonly #heads = new Map<string, SortedList<Bytes>>();
  readonly #unmet = new SortedList<Unmet>(byUnmet);
  readonly #events: MemoryEventTable;
  readonly #log: UndoLog;

  constructor(events: MemoryEventTable, log: UndoLog) {
    this.#events = events;
    this.#log = log;
  }

  /** The topics that have heads, or notes on missing parents. */
  get notedTopics(): Bytes[] {
    return [
      ...[...this.#heads].flatMap(([hex, heads]) => (heads.items.length > 0 ? [fromHex(hex)] : [])),
      ...this.#unmet.items.map(({ topicKey }) => topicKey),
    ];
  }

  #headsOf(topicKey: Bytes): SortedList<Bytes> {
    const known = this.#heads.get(toHex(topicKey));
    if (known) return known;
    const heads = new SortedList<Bytes>(compareBytes);
    this.#heads.set(toHex(topicKey), heads);
    return heads;
  }

  extraHeads(topicKey: Bytes, limit: number): Bytes[] {
    return this.#headsOf(topicKey).items.slice(-limit);
  }

  linkableHeads(topicKey: Bytes, lastId: Bytes, limit: number): Bytes[] {
    const isLinkable = (id: Bytes) =>
      compareBytes(id, lastId) <= 0 &&
      (this.#events.positionOf({ topicKey, id }) ?? PENDING_BASE) < PENDING_BASE;
    return this.#headsOf(topicKey).items.filter(isLinkable).slice(-limit);
  }

  headsBelow(topicKey: Bytes, id: Bytes, limit: number): Bytes[] {
    const below = this.#headsOf(topicKey).items.filter((head) => compareBytes(head, id) < 0);
    return below.reverse().slice(0, limit);
  }

  addHead(topicKey: Bytes, id: Bytes): void {
    const heads = this.#headsOf(topicKey);
    if (heads.find(id)) return;
    this.#log.do(
      () => heads.add(id),
      () => heads.delete(id),
    );
  }

  removeHead(topicKey: Bytes, id: Bytes): void {
    const heads = this.#headsOf(topicKey);
    if (!heads.find(id)) return;
    this.#log.do(
      () => heads.delete(id),
      () => heads.add(id),
    );
  }

  addUnmet(topicKey: Bytes, parent: Bytes, child: Bytes): void {
    const note = { topicKey, parent, child };
    if (this.#unmet.find(note)) return;
    this.#log.do(
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
      this.#log.do(
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
    this.#log.do(
      () => this.#unmet.delete(note),
      () => this.#unmet.add(note),
    );
  }

  forgetBelow(topicKey: Bytes, id: Bytes): void {
    for (const head of this.headsBelow(topicKey, id, Number.POSITIVE_INFINITY))
      this.removeHead(topicKey, head);
    const gone = this.#unmet.items.filter(
      (note) => equalBytes(note.topicKey, topicKey) && compareBytes(note.parent, id) < 0,
    );
    for (const { parent, child } of gone) this.removeUnmet(topicKey, parent, child);
  }

  missingParents(limit: number, after: EventName | null): EventName[] {
    const isBefore = ({ topicKey, parent }: Unmet) =>
      after !== null && (compareBytes(topicKey, after.topicKey) || compareBytes(parent, after.id)) <= 0;
    const missing: EventName[] = [];
    for (const { topicKey, parent } of this.#unmet.items.slice(this.#unmet.firstNot(isBefore))) {
      const last = missing.at(-1);
      const isRepeat = last && equalBytes(last.topicKey, topicKey) && equalBytes(last.id, parent);
      if (isRepeat || this.#events.positionOf({ topicKey, id: parent }) !== undefined) continue;
      if (missing.length === limit) break;
      missing.push({ topicKey, id: parent });
    }
    return missing;
  }
}
