import { type Bytes, equalBytes, joinBytes } from "../../protocol/bytes.ts";
import { DIGEST_BYTES } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { packDigests } from "../../protocol/segment-digests.ts";
import { countGone } from "../../protocol/segment-places.ts";
import type { Runs } from "../../protocol/segment-runs.ts";
import type { HeldSegment, MergedGroups, SealedStore } from "./sealed-store.ts";
import { isWithoutMessages, type Segment } from "./segment.ts";

/** What is to be added: a written segment, its runs, and the SHA-256 of its messages that are objects of their own. */
export interface NewSegment {
  readonly segment: Segment;
  readonly runs: Runs;
  readonly large?: readonly Bytes[];
}

/** A merge that has not ended. */
export interface UnderWay extends MergedGroups {
  readonly class: number;
  /** The first segments of what they become, in the order of topic and id. */
  readonly outputs: readonly HeldSegment[];
}

/** The name that a segment says of its first or last event. */
export const nameOfBytes = (name: Bytes): EventName => ({
  topicKey: name.slice(0, DIGEST_BYTES),
  id: name.slice(DIGEST_BYTES),
});

/** What a segment is made of: a partition, or groups of segments; or neither, where the events come from elsewhere. */
type Purpose = Pick<HeldSegment, "sealing" | "merging">;
export const ofPartition = (sealing: number): Purpose => ({ sealing, merging: null });
export const ofGroups = ({ groups, segments }: MergedGroups): Purpose => ({
  sealing: null,
  merging: { groups, segments },
});
export const ADOPTED: Purpose = { sealing: null, merging: null };

const isFor = ({ sealing, merging }: Purpose, other: Purpose): boolean =>
  sealing === other.sealing && String(merging?.groups) === String(other.merging?.groups);

/** Digests of one part. */
const LARGE_PER_PART = 1_024;

const partsOfLarge = (digests: readonly Bytes[]): Bytes[] =>
  Array.from({ length: Math.ceil(digests.length / LARGE_PER_PART) }, (_, part) =>
    joinBytes(digests.slice(part * LARGE_PER_PART, (part + 1) * LARGE_PER_PART)),
  );

/**
 * The segments that a shard holds to: those that are read, those that a partition or some groups are being made into, and those whose files
 * are to be deleted. A cache of the store, which `reload` reads anew.
 */
export class SegmentList {
  protected readonly store: SealedStore;
  #lists: Lists | undefined;
  /** By number: a bit for each event, of segments that have lost some. */
  readonly #out = new Map<number, Bytes>();

  constructor(store: SealedStore) {
    this.store = store;
  }

  /** Forgets what it has read: a transaction failed. */
  reload(): void {
    this.changed();
  }

