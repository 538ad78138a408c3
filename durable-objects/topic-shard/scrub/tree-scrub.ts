import { type Bytes, compareBytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { isInRange } from "../../../protocol/sync-range.ts";
import { type SlotLeaf, slotHash } from "../../../protocol/sync-tree.ts";
import { firstIdOfSlot, slotOfId } from "../sync-tree/bucket-leaves.ts";
import type { ShardTree } from "../sync-tree/shard-tree.ts";
import type { TreeStore } from "../sync-tree/tree-store.ts";

/** Ids of one step: some milliseconds. */
const IDS_PER_STEP = 4_096;

/** What is known of the bucket that is being read. Kept apart until its end, since it may have to be read again. */
interface OpenBucket {
  readonly leaves: Map<number, SlotLeaf[]>;
  /** Undefined until there is something in it: most buckets of a small node are empty. */
  sketches: { readonly newest: Sketch; readonly previous: Sketch } | undefined;
}

const freshBucket = (): OpenBucket => ({ leaves: new Map(), sketches: undefined });

/**
 * Rebuilds the roots and sketches of a shard from its events, slot by slot, beside what is kept, and compares. What is stored
 * meanwhile in a part that was read is added; an advance of `asOf` ends the pass.
 */
export class TreeScrub {
  readonly #tree: ShardTree;
  readonly #store: TreeStore;
  readonly #suite: CryptoSuite;
  readonly #buckets: { readonly from: number; readonly to: number };
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
  ) {
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
    if (bucket < this.#bucket) this.#toggle(this.#newest, this.#previous, bucket, classId, id);
    else if (bucket === this.#bucket && slot < this.#slot) this.#beginBucket(bucket);
  }

  #beginBucket(bucket: number): void {
    this.#bucket = bucket;
    this.#slot = 0;
    this.#open = freshBucket();
  }

  #toggle(newest: Sketch, previous: Sketch, bucket: number, classId: number, id: Bytes): void {
    const slot = slotOfId(id);
    if (isInRange(this.#tree.rangeOf(classId, this.asOf), slot)) newest.toggle(bucket, id);
    if (isInRange(this.#tree.rangeOf(classId, this.asOf - 1), slot)) previous.toggle(bucket, id);
  }

  /** Reads on; answers whether there is more to read. Writes nothing. */
  step(): boolean {
    for (let read = 0; read < IDS_PER_STEP; ) {
      if (this.#bucket >= this.#buckets.to) return false;
      const id = this.#store.leastIdOfBucket(this.#bucket, firstIdOfSlot(this.#slot));
      const slot = id ? slotOfId(id) : Number.POSITIVE_INFINITY;
      read += slot < this.asOf ? this.#readSlot(slot) : this.#endBucket();
    }
    return this.#bucket < this.#buckets.to;
  }

  #readSlot(slot: number): number {
    const classes = new Map<number, Bytes[]>();
    let count = 0;
    const [from, to] = [firstIdOfSlot(slot), firstIdOfSlot(slot + 1)];
    for (const { id, class: classId } of this.#store.idsOfBucket(this.#bucket, from, to)) {
      this.#open.sketches ??= { newest: new Sketch(), previous: new Sketch() };
      this.#toggle(this.#open.sketches.newest, this.#open.sketches.previous, this.#bucket, classId, id);
      const ids = classes.get(classId);
      if (ids) ids.push(id);
      else classes.set(classId, [id]);
      count++;
    }
    for (const [classId, ids] of classes) {
      const leaf = { slot, count: ids.length, hash: slotHash(ids.sort(compareBytes), this.#suite) };
      const leaves = this.#open.leaves.get(classId);
      if (leaves) leaves.push(leaf);
      else this.#open.leaves.set(classId, [leaf]);
    }
    this.#slot = slot + 1;
    return count;
  }

  #endBucket(): number {
    const { sketches } = this.#open;
    if (sketches) {
      this.#newest.merge(sketches.newest);
      this.#previous.merge(sketches.previous);
    }
    if (!this.#tree.hasRoots(this.#bucket, this.#open.leaves)) {
      this.#tree.distrust(this.#bucket);
      this.#repairs++;
    }
    this.#beginBucket(this.#bucket + 1);
    return 1;
  }

  /** Puts the rebuilt sketches in place of the kept ones, inside a transaction. Answers how much was wrong: buckets and sketches. */
  mend(): number {
    return this.#repairs + (this.#tree.replaceSketches(this.#newest, this.#previous) ? 1 : 0);
  }
}
