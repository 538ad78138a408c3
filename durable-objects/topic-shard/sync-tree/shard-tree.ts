import { type Bytes, equalBytes } from "../../../protocol/bytes.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { isInRange, MAX_BACK_SLOTS, type SlotRange } from "../../../protocol/sync-range.ts";
import { bucketOf, bucketsOf } from "../../../protocol/topic.ts";
import { namesBehind } from "../names-behind.ts";
import { EPOCH_SHIFT, type PlacedName, type ShardStore } from "../shard-store.ts";
import type { LeavesByClass } from "./bucket-leaves.ts";
import { SLOTS, slotOfId, spanOfSlots } from "./slot-spans.ts";
import { eventsOfSpans } from "./span-walk.ts";
import { decodeMark, EMPTY_MARK, encodeMark } from "./tree-mark.ts";
import { type RootsPart, type TreeContext, TreeRoots } from "./tree-roots.ts";
import type { ListedEvent } from "./tree-store.ts";

/** More marks than are made while an event waits to be delivered: a scrub may make one with each step. */
const EPOCHS = 65_536;
/** Events that are read at a time when a shard wakes. */
const NAMES_PER_READ = 1_024;
/** Two or three are open while the sync object asks each slot; a mark, which is one row, names them all. */
const MAX_OPEN_SLOTS = 64;
/** They are delivered within 30 s: more than a shard can take in that time. */
const MAX_PENDING_READ = 1_000_000;

/** What a shard hands over to the sync object: as of `asOf` and of the slot before. */
export interface HandOver {
  readonly asOf: number;
  readonly parts: readonly RootsPart[];
  readonly sketches: { readonly newest: Bytes; readonly previous: Bytes };
  /** The least `asOf` at which all this is another, as far as it is known now; 0 for at once. */
  readonly dueAsOf: number;
}

interface LateEvent {
  readonly bucket: number;
  readonly class: number;
  readonly id: Bytes;
}

/**
 * A shard's share of the hash tree: a root for each bucket and class and a sketch of all ids, as of the newest settled slot
 * and of the one before. No row is written per event: buckets that changed are noted in memory, and what derives from events
 * is computed when it is handed over. A mark says up to which event all this is written down; after a restart the events
 * behind it are noted again.
 */
export class ShardTree {
  readonly #store: ShardStore;
  readonly #context: TreeContext;
  readonly #roots: TreeRoots;
  readonly #entered: (bucket: number, id: Bytes) => void;
  #epoch = 0;
  #asOf = 0;
  #open = new Map<number, Set<number>>();
  #dirty = new Set<number>();
  /** Went ahead by itself: what the sync object was told, or was to be told, is behind it. */
  #isUntold = false;
  /** Stored since the last fold, in slots that had settled: not yet in the sketches. */
  #late: LateEvent[] = [];
  /** Events noted since the last mark. */
  #noted = 0;
  #newest = new Sketch();
  #previous = new Sketch();

  /** `entered` hears of each id that enters the compared range as its slot settles. */
  constructor(store: ShardStore, context: TreeContext, entered: (bucket: number, id: Bytes) => void) {
    this.#store = store;
    this.#context = context;
    this.#entered = entered;
    this.#roots = new TreeRoots(store.tree, context);
  }

  get asOf(): number {
    return this.#asOf;
  }

  /** Whether the tree has to be brought up to a later slot, since it notes every slot behind its own one by one. */
  isBehind(asOf: number): boolean {
    return this.#asOf === 0 || (this.#open.size > MAX_OPEN_SLOTS && asOf > this.#asOf);
  }

