import { type Bytes, joinBytes } from "../../protocol/bytes.ts";
import { DIGEST_BYTES } from "../../protocol/event-id.ts";
import { packDigests } from "../../protocol/segment-digests.ts";
import { countGone } from "../../protocol/segment-places.ts";
import type { Runs } from "../../protocol/segment-runs.ts";
import type { HeldSegment, SealedStore } from "./sealed-store.ts";
import { isWithoutMessages, type Segment } from "./segment.ts";

/** What is to be added: a written segment, its runs, and the SHA-256 of its messages that are objects of their own. */
export interface NewSegment {
  readonly segment: Segment;
  readonly runs: Runs;
  readonly large?: readonly Bytes[];
}

/** Digests of one part. */
const LARGE_PER_PART = 1_024;

const partsOfLarge = (digests: readonly Bytes[]): Bytes[] =>
  Array.from({ length: Math.ceil(digests.length / LARGE_PER_PART) }, (_, part) =>
    joinBytes(digests.slice(part * LARGE_PER_PART, (part + 1) * LARGE_PER_PART)),
  );

/**
 * The segments that a shard holds to: those that are read, those of a partition that is being sealed, and those whose files are to be
 * deleted. A cache of the store, which `reload` reads anew.
 */
export class SegmentList {
  protected readonly store: SealedStore;
  #lists: Lists | undefined;
  /** By number: a bit for each event, of segments that have lost some. */
  readonly #out = new Map<number, Bytes>();

  constructor(store: SealedStore) {
    this.store = store;
  }

  /** Forgets what it has read. */
  reload(): void {
    this.#lists = undefined;
    this.#out.clear();
  }

