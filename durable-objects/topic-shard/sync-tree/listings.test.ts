import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, toHex } from "../../../protocol/bytes.ts";
import { bytesOfWire } from "../../../protocol/event.ts";
import { MAX_PEER_PAGE_BYTES } from "../../../protocol/limits.ts";
import type { EventName } from "../../../protocol/peer-messages.ts";
import { SYMBOL_BYTES, symbolOf } from "../../../protocol/sketch-symbol.ts";
import type { AskedSlots, BucketClass, TopicIds } from "../../../protocol/sync-messages.ts";
import { comparedRange, isInRange } from "../../../protocol/sync-range.ts";
import { slotGroupOf, slotGroups, slotHash } from "../../../protocol/sync-tree.ts";
import { bucketOf } from "../../../protocol/topic.ts";
import { suite } from "../../platform-suite.ts";
import { ListedShard } from "../../testing/listed-shard.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import { idOfRaw, type RawEvent, topicKeyIn } from "../../testing/raw-events.ts";
import { onStorage, wipe } from "../../testing/shard-world.ts";
import { treeNetwork } from "../../testing/tree-node.ts";
import type { ShardStore, StoredEvent } from "../shard-store.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { slotOfId, spanOfSlots } from "./slot-spans.ts";
import { SpanWalk } from "./span-walk.ts";

const AS_OF = 6_500;
/** Three events are a small bucket here. */
const SMALL = 3;
const BUCKETS = [0, 5, 6, 4_095];
const CLASSES = [1, 2, 7];

const event: fc.Arbitrary<RawEvent> = fc.record({
  bucket: fc.constantFrom(...BUCKETS),
  topic: fc.nat({ max: 2 }),
  slot: fc.oneof(
    fc.constant(AS_OF - 3),
    fc.integer({ min: AS_OF - 8, max: AS_OF + 1 }),
    fc.integer({ min: AS_OF - 90, max: AS_OF + 1 }),
  ),
  class: fc.constantFrom(...CLASSES),
  n: fc.nat({ max: 1_000_000 }),
});
const events = fc.uniqueArray(event, { maxLength: 60, size: "max", selector: ({ n }) => n });
const target: fc.Arbitrary<BucketClass> = fc.record({
  bucket: fc.constantFrom(...BUCKETS, 5, 5, 7),
  class: fc.constantFrom(...CLASSES, 7, 7),
});
/** As of the newest slot, and of the one before. */
const asOfs = fc.constantFrom(AS_OF, AS_OF - 1);

const textOf = ({ topicKey, id }: EventName) => `${toHex(topicKey)} ${toHex(id)}`;
const textsOf = (topics: readonly TopicIds[]) =>
  topics.flatMap(({ topicKey, ids }) => ids.map((id) => textOf({ topicKey, id })));
const byName = (a: EventName, b: EventName) =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id);

/** What is to be listed, by the plainest means. */
const inRange = (shard: ListedShard, { bucket, class: id }: BucketClass, asOf: number): StoredEvent[] =>
  shard.stored
    .filter((each) => bucketOf(each.topicKey) === bucket && each.class === id)
    .filter((each) => isInRange(comparedRange(treeNetwork.retentionOf(id), asOf), slotOfId(each.id)))
    .sort(byName);

function leavesIn(shard: ListedShard, at: BucketClass, asOf: number) {
  const slots = Map.groupBy(inRange(shard, at, asOf), ({ id }) => slotOfId(id));
  return [...slots]
    .sort(([a], [b]) => a - b)
    .map(([slot, own]) => ({
      slot,
      count: own.length,
      hash: slotHash(own.map(({ id }) => id).sort(compareBytes), suite),
    }));
}

