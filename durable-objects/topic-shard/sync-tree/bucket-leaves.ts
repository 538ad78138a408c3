import type { Bytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import type { SlotRange } from "../../../protocol/sync-range.ts";
import { HASH_BYTES, SLOTS_PER_GROUP, type SlotLeaf, slotGroupOf } from "../../../protocol/sync-tree.ts";
import { type ClassLeaf, leavesOfSlot, readLeaves, SlotReader } from "./slot-reader.ts";
import { rangesOf } from "./slot-spans.ts";
import type { SavedSlotGroup, TreeStore } from "./tree-store.ts";

/** A bucket with at most this many events in range is listed as a whole, here and to peers. */
export const SMALL_BUCKET_EVENTS = 512;
/** Leaves of a slot group that is still open are written down once so many ids were hashed for them. */
const OPEN_GROUP_IDS = 1_024;
/** Class (1), slot (4), count (4), hash. */
const LEAF_BYTES = 9 + HASH_BYTES;

/** Peers may compare as of some slots before. */
const PRUNED_AFTER_SLOTS = SLOTS_PER_GROUP;

interface ReadOptions {
  readonly isLarge: boolean;
  readonly mayWrite: boolean;
  readonly comparedFrom?: ((classId: number) => number) | undefined;
}

/** The leaves of each class, sorted by slot. */
export type LeavesByClass = ReadonlyMap<number, readonly SlotLeaf[]>;

/**
 * Reads the leaves of a bucket from its events. Those of a large bucket are written down a slot group at a time (64
 * slots), so that a change costs what is new; a late event marks its slot there, in the transaction that stores it. A group
 * that is not written down, though a later one is, is empty.
 */
export class BucketLeaves {
  readonly #store: TreeStore;
  readonly #suite: CryptoSuite;
  #rows = 0;

  constructor(store: TreeStore, suite: CryptoSuite) {
    this.#store = store;
    this.#suite = suite;
  }

  /** What was looked at so far, in all calls: events, topics and statements. */
  get rows(): number {
    return this.#rows;
  }

  /**
   * The leaves of the slots below `asOf`. `isLarge` decides the way, not the answer: a bucket that is not known to be
   * large may have grown since. `mayWrite` is given inside a transaction; then groups that lie far enough below `comparedFrom`, the first
   * slot of a class that is compared, are written down no more, and the next reading does not answer their leaves.
   */
  read(bucket: number, asOf: number, { isLarge, mayWrite, comparedFrom }: ReadOptions) {
    const small = isLarge ? undefined : this.#readSmall(bucket, asOf);
    const leaves = small ?? this.#readLarge(bucket, asOf, { mayWrite, comparedFrom });
    return Map.groupBy(leaves, (leaf) => leaf.class) as LeavesByClass;
  }

  /** Answers undefined when the bucket is not small. */
  #readSmall(bucket: number, asOf: number): ClassLeaf[] | undefined {
    const reader = new SlotReader(this.#store, bucket, [{ from: 0, to: asOf }]);
    while (reader.count <= SMALL_BUCKET_EVENTS && reader.step());
    this.#rows += reader.rows;
    if (reader.count > SMALL_BUCKET_EVENTS) return undefined;
    return reader.slots().flatMap((slot) => leavesOfSlot(slot, this.#suite));
  }

  #readLarge(
    bucket: number,
    asOf: number,
    { mayWrite, comparedFrom }: Omit<ReadOptions, "isLarge">,
  ): ClassLeaf[] {
    const saved = this.#store.savedSlotGroups(bucket);
    const { leaves: fresh, rows } = readLeaves(this.#store, bucket, unknownRanges(saved, asOf), this.#suite);
    this.#rows += rows;
    const leaves = [...saved.flatMap((row) => knownLeaves(row, asOf)), ...fresh].sort(bySlotAndClass);
    if (mayWrite) this.#save(bucket, asOf, { saved, leaves, fresh });
    if (mayWrite && comparedFrom) this.#prune(bucket, saved, comparedFrom);
    return leaves;
  }

  /** The last row stays, from which reading goes on, and so does what is not read to its end. */
  #prune(bucket: number, saved: readonly SavedSlotGroup[], comparedFrom: (classId: number) => number): void {
    for (const { group, covered, leaves, late } of saved.slice(0, -1)) {
      const end = endOfGroup(group);
      const isOver = (leaf: ClassLeaf) => end + PRUNED_AFTER_SLOTS <= comparedFrom(leaf.class);
      if (late.length === 0 && covered === end && unpackLeaves(leaves).every(isOver))
        this.#store.dropSlotGroup(bucket, group);
    }
  }

  #save(
    bucket: number,
    asOf: number,
    read: {
      readonly saved: readonly SavedSlotGroup[];
      readonly leaves: readonly ClassLeaf[];
      readonly fresh: readonly ClassLeaf[];
    },
  ): void {
    const rows = new Map(read.saved.map((row) => [row.group, row]));
    const freshIds = new Map<number, number>();
    for (const { slot, count } of read.fresh)
      freshIds.set(slotGroupOf(slot), (freshIds.get(slotGroupOf(slot)) ?? 0) + count);
    for (const [group, leaves] of Map.groupBy(read.leaves, ({ slot }) => slotGroupOf(slot))) {
      const row = rows.get(group);
      const covered = Math.min(endOfGroup(group), asOf);
      const isClosed = covered === endOfGroup(group);
      const isNew = row?.covered !== covered && (isClosed || (freshIds.get(group) ?? 0) > OPEN_GROUP_IDS);
      if (isNew || (row?.late.length ?? 0) > 0)
        this.#store.saveSlotGroup(bucket, { group, covered, leaves: packLeaves(leaves) });
    }
  }
}

const endOfGroup = (group: number): number => (group + 1) * SLOTS_PER_GROUP;

const bySlotAndClass = (a: ClassLeaf, b: ClassLeaf): number => a.slot - b.slot || a.class - b.class;

/** The leaves of a group below a slot that are as they were written down. */
function knownLeaves(row: SavedSlotGroup, asOf: number): ClassLeaf[] {
  const late = new Set(row.late);
  // As of an earlier slot than when they were written down, there may be some too many.
  return unpackLeaves(row.leaves).filter(({ slot }) => slot < asOf && !late.has(slot));
}

/** What has to be read below a slot: late slots, what a group does not cover, and all behind the last group. */
function unknownRanges(saved: readonly SavedSlotGroup[], asOf: number): SlotRange[] {
  const last = saved.at(-1);
  const slots: number[] = [];
  for (const row of saved) {
    for (const slot of row.late) if (slot < row.covered) slots.push(slot);
    if (row !== last) for (let slot = row.covered; slot < endOfGroup(row.group); slot++) slots.push(slot);
  }
  const rest = { from: last?.covered ?? 0, to: asOf };
  const ranges = rangesOf(slots.filter((slot) => slot < rest.from && slot < asOf));
  return rest.from < rest.to ? [...ranges, rest] : ranges;
}

function packLeaves(leaves: readonly ClassLeaf[]): Bytes {
  const bytes = new Uint8Array(leaves.length * LEAF_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, leaf] of leaves.entries()) {
    const at = i * LEAF_BYTES;
    bytes[at] = leaf.class;
    view.setUint32(at + 1, leaf.slot);
    view.setUint32(at + 5, leaf.count);
    bytes.set(leaf.hash, at + 9);
  }
  return bytes;
}

function unpackLeaves(bytes: Bytes): ClassLeaf[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length / LEAF_BYTES }, (_, i) => {
    const at = i * LEAF_BYTES;
    return {
      class: bytes[at] as number,
      slot: view.getUint32(at + 1),
      count: view.getUint32(at + 5),
      hash: bytes.slice(at + 9, at + LEAF_BYTES),
    };
  });
}
