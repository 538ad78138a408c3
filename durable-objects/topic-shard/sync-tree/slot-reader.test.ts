import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../../protocol/bytes.ts";
import type { SlotRange } from "../../../protocol/sync-range.ts";
import { suite } from "../../platform-suite.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import { idOfRaw, insertRaw, type RawEvent } from "../../testing/raw-events.ts";
import { rowsRead } from "../../testing/rows-read.ts";
import { onStorage, wipe } from "../../testing/shard-world.ts";
import type { ShardStore } from "../shard-store.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { readLeaves, SlotReader } from "./slot-reader.ts";
import { rangesFrom, rangesOf, slotOfId, spanOfSlots } from "./slot-spans.ts";
import { eventsOfSpans } from "./span-walk.ts";

const BUCKET = 9;
const FIRST_SLOT = 6_400;

const event: fc.Arbitrary<RawEvent> = fc.record({
  bucket: fc.constantFrom(BUCKET, BUCKET, BUCKET, BUCKET - 1, BUCKET + 1),
  topic: fc.nat({ max: 6 }),
  slot: fc.integer({ min: FIRST_SLOT, max: FIRST_SLOT + 40 }),
  class: fc.constantFrom(1, 2),
  n: fc.nat({ max: 1_000_000 }),
});
const events = fc.uniqueArray(event, { maxLength: 150, size: "max", selector: ({ n }) => n });
/** Up to twenty ranges: a few are read one by one, more in one walk. */
const ranges: fc.Arbitrary<SlotRange[]> = fc
  .uniqueArray(fc.integer({ min: FIRST_SLOT - 1, max: FIRST_SLOT + 41 }), { maxLength: 25, size: "max" })
  .map((slots) => rangesOf(slots.sort((a, b) => a - b)));

const isIn = (within: readonly SlotRange[], slot: number) =>
  within.some(({ from, to }) => slot >= from && slot < to);
const idsIn = (own: readonly RawEvent[], within: readonly SlotRange[]): string[] =>
  own
    .filter(({ bucket, slot }) => bucket === BUCKET && isIn(within, slot))
    .map((each) => toHex(idOfRaw(each)))
    .sort();

async function onBoth(numRuns: number, check: (open: () => ShardStore, runs: number) => void): Promise<void> {
  check(() => new MemoryShardStore(), numRuns);
  await onStorage((storage) =>
    check(() => {
      wipe(storage);
      return new SqlShardStore(storage);
    }, numRuns / 4),
  );
}

describe("the events of some spans", () => {
  test("are read once each, and no others", () =>
    onBoth(160, (open, numRuns) =>
      fc.assert(
        fc.property(events, ranges, (own, within) => {
          const store = open();
          insertRaw(store, own);
          const found = eventsOfSpans(store.tree, BUCKET, within.map(spanOfSlots));
          expect([...found].map(({ id }) => toHex(id)).sort()).toEqual(idsIn(own, within));
        }),
        { numRuns },
      ),
    ));

  test("are read as often when there is more between two spans than is read at once", () =>
    onStorage((storage) => {
      const store = new SqlShardStore(storage);
      const own = Array.from({ length: 6_000 }, (_, n) => ({
        ...{ bucket: BUCKET, topic: n % 2, slot: FIRST_SLOT + Math.floor(n / 60), class: 1 },
        n,
      }));
      insertRaw(store, own);
      const within = Array.from({ length: 20 }, (_, n) => ({
        from: FIRST_SLOT + 5 * n,
        to: FIRST_SLOT + 5 * n + 1,
      }));
      let found: string[] = [];
      const rows = rowsRead(storage, () => {
        const all = eventsOfSpans(store.tree, BUCKET, within.map(spanOfSlots));
        found = [...all].map(({ id }) => toHex(id)).sort();
      });
      expect(found).toEqual(idsIn(own, within));
      expect(rows).toBeLessThan(4_500);
    }));
});

const held = (reader: SlotReader): Bytes[] =>
  reader.slots().flatMap(({ classes }) => [...classes.values()].flatMap((ids) => [...ids.ids()]));

