import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { readTimePage } from "../topic-shard/queries.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import { type Hit, type HitPage, type HitSource, mergeIdPage, mergeTimePage } from "./tier-merge.ts";

const TOPIC_KEY = new Uint8Array(32).fill(1);

/** Few times and digests, so that many events carry one envelope. */
interface Event extends Hit {
  readonly message: Bytes;
  /** Which tiers have it, by their numbers. */
  readonly tiers: readonly number[];
}

interface TieredHit extends Hit {
  readonly tier: number;
}

const TIERS = 5;
const eventOf = (number: number, ts: number, digest: number, tiers: readonly number[]): Event => {
  const message = new Uint8Array(1 + ((ts * 3 + digest) % 7));
  return {
    id: concatBytes(uint64Bytes(BigInt(number)), new Uint8Array(32).fill(number)),
    timeKey: concatBytes(uint64Bytes(BigInt(ts)), new Uint8Array(32).fill(digest)),
    bytes: message.length,
    message,
    tiers,
  };
};

const events: fc.Arbitrary<Event[]> = fc
  .uniqueArray(
    fc.record({
      number: fc.nat(200),
      ts: fc.nat(6),
      digest: fc.nat(2),
      tiers: fc.uniqueArray(fc.nat(TIERS - 1), { minLength: 1, maxLength: 3 }),
    }),
    { selector: ({ number }) => number, maxLength: 60 },
  )
  .map((list) => list.map(({ number, ts, digest, tiers }) => eventOf(number, ts, digest, tiers)));

const byTime = (a: Hit, b: Hit) => compareBytes(a.timeKey, b.timeKey) || compareBytes(a.id, b.id);
const byId = (a: Hit, b: Hit) => compareBytes(a.id, b.id);

/** What was asked of a source. */
interface Asked {
  isOpened: boolean;
  isClosed: boolean;
  hits: number;
}

type Tier = HitSource<TieredHit> & { readonly asked: Asked };

/** Sources that know where they begin, by 8 bytes, by a whole key, or not at all. */
function tiersOf(list: readonly Event[], compare: (a: Hit, b: Hit) => number, keyOf: (hit: Hit) => Bytes) {
  return Array.from({ length: TIERS }, (_, tier): Tier => {
    const own = list.filter(({ tiers }) => tiers.includes(tier)).sort(compare);
    const asked: Asked = { isOpened: false, isClosed: false, hits: 0 };
    const known = [0, 8, 40][tier % 3];
    return {
      start: own[0] ? keyOf(own[0]).slice(0, known) : new Uint8Array(),
      asked,
      *hits() {
        asked.isOpened = true;
        try {
          for (const { id, timeKey, bytes } of own) {
            asked.hits++;
            yield { id, timeKey, bytes, tier };
          }
        } finally {
          asked.isClosed = true;
        }
      },
    };
  });
}

const timeTiers = (list: readonly Event[], isDescending: boolean) =>
  tiersOf(list, isDescending ? (a, b) => byTime(b, a) : byTime, ({ timeKey }) => timeKey);
const idTiers = (list: readonly Event[]) => tiersOf(list, byId, ({ id }) => id);

/** What both kinds of pages answer: which events, from which tier. */
const shown = ({ hits }: HitPage<TieredHit>) => hits.map(({ id, tier }) => [toHex(id), tier]);
const fromFirstTier = (list: readonly Event[]) =>
  list.map(({ id, tiers }) => [toHex(id), Math.min(...tiers)]);

/** The envelopes by their definition: each once, with its least id that has not expired. */
function envelopes(list: readonly Event[], leastId: Bytes, isDescending: boolean): Event[] {
  const found = new Map<string, Event>();
  for (const event of list.toSorted(byTime))
    if (compareBytes(event.id, leastId) >= 0 && !found.has(toHex(event.timeKey)))
      found.set(toHex(event.timeKey), event);
  const inOrder = [...found.values()];
  return isDescending ? inOrder.reverse() : inOrder;
}

/** So many, up to a number of bytes, but one at least. */
function cutPage(list: readonly Event[], limit: number, maxBytes: number): Event[] {
  let taken = 0;
  const end = list.findIndex(({ bytes }, i) => {
    taken += bytes;
    return i === limit || (i > 0 && taken > maxBytes);
  });
  return end < 0 ? [...list] : list.slice(0, end);
}

const leastIds = fc.constantFrom(0, 0, 50, 150).map((number) => uint64Bytes(BigInt(number)));
const limits = fc.integer({ min: 1, max: 12 });
const maxBytes = fc.oneof(fc.constant(1_000), fc.nat(30));

describe("a page in the order of time", () => {
  test("is that of a plain sort of everything", () => {
    fc.assert(
      fc.property(events, leastIds, limits, maxBytes, fc.boolean(), (list, leastId, limit, most, down) => {
        const ask = { isDescending: down, leastId, limit, maxBytes: most };
        const page = mergeTimePage(timeTiers(list, down), ask);
        const all = envelopes(list, leastId, down);
        const expected = cutPage(all, limit, most);
        expect(shown(page)).toEqual(fromFirstTier(expected));
        expect(page.isFull).toBe(expected.length === limit || expected.length < all.length);
      }),
      { numRuns: 500 },
    );
  });

  test("is what the shard's table answers that has all events itself", () => {
    fc.assert(
      fc.property(events, leastIds, limits, maxBytes, fc.boolean(), (list, leastId, limit, most, down) => {
        const store = new MemoryShardStore();
        for (const [i, event] of list.entries()) store.insert(storedEvent(event, i + 1));
        const query = {
          topic: new Uint8Array(),
          topicKey: TOPIC_KEY,
          startNs: 0n,
          endNs: 0n,
          isDescending: down,
          limit,
          maxBytes: most,
          after: null,
        };
        const expected = readTimePage(store, query, leastId);
        const page = mergeTimePage(timeTiers(list, down), {
          isDescending: down,
          leastId,
          limit,
          maxBytes: most,
        });
        expect(page.hits.map(({ id }) => toHex(id))).toEqual(expected.events.map(({ id }) => toHex(id)));
        expect(page.isFull).toBe(expected.isFull);
      }),
      { numRuns: 200 },
    );
  });

  test("closes what it opened", () => {
    fc.assert(
      fc.property(events, limits, fc.boolean(), (list, limit, isDescending) => {
        const tiers = timeTiers(list, isDescending);
        mergeTimePage(tiers, { isDescending, leastId: new Uint8Array(), limit, maxBytes: 1_000 });
        for (const { asked } of tiers) expect(asked.isClosed).toBe(asked.isOpened);
      }),
    );
  });
});

