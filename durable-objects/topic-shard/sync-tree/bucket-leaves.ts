import { type Bytes, compareBytes, concatBytes, uint64Bytes } from "../../../protocol/bytes.ts";
import type { CryptoSuite } from "../../../protocol/crypto.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES, seqOfId } from "../../../protocol/event-id.ts";
import { MAX_TIME_MS } from "../../../protocol/hybrid-clock.ts";
import { SLOT_MS, slotOfSeq } from "../../../protocol/retention.ts";
import { firstSeqOfSlot } from "../../../protocol/sync-range.ts";
import {
  HASH_BYTES,
  SLOTS_PER_GROUP,
  type SlotLeaf,
  slotGroupOf,
  slotHash,
} from "../../../protocol/sync-tree.ts";
import type { SavedSlotGroup, TreeStore } from "./tree-store.ts";

/** A bucket with at most this many events in range is listed as a whole, here and to peers. */
export const SMALL_BUCKET_EVENTS = 512;
/** A slot group with more ids is read a slot at a time, so that what is in memory is bounded by what one slot holds. */
const GROUP_IDS_AT_ONCE = 32_768;
/** Leaves of a slot group that is still open are written down once so many ids were hashed for them. */
const OPEN_GROUP_IDS = 1_024;
/** Class (1), slot (4), count (4), hash. */
const LEAF_BYTES = 9 + HASH_BYTES;

/** That a seq can be in. */
export const SLOTS = (MAX_TIME_MS + 1) / SLOT_MS;

/** The leaves of each class, sorted by slot. */
export type LeavesByClass = ReadonlyMap<number, readonly SlotLeaf[]>;

/** An id that is below every event of a slot and above those of the slots before; behind the last slot, above all. */
export const firstIdOfSlot = (slot: number): Bytes =>
  slot < SLOTS
    ? concatBytes(uint64Bytes(firstSeqOfSlot(slot)), new Uint8Array(DIGEST_BYTES))
    : new Uint8Array(EVENT_ID_BYTES).fill(255);

export const slotOfId = (id: Bytes): number => slotOfSeq(seqOfId(id));

interface ClassLeaf extends SlotLeaf {
  readonly class: number;
}

/**
 * Reads the leaves of a bucket from its events. Those of a large bucket are written down a slot group at a time (64
 * slots), so that a change costs what is new; a late event marks its slot there, in the transaction that stores it.
 */
export class BucketLeaves {
  readonly #store: TreeStore;
  readonly #suite: CryptoSuite;

  constructor(store: TreeStore, suite: CryptoSuite) {
    this.#store = store;
    this.#suite = suite;
  }

  /**
   * The leaves of the slots below `asOf`. `isLarge` decides the way, not the answer: a bucket that is not known to be
   * large may have grown since. `mayWrite` is given inside a transaction.
   */
  read(bucket: number, asOf: number, { isLarge, mayWrite }: { isLarge: boolean; mayWrite: boolean }) {
    const small = isLarge ? undefined : this.#scan(bucket, 0, asOf, SMALL_BUCKET_EVENTS);
    const leaves = small ?? this.#readLarge(bucket, asOf, mayWrite);
    return Map.groupBy(leaves, (leaf) => leaf.class) as LeavesByClass;
  }

  #readLarge(bucket: number, asOf: number, mayWrite: boolean): ClassLeaf[] {
    const saved = new Map(this.#store.savedSlotGroups(bucket).map((each) => [each.group, each]));
    const leaves: ClassLeaf[] = [];
    let slot = this.#nextSlot(bucket, 0);
    while (slot < asOf) {
      const group = slotGroupOf(slot);
      const end = Math.min((group + 1) * SLOTS_PER_GROUP, asOf);
      const row = saved.get(group);
      const known = this.#known(bucket, row, end);
      const from = Math.max(slot, row?.covered ?? 0);
      const fresh = this.#scan(bucket, from, end, GROUP_IDS_AT_ONCE) ?? this.#scanSlots(bucket, from, end);
      leaves.push(...known, ...fresh);
      if (mayWrite) this.#save(bucket, { group, end, row, known, fresh });
      slot = this.#nextSlot(bucket, end);
    }
    return leaves;
  }

  /** The leaves that are written down of a group's slots below `end`, those of its late slots read anew. */
  #known(bucket: number, row: SavedSlotGroup | undefined, end: number): ClassLeaf[] {
    if (!row) return [];
    // As of an earlier slot than when they were written down, there may be some too many.
    const late = new Set(row.late.filter((slot) => slot < Math.min(row.covered, end)));
    const saved = unpackLeaves(row.leaves).filter(({ slot }) => slot < end && !late.has(slot));
    if (late.size === 0) return saved;
    const again = [...late].flatMap((slot) => this.#scanSlot(bucket, slot));
    return [...saved, ...again].sort((a, b) => a.slot - b.slot);
  }

  #scanSlot(bucket: number, slot: number): ClassLeaf[] {
    return this.#scan(bucket, slot, slot + 1, Number.POSITIVE_INFINITY) ?? [];
  }

  /** The next slot with events, from a slot on. */
  #nextSlot(bucket: number, slot: number): number {
    const id = this.#store.leastIdOfBucket(bucket, firstIdOfSlot(slot));
    return id ? slotOfId(id) : Number.POSITIVE_INFINITY;
  }

  #scanSlots(bucket: number, from: number, to: number): ClassLeaf[] {
    const leaves: ClassLeaf[] = [];
    for (let slot = this.#nextSlot(bucket, from); slot < to; slot = this.#nextSlot(bucket, slot + 1))
      leaves.push(...this.#scanSlot(bucket, slot));
    return leaves;
  }

  /** Answers undefined when there are more ids than `limit`. */
  #scan(bucket: number, from: number, to: number, limit: number): ClassLeaf[] | undefined {
    const slots = new Map<number, Map<number, Bytes[]>>();
    let count = 0;
    for (const { id, class: classId } of this.#store.idsOfBucket(
      bucket,
      firstIdOfSlot(from),
      firstIdOfSlot(to),
    )) {
      if (++count > limit) return undefined;
      const slot = slotOfId(id);
      const classes = slots.get(slot) ?? new Map<number, Bytes[]>();
      slots.set(slot, classes);
      const ids = classes.get(classId);
      if (ids) ids.push(id);
      else classes.set(classId, [id]);
    }
    const leaves: ClassLeaf[] = [];
    for (const [slot, classes] of [...slots].sort(([a], [b]) => a - b)) {
      for (const [classId, ids] of classes) {
        ids.sort(compareBytes);
        leaves.push({ class: classId, slot, count: ids.length, hash: slotHash(ids, this.#suite) });
      }
    }
    return leaves;
  }

  #save(
    bucket: number,
    group: {
      group: number;
      end: number;
      row: SavedSlotGroup | undefined;
      known: readonly ClassLeaf[];
      fresh: readonly ClassLeaf[];
    },
  ): void {
    const isClosed = group.end === (group.group + 1) * SLOTS_PER_GROUP;
    const ids = group.fresh.reduce((sum, { count }) => sum + count, 0);
    const isNew = group.row?.covered !== group.end && (isClosed || ids > OPEN_GROUP_IDS);
    const isLate = (group.row?.late.length ?? 0) > 0;
    if (!isNew && !isLate) return;
    this.#store.saveSlotGroup(bucket, {
      group: group.group,
      covered: group.end,
      leaves: packLeaves([...group.known, ...group.fresh]),
    });
  }
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