/** Runs a property over a store in memory, and less often over one in SQLite. */
function bothStores<T extends [RawEvent[], ...unknown[]]>(
  name: string,
  values: fc.Arbitrary<T>,
  check: (shard: ListedShard, ...rest: T extends [unknown, ...infer Rest] ? Rest : never) => void,
): void {
  const run = (open: () => ShardStore, numRuns: number) =>
    fc.assert(
      fc.property(values, ([own, ...rest]) => {
        check(new ListedShard(open(), own, AS_OF, SMALL), ...(rest as never));
      }),
      { numRuns },
    );
  test(name, async () => {
    run(() => new MemoryShardStore(), 150);
    await onStorage((storage) => {
      run(() => {
        wipe(storage);
        return new SqlShardStore(storage);
      }, 40);
    });
  });
}

describe("the ids of a bucket", () => {
  const slots = fc.integer({ min: AS_OF - 90, max: AS_OF + 1 });
  bothStores(
    "from a slot on and below another come after any name, whether it is there or not",
    fc.tuple(events, event, slots, slots),
    (shard, after, from, to) => {
      const name = { topicKey: topicKeyIn(after.bucket, after.topic), id: idOfRaw(after) };
      for (const bucket of BUCKETS) {
        const expected = shard.stored
          .filter((each) => bucketOf(each.topicKey) === bucket && byName(each, name) > 0)
          .filter(({ id }) => slotOfId(id) >= from && slotOfId(id) < to)
          .sort(byName);
        const walk = new SpanWalk(shard.store.tree, bucket, [spanOfSlots({ from, to })], name);
        expect([...walk.events()].map(textOf)).toEqual(expected.map(textOf));
      }
    },
  );
});

describe("a bucket is listed", () => {
  bothStores(
    "by its ids, or when it is large by the hashes of its slot groups",
    fc.tuple(events, target, asOfs),
    (shard, at, asOf) => {
      const expected = inRange(shard, at, asOf);
      const listing = shard.listings.bucket(at, asOf, "shortest");
      expect(listing).toMatchObject(at);
      const groups = slotGroups(
        leavesIn(shard, at, asOf),
        comparedRange(treeNetwork.retentionOf(at.class), asOf),
        suite,
      );
      if (listing.kind === "ids") {
        expect(textsOf(listing.topics)).toEqual(expected.map(textOf));
        for (const { ids } of listing.topics) expect(ids.length).toBeGreaterThan(0);
      } else {
        expect(expected.length).toBeGreaterThan(SMALL);
        expect(listing.groups).toEqual(groups);
      }
      expect(shard.listings.bucket(at, asOf, "groups")).toEqual({ ...at, kind: "groups", groups });
    },
  );

  test("by its ids up to 512 events, and by slot groups beyond", () => {
    const eventsOf = (count: number) =>
      Array.from({ length: count }, (_, n) => ({ bucket: 6, topic: 0, slot: AS_OF - 2, class: 7, n }));
    for (const [count, kind] of [
      [0, "ids"],
      [512, "ids"],
      [513, "groups"],
    ] as const) {
      const shard = new ListedShard(new MemoryShardStore(), eventsOf(count), AS_OF);
      expect(shard.listings.bucket({ bucket: 6, class: 7 }, AS_OF, "shortest").kind).toBe(kind);
    }
  });

  test("not in a class that the network has not", () => {
    const shard = new ListedShard(new MemoryShardStore(), [], AS_OF);
    const unknown = { bucket: 6, class: 9 };
    const expected = expect.objectContaining({ code: "class_unknown" });
    expect(() => shard.listings.bucket(unknown, AS_OF, "shortest")).toThrow(expected);
    expect(() => shard.listings.slots(unknown, new Set([1]), AS_OF)).toThrow(expected);
    expect(() => shard.listings.names(unknown, AS_OF, null)).toThrow(expected);
  });
});

