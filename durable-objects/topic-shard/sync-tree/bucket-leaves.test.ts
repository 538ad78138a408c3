import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../../protocol/bytes.ts";
import { slotGroupOf, slotHash } from "../../../protocol/sync-tree.ts";
import { suite } from "../../platform-suite.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import { idOfRaw, insertRaw, type RawEvent } from "../../testing/raw-events.ts";
import { rowsRead } from "../../testing/rows-read.ts";
import { onStorage, wipe } from "../../testing/shard-world.ts";
import type { ShardStore } from "../shard-store.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { BucketLeaves, type LeavesByClass } from "./bucket-leaves.ts";
import { firstIdOfSlot, slotOfId } from "./slot-spans.ts";

const BUCKET = 77;
const FIRST_SLOT = 6_400;

/** A bucket with its events, as a shard's tree keeps it. */
class Bucket {
  readonly store: ShardStore;
  readonly leaves: BucketLeaves;
  asOf = FIRST_SLOT + 100;
  readonly #events: RawEvent[] = [];

  constructor(store: ShardStore) {
    this.store = store;
    this.leaves = new BucketLeaves(store.tree, suite);
  }

  /** Late events are marked where their slot group is written down. */
  add(slot: number, id: number, topic: number): void {
    const event = { bucket: BUCKET, topic, slot, class: id, n: this.#events.length };
    this.#events.push(event);
    this.store.transaction(() => {
      insertRaw(this.store, [event]);
      if (slot < this.asOf) this.store.tree.markLate(BUCKET, slot);
    });
  }

  read(isLarge: boolean, mayWrite: boolean, asOf = this.asOf): unknown {
    return plain(this.store.transaction(() => this.leaves.read(BUCKET, asOf, { isLarge, mayWrite })));
  }

  /** What must be read, whatever was written down. */
  expected(asOf = this.asOf): unknown {
    return plain(leavesOf(this.#events.filter(({ slot }) => slot < asOf)));
  }
}

function leavesOf(events: readonly RawEvent[]): LeavesByClass {
  const leaves = [...Map.groupBy(events, ({ slot, class: id }) => `${slot} ${id}`).values()].map((own) => {
    const ids = own.map(idOfRaw).sort(compareBytes);
    const { slot, class: id } = own[0] as RawEvent;
    return { slot, class: id, count: ids.length, hash: slotHash(ids, suite) };
  });
  return Map.groupBy(
    leaves.sort((a, b) => a.slot - b.slot),
    (leaf) => leaf.class,
  );
}

/** In an order of its own, so that only what matters is compared. */
const plain = (leaves: LeavesByClass) =>
  [...leaves]
    .sort(([a], [b]) => a - b)
    .map(([id, list]) => [id, list.map(({ slot, count, hash }) => [slot, count, toHex(hash)])]);

type Step =
  | { readonly kind: "add"; ago: number; class: number; topic: number; count: number }
  | { readonly kind: "read"; isLarge: boolean; mayWrite: boolean; before: boolean }
  | { readonly kind: "advance"; slots: number }
  | { readonly kind: "distrust" };
const traces = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("add" as const),
        ago: fc.integer({ min: -70, max: 100 }),
        class: fc.constantFrom(1, 2, 255),
        topic: fc.nat({ max: 2 }),
        count: fc.integer({ min: 1, max: 3 }),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("read" as const),
        isLarge: fc.boolean(),
        mayWrite: fc.boolean(),
        before: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant("advance" as const), slots: fc.integer({ min: 1, max: 70 }) }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: "distrust" as const }) },
  ),
  { maxLength: 40, size: "max" },
) as fc.Arbitrary<Step[]>;