const storedEvent = ({ id, timeKey, message }: Event, position: number): StoredEvent => ({
  position,
  topicKey: TOPIC_KEY,
  timeKey,
  id,
  class: 1,
  flags: 0,
  storedMs: 0,
  signature: new Uint8Array(64),
  block: new Uint8Array(1),
  message,
});

describe("a page in the order of ids", () => {
  test("is that of a plain sort of everything", () => {
    fc.assert(
      fc.property(events, limits, maxBytes, (list, limit, most) => {
        const tiers = idTiers(list);
        const page = mergeIdPage(tiers, { limit, maxBytes: most });
        const expected = cutPage(list.toSorted(byId), limit, most);
        expect(shown(page)).toEqual(fromFirstTier(expected));
        expect(page.isFull).toBe(expected.length < list.length);
        for (const { asked } of tiers) expect(asked.isClosed).toBe(asked.isOpened);
      }),
      { numRuns: 500 },
    );
  });
});

describe("what is not needed", () => {
  /** Ten tiers of ten events, each after the other in time. */
  const rows = Array.from({ length: 100 }, (_, i) => eventOf(i, i, 0, [Math.floor(i / 10)]));
  const segments = (isDescending: boolean): Tier[] =>
    Array.from({ length: 10 }, (_, number) => {
      const own = rows.slice(number * 10, number * 10 + 10);
      if (isDescending) own.reverse();
      const asked: Asked = { isOpened: false, isClosed: false, hits: 0 };
      return {
        start: (own[0] as Event).timeKey.slice(0, 8),
        asked,
        *hits() {
          asked.isOpened = true;
          for (const { id, timeKey, bytes } of own) {
            asked.hits++;
            yield { id, timeKey, bytes, tier: number };
          }
        },
      };
    });
  const ask = { leastId: new Uint8Array(), maxBytes: 1_000_000 };
  const hitsOf = (tiers: readonly Tier[]) => tiers.map(({ asked }) => (asked.isOpened ? asked.hits : -1));

  test.each([
    [false, 5, [5, -1, -1, -1, -1, -1, -1, -1, -1, -1]],
    [false, 15, [10, 5, -1, -1, -1, -1, -1, -1, -1, -1]],
    [false, 20, [10, 10, -1, -1, -1, -1, -1, -1, -1, -1]],
    // One more hit shows that the last envelope has no other event.
    [true, 5, [-1, -1, -1, -1, -1, -1, -1, -1, -1, 6]],
    [true, 10, [-1, -1, -1, -1, -1, -1, -1, -1, -1, 10]],
  ])("is not read (descending: %s, a page of %i)", (isDescending, limit, expected) => {
    const tiers = segments(isDescending);
    expect(mergeTimePage(tiers, { ...ask, isDescending, limit }).hits).toHaveLength(limit);
    expect(hitsOf(tiers)).toEqual(expected);
  });

  test("is not read of an order of ids, but one hit that says that there is more", () => {
    const tiers = segments(false).map((tier, i) => ({ ...tier, start: uint64Bytes(BigInt(i * 10)) }));
    expect(mergeIdPage(tiers, { limit: 4, maxBytes: 1_000 }).isFull).toBe(true);
    expect(hitsOf(tiers)).toEqual([5, -1, -1, -1, -1, -1, -1, -1, -1, -1]);
  });
});

describe("a source that does not keep its promise", () => {
  const [early, late] = [eventOf(1, 1, 0, [0]), eventOf(2, 2, 0, [0])];
  const page = (start: Bytes, hits: Event[], isDescending = false) =>
    mergeTimePage([{ start, hits: () => hits }], {
      isDescending,
      leastId: new Uint8Array(),
      limit: 10,
      maxBytes: 100,
    });
  const none = new Uint8Array();

  test("fails the page, rather than lose events of it", () => {
    expect(() => page(none, [late, early])).toThrow(RangeError);
    expect(() => page(none, [early, late], true)).toThrow(RangeError);
    expect(() => page(uint64Bytes(2n), [early, late])).toThrow(RangeError);
    expect(page(uint64Bytes(1n), [early, late]).hits).toHaveLength(2);
  });

  test("that throws leaves the others closed", () => {
    let isClosed = false;
    const good = {
      start: none,
      *hits() {
        try {
          yield early;
          yield late;
        } finally {
          isClosed = true;
        }
      },
    };
    const bad = {
      start: none,
      hits: (): Iterable<Event> => {
        throw new Error("no such part");
      },
    };
    const ask = { isDescending: false, leastId: none, limit: 10, maxBytes: 100 };
    expect(() => mergeTimePage([good, bad], ask)).toThrow("no such part");
    expect(isClosed).toBe(true);
  });
});