describe("slots", () => {
  const groupSets = fc.subarray([0, 1, 2].map((n) => slotGroupOf(AS_OF) - n));

  bothStores(
    "have the hashes of their leaves",
    fc.tuple(events, target, asOfs, groupSets),
    (shard, at, asOf, groups) => {
      const expected = leavesIn(shard, at, asOf).filter(({ slot }) => groups.includes(slotGroupOf(slot)));
      const slots = shard.listings.slots(at, new Set(groups), asOf);
      expect(slots).toEqual(expected.map(({ slot, hash }) => ({ slot, hash })));
    },
  );

  /** How the asker's slots differ from those here, one after the other; and slots that it alone has. */
  const changes = fc.record({
    how: fc.array(fc.constantFrom("same", "lacks", "other"), { minLength: 1, maxLength: 20 }),
    alone: fc.array(fc.integer({ min: AS_OF - 90, max: AS_OF + 2 }), { maxLength: 5 }),
  });

  bothStores(
    "that differ are listed in answers of so many ids, each going on exactly where the one before ended",
    fc.tuple(events, target, asOfs, groupSets, changes, fc.integer({ min: 1, max: 9 })),
    (shard, at, asOf, groups, changed, limit) => {
      const own = leavesIn(shard, at, asOf).filter(({ slot }) => groups.includes(slotGroupOf(slot)));
      const theirs = new Map(own.map(({ slot, hash }) => [slot, hash]));
      for (const [n, { slot }] of own.entries()) {
        const how = changed.how[n % changed.how.length];
        if (how === "lacks") theirs.delete(slot);
        if (how === "other") theirs.set(slot, new Uint8Array(32));
      }
      for (const slot of changed.alone) theirs.set(slot, new Uint8Array(32));
      const slots = [...theirs].map(([slot, hash]) => ({ slot, hash })).sort((a, b) => a.slot - b.slot);
      const listed: string[] = [];
      const empty: number[] = [];
      let part: AskedSlots = { ...at, groups, slots, place: null };
      for (let answers = 0; ; answers++) {
        expect(answers).toBeLessThan(200);
        const answer = shard.listings.differingSlots(part, asOf, limit);
        let ids = 0;
        for (const each of answer.slots) {
          expect(each).toMatchObject(at);
          const names = textsOf(each.topics);
          expect(
            each.topics.flatMap((topic) => topic.ids.map(slotOfId)).every((slot) => slot === each.slot),
          ).toBe(true);
          listed.push(...names);
          ids += names.length;
          if (names.length === 0) empty.push(each.slot);
        }
        expect(ids).toBeLessThanOrEqual(limit);
        expect(answer.left).toBe(limit - ids - answer.slots.length);
        if (!answer.next) break;
        part = { ...part, place: answer.next };
      }
      const range = comparedRange(treeNetwork.retentionOf(at.class), asOf);
      const mine = new Map(own.map(({ slot, hash }) => [slot, toHex(hash)]));
      const differing = [...new Set([...mine.keys(), ...theirs.keys()])]
        .sort((a, b) => a - b)
        .filter((slot) => isInRange(range, slot))
        .filter((slot) => mine.get(slot) !== (theirs.get(slot) && toHex(theirs.get(slot) as Uint8Array)));
      const eventsOf = (slot: number) => inRange(shard, at, asOf).filter(({ id }) => slotOfId(id) === slot);
      // Each slot's ids once, slot by slot; a slot that is asked and not here is there without ids.
      const asked = (slot: number) => groups.includes(slotGroupOf(slot)) || theirs.has(slot);
      expect(listed).toEqual(differing.filter(asked).flatMap((slot) => eventsOf(slot).map(textOf)));
      expect(empty).toEqual(differing.filter((slot) => eventsOf(slot).length === 0));
    },
  );

  bothStores(
    "are cut anywhere into spans that together are the whole",
    fc.tuple(events, target, fc.array(fc.nat(), { maxLength: 3 }), fc.integer({ min: 1, max: 5 })),
    (shard, at, cuts, limit) => {
      for (const slot of new Set(shard.stored.map(({ id }) => slotOfId(id)))) {
        const all = shard.stored
          .filter((each) => bucketOf(each.topicKey) === at.bucket && each.class === at.class)
          .filter(({ id }) => slotOfId(id) === slot)
          .sort(byName);
        const places = cuts
          .map((cut) => all[cut % Math.max(1, all.length)])
          .filter((each) => each !== undefined);
        const ends = [null, ...places.sort(byName), null];
        const spans = ends.slice(1).flatMap((upTo, i) => {
          const span = { after: ends[i] ?? null, upTo };
          return textsOf(shard.listings.idsOfSlot(at, slot, span, Number.POSITIVE_INFINITY).topics);
        });
        expect(spans).toEqual(all.map(textOf));
        const first = shard.listings.idsOfSlot(at, slot, { after: null, upTo: null }, limit);
        expect(textsOf(first.topics)).toEqual(all.slice(0, limit).map(textOf));
        expect(first.next !== null).toBe(all.length > limit);
      }
    },
  );
});

