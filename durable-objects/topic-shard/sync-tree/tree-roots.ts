import { type Bytes, equalBytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import type { Network } from "../../../protocol/genesis.ts";
import { comparedRange, isInRange, leavesAt, type SlotRange } from "../../../protocol/sync-range.ts";
import { bucketClassKey, rootOf, type SlotLeaf, slotGroups } from "../../../protocol/sync-tree.ts";
import { bucketsOf } from "../../../protocol/topic.ts";
import {
  BUCKETS_PER_PART,
  NO_SLOT,
  packRecords,
  type RootRecord,
  unpackRecords,
} from "../../sync/root-records.ts";
import { BucketLeaves, type LeavesByClass, SMALL_BUCKET_EVENTS } from "./bucket-leaves.ts";
import type { TreeStore } from "./tree-store.ts";

export interface TreeContext {
  readonly network: Network;
  readonly suite: CryptoSuite;
  readonly shard: number;
  readonly shardCount: number;
  /** Buckets with more events have their leaves written down; `SMALL_BUCKET_EVENTS` by default. */
  readonly smallBucketEvents?: number;
}

/** Packed `RootRecord`s of 256 buckets. */
export interface RootsPart {
  readonly part: number;
  readonly records: Bytes;
}

/** The roots of a shard's buckets and classes, as of the tree's `asOf` and of the slot before. */
export class TreeRoots {
  readonly #store: TreeStore;
  readonly #context: TreeContext;
  readonly #leaves: BucketLeaves;
  #records = new Map<number, RootRecord>();
  #nextLeaveAsOf: number | undefined;

  constructor(store: TreeStore, context: TreeContext) {
    this.#store = store;
    this.#context = context;
    this.#leaves = new BucketLeaves(store, context.suite);
  }

  get #classes() {
    return this.#context.network.genesis.classes;
  }

  #parts(): number[] {
    const { from, to } = bucketsOf(this.#context.shard, this.#context.shardCount);
    const parts: number[] = [];
    for (let part = Math.floor(from / BUCKETS_PER_PART); part * BUCKETS_PER_PART < to; part++)
      parts.push(part);
    return parts;
  }

  /** Reads what is committed. */
  reload(): void {
    const classes = new Set(this.#classes.map(({ id }) => id));
    const records = this.#parts().flatMap((part) => {
      const packed = this.#store.treeValue(`roots-${part}`);
      return packed ? unpackRecords(packed).filter((record) => classes.has(record.class)) : [];
    });
    this.#records = new Map(records.map((record) => [bucketClassKey(record), record]));
    this.#nextLeaveAsOf = undefined;
  }

  /** Writes all down, inside a transaction. */
  save(): RootsPart[] {
    const parts = this.#parts().map((part) => ({ part, records: this.#packPart(part) }));
    for (const { part, records } of parts) this.#store.saveTreeValue(`roots-${part}`, records);
    return parts;
  }

  #packPart(part: number): Bytes {
    const records = [...this.#records.values()]
      .filter(({ bucket }) => Math.floor(bucket / BUCKETS_PER_PART) === part)
      .sort((a, b) => bucketClassKey(a) - bucketClassKey(b));
    return packRecords(records);
  }

  /** The compared range of a class. */
  rangeOf(classId: number, asOf: number): SlotRange {
    return comparedRange(this.#context.network.retentionOf(classId), asOf);
  }

  /** The least `asOf` at which a slot leaves the range. */
  get nextLeaveAsOf(): number {
    this.#nextLeaveAsOf ??= this.#findNextLeave();
    return this.#nextLeaveAsOf;
  }

  #findNextLeave(): number {
    let next = Number.MAX_SAFE_INTEGER;
    for (const { class: id, oldest } of this.#records.values()) {
      if (oldest === NO_SLOT) continue;
      next = Math.min(next, leavesAt(this.#context.network.retentionOf(id), oldest) ?? next);
    }
    return next;
  }

  /** The buckets of which something is out of range at a later `asOf`. */
  *withLeaving(asOf: number): Iterable<number> {
    for (const { bucket, class: id, oldest } of this.#records.values())
      if (oldest < this.rangeOf(id, asOf).from) yield bucket;
  }

  /** The slots below `from` in which a bucket has ids that leave the range between two `asOf`s. */
  leaving(bucket: number, from: number, to: number): SlotRange | undefined {
    let range: SlotRange | undefined;
    for (const { id } of this.#classes) {
      const record = this.#records.get(bucketClassKey({ bucket, class: id }));
      const end = Math.min(this.rangeOf(id, to).from, from);
      if (!record || record.oldest >= end) continue;
      range = {
        from: Math.min(range?.from ?? record.oldest, record.oldest),
        to: Math.max(range?.to ?? 0, end),
      };
    }
    return range;
  }

  /** What was the newest becomes the previous; the buckets that change are to be computed then. */
  advance(): void {
    for (const record of this.#records.values()) {
      const { newest, count } = record;
      if (newest)
        this.#records.set(bucketClassKey(record), { ...record, previous: newest, previousCount: count });
      else this.#records.delete(bucketClassKey(record));
    }
    this.#nextLeaveAsOf = undefined;
  }

  /** Computes the roots of a bucket from its events, inside a transaction. */
  compute(bucket: number, asOf: number): void {
    const leaves = this.#leaves.read(bucket, asOf, {
      isLarge: this.isLarge(bucket),
      mayWrite: true,
      // Of a class that the network has no more, nothing is compared, and nothing is known.
      comparedFrom: (id) => (this.#classes.some((each) => each.id === id) ? this.rangeOf(id, asOf).from : 0),
    });
    for (const { id } of this.#classes) {
      const record = this.#recordOf(bucket, id, leaves.get(id) ?? [], asOf);
      if (record.newest || record.previous) this.#records.set(bucketClassKey(record), record);
      else this.#records.delete(bucketClassKey(record));
    }
    this.#nextLeaveAsOf = undefined;
  }

  #recordOf(bucket: number, id: number, leaves: readonly SlotLeaf[], asOf: number): RootRecord {
    const { suite } = this.#context;
    const newest = this.rangeOf(id, asOf);
    const previous = this.rangeOf(id, asOf - 1);
    const countOf = (range: SlotRange) =>
      leaves.reduce((sum, { slot, count }) => sum + (isInRange(range, slot) ? count : 0), 0);
    return {
      bucket,
      class: id,
      count: countOf(newest),
      previousCount: countOf(previous),
      oldest: leaves.find(({ slot }) => isInRange(newest, slot))?.slot ?? NO_SLOT,
      newest: rootOf(slotGroups(leaves, newest, suite), suite) ?? null,
      previous: rootOf(slotGroups(leaves, previous, suite), suite) ?? null,
    };
  }

  /** Whether a bucket's roots are those of some leaves. */
  areOf(bucket: number, leaves: LeavesByClass, asOf: number): boolean {
    return this.#classes.every(({ id }) => {
      const kept = this.#records.get(bucketClassKey({ bucket, class: id }));
      const right = this.#recordOf(bucket, id, leaves.get(id) ?? [], asOf);
      return isSame(kept?.newest, right.newest) && isSame(kept?.previous, right.previous);
    });
  }

  /** Whether a bucket holds more than is listed at once, in the newest range or in the one before. */
  isLarge(bucket: number): boolean {
    let [newest, previous] = [0, 0];
    for (const { id } of this.#classes) {
      const record = this.#records.get(bucketClassKey({ bucket, class: id }));
      newest += record?.count ?? 0;
      previous += record?.previousCount ?? 0;
    }
    return Math.max(newest, previous) > (this.#context.smallBucketEvents ?? SMALL_BUCKET_EVENTS);
  }
}

const isSame = (a: Bytes | null | undefined, b: Bytes | null): boolean =>
  a && b ? equalBytes(a, b) : !a === !b;