  get #known(): Lists {
    this.#lists ??= listsOf(this.store.segments());
    return this.#lists;
  }

  /** All, in the order of their numbers. */
  get all(): readonly HeldSegment[] {
    return this.#known.all;
  }

  /** Those that are read. */
  get segments(): readonly HeldSegment[] {
    return this.#known.read;
  }

  /** The segments of a partition that is being sealed, in the order in which they were held. */
  building(partition: number): readonly HeldSegment[] {
    return this.#known.building.filter(({ sealing }) => sealing === partition);
  }

  /** Whether anything is being sealed. */
  get isBuilding(): boolean {
    return this.#known.building.length > 0;
  }

  /** Holds to a segment of a partition that is being sealed, inside a transaction: it is read only once all of them are there. */
  hold(partition: number, added: NewSegment): void {
    const [first] = this.building(partition);
    const last = this.store.lastNumbers();
    this.#add(added, last.number + 1, first?.group ?? last.group + 1, partition);
    this.reload();
  }

  #add(
    { segment, runs, large = [] }: NewSegment,
    number: number,
    group: number,
    sealing: number | null,
  ): void {
    const held: HeldSegment = {
      ...segment,
      gone: countGone(runs.ids),
      number,
      group,
      sealing,
      doomedMs: null,
      outCount: 0,
      largeCount: large.length,
      dropped: null,
    };
    this.store.addSegment(held, { ...runs, digests: packDigests(runs.ids), large: partsOfLarge(large) });
  }

  /** The segments of a partition are read from now on, inside the transaction that drops it. */
  sealed(partition: number): void {
    for (const segment of this.building(partition)) this.store.saveSegment({ ...segment, sealing: null });
    this.reload();
  }

  /** What is being sealed is other than what the segments have, inside a transaction: they are made anew. */
  discardBuilding(): void {
    // Nobody reads them.
    this.doom(this.#known.building, 0);
  }

  /** Segments whose files are to be deleted. */
  get doomed(): readonly HeldSegment[] {
    return this.#known.doomed;
  }

  /** Segments are not read any more, inside a transaction. Their files go later, since pages may be read from them still. */
  doom(segments: readonly HeldSegment[], nowMs: number): void {
    for (const segment of segments) this.store.saveSegment({ ...segment, doomedMs: nowMs });
    this.reload();
  }

  /**
   * A segment's messages are not read any more, inside a transaction; its events are as they were. The files go later, since pages may
   * be read from them still: `Reaping` finds in the segment that they are to go, also in a later life. Does nothing for a segment that is not
   * read, or has none.
   */
  dropMessages({ number }: Pick<HeldSegment, "number">, nowMs: number): void {
    const known = this.segments.find((each) => each.number === number);
    if (!known || isWithoutMessages(known)) return;
    const dropped = { sinceMs: nowMs, bytes: known.messages?.bytes ?? 0 };
    this.store.saveSegment({ ...known, messages: null, gone: known.count, dropped });
    this.reload();
  }

  /** Segments whose messages were dropped, and whose files of messages are to be deleted. */
  get withDropped(): readonly HeldSegment[] {
    return this.#known.withDropped;
  }

  /** The files of a segment's dropped messages are deleted, inside a transaction. */
  messagesDeleted({ number }: Pick<HeldSegment, "number">): void {
    const known = this.all.find((each) => each.number === number);
    if (!known?.dropped) return;
    this.store.saveSegment({ ...known, largeCount: 0, dropped: null });
    this.reload();
  }

  /** The SHA-256 of a segment's messages that are objects of their own. */
  largeOf({ number, largeCount }: HeldSegment): Bytes[] {
    const parts = Math.ceil(largeCount / LARGE_PER_PART);
    const joined = joinBytes(
      Array.from({ length: parts }, (_, part) => this.store.part(number, "large", part)),
    );
    return Array.from({ length: largeCount }, (_, i) =>
      joined.slice(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES),
    );
  }

  /** Adds a group of segments, inside a transaction. */
  addGroup(segments: readonly NewSegment[]): void {
    const last = this.store.lastNumbers();
    for (const [i, each] of segments.entries()) this.#add(each, last.number + 1 + i, last.group + 1, null);
    this.reload();
  }

  /** Forgets segments, inside a transaction. */
  remove(numbers: readonly number[]): void {
    for (const number of numbers) this.store.removeSegment(number);
    this.reload();
  }

  /** Whether the network's records took an event out. */
  isOut({ number, outCount }: HeldSegment, event: number): boolean {
    if (outCount === 0) return false;
    const bits = this.#out.get(number) ?? this.store.part(number, "out", 0);
    this.#out.set(number, bits);
    return (((bits[event >> 3] as number) >> (event & 7)) & 1) === 1;
  }

  /** The network's records take events of a segment out, inside a transaction. */
  takeOut(segment: HeldSegment, events: readonly number[]): void {
    const known = this.all.find(({ number }) => number === segment.number);
    if (!known) return;
    const bits =
      known.outCount > 0
        ? this.store.part(known.number, "out", 0).slice()
        : new Uint8Array(Math.ceil(known.count / 8));
    const taken = events.filter((event) => !this.isOut(known, event));
    for (const event of taken) bits[event >> 3] = (bits[event >> 3] as number) | (1 << (event & 7));
    this.store.savePart(known.number, "out", 0, bits);
    this.store.saveSegment({ ...known, outCount: known.outCount + taken.length });
    this.reload();
  }
}

interface Lists {
  readonly all: readonly HeldSegment[];
  readonly read: readonly HeldSegment[];
  readonly building: readonly HeldSegment[];
  readonly doomed: readonly HeldSegment[];
  readonly withDropped: readonly HeldSegment[];
}

function listsOf(all: readonly HeldSegment[]): Lists {
  const kept = all.filter(({ doomedMs }) => doomedMs === null);
  return {
    all,
    read: kept.filter(({ sealing }) => sealing === null),
    building: kept.filter(({ sealing }) => sealing !== null),
    doomed: all.filter(({ doomedMs }) => doomedMs !== null),
    // Those of a doomed segment go with it.
    withDropped: kept.filter(({ dropped }) => dropped),
  };
}