describe("the events of some buckets", () => {
  const range = fc.record({
    class: fc.constantFrom(null, ...CLASSES),
    fromBucket: fc.constantFrom(0, 1, 5, 6, 7, 4_095),
    toBucket: fc.constantFrom(1, 5, 6, 7, 4_095, 4_096),
  });
  /** Of which two fill a page, or one is more than a page. */
  const sizes = fc.array(fc.constantFrom(0, 0, 0, 400_000, 1_100_000), { minLength: 1, maxLength: 5 });

  bothStores(
    "come in pages of 1 MB or one event, in the order of topic and id, each once",
    fc.tuple(events, range, asOfs, sizes).map(([own, ...rest]) => {
      const [, , bytes] = rest;
      const sized = own.map((each, i) => ({ ...each, bytes: bytes[i % bytes.length] ?? 0 }));
      return [sized, ...rest] as [RawEvent[], ...typeof rest];
    }),
    (shard, asked, asOf) => {
      const found: string[] = [];
      let after: EventName | null = null;
      for (let pages = 0; ; pages++) {
        expect(pages).toBeLessThan(100);
        const page = shard.listings.range({ ...asked, asOf, after });
        const bytes = page.events.reduce((sum, event) => sum + bytesOfWire(event), 0);
        if (page.events.length > 1) expect(bytes).toBeLessThanOrEqual(MAX_PEER_PAGE_BYTES);
        found.push(...page.events.map(({ signature }) => toHex(signature)));
        if (!page.next) break;
        if (after) expect(byName(page.next, after)).toBeGreaterThan(0);
        after = page.next;
      }
      const expected = BUCKETS.filter((bucket) => bucket >= asked.fromBucket && bucket < asked.toBucket)
        .flatMap((bucket) => CLASSES.map((id) => ({ bucket, class: id })))
        .filter((at) => asked.class === null || at.class === asked.class)
        .flatMap((at) => inRange(shard, at, asOf))
        .sort(byName);
      expect(found).toEqual(expected.map(({ signature }) => toHex(signature)));
    },
  );
});

describe("the symbols of a sketch", () => {
  const strange = fc.array(
    fc.uint8Array({ minLength: SYMBOL_BYTES, maxLength: SYMBOL_BYTES }).map((each) => Uint8Array.from(each)),
    { maxLength: 5 },
  );

  bothStores(
    "stand for the events that have them, each once, in small and large buckets; others for nothing",
    fc.tuple(events, fc.array(fc.nat(), { maxLength: 12 }), strange),
    (shard, picks, others) => {
      const picked = picks.flatMap((pick) => shard.stored[pick % Math.max(1, shard.stored.length)] ?? []);
      const symbols = picked.map(({ topicKey, id }) => symbolOf(bucketOf(topicKey), id));
      const wrong = symbols.slice(0, 3).map((symbol) => symbol.with(11, (symbol[11] as number) ^ 1));
      const names = shard.listings.bySymbols([...others, ...symbols, ...wrong]);
      const expected = [...new Set(picked.map(textOf))].sort();
      expect(names.map(textOf).sort()).toEqual(expected);
    },
  );
});
