import type { CryptoSuite } from "../../../protocol/crypto.ts";
import type { SlotRange } from "../../../protocol/sync-range.ts";
import type { SlotLeaf } from "../../../protocol/sync-tree.ts";
import { PackedIds } from "./packed-ids.ts";
import { firstIdOfSlot, rangesFrom, slotOfId, spanOfSlots } from "./slot-spans.ts";
import { SpanWalk, walksOf } from "./span-walk.ts";
import type { ListedEvent, TreeStore } from "./tree-store.ts";

/** Ids that are held at once, in 10 MB, unless one slot has more of them. */
const MAX_HELD_IDS = 262_144;
/** What a slot and class costs beside its ids, in ids. */
const SLOT_COST = 8;

/** The ids of a slot, by class. */
export interface SlotIds {
  readonly slot: number;
  readonly classes: ReadonlyMap<number, PackedIds>;
}

/** A leaf of one of the classes. */
export interface ClassLeaf extends SlotLeaf {
  readonly class: number;
}

/**
 * Reads the ids of some slots of a bucket in pages, and sorts them into slots in memory. What is stored meanwhile it takes in. When
 * they are too many the last slots are left out: another reader begins with them.
 */
export class SlotReader {
  readonly #walk: SpanWalk;
  readonly #maxIds: number;
  readonly #slots = new Map<number, Map<number, PackedIds>>();
  #count = 0;
  /** Of the ids and slots that are held, in ids. */
  #size = 0;
  #end: number;

  /** `ranges` are in order and apart. */
  constructor(
    store: Pick<TreeStore, "pageOfBucket">,
    bucket: number,
    ranges: readonly SlotRange[],
    maxIds = MAX_HELD_IDS,
  ) {
    this.#walk = new SpanWalk(store, bucket, ranges.map(spanOfSlots));
    this.#maxIds = maxIds;
    this.#end = ranges.at(-1)?.to ?? 0;
  }

  /** What was looked at so far: events, topics and statements. */
  get rows(): number {
    return this.#walk.rows;
  }

  /** Ids that it came to. */
  get count(): number {
    return this.#count;
  }

  /** The first slot that it leaves to others. */
  get end(): number {
    return this.#end;
  }

  /** Reads a page; answers whether there is more. */
  step(): boolean {
    const page = this.#walk.next();
    for (const event of page ?? []) this.#add(event);
    return page !== undefined;
  }

  /** An event is stored: where its place was passed already it is not read any more. */
  noteStored(event: ListedEvent): void {
    if (this.#walk.isPast(event)) this.#add(event);
  }

  #add({ id, class: classId }: ListedEvent): void {
    const slot = slotOfId(id);
    if (slot >= this.#end) return;
    const classes = this.#slots.get(slot) ?? new Map<number, PackedIds>();
    this.#slots.set(slot, classes);
    const known = classes.get(classId);
    const ids = known ?? new PackedIds();
    classes.set(classId, ids);
    ids.add(id);
    this.#count++;
    this.#size += known ? 1 : 1 + SLOT_COST;
    if (this.#size > this.#maxIds && this.#slots.size > 1) this.#leaveOut();
  }

  /** Half of what is held, but not the first slot. */
  #leaveOut(): void {
    for (const { slot, classes } of this.slots().slice(1).reverse()) {
      if (this.#size * 2 <= this.#maxIds) break;
      for (const { count } of classes.values()) this.#size -= count + SLOT_COST;
      this.#slots.delete(slot);
      this.#end = slot;
    }
    this.#walk.endAt(firstIdOfSlot(this.#end));
  }

  /** What was read, in order of slots. */
  slots(): SlotIds[] {
    return [...this.#slots].sort(([a], [b]) => a - b).map(([slot, classes]) => ({ slot, classes }));
  }
}

/** The leaves of a slot, by class. Its ids are sorted then. */
export const leavesOfSlot = ({ slot, classes }: SlotIds, suite: CryptoSuite): ClassLeaf[] =>
  [...classes]
    .sort(([a], [b]) => a - b)
    .map(([classId, ids]) => ({ class: classId, slot, count: ids.count, hash: ids.hash(suite) }));

/** Reads the leaves of some slots of a bucket, in order, with what was looked at for it. `ranges` are in order and apart. */
export function readLeaves(
  store: Pick<TreeStore, "pageOfBucket">,
  bucket: number,
  ranges: readonly SlotRange[],
  suite: CryptoSuite,
): { readonly leaves: ClassLeaf[]; readonly rows: number } {
  const leaves: ClassLeaf[] = [];
  let rows = 0;
  for (const own of walksOf(ranges)) {
    for (let rest: readonly SlotRange[] = own; rest.length > 0; ) {
      const reader = new SlotReader(store, bucket, rest);
      while (reader.step());
      for (const slot of reader.slots()) for (const leaf of leavesOfSlot(slot, suite)) leaves.push(leaf);
      rows += reader.rows;
      rest = rangesFrom(rest, reader.end);
    }
  }
  return { leaves, rows };
}
