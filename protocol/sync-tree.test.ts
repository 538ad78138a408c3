import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex } from "./bytes.ts";
import { eventId } from "./event-id.ts";
import { slotOfSeq } from "./retention.ts";
import { firstSeqOfSlot, isInRange, type SlotRange } from "./sync-range.ts";
import {
  BUCKET_GROUPS,
  BUCKETS_PER_GROUP,
  type BucketRoot,
  bucketGroupHash,
  bucketGroupOf,
  byBucketAndClass,
  nodeRoot,
  rootOf,
  SLOTS_PER_GROUP,
  type SlotLeaf,
  slotGroupHash,
  slotGroupOf,
  slotGroups,
  slotHash,
} from "./sync-tree.ts";
import { bytesOf, suite } from "./testing/arbitraries.ts";
import { BUCKETS } from "./topic.ts";

interface Placed {
  readonly bucket: number;
  readonly class: number;
  readonly slot: number;
  readonly digest: Bytes;
  /** Of its slot: what makes two ids of one slot differ in their seq. */
  readonly offset: number;
}

const EVERYTHING: SlotRange = { from: 0, to: 2 ** 22 };
const idOf = ({ slot, offset, digest }: Placed): Bytes =>
  eventId(firstSeqOfSlot(slot) + BigInt(offset), digest);
const seqOf = (id: Bytes) => new DataView(id.buffer).getBigUint64(0);
const nameOf = (event: Placed) => `${event.bucket} ${event.class} ${toHex(idOf(event))}`;

/** The hash of all, up from the ids: what a node with these events must answer, in whatever order they came. */
function hashOf(events: readonly Placed[], range = EVERYTHING): string {
  const trees = Map.groupBy(events, (event) => event.bucket * 256 + event.class);
  const roots: BucketRoot[] = [];
  for (const [key, members] of trees) {
    const slots = Map.groupBy(members.map(idOf).sort(compareBytes), (id) => slotOfSeq(seqOf(id)));
    const leaves = [...slots].map(([slot, ids]) => ({ slot, count: ids.length, hash: slotHash(ids, suite) }));
    const root = rootOf(slotGroups(leaves, range, suite), suite);
    if (root) roots.push({ bucket: key >> 8, class: key & 255, root });
  }
  const byGroup = Map.groupBy(roots.sort(byBucketAndClass), ({ bucket }) => bucketGroupOf(bucket));
  const groups = Array.from({ length: BUCKET_GROUPS }, (_, group) => byGroup.get(group) ?? []);
  return toHex(nodeRoot(concatBytes(...groups.map((group) => bucketGroupHash(group, suite))), suite));
}

/** Few buckets, classes and slots, so that many events share them; those at the bounds of groups among them. */
const buckets = fc.constantFrom(0, 63, 64, 2_000, BUCKETS - 1);
const classes = fc.constantFrom(0, 1, 255);
const slots = fc.constantFrom(0, 62, 63, 64, 127, 128, 1_700_000, 2 ** 22 - 1);
const placed: fc.Arbitrary<Placed> = fc.record({
  bucket: buckets,
  class: classes,
  slot: slots,
  digest: bytesOf(32),
  offset: fc.nat({ max: 3 }),
});
const sets = fc.uniqueArray(placed, { maxLength: 40, selector: nameOf });

describe("the hash of a node", () => {
  test("depends on the set of its events alone", () => {
    const orders = sets.chain((events) =>
      fc.tuple(fc.constant(events), fc.shuffledSubarray(events, { minLength: events.length })),
    );
    fc.assert(
      fc.property(orders, ([events, others]) => {
        expect(hashOf(others)).toBe(hashOf(events));
      }),
    );
  });

  test("is another when an event is more, less, or another in any way", () => {
    const fields = fc.constantFrom("bucket", "class", "slot", "digest", "offset", "") as fc.Arbitrary<
      keyof Placed | ""
    >;
    fc.assert(
      fc.property(sets, placed, fc.nat(), fields, (events, other, place, field) => {
        const known = new Set(events.map(nameOf));
        const whole = hashOf(events);
        if (!known.has(nameOf(other))) expect(hashOf([...events, other])).not.toBe(whole);
        const at = place % Math.max(1, events.length);
        const event = events[at];
        if (!event) return;
        const less = hashOf(events.toSpliced(at, 1));
        expect(less).not.toBe(whole);
        const changed = field === "" ? other : { ...event, [field]: other[field] };
        if (known.has(nameOf(changed))) return;
        expect([whole, less]).not.toContain(hashOf(events.toSpliced(at, 1, changed)));
      }),
      { numRuns: 300 },
    );
  });

  test("is another for each place at which one event can be", () => {
    const event = { bucket: 5, class: 1, slot: 640, digest: new Uint8Array(32).fill(1), offset: 0 };
    const places = [
      event,
      ...[4, 69, 63, 64, 0].map((bucket) => ({ ...event, bucket })),
      ...[0, 2, 5].map((id) => ({ ...event, class: id })),
      ...[639, 641, 704, 0, 10].map((slot) => ({ ...event, slot })),
      { ...event, offset: 1 },
      { ...event, digest: new Uint8Array(32).fill(2) },
    ];
    expect(new Set(places.map((place) => hashOf([place]))).size).toBe(places.length);
  });

  test("of one with nothing in range is that of an empty one", () => {
    const empty = hashOf([]);
    const none = concatBytes(Uint8Array.of(4), new Uint8Array(64 * 32));
    expect(empty).toBe(toHex(suite.sha256(none)));
    fc.assert(
      fc.property(sets, (events) => {
        expect(hashOf(events, { from: 7, to: 7 })).toBe(empty);
      }),
    );
  });

  test("over a range is that of the events in it", () => {
    const bounds = fc.oneof(slots, fc.nat({ max: 200 }));
    fc.assert(
      fc.property(sets, bounds, bounds, (events, from, to) => {
        const within = events.filter(({ slot }) => slot >= from && slot < to);
        expect(hashOf(events, { from, to })).toBe(hashOf(within));
      }),
    );
  });
});

