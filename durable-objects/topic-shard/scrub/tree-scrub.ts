import type { Bytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { isInRange } from "../../../protocol/sync-range.ts";
import type { SlotLeaf } from "../../../protocol/sync-tree.ts";
import { bucketOf } from "../../../protocol/topic.ts";
import type { ShardTree } from "../sync-tree/shard-tree.ts";
import {
  type ClassLeaf,
  leavesOfSlot,
  readLeaves,
  type SlotIds,
  SlotReader,
} from "../sync-tree/slot-reader.ts";
import { rangesOf, slotOfId } from "../sync-tree/slot-spans.ts";
import type { ListedEvent, TreeStore } from "../sync-tree/tree-store.ts";

/** What is known of the bucket that is being read. */
interface OpenBucket {
  readonly leaves: Map<number, SlotLeaf[]>;
  /** Slots that got an event after they were read. */
  readonly late: Set<number>;
}

const freshBucket = (): OpenBucket => ({ leaves: new Map(), late: new Set() });

/**
 * Rebuilds the roots and sketches of a shard from its events, as many slots of a bucket at once as memory holds, beside what is
 * kept, and compares. What is stored meanwhile in a part that was read is added; an advance of `asOf` ends the pass.
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
  /** The slots below were read. */
  #slot = 0;
  #reader: SlotReader | undefined;
  /** Slots that were read, and are not in the leaves yet: the last first. */
  #unhashed: SlotIds[] = [];
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
  noteStored(event: ListedEvent): void {
    const bucket = bucketOf(event.topicKey);
    const slot = slotOfId(event.id);
    if (slot >= this.asOf || bucket > this.#bucket) return;
    const isOpen = bucket === this.#bucket;
    if (isOpen && slot >= this.#slot) this.#reader?.noteStored(event);
    else this.#toggle(bucket, slot, event.class, event.id);
    if (isOpen && slot < this.#slot) this.#open.late.add(slot);
  }

  #toggle(bucket: number, slot: number, classId: number, id: Bytes): void {
    if (isInRange(this.#tree.rangeOf(classId, this.asOf), slot)) this.#newest.toggle(bucket, id);
    if (isInRange(this.#tree.rangeOf(classId, this.asOf - 1), slot)) this.#previous.toggle(bucket, id);
  }

  /** Reads on, and has the roots of a bucket computed anew where they are wrong; answers whether there is more to read. */
  step(): boolean {
    for (let done = 0; done < this.#idsPerStep; ) {
      if (this.#bucket >= this.#buckets.to) return false;
      done += this.#goOn();
    }
    return this.#bucket < this.#buckets.to;
  }

  /** Answers how much was done: ids, topics that were looked at, and statements. */
  #goOn(): number {
    const next = this.#unhashed.pop();
    if (next) return this.#addSlot(next);
    if (this.#slot < this.asOf) return this.#read();
    // At once, so that what comes between two steps does not keep the bucket open for ever.
    const rows = this.#open.late.size > 0 ? this.#readLate() : 0;
    this.#endBucket();
    return rows;
  }

  #read(): number {
    const ranges = [{ from: this.#slot, to: this.asOf }];
    this.#reader ??= new SlotReader(this.#store, this.#bucket, ranges);
    const before = this.#reader.rows;
    const isMore = this.#reader.step();
    const rows = this.#reader.rows - before;
    if (isMore) return rows;
    this.#unhashed = this.#reader.slots().reverse();
    this.#slot = this.#reader.end;
    this.#reader = undefined;
    return rows;
  }

  #addSlot(ids: SlotIds): number {
    let count = 0;
    for (const [classId, own] of ids.classes) {
      for (const id of own.ids()) this.#toggle(this.#bucket, ids.slot, classId, id);
      count += own.count;
    }
    this.#addLeaves(leavesOfSlot(ids, this.#suite));
    return count;
  }

  #addLeaves(added: readonly ClassLeaf[]): void {
    for (const leaf of added) {
      const leaves = this.#open.leaves.get(leaf.class);
      if (leaves) leaves.push(leaf);
      else this.#open.leaves.set(leaf.class, [leaf]);
    }
  }

  /** The leaves of the slots that were read too early. */
  #readLate(): number {
    const { leaves, late } = this.#open;
    const ranges = rangesOf([...late].sort((a, b) => a - b));
    for (const [classId, own] of leaves)
      leaves.set(
        classId,
        own.filter(({ slot }) => !late.has(slot)),
      );
    late.clear();
    const again = readLeaves(this.#store, this.#bucket, ranges, this.#suite);
    this.#addLeaves(again.leaves);
    return again.rows;
  }

  #endBucket(): void {
    for (const leaves of this.#open.leaves.values()) leaves.sort((a, b) => a.slot - b.slot);
    if (!this.#tree.hasRoots(this.#bucket, this.#open.leaves)) {
      this.#tree.distrust(this.#bucket);
      this.#repairs++;
    }
    this.#bucket++;
    this.#slot = 0;
    this.#open = freshBucket();
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