describe("a reader of slots", () => {
  test("that holds few ids is followed by others, which together read each slot whole; what comes meanwhile it has, too", () =>
    onBoth(120, (open, numRuns) =>
      fc.assert(
        fc.property(events, events, ranges, fc.integer({ min: 10, max: 80 }), (own, more, within, maxIds) => {
          const store = open();
          insertRaw(store, own);
          const known = new Set(own.map(({ n }) => n));
          const late = more.filter(({ n }) => !known.has(n));
          const stored = [...own];
          const found: string[] = [];
          for (let rest: readonly SlotRange[] = within, readers = 0; rest.length > 0; readers++) {
            expect(readers).toBeLessThan(50);
            const reader = new SlotReader(store.tree, BUCKET, rest, maxIds);
            while (reader.step()) {
              const next = late.pop();
              // Of slots that others have read already nothing may come.
              if (!next || next.slot < (rest[0]?.from ?? 0) || !isIn(within, next.slot)) continue;
              for (const each of insertRaw(store, [next]))
                if (next.bucket === BUCKET) reader.noteStored(each);
              stored.push(next);
            }
            const ids = held(reader);
            expect(ids.every((id) => slotOfId(id) < reader.end)).toBe(true);
            found.push(...ids.map(toHex));
            rest = rangesFrom(rest, reader.end);
          }
          expect(found.sort()).toEqual(idsIn(stored, within));
        }),
        { numRuns },
      ),
    ));

  test("holds one slot whole, however many ids it has, and half of what it may otherwise", () => {
    const store = new MemoryShardStore();
    const slots = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3].map((n) => FIRST_SLOT + n);
    insertRaw(
      store,
      slots.map((slot, n) => ({ bucket: BUCKET, topic: 0, slot, class: 1, n })),
    );
    const all = [{ from: FIRST_SLOT, to: FIRST_SLOT + 9 }];
    const small = new SlotReader(store.tree, BUCKET, all, 10);
    while (small.step());
    expect([small.end, held(small).length]).toEqual([FIRST_SLOT + 1, 10]);
    const larger = new SlotReader(store.tree, BUCKET, all, 40);
    while (larger.step());
    expect([larger.end, held(larger).length]).toEqual([FIRST_SLOT + 1, 10]);
    const whole = new SlotReader(store.tree, BUCKET, all);
    while (whole.step());
    expect([whole.end, held(whole).length]).toEqual([FIRST_SLOT + 9, 13]);
  });

  const many = (topics: number, perTopic: number, slots: number): RawEvent[] =>
    Array.from({ length: topics * perTopic }, (_, n) => ({
      bucket: BUCKET,
      topic: n % topics,
      slot: FIRST_SLOT + (n % slots),
      class: 1,
      n,
    }));

  test.each([
    ["of many topics with one event each", many(2_000, 1, 900)],
    ["of one topic", many(1, 3_000, 900)],
    ["of some", many(300, 10, 899)],
  ])("looks at each topic and event of a bucket %s a few times, however many slots there are", (_, own) =>
    onStorage((storage) => {
      const store = new SqlShardStore(storage);
      insertRaw(store, own);
      const read = (within: readonly SlotRange[]) => {
        let count = 0;
        const rows = rowsRead(storage, () => {
          const { leaves } = readLeaves(store.tree, BUCKET, within, suite);
          count = leaves.reduce((sum, leaf) => sum + leaf.count, 0);
        });
        expect(count).toBe(idsIn(own, within).length);
        return rows;
      };
      expect(read([{ from: FIRST_SLOT, to: FIRST_SLOT + 900 }])).toBeLessThan(5 * own.length);
      const everyThird = rangesOf(Array.from({ length: 300 }, (_each, n) => FIRST_SLOT + 3 * n));
      expect(read(everyThird)).toBeLessThan(8 * own.length);
      expect(read([])).toBe(0);
    }),
  );
});

test("ranges of slots that follow one another are one, and are cut at a slot", () => {
  const found = rangesOf([1, 2, 3, 7, 9, 10]);
  expect(found).toEqual([
    { from: 1, to: 4 },
    { from: 7, to: 8 },
    { from: 9, to: 11 },
  ]);
  expect(rangesFrom(found, 3)).toEqual([
    { from: 3, to: 4 },
    { from: 7, to: 8 },
    { from: 9, to: 11 },
  ]);
  expect(rangesFrom(found, 11)).toEqual([]);
  expect(compareBytes(spanOfSlots({ from: 1, to: 4 }).from, spanOfSlots({ from: 1, to: 4 }).to)).toBeLessThan(
    0,
  );
});