  /** The list is another now. */
  protected changed(): void {
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

  /** The segment of a name that is read. */
  byRoot(root: Bytes): HeldSegment | undefined {
    return this.segments.find((each) => equalBytes(each.root, root));
  }

  /** The segments of a partition that is being sealed, in the order in which they were held. */
  building(partition: number): readonly HeldSegment[] {
    return this.#known.building.filter(({ sealing }) => sealing === partition);
  }

  /** Whether a partition is being sealed. */
  get isSealing(): boolean {
    return this.#known.building.some(({ sealing }) => sealing !== null);
  }

  /** The merge under way, if it has made a segment. */
  get merge(): UnderWay | undefined {
    const outputs = this.#known.building.filter(({ merging }) => merging !== null);
    const [first] = outputs;
    return first?.merging ? { class: first.class, ...first.merging, outputs } : undefined;
  }

  /**
   * Notes a segment that is about to be stored, inside a transaction: until it is held its files are such as are to be deleted, so that none is
   * left where it comes to nothing.
   */
  intend(purpose: Purpose, added: NewSegment, nowMs: number): void {
    const known = this.#intended(purpose, added);
    if (known) this.store.saveSegment({ ...known, doomedMs: nowMs });
    else this.#addNext(purpose, added, nowMs);
    this.changed();
  }

  /** Holds to a segment that is stored, inside a transaction: where it is made of a partition or of groups, it is read only once all of them are there. */
  hold(purpose: Purpose, added: NewSegment): void {
    const known = this.#intended(purpose, added);
    if (known) this.store.saveSegment({ ...known, doomedMs: null });
    else this.#addNext(purpose, added, null);
    this.changed();
  }

  #intended(purpose: Purpose, { segment: { root } }: NewSegment): HeldSegment | undefined {
    return this.#known.doomed.find(
      (each) => each.outCount === 0 && isFor(each, purpose) && equalBytes(each.root, root),
    );
  }

  #addNext(purpose: Purpose, added: NewSegment, doomedMs: number | null): void {
    const first = purpose === ADOPTED ? undefined : this.#known.building.find((each) => isFor(each, purpose));
    const last = this.store.lastNumbers();
    const group = first?.group ?? last.group + 1;
    this.#add(added, { ...purpose, number: last.number + 1, group, doomedMs });
  }

  #add(
    { segment, runs, large = [] }: NewSegment,
    held: Pick<HeldSegment, "number" | "group" | "doomedMs" | keyof Purpose>,
  ): void {
    const added: HeldSegment = {
      ...segment,
      ...held,
      gone: countGone(runs.ids),
      outCount: 0,
      largeCount: large.length,
      dropped: null,
    };
    this.store.addSegment(added, { ...runs, digests: packDigests(runs.ids), large: partsOfLarge(large) });
  }

  /** The segments of a partition are read from now on, inside the transaction that drops it. */
  sealed(partition: number): void {
    for (const segment of this.building(partition)) this.store.saveSegment({ ...segment, sealing: null });
    this.changed();
  }

  /** What is being sealed is other than what the segments have, inside a transaction: they are made anew. */
  discardSealing(): void {
    // Nobody reads them.
    this.doom(
      this.#known.building.filter(({ sealing }) => sealing !== null),
      0,
    );
  }

  /** The same for what is being merged. */
  discardMerge(): void {
    this.doom(this.merge?.outputs ?? [], 0);
  }

  /** From now on what groups of a class have become is read in their place, inside a transaction. */
  merged(classId: number, groups: readonly number[], nowMs: number): void {
    for (const segment of this.merge?.outputs ?? []) this.store.saveSegment({ ...segment, merging: null });
    this.doom(this.inGroups(classId, groups), nowMs);
  }

  /** The segments of some groups of a class that are read. */
  inGroups(classId: number, groups: readonly number[]): readonly HeldSegment[] {
    const wanted = new Set(groups);
    return this.segments.filter((each) => each.class === classId && wanted.has(each.group));
  }

  /** Segments whose files are to be deleted. */
  get doomed(): readonly HeldSegment[] {
    return this.#known.doomed;
  }

  /** Segments are not read any more, inside a transaction. Their files go later, since pages may be read from them still. */
  doom(segments: readonly HeldSegment[], nowMs: number): void {
    for (const segment of segments) this.store.saveSegment({ ...segment, doomedMs: nowMs });
    this.changed();
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
    this.changed();
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
    this.changed();
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
    for (const [i, each] of segments.entries())
      this.#add(each, { ...ADOPTED, number: last.number + 1 + i, group: last.group + 1, doomedMs: null });
    this.changed();
  }

  /** Forgets segments, inside a transaction. */
  remove(numbers: readonly number[]): void {
    for (const number of numbers) this.store.removeSegment(number);
    this.changed();
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
    this.changed();
  }
}

interface Lists {
  readonly all: readonly HeldSegment[];
  readonly read: readonly HeldSegment[];
  readonly building: readonly HeldSegment[];
  readonly doomed: readonly HeldSegment[];
  readonly withDropped: readonly HeldSegment[];
}

const isBuilding = ({ sealing, merging }: HeldSegment): boolean => sealing !== null || merging !== null;

function listsOf(all: readonly HeldSegment[]): Lists {
  const kept = all.filter(({ doomedMs }) => doomedMs === null);
  return {
    all,
    read: kept.filter((each) => !isBuilding(each)),
    building: kept.filter(isBuilding),
    doomed: all.filter(({ doomedMs }) => doomedMs !== null),
    // Those of a doomed segment go with it.
    withDropped: kept.filter(({ dropped }) => dropped),
  };
}
