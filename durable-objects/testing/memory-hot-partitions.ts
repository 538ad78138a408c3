import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import { byName, type EventName } from "../../protocol/peer-messages.ts";
import {
  type HotPartitions,
  MAX_PARTITIONS,
  type Partition,
  type PartitionTopic,
  partitionOpen,
  partitionsFull,
} from "../topic-shard/hot-partitions.ts";
import { PENDING_BASE, type StoredEvent } from "../topic-shard/shard-store.ts";
import type { MemoryEventTable } from "./memory-event-table.ts";
import type { UndoLog } from "./undo-log.ts";

const FIRST: Partition = { number: 1, after: 0, upTo: null, openedMs: 0, closedMs: null, cutAt: 0 };
/** About what a row takes beside its block and message. */
const ROW_BYTES = 400;

/** What `SqlHotPartitions` must agree with: the partitions are ranges of positions of one table. */
export class MemoryHotPartitions implements HotPartitions {
  readonly #events: MemoryEventTable;
  readonly #log: UndoLog;
  #all: readonly Partition[] = [FIRST];
  /** Classes that ever had an event in a partition, by its number. */
  readonly #classes = new Map<number, ReadonlySet<number>>();

  constructor(events: MemoryEventTable, log: UndoLog) {
    this.#events = events;
    this.#log = log;
  }

  all(): readonly Partition[] {
    return this.#all;
  }

  get open(): Partition {
    return this.#all.at(-1) ?? FIRST;
  }

  canRoll(): boolean {
    return this.#all.length < MAX_PARTITIONS;
  }

  #eventsIn({ after, upTo }: Partition): StoredEvent[] {
    const last = upTo ?? Number.POSITIVE_INFINITY;
    return this.#events.byPosition.items.filter(({ position }) => position > after && position <= last);
  }

  #set(all: readonly Partition[]): void {
    const before = this.#all;
    this.#log.do(
      () => {
        this.#all = all;
      },
      () => {
        this.#all = before;
      },
    );
  }

  /** An event of a class is to be in the open partition. */
  readonly noteClass = (classId: number): void => {
    const { number } = this.open;
    const before = this.#classes.get(number) ?? new Set<number>();
    if (before.has(classId)) return;
    this.#log.do(
      () => this.#classes.set(number, new Set([...before, classId])),
      () => this.#classes.set(number, before),
    );
  };

  /** The greatest position that was given, of a dropped event too. */
  get lastPosition(): number {
    const { items } = this.#events.byPosition;
    const last = items[this.#events.byPosition.firstNot(({ position }) => position < PENDING_BASE) - 1];
    return Math.max(last?.position ?? 0, this.open.after, this.open.cutAt);
  }

  roll(nowMs: number): void {
    if (!this.canRoll()) throw partitionsFull();
    const { open } = this;
    const upTo = this.lastPosition;
    const next = { ...FIRST, number: open.number + 1, after: upTo, openedMs: nowMs };
    this.#set([...this.#all.slice(0, -1), { ...open, upTo, closedMs: nowMs }, next]);
    for (const { class: classId } of this.#eventsIn(next)) this.noteClass(classId);
  }

  cut(position: number): void {
    this.#set([...this.#all.slice(0, -1), { ...this.open, cutAt: position }]);
  }

  classesOf(number: number): number[] {
    if (!this.#all.some((each) => each.number === number)) return [];
    return [...(this.#classes.get(number) ?? [])].sort((a, b) => a - b);
  }

  eventsOf(
    number: number,
    classId: number,
    after: EventName | null,
    limit: number,
    maxBytes: number,
  ): StoredEvent[] {
    const partition = this.#all.find((each) => each.number === number);
    const events = partition ? this.#eventsIn(partition).filter((each) => each.class === classId) : [];
    const page: StoredEvent[] = [];
    let taken = 0;
    for (const event of events.sort(byName)) {
      if (after && byName(event, after) <= 0) continue;
      taken += bytesOfWire(event);
      if (page.length === limit || (page.length > 0 && taken > maxBytes)) break;
      page.push(event);
    }
    return page;
  }

  topicsOf(number: number, after: Bytes | null, limit: number): PartitionTopic[] {
    const partition = this.#all.find((each) => each.number === number);
    const events = partition ? this.#eventsIn(partition).sort(byName) : [];
    const topics: PartitionTopic[] = [];
    for (const { topicKey, class: classId } of events) {
      const last = topics.at(-1)?.topicKey ?? after;
      if (last && compareBytes(topicKey, last) <= 0) continue;
      if (topics.length === limit) break;
      topics.push({ topicKey, class: classId });
    }
    return topics;
  }

  drop(number: number): void {
    const dropped = this.#all.find((each) => each.number === number);
    if (!dropped) return;
    if (dropped.upTo === null) throw partitionOpen(number);
    for (const event of this.#eventsIn(dropped)) this.#events.delete(event);
    this.#set(this.#all.filter((each) => each !== dropped));
  }

  usedBytes(): number {
    let bytes = 0;
    for (const { block, message } of this.#events.byPosition.items)
      bytes += bytesOfWire({ block, message }) + ROW_BYTES;
    return bytes;
  }
}
