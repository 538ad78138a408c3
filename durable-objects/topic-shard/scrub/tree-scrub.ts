import { type Bytes, compareBytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { isInRange } from "../../../protocol/sync-range.ts";
import { type SlotLeaf, slotHash } from "../../../protocol/sync-tree.ts";
import { firstIdOfSlot, slotOfId } from "../sync-tree/bucket-leaves.ts";
import type { ShardTree } from "../sync-tree/shard-tree.ts";
import type { ListedEvent, TreeStore } from "../sync-tree/tree-store.ts";

/** What is known of the bucket that is being read. */
interface OpenBucket {
  readonly leaves: Map<number, SlotLeaf[]>;
  /** Slots that got an event after they were read. */
  readonly late: Set<number>;
}

const freshBucket = (): OpenBucket => ({ leaves: new Map(), late: new Set() });

/**
 * Rebuilds the roots and sketches of a shard from its events, slot by slot, beside what is kept, and compares. What is stored
 * meanwhile in a part that was read is added; an advance of `asOf` ends the pass.
 */
export class TreeScrub {
  readonly #tree: ShardTree;
  readonly #store: TreeStore;
  readonly #suite: CryptoSuite;
  readonly #buckets: { readonly from: number; readonly to: number };
  readonly #idsPerStep: number;
  readonly asOf: number;
  readonly #newest = new Sketch();
  readonly #previous = new Sketch();
  #bucket: number;
  #slot = 0;
  #open = freshBucket();
  #repairs = 0;

  constructor(
    tree: ShardTree,
    store: TreeStore,
    suite: CryptoSuite,
    buckets: { readonly from: number; readonly to: number },
    idsPerStep: number,
  ) {
    this.#idsPerStep = idsPerStep;
    this.#tree = tree;
    this.#store = store;
    this.#suite = suite;
    this.#buckets = buckets;
    this.#bucket = buckets.from;
    this.asOf = tree.asOf;
  }

  /** An event was stored. */
  noteStored(bucket: number, classId: number, id: Bytes): void {
    const slot = slotOfId(id);
    if (slot >= this.asOf) return;
    const isOpen = bucket === this.#bucket && slot < this.#slot;
    if (bucket < this.#bucket || isOpen) this.#toggle(bucket, classId, id);
    if (isOpen) this.#open.late.add(slot);
  }

  #toggle(bucket: number, classId: number, id: Bytes): void {
    const slot = slotOfId(id);
    if (isInRange(this.#tree.rangeOf(classId, this.asOf), slot)) this.#newest.toggle(bucket, id);
    if (isInRange(this.#tree.rangeOf(classId, this.asOf - 1), slot)) this.#previous.toggle(bucket, id);
  }

  /** Reads on, and has the roots of a bucket computed anew where they are wrong; answers whether there is more to read. */
  step(): boolean {
    for (let read = 0; read < this.#idsPerStep; ) {
      if (this.#bucket >= this.#buckets.to) return false;
      const id = this.#store.leastIdOfBucket(this.#bucket, firstIdOfSlot(this.#slot));
      const slot = id ? slotOfId(id) : Number.POSITIVE_INFINITY;
      read += slot < this.asOf ? this.#readSlot(slot) : this.#readLate();
    }
    return this.#bucket < this.#buckets.to;
  }

  #readSlot(slot: number): number {
    const ids = this.#idsOf(slot);
    for (const { id, class: classId } of ids) this.#toggle(this.#bucket, classId, id);
    this.#addLeaves(slot, ids);
    this.#slot = slot + 1;
    return ids.length;
  }

  #idsOf(slot: number): ListedEvent[] {
    return [...this.#store.idsOfBucket(this.#bucket, firstIdOfSlot(slot), firstIdOfSlot(slot + 1))];
  }

  #addLeaves(slot: number, events: readonly ListedEvent[]): void {
    for (const [classId, members] of Map.groupBy(events, (each) => each.class)) {
      const ids = members.map(({ id }) => id).sort(compareBytes);
      const leaf = { slot, count: ids.length, hash: slotHash(ids, this.#suite) };
      const leaves = this.#open.leaves.get(classId);
      if (leaves) leaves.push(leaf);
      else this.#open.leaves.set(classId, [leaf]);
    }
  }

  /** The leaves of a slot that was read too early; the bucket ends when there are none. */
  #readLate(): number {
    const [slot] = this.#open.late;
    if (slot === undefined) return this.#endBucket();
    this.#open.late.delete(slot);
    for (const [classId, leaves] of this.#open.leaves)
      this.#open.leaves.set(
        classId,
        leaves.filter((leaf) => leaf.slot !== slot),
      );
    const ids = this.#idsOf(slot);
    this.#addLeaves(slot, ids);
    return ids.length;
  }

  #endBucket(): number {
    for (const leaves of this.#open.leaves.values()) leaves.sort((a, b) => a.slot - b.slot);
    if (!this.#tree.hasRoots(this.#bucket, this.#open.leaves)) {
      this.#tree.distrust(this.#bucket);
      this.#repairs++;
    }
    this.#bucket++;
    this.#slot = 0;
    this.#open = freshBucket();
    return 1;
  }

  /** Puts the rebuilt sketches in place of the kept ones, inside a transaction, when all was read. */
  mendSketches(): void {
    if (this.#tree.replaceSketches(this.#newest, this.#previous)) this.#repairs++;
  }

  /** How much was wrong so far: buckets and sketches. */
  get repairs(): number {
    return this.#repairs;
  }
}