describe("a range", () => {
  test("cuts the leaves of the slot groups at its bounds, and leaves out those outside", () => {
    const leaf = (slot: number): SlotLeaf => ({ slot, count: 1, hash: suite.sha256(Uint8Array.of(slot)) });
    const leaves = [0, 10, 63, 64, 127, 128, 200].map(leaf);
    const groupsIn = (from: number, to: number) =>
      slotGroups(leaves, { from, to }, suite).map(({ group, hash }) => [group, toHex(hash)]);
    const group = (number: number, ...of: number[]) => [number, toHex(slotGroupHash(of.map(leaf), suite))];
    expect(groupsIn(0, 201)).toEqual([group(0, 0, 10, 63), group(1, 64, 127), group(2, 128), group(3, 200)]);
    expect(groupsIn(1, 200)).toEqual([group(0, 10, 63), group(1, 64, 127), group(2, 128)]);
    expect(groupsIn(63, 128)).toEqual([group(0, 63), group(1, 64, 127)]);
    expect(groupsIn(64, 65)).toEqual([group(1, 64)]);
    expect(groupsIn(129, 200)).toEqual([]);
    expect(groupsIn(200, 100)).toEqual([]);
    expect(isInRange({ from: 3, to: 5 }, 3)).toBe(true);
    expect([2, 5].map((slot) => isInRange({ from: 3, to: 5 }, slot))).toEqual([false, false]);
  });
});

describe("levels", () => {
  test("are told apart by their tags: what one level hashes is nothing on another", () => {
    fc.assert(
      fc.property(bytesOf(36), (body) => {
        const number = new DataView(body.buffer).getUint32(0);
        const hash = body.slice(4);
        const root = { bucket: ((body[0] as number) << 8) | (body[1] as number), class: body[2] as number };
        const levels = [
          slotHash([body], suite),
          slotGroupHash([{ slot: number, count: 1, hash }], suite),
          rootOf([{ group: number, hash }], suite) as Bytes,
          bucketGroupHash([{ ...root, root: body.slice(3) }], suite),
          nodeRoot(body, suite),
        ];
        const expected = levels.map((_, tag) => suite.sha256(concatBytes(Uint8Array.of(tag), body)));
        expect(levels.map(toHex)).toEqual(expected.map(toHex));
        expect(new Set(levels.map(toHex)).size).toBe(5);
      }),
    );
  });

  test("write the numbers of their members down, so that a hash cannot move to another place", () => {
    const hash = new Uint8Array(32).fill(7);
    const inSlots = [0, 1, 2 ** 22 - 1].map((slot) => slotGroupHash([{ slot, count: 1, hash }], suite));
    const inGroups = [0, 1, 2 ** 16 - 1].map((group) => rootOf([{ group, hash }], suite) as Bytes);
    const inBuckets = [0, 1, 256, 4_095].flatMap((bucket) =>
      [0, 1, 255].map((id) => bucketGroupHash([{ bucket, class: id, root: hash }], suite)),
    );
    const all = [...inSlots, ...inGroups, ...inBuckets].map(toHex);
    expect(new Set(all).size).toBe(all.length);
  });

  test("that are empty: a bucket without events has no root, and a group of such is 32 zeros", () => {
    expect(rootOf([], suite)).toBeUndefined();
    expect(slotGroups([], EVERYTHING, suite)).toEqual([]);
    expect(bucketGroupHash([], suite)).toEqual(new Uint8Array(32));
  });
});

test("slots and buckets have groups of 64", () => {
  expect([SLOTS_PER_GROUP, BUCKETS_PER_GROUP, BUCKET_GROUPS]).toEqual([64, 64, 64]);
  expect([0, 63, 64, 4_095].map(bucketGroupOf)).toEqual([0, 0, 1, 63]);
  expect([0, 63, 64, 2 ** 22 - 1].map(slotGroupOf)).toEqual([0, 0, 1, 65_535]);
});

test("roots are in the order of bucket and class", () => {
  const place = fc.record({ bucket: buckets, class: classes });
  fc.assert(
    fc.property(place, place, (a, b) => {
      const [first, second] = [a.bucket * 256 + a.class, b.bucket * 256 + b.class];
      expect(Math.sign(byBucketAndClass(a, b))).toBe(Math.sign(first - second));
    }),
  );
});