  /** The bits that an event stored now carries in its flags. */
  get epochFlag(): number {
    return (this.#epoch % EPOCHS) << EPOCH_SHIFT;
  }

  /** Those of an event that is stored anew and is in the tree already: neither this mark's nor the next one's. */
  get notedFlag(): number {
    return ((this.#epoch + EPOCHS - 1) % EPOCHS) << EPOCH_SHIFT;
  }

  get notedSinceMark(): number {
    return this.#noted;
  }

  /** Reads the state anew from what is committed. */
  reload(): void {
    const { tree } = this.#store;
    const bytes = tree.treeValue("mark");
    const mark = bytes ? decodeMark(bytes) : EMPTY_MARK;
    this.#epoch = mark.epoch;
    this.#asOf = mark.asOf;
    this.#open = new Map([...mark.open].map(([slot, buckets]) => [slot, new Set(buckets)]));
    this.#dirty = new Set(mark.dirty);
    this.#isUntold = mark.isUntold;
    this.#late = [];
    this.#noted = 0;
    this.#roots.reload();
    this.#newest = sketchOf(mark.sketches?.newest ?? tree.treeValue("sketch-newest"));
    this.#previous = sketchOf(mark.sketches?.previous ?? tree.treeValue("sketch-previous"));
    this.#noteAgain(mark.position);
  }

  #noteAgain(position: number): void {
    const epoch = this.#epoch % EPOCHS;
    const note = (names: Iterable<PlacedName>) => {
      for (const name of names) if (name.flags >> EPOCH_SHIFT === epoch) this.#note(name);
    };
    note(namesBehind(this.#store, position, NAMES_PER_READ));
    note(this.#store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MAX_PENDING_READ));
  }

  /** An event is stored, in the transaction under way. */
  noteStored(event: ListedEvent): void {
    const slot = this.#note(event);
    if (slot < this.#asOf) this.#store.tree.markLate(bucketOf(event.topicKey), slot);
  }

  /**
   * An event is taken out, in the transaction under way, after which a mark must follow: in the sketches what leaves is toggled as what
   * comes is, and after a restart nothing would tell of it.
   */
  noteRemoved(event: ListedEvent): void {
    this.noteStored(event);
  }

  #note({ topicKey, id, class: classId }: ListedEvent): number {
    const bucket = bucketOf(topicKey);
    const slot = slotOfId(id);
    this.#noted++;
    if (slot < this.#asOf) {
      this.#late.push({ bucket, class: classId, id });
      this.#dirty.add(bucket);
    } else {
      this.#noteOpen(slot, bucket);
    }
    return slot;
  }

  #noteOpen(slot: number, bucket: number): void {
    const buckets = this.#open.get(slot);
    if (buckets) buckets.add(bucket);
    else this.#open.set(slot, new Set([bucket]));
  }

  /** The least `asOf` at which the roots are others than those last handed over; 0 for at once. */
  get dueAsOf(): number {
    if (this.#isUntold || this.#dirty.size > 0 || this.#late.length > 0) return 0;
    let due = this.#roots.nextLeaveAsOf;
    for (const slot of this.#open.keys()) due = Math.min(due, slot + 1);
    return due;
  }

  /** The compared range of a class. */
  rangeOf(classId: number, asOf: number): SlotRange {
    return this.#roots.rangeOf(classId, asOf);
  }

  /** Writes down what is known up to a position, as the last step of a transaction. */
  saveMark(position: number): void {
    const { tree } = this.#store;
    // What is behind the mark is in its sketches, and would not be noted again.
    this.#fold();
    this.#epoch++;
    this.#noted = 0;
    const mark = {
      epoch: this.#epoch,
      position,
      asOf: this.#asOf,
      open: this.#open,
      dirty: this.#dirty,
      isUntold: this.#isUntold,
      sketches: { newest: this.#newest.prefix(), previous: this.#previous.prefix() },
    };
    tree.saveTreeValue("mark", encodeMark(mark));
  }

  /** Puts late events into the sketches. */
  #fold(): void {
    for (const { bucket, class: classId, id } of this.#late) {
      const slot = slotOfId(id);
      if (isInRange(this.rangeOf(classId, this.#asOf), slot)) this.#newest.toggle(bucket, id);
      if (isInRange(this.rangeOf(classId, this.#asOf - 1), slot)) this.#previous.toggle(bucket, id);
    }
    this.#late = [];
  }

  /**
   * Brings roots and sketches up to date as of a slot, inside a transaction; `position` is the newest delivered one. An `asOf`
   * that was passed already is answered as of the newest, unless it was passed by far.
   */
  handOver(asOf: number, position: number): HandOver {
    this.#isUntold = false;
    if (asOf < this.#asOf - MAX_BACK_SLOTS) this.#goBack(asOf);
    return this.#bringTo(asOf, position);
  }

  /** As `handOver`, when the sync object does not ask: from then on it is to ask at once. */
  catchUp(asOf: number, position: number): void {
    this.#isUntold = true;
    this.#bringTo(asOf, position);
  }

  /** After a clock that was far ahead. The sketches are wrong until the next scrub: till then the tree finds what differs. */
  #goBack(asOf: number): void {
    this.#fold();
    this.#asOf = asOf;
    const { from, to } = bucketsOf(this.#context.shard, this.#context.shardCount);
    for (let bucket = from; bucket < to; bucket++) {
      this.distrust(bucket);
      const ahead = eventsOfSpans(this.#store.tree, bucket, [spanOfSlots({ from: asOf, to: SLOTS })]);
      for (const { id } of ahead) this.#noteOpen(slotOfId(id), bucket);
    }
  }

  #bringTo(asOf: number, position: number): HandOver {
    this.#fold();
    // Before the advance, which finds what leaves the range by the oldest slot of each root.
    for (const bucket of this.#dirty) this.#roots.compute(bucket, this.#asOf);
    this.#dirty.clear();
    if (asOf > this.#asOf) for (const bucket of this.#advance(asOf)) this.#roots.compute(bucket, asOf);
    const parts = this.#roots.save();
    this.saveMark(position);
    return {
      asOf: this.#asOf,
      parts,
      sketches: { newest: this.#newest.prefix(), previous: this.#previous.prefix() },
      dueAsOf: this.dueAsOf,
    };
  }

  /** Moves the sketches to a later `asOf`. Answers the buckets whose roots change by it. */
  #advance(asOf: number): Set<number> {
    const from = this.#asOf;
    const moving = new Set<number>();
    for (const [slot, buckets] of this.#open) {
      if (slot >= asOf) continue;
      for (const bucket of buckets) moving.add(bucket);
      this.#open.delete(slot);
    }
    for (const bucket of this.#roots.withLeaving(asOf)) moving.add(bucket);
    const before = this.#newest;
    this.#previous = asOf - 1 === from ? before : this.#moved(before, from, asOf - 1, moving);
    this.#newest = this.#moved(before, from, asOf, moving, this.#entered);
    this.#asOf = asOf;
    this.#roots.advance();
    return moving;
  }

  /** A sketch with what enters the range from one `asOf` to a later one, and without what leaves it. */
  #moved(
    sketch: Sketch,
    from: number,
    to: number,
    buckets: ReadonlySet<number>,
    entered: (bucket: number, id: Bytes) => void = () => {},
  ): Sketch {
    const moved = sketch.clone();
    for (const bucket of buckets) {
      const leaving = this.#roots.leaving(bucket, from, to);
      const ranges = [...(leaving ? [leaving] : []), { from, to }];
      for (const { id, class: classId } of eventsOfSpans(this.#store.tree, bucket, ranges.map(spanOfSlots))) {
        const slot = slotOfId(id);
        const was = isInRange(this.rangeOf(classId, from), slot);
        const is = isInRange(this.rangeOf(classId, to), slot);
        if (was !== is) moved.toggle(bucket, id);
        if (is && !was) entered(bucket, id);
      }
    }
    return moved;
  }

  /** Has a bucket's roots computed from its events anew. */
  distrust(bucket: number): void {
    this.#store.tree.dropSlotGroups(bucket);
    this.#dirty.add(bucket);
  }

  /** Replaces the sketches where they differ; answers whether they did: then a mark must follow. */
  replaceSketches(newest: Sketch, previous: Sketch): boolean {
    this.#fold();
    const isRight =
      equalBytes(newest.prefix(), this.#newest.prefix()) &&
      equalBytes(previous.prefix(), this.#previous.prefix());
    if (isRight) return false;
    this.#newest = newest.clone();
    this.#previous = previous.clone();
    // So that they are handed over.
    this.#dirty.add(bucketsOf(this.#context.shard, this.#context.shardCount).from);
    return true;
  }

  /** Whether a bucket holds more than is listed at once. */
  isLarge(bucket: number): boolean {
    return this.#roots.isLarge(bucket);
  }

  /** Whether the roots of a bucket are those of some leaves, which were read from its events; true while they are not known. */
  hasRoots(bucket: number, leaves: LeavesByClass): boolean {
    return this.#dirty.has(bucket) || this.#roots.areOf(bucket, leaves, this.#asOf);
  }
}

function sketchOf(bytes: Bytes | undefined): Sketch {
  return bytes ? Sketch.fromBytes(bytes) : new Sketch();
}
