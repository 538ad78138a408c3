import { type Bytes, equalBytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import type { Network } from "../../../protocol/genesis.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { comparedRange, isInRange, leavesAt, type SlotRange } from "../../../protocol/sync-range.ts";
import { rootOf, type SlotLeaf, slotGroupOf, slotGroups } from "../../../protocol/sync-tree.ts";
import { bucketOf, bucketsOf } from "../../../protocol/topic.ts";
import {
  BUCKETS_PER_PART,
  NO_SLOT,
  packRecords,
  type RootRecord,
  unpackRecords,
} from "../../sync/root-records.ts";
import { EPOCH_SHIFT, type PlacedName, type ShardStore } from "../shard-store.ts";
import {
  BucketLeaves,
  firstIdOfSlot,
  type LeavesByClass,
  SMALL_BUCKET_EVENTS,
  slotOfId,
} from "./bucket-leaves.ts";
import { decodeMark, EMPTY_MARK, encodeMark } from "./tree-mark.ts";
import type { ListedEvent } from "./tree-store.ts";

const EPOCHS = 256;
/** Events that are read at a time when a shard wakes. */
const NAMES_PER_READ = 1_024;
/** Two or three are open while the sync object asks each slot; a mark, which is one row, names them all. */
const MAX_OPEN_SLOTS = 64;
/** They are delivered within 30 s: more than a shard can take in that time. */
const MAX_PENDING_READ = 1_000_000;

/** What a shard hands over to the sync object: as of `asOf` and of the slot before. */
export interface HandOver {
  readonly asOf: number;
  /** Packed `RootRecord`s of each 256 buckets. */
  readonly parts: readonly { readonly part: number; readonly records: Bytes }[];
  readonly sketches: { readonly newest: Bytes; readonly previous: Bytes };
  /** The least `asOf` at which all this is another, as far as it is known now; 0 for at once. */
  readonly dueAsOf: number;
}

export interface TreeContext {
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly shard: number;
  readonly shardCount: number;
  /** Buckets with more events have their leaves written down; `SMALL_BUCKET_EVENTS` by default. */
  readonly smallBucketEvents?: number;
}

interface LateEvent {
  readonly bucket: number;
  readonly class: number;
  readonly id: Bytes;
}

const keyOf = ({ bucket, class: id }: { bucket: number; class: number }): number => bucket * 256 + id;

/**
 * A shard's share of the hash tree: a root for each bucket and class and a sketch of all ids, as of the newest settled slot
 * and of the one before. No row is written per event: buckets that changed are noted in memory, and what derives from events
 * is computed when it is handed over. A mark says up to which event all this is written down; after a restart the events
 * behind it are noted again.
 */
export class ShardTree {
  readonly #store: ShardStore;
  readonly #context: TreeContext;
  readonly #leaves: BucketLeaves;
  readonly #entered: (bucket: number, id: Bytes) => void;
  #epoch = 0;
  #asOf = 0;
  #open = new Map<number, Set<number>>();
  #dirty = new Set<number>();
  /** Stored since the last fold, in slots that had settled: not yet in the sketches. */
  #late: LateEvent[] = [];
  /** Events noted since the last mark. */
  #noted = 0;
  #records = new Map<number, RootRecord>();
  /** The least `asOf` at which a slot leaves the range. */
  #nextLeaveAsOf = Number.MAX_SAFE_INTEGER;
  #newest = new Sketch();
  #previous = new Sketch();

  /** `entered` hears of each id that enters the compared range as its slot settles. */
  constructor(store: ShardStore, context: TreeContext, entered: (bucket: number, id: Bytes) => void) {
    this.#store = store;
    this.#context = context;
    this.#entered = entered;
    this.#leaves = new BucketLeaves(store.tree, context.suite);
  }

  get asOf(): number {
    return this.#asOf;
  }

  /** Whether the tree has to be brought up to date, since it notes every slot behind `asOf` one by one. */
  get isBehind(): boolean {
    return this.#asOf === 0 || this.#open.size > MAX_OPEN_SLOTS;
  }

  /** The bits that an event stored now carries in its flags. */
  get epochFlag(): number {
    return (this.#epoch % EPOCHS) << EPOCH_SHIFT;
  }

  get notedSinceMark(): number {
    return this.#noted;
  }

  #parts(): number[] {
    const { from, to } = bucketsOf(this.#context.shard, this.#context.shardCount);
    const parts: number[] = [];
    for (let part = Math.floor(from / BUCKETS_PER_PART); part * BUCKETS_PER_PART < to; part++)
      parts.push(part);
    return parts;
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
    this.#late = [];
    this.#noted = 0;
    const classes = new Set(this.#context.network.genesis.classes.map(({ id }) => id));
    const records = this.#parts().flatMap((part) => {
      const packed = tree.treeValue(`roots-${part}`);
      return packed ? unpackRecords(packed).filter((record) => classes.has(record.class)) : [];
    });
    this.#records = new Map(records.map((record) => [keyOf(record), record]));
    this.#newest = sketchOf(tree.treeValue("sketch-newest"));
    this.#previous = sketchOf(tree.treeValue("sketch-previous"));
    this.#nextLeaveAsOf = this.#findNextLeave();
    this.#noteAgain(mark.position);
  }

  #noteAgain(position: number): void {
    const epoch = this.#epoch % EPOCHS;
    const note = (names: readonly PlacedName[]) => {
      for (const name of names) if (name.flags >> EPOCH_SHIFT === epoch) this.#note(name);
    };
    for (let from = position; ; ) {
      const names = this.#store.namesAfter(from, NAMES_PER_READ);
      note(names);
      const last = names.at(-1);
      if (!last) break;
      from = last.position;
    }
    note(this.#store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MAX_PENDING_READ));
  }

  /** An event is stored, in the transaction under way. */
  noteStored(event: ListedEvent): void {
    const slot = this.#note(event);
    if (slot < this.#asOf) this.#store.tree.dropSlotGroup(bucketOf(event.topicKey), slotGroupOf(slot));
  }

  #note({ topicKey, id, class: retention }: ListedEvent): number {
    const bucket = bucketOf(topicKey);
    const slot = slotOfId(id);
    this.#noted++;
    if (slot < this.#asOf) {
      this.#late.push({ bucket, class: retention, id });
      this.#dirty.add(bucket);
    } else {
      const buckets = this.#open.get(slot);
      if (buckets) buckets.add(bucket);
      else this.#open.set(slot, new Set([bucket]));
    }
    return slot;
  }

  /** The least `asOf` at which the roots are others than those last handed over; 0 for at once. */
  get dueAsOf(): number {
    if (this.#dirty.size > 0 || this.#late.length > 0) return 0;
    let due = this.#nextLeaveAsOf;
    for (const slot of this.#open.keys()) due = Math.min(due, slot + 1);
    return due;
  }

  #findNextLeave(): number {
    let next = Number.MAX_SAFE_INTEGER;
    for (const { class: id, oldest } of this.#records.values())
      if (oldest !== NO_SLOT) next = Math.min(next, leavesAt(this.#classOf(id), oldest) ?? next);
    return next;
  }

  #classOf(id: number) {
    return this.#context.network.retentionOf(id);
  }

  /** The compared range of a class. */
  rangeOf(id: number, asOf: number): SlotRange {
    return comparedRange(this.#classOf(id), asOf);
  }

  /** Writes down what is known up to a position, as the last step of a transaction. */
  saveMark(position: number): void {
    const { tree } = this.#store;
    if (this.#fold()) this.#saveSketches();
    this.#epoch++;
    this.#noted = 0;
    const mark = { epoch: this.#epoch, position, asOf: this.#asOf, open: this.#open, dirty: this.#dirty };
    tree.saveTreeValue("mark", encodeMark(mark));
  }

  #saveSketches(): void {
    this.#store.tree.saveTreeValue("sketch-newest", this.#newest.prefix());
    this.#store.tree.saveTreeValue("sketch-previous", this.#previous.prefix());
  }

  /** Puts late events into the sketches. Answers whether there were any. */
  #fold(): boolean {
    for (const { bucket, class: retention, id } of this.#late) {
      const slot = slotOfId(id);
      if (isInRange(this.rangeOf(retention, this.#asOf), slot)) this.#newest.toggle(bucket, id);
      if (isInRange(this.rangeOf(retention, this.#asOf - 1), slot)) this.#previous.toggle(bucket, id);
    }
    const isChanged = this.#late.length > 0;
    this.#late = [];
    return isChanged;
  }

  /**
   * Brings roots and sketches up to date as of a slot, inside a transaction; `position` is the newest delivered one. An `asOf`
   * that was passed already is answered as of the newest.
   */
  handOver(asOf: number, position: number): HandOver {
    this.#fold();
    // Before the advance, which finds what leaves the range by the oldest slot of each root.
    for (const bucket of this.#dirty) this.#computeRoots(bucket);
    this.#dirty.clear();
    if (asOf > this.#asOf) for (const bucket of this.#advance(asOf)) this.#computeRoots(bucket);
    const parts = this.#parts().map((part) => ({ part, records: this.#packPart(part) }));
    for (const { part, records } of parts) this.#store.tree.saveTreeValue(`roots-${part}`, records);
    this.#saveSketches();
    this.saveMark(position);
    this.#nextLeaveAsOf = this.#findNextLeave();
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
    for (const { bucket, class: id, oldest } of this.#records.values())
      if (oldest < this.rangeOf(id, asOf).from) moving.add(bucket);
    const before = this.#newest;
    this.#previous = asOf - 1 === from ? before : this.#moved(before, from, asOf - 1, moving);
    this.#newest = this.#moved(before, from, asOf, moving, this.#entered);
    this.#asOf = asOf;
    for (const record of this.#records.values()) {
      if (record.newest) this.#records.set(keyOf(record), { ...record, previous: record.newest });
      else this.#records.delete(keyOf(record));
    }
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
    const toggle = (bucket: number, ids: Iterable<ListedEvent>) => {
      for (const { id, class: retention } of ids) {
        const slot = slotOfId(id);
        const was = isInRange(this.rangeOf(retention, from), slot);
        const is = isInRange(this.rangeOf(retention, to), slot);
        if (was !== is) moved.toggle(bucket, id);
        if (is && !was) entered(bucket, id);
      }
    };
    for (const bucket of buckets) {
      const leaving = this.#leaving(bucket, from, to);
      const { tree } = this.#store;
      if (leaving) {
        toggle(bucket, tree.idsOfBucket(bucket, firstIdOfSlot(leaving.from), firstIdOfSlot(leaving.to)));
      }
      toggle(bucket, tree.idsOfBucket(bucket, firstIdOfSlot(from), firstIdOfSlot(to)));
    }
    return moved;
  }

  /** The slots below `from` in which a bucket has ids that leave the range between two `asOf`s. */
  #leaving(bucket: number, from: number, to: number): { from: number; to: number } | undefined {
    let range: { from: number; to: number } | undefined;
    for (const { id } of this.#context.network.genesis.classes) {
      const record = this.#records.get(keyOf({ bucket, class: id }));
      const end = Math.min(this.rangeOf(id, to).from, from);
      if (!record || record.oldest >= end) continue;
      range = {
        from: Math.min(range?.from ?? record.oldest, record.oldest),
        to: Math.max(range?.to ?? 0, end),
      };
    }
    return range;
  }

  /** Whether the roots of a bucket are those of some leaves, which were read from its events; true while they are not known. */
  hasRoots(bucket: number, leaves: LeavesByClass): boolean {
    if (this.#dirty.has(bucket)) return true;
    return this.#context.network.genesis.classes.every(({ id }) => {
      const kept = this.#records.get(keyOf({ bucket, class: id }));
      const right = this.#recordOf(bucket, id, leaves.get(id) ?? []);
      return isSame(kept?.newest, right.newest) && isSame(kept?.previous, right.previous);
    });
  }

  /** Has a bucket's roots computed from its events anew. */
  distrust(bucket: number): void {
    this.#store.tree.dropSlotGroups(bucket);
    this.#dirty.add(bucket);
  }

  /** Replaces the sketches where they differ; answers whether they did. */
  replaceSketches(newest: Sketch, previous: Sketch): boolean {
    this.#fold();
    const isRight =
      equalBytes(newest.prefix(), this.#newest.prefix()) &&
      equalBytes(previous.prefix(), this.#previous.prefix());
    if (isRight) return false;
    this.#newest = newest.clone();
    this.#previous = previous.clone();
    this.#saveSketches();
    // So that they are handed over.
    this.#dirty.add(bucketsOf(this.#context.shard, this.#context.shardCount).from);
    return true;
  }

  /** Whether a bucket holds more than is listed at once. */
  isLarge(bucket: number): boolean {
    return this.#eventsOf(bucket) > (this.#context.smallBucketEvents ?? SMALL_BUCKET_EVENTS);
  }

  #eventsOf(bucket: number): number {
    let count = 0;
    for (const { id } of this.#context.network.genesis.classes)
      count += this.#records.get(keyOf({ bucket, class: id }))?.count ?? 0;
    return count;
  }

  #computeRoots(bucket: number): void {
    const isLarge = this.isLarge(bucket);
    const leaves = this.#leaves.read(bucket, this.#asOf, { isLarge, mayWrite: true });
    for (const { id } of this.#context.network.genesis.classes) {
      const record = this.#recordOf(bucket, id, leaves.get(id) ?? []);
      if (record.newest || record.previous) this.#records.set(keyOf(record), record);
      else this.#records.delete(keyOf(record));
    }
  }

  #recordOf(bucket: number, id: number, leaves: readonly SlotLeaf[]): RootRecord {
    const { suite } = this.#context;
    const newest = this.rangeOf(id, this.#asOf);
    const previous = this.rangeOf(id, this.#asOf - 1);
    const within = leaves.filter(({ slot }) => isInRange(newest, slot));
    return {
      bucket,
      class: id,
      count: within.reduce((sum, { count }) => sum + count, 0),
      oldest: within[0]?.slot ?? NO_SLOT,
      newest: rootOf(slotGroups(leaves, newest, suite), suite) ?? null,
      previous: rootOf(slotGroups(leaves, previous, suite), suite) ?? null,
    };
  }

  #packPart(part: number): Bytes {
    const records = [...this.#records.values()]
      .filter(({ bucket }) => Math.floor(bucket / BUCKETS_PER_PART) === part)
      .sort((a, b) => keyOf(a) - keyOf(b));
    return packRecords(records);
  }
}

const isSame = (a: Bytes | null | undefined, b: Bytes | null): boolean =>
  a && b ? equalBytes(a, b) : !a === !b;

function sketchOf(bytes: Bytes | undefined): Sketch {
  return bytes ? Sketch.fromBytes(bytes) : new Sketch();
}