function play(bucket: Bucket, trace: readonly Step[]): void {
  for (const step of trace) {
    if (step.kind === "add")
      for (let n = 0; n < step.count; n++) bucket.add(bucket.asOf - step.ago, step.class, step.topic);
    if (step.kind === "advance") bucket.asOf += step.slots;
    if (step.kind === "distrust") bucket.store.tree.dropSlotGroups(BUCKET);
    if (step.kind !== "read") continue;
    // As of the slot before, nothing is written down.
    const asOf = step.before ? bucket.asOf - 1 : bucket.asOf;
    expect(bucket.read(step.isLarge, step.mayWrite && !step.before, asOf)).toEqual(bucket.expected(asOf));
  }
  for (const isLarge of [false, true])
    for (const mayWrite of [true, false]) expect(bucket.read(isLarge, mayWrite)).toEqual(bucket.expected());
}

describe("the leaves of a bucket", () => {
  test("are those of its events, whether it is taken for large or small and whatever was written down before", () => {
    fc.assert(
      fc.property(traces, (trace) => play(new Bucket(new MemoryShardStore()), trace)),
      { numRuns: 200 },
    );
  });

  test("are the same in SQLite, and so is what is written down", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(traces, (trace) => {
          wipe(storage);
          const [sql, memory] = [new SqlShardStore(storage), new MemoryShardStore()];
          for (const store of [sql, memory]) play(new Bucket(store), trace);
          expect(sql.tree.savedSlotGroups(BUCKET)).toEqual(memory.tree.savedSlotGroups(BUCKET));
        }),
        { numRuns: 30 },
      );
    }));

  const saved = (bucket: Bucket) =>
    bucket.store.tree.savedSlotGroups(BUCKET).map(({ group, covered }) => [group, covered]);
  const group = slotGroupOf(FIRST_SLOT);

  test("are written down for slot groups that have closed, and for a large bucket alone", () => {
    const bucket = new Bucket(new MemoryShardStore());
    for (const slot of [0, 63, 64, 99, 127]) bucket.add(FIRST_SLOT + slot, 1, 0);
    bucket.read(false, true);
    bucket.read(true, false);
    expect(saved(bucket)).toEqual([]);
    bucket.read(true, true);
    expect(saved(bucket)).toEqual([[group, FIRST_SLOT + 64]]);
    bucket.asOf = FIRST_SLOT + 128;
    bucket.read(true, true);
    expect(saved(bucket)).toEqual([
      [group, FIRST_SLOT + 64],
      [group + 1, FIRST_SLOT + 128],
    ]);
    // As of the slot before, its last slot does not count.
    expect(bucket.read(true, false, bucket.asOf - 1)).toEqual(bucket.expected(bucket.asOf - 1));
    expect(bucket.expected(bucket.asOf - 1)).not.toEqual(bucket.expected());
    // Late events mark their slots, in the first or last of a group too, and their group alone is written anew.
    const late = () => bucket.store.tree.savedSlotGroups(BUCKET).map((each) => each.late);
    for (const slot of [63, 0, 63, 1]) bucket.add(FIRST_SLOT + slot, 1, 0);
    expect(late()).toEqual([[FIRST_SLOT, FIRST_SLOT + 1, FIRST_SLOT + 63], []]);
    expect(bucket.read(true, false)).toEqual(bucket.expected());
    expect(late()[0]).toHaveLength(3);
    expect(bucket.read(true, true)).toEqual(bucket.expected());
    expect(late()).toEqual([[], []]);
    expect(bucket.read(true, true)).toEqual(bucket.expected());
  });

  test("of a group that is open are written down when more than 1,024 ids were hashed for them, and then go on from there", () =>
    onStorage((storage) => {
      const bucket = new Bucket(new SqlShardStore(storage));
      const fill = (slot: number, count: number) => {
        for (let n = 0; n < count; n++) bucket.add(slot, 1, n % 3);
      };
      fill(FIRST_SLOT + 99, 1_024);
      bucket.read(true, true);
      expect(saved(bucket)).toEqual([]);
      fill(FIRST_SLOT + 99, 1);
      bucket.read(true, true);
      expect(saved(bucket)).toEqual([[group + 1, FIRST_SLOT + 100]]);
      fill(FIRST_SLOT + 100, 3);
      bucket.asOf += 2;
      const rows = rowsRead(storage, () => expect(bucket.read(true, true)).toEqual(bucket.expected()));
      expect(rows).toBeLessThan(100);
      expect(saved(bucket)).toEqual([[group + 1, FIRST_SLOT + 100]]);
    }));

  test.each(["memory", "SQLite"])(
    "are written down no more where all classes' are far below what is compared, in %s, and late ones there are found",
    (kind) =>
      onStorage((storage) => {
        const bucket = new Bucket(kind === "memory" ? new MemoryShardStore() : new SqlShardStore(storage));
        const groups = () => bucket.store.tree.savedSlotGroups(BUCKET).map(({ group }) => group - 100);
        for (const group of [0, 1, 2, 3, 4]) bucket.add(FIRST_SLOT + 64 * group, 1, group);
        bucket.add(FIRST_SLOT + 64, 2, 7);
        bucket.asOf = FIRST_SLOT + 64 * 5;
        bucket.read(true, true);
        expect(groups()).toEqual([0, 1, 2, 3, 4]);
        const prune = (first: number, second: number) => {
          const comparedFrom = (id: number) => FIRST_SLOT + 64 * (id === 1 ? first : second);
          const options = { isLarge: true, mayWrite: true, comparedFrom };
          bucket.store.transaction(() => bucket.leaves.read(BUCKET, bucket.asOf, options));
        };
        prune(1, 1);
        expect(groups()).toEqual([0, 1, 2, 3, 4]);
        // Of the second group one class is still compared.
        prune(5, 2);
        expect(groups()).toEqual([1, 4]);
        bucket.add(FIRST_SLOT + 64 * 3 + 1, 1, 3);
        expect(groups()).toEqual([1, 3, 4]);
        const counts = (bucket.read(true, false) as [number, [number, number, string][]][]).map(
          ([id, leaves]) => [id, leaves.map(([slot]) => slot - FIRST_SLOT)],
        );
        expect(counts).toEqual([
          [1, [64, 192, 193, 256]],
          [2, [64]],
        ]);
        // The last one stays, from which reading goes on.
        bucket.read(true, true);
        prune(100, 100);
        expect(groups()).toEqual([4]);
      }),
  );

  test("are read again for the slots of late events alone", () =>
    onStorage((storage) => {
      const bucket = new Bucket(new SqlShardStore(storage));
      for (let n = 0; n < 1_280; n++) bucket.add(FIRST_SLOT + (n % 64), 1, n % 2);
      bucket.read(true, true);
      for (const slot of [3, 40]) bucket.add(FIRST_SLOT + slot, 1, 0);
      const read = () => rowsRead(storage, () => expect(bucket.read(true, true)).toEqual(bucket.expected()));
      // 21 events in each, and what finds the topics of the bucket and the row of the group.
      expect(read()).toBeLessThan(42 + 60);
      expect(read()).toBeLessThan(40);
    }));

  test("of a group that was empty are read again when a late event comes into it, and no others", () =>
    onStorage((storage) => {
      for (const store of [new SqlShardStore(storage), new MemoryShardStore()]) {
        const bucket = new Bucket(store);
        for (const slot of [5, 3 * 64 + 1]) bucket.add(FIRST_SLOT + slot, 1, 0);
        bucket.asOf = FIRST_SLOT + 4 * 64;
        bucket.read(true, true);
        expect(saved(bucket).map(([each]) => each)).toEqual([group, group + 3]);
        bucket.add(FIRST_SLOT + 70, 1, 0);
        bucket.add(FIRST_SLOT + 70, 1, 1);
        expect(store.tree.savedSlotGroups(BUCKET)[1]).toMatchObject({
          group: group + 1,
          covered: FIRST_SLOT + 64,
          late: [FIRST_SLOT + 70],
        });
        expect(bucket.read(true, false)).toEqual(bucket.expected());
        expect(bucket.read(true, true)).toEqual(bucket.expected());
        expect(saved(bucket)[1]).toEqual([group + 1, FIRST_SLOT + 128]);
        // Behind the last group nothing is written down of which it could be marked.
        bucket.asOf = FIRST_SLOT + 6 * 64;
        bucket.add(FIRST_SLOT + 5 * 64, 1, 0);
        expect(saved(bucket)).toHaveLength(3);
        expect(bucket.read(true, false)).toEqual(bucket.expected());
      }
    }));

  test("of a bucket of many topics take a few rows for each topic and event, also when many slots are late", () =>
    onStorage((storage) => {
      const store = new SqlShardStore(storage);
      const TOPICS = 1_500;
      const events = Array.from({ length: TOPICS }, (_, n) => ({
        ...{ bucket: BUCKET, topic: n, slot: FIRST_SLOT + (n % 640), class: 1 },
        n,
      }));
      insertRaw(store, events);
      const leaves = new BucketLeaves(store.tree, suite);
      const read = (all: readonly RawEvent[], mayWrite: boolean) =>
        rowsRead(storage, () => {
          const asOf = FIRST_SLOT + 640;
          const found = store.transaction(() => leaves.read(BUCKET, asOf, { isLarge: true, mayWrite }));
          expect(plain(found)).toEqual(plain(leavesOf(all)));
        });
      expect(read(events, true)).toBeLessThan(8 * TOPICS);
      expect(read(events, true)).toBeLessThan(100);
      const late = Array.from({ length: 200 }, (_, n) => ({
        ...{ bucket: BUCKET, topic: n, slot: FIRST_SLOT + 3 * n, class: 1 },
        n: TOPICS + n,
      }));
      insertRaw(store, late);
      for (const { slot } of late) store.tree.markLate(BUCKET, slot);
      const before = leaves.rows;
      expect(read([...events, ...late], false)).toBeLessThan(8 * TOPICS);
      expect(leaves.rows - before).toBeGreaterThan(TOPICS);
      expect(leaves.rows - before).toBeLessThan(2 * TOPICS);
    }));

  test("of a bucket that has grown beyond 512 ids unnoticed, and of a group of more than 32,768, are right", () =>
    onStorage((storage) => {
      const store = new SqlShardStore(storage);
      const events = Array.from({ length: 33_000 }, (_, n) => ({
        bucket: BUCKET,
        topic: n % 2,
        slot: FIRST_SLOT + Math.floor(n / 11_000),
        class: 1 + (n % 3 === 0 ? 1 : 0),
        n,
      }));
      insertRaw(store, events);
      const leaves = new BucketLeaves(store.tree, suite);
      const expected = plain(leavesOf(events));
      const read = (isLarge: boolean) =>
        plain(store.transaction(() => leaves.read(BUCKET, FIRST_SLOT + 64, { isLarge, mayWrite: true })));
      expect(read(false)).toEqual(expected);
      expect(store.tree.savedSlotGroups(BUCKET)).toHaveLength(1);
      expect(read(true)).toEqual(expected);
      expect(read(false)).toEqual(expected);
    }));
});

test("the first id of a slot is below all of its events, and above those of the slots before", () => {
  const last = idOfRaw({ bucket: 0, topic: 0, class: 0, slot: 2 ** 22 - 1, n: 99 });
  expect(compareBytes(firstIdOfSlot(2 ** 22), last)).toBeGreaterThan(0);
  const slots = fc.integer({ min: 1, max: 2 ** 22 - 1 });
  fc.assert(
    fc.property(slots, fc.nat({ max: 99 }), (slot, n) => {
      const id = (at: number): Bytes => idOfRaw({ bucket: 0, topic: 0, class: 0, slot: at, n });
      expect(compareBytes(firstIdOfSlot(slot), id(slot))).toBeLessThan(0);
      expect(compareBytes(firstIdOfSlot(slot), id(slot - 1))).toBeGreaterThan(0);
      expect([slotOfId(id(slot)), slotOfId(firstIdOfSlot(slot))]).toEqual([slot, slot]);
    }),
  );
});
