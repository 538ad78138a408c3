import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, readUint64, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { rowsRead, rowsWritten } from "../testing/rows-read.ts";
import { onStorage, wipe } from "../testing/shard-world.ts";
import { MAX_PARTITIONS, type Partition, wholeFrom } from "./hot-partitions.ts";
import { ECHO, GONE, PENDING_BASE, type ShardStore, type StoredEvent } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const MANY = 1e6;
const LARGE = Number.MAX_SAFE_INTEGER;
const NOTHING = new Uint8Array();

/** Three topics of one bucket, and one of another. */
const KEYS = [1, 2, 3, 0x80].map((last, n) => {
  const key = new Uint8Array(32);
  key[n === 3 ? 0 : 31] = last;
  return key;
});
const timeKeyOf = (ts: number): Bytes => concatBytes(uint64Bytes(BigInt(ts)), new Uint8Array(32).fill(ts));

interface Made {
  readonly topic: number;
  readonly seq: number;
  readonly ts: number;
  readonly class: number;
  readonly bytes: number;
  readonly isGone: boolean;
}

const made: fc.Arbitrary<Made> = fc.record({
  topic: fc.nat({ max: 3 }),
  seq: fc.nat({ max: 9 }),
  ts: fc.nat({ max: 3 }),
  class: fc.integer({ min: 1, max: 3 }),
  bytes: fc.nat({ max: 5 }),
  isGone: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
});

let ids = 0;
function eventOf(each: Made, position: number): StoredEvent {
  const id = concatBytes(uint64Bytes(BigInt(each.seq)), suite.sha256(uint64Bytes(BigInt(++ids))));
  return {
    position,
    topicKey: KEYS[each.topic] as Bytes,
    timeKey: timeKeyOf(each.ts),
    id,
    class: each.class,
    flags: (each.seq % 2 ? ECHO : 0) | (each.isGone ? GONE : 0),
    storedMs: position % 1_000,
    signature: new Uint8Array(64).fill(each.seq),
    block: new Uint8Array(each.bytes + 1).fill(each.topic),
    // Of one envelope, one message.
    message: each.isGone ? null : new Uint8Array(2 * each.ts).fill(each.ts),
  };
}

/** The classes of events here do not follow from their topics. */
const keysOf = (store: ShardStore, number: number, after: Bytes | null, limit: number): string[] =>
  store.partitions.topicsOf(number, after, limit).map(({ topicKey }) => toHex(topicKey));

type Step =
  | { readonly kind: "insert" | "wait" | "fail"; readonly event: Made }
  | { readonly kind: "deliver" | "clear" | "remove" | "drop" | "head" | "unmet"; readonly which: number }
  | { readonly kind: "roll" };

const which = fc.nat({ max: 99 });
const steps = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({ kind: fc.constantFrom("insert", "insert", "wait", "fail"), event: made }),
    },
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constantFrom("deliver", "clear", "remove", "head", "unmet"), which }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("roll" as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("drop" as const), which }) },
  ),
  { minLength: 20, maxLength: 60, size: "max" },
) as fc.Arbitrary<Step[]>;

/** Does the same in several stores. */
class Twins {
  readonly stores: readonly ShardStore[];
  readonly events: StoredEvent[] = [];
  #position = 0;
  #pending = PENDING_BASE;
  #nowMs = 0;

  constructor(stores: readonly ShardStore[]) {
    this.stores = stores;
  }

  #all(work: (store: ShardStore) => void): void {
    for (const store of this.stores) store.transaction(() => work(store));
  }

  insert(each: Made, isDelivered = true): StoredEvent {
    const event = eventOf(each, isDelivered ? ++this.#position : ++this.#pending);
    this.#all((store) => store.insert(event));
    this.events.push(event);
    return event;
  }

  roll(): void {
    this.#nowMs += 10;
    this.#all(({ partitions }) => partitions.roll(this.#nowMs));
  }

  apply(step: Step): void {
    if ("which" in step) this.#change(step.kind, step.which);
    else if (step.kind === "roll") {
      if (this.stores[0]?.partitions.canRoll()) this.roll();
    } else if (step.kind === "fail") this.#fail(step.event);
    else this.insert(step.event, step.kind === "insert");
  }

  /** A transaction that closes a partition, stores and drops, and fails. */
  #fail(each: Made): void {
    const event = eventOf({ ...each, class: 9 }, PENDING_BASE * 1.5);
    for (const store of this.stores) {
      const { partitions } = store;
      const failing = () =>
        store.transaction(() => {
          store.insert(event);
          if (partitions.canRoll()) partitions.roll(1);
          const [first, second] = partitions.all();
          if (second) partitions.drop(first?.number ?? 0);
          throw new Error("the disk is full");
        });
      expect(failing).toThrow("the disk is full");
    }
  }

  #change(kind: Exclude<Step["kind"], "insert" | "wait" | "fail" | "roll">, n: number): void {
    const stored = this.events[n % Math.max(1, this.events.length)];
    const [first] = this.stores as [ShardStore];
    const pending = first.pendingStoredUntil(LARGE, MANY);
    const waiting = pending[n % Math.max(1, pending.length)];
    const closed = first.partitions.all().slice(0, -1);
    const number = closed[n % Math.max(1, closed.length)]?.number;
    if (kind === "deliver" && waiting) {
      const position = ++this.#position;
      this.#all((store) => store.deliver(waiting.position, position, waiting.flags));
    }
    if (kind === "drop" && number !== undefined) this.#all(({ partitions }) => partitions.drop(number));
    if (!stored) return;
    const position = first.positionOf(stored);
    if (kind === "clear" && position) this.#all((store) => store.clearEcho(position));
    if (kind === "remove" && position) this.#all((store) => store.remove(position));
    if (kind === "head") this.#all(({ links }) => links.addHead(stored.topicKey, stored.id));
    if (kind === "unmet") this.#all(({ links }) => links.addUnmet(stored.topicKey, stored.id, stored.id));
  }
}

/** All pages of a reader together. */
function walk<T>(next: (after: T | null) => readonly T[]): T[] {
  const all: T[] = [];
  for (let page = next(null); page.length > 0; page = next(page.at(-1) ?? null)) {
    all.push(...page);
    if (all.length > 1_000) throw new Error("the pages never end");
  }
  return all;
}

function bucketPages({ tree }: ShardStore, bucket: number, limit: number): EventName[] {
  const all: EventName[] = [];
  const [from, to] = [uint64Bytes(2n), uint64Bytes(8n)];
  for (let after: EventName | null = null; all.length < 1_000; ) {
    const { events, next, rows } = tree.pageOfBucket(bucket, from, to, after, limit);
    expect(rows).toBeLessThanOrEqual(limit);
    all.push(...events);
    if (!next) return all;
    after = next;
  }
  throw new Error("the pages never end");
}

/** What a store answers of one topic. */
function aboutTopic(store: ShardStore, topicKey: Bytes) {
  const range = { topicKey, from: timeKeyOf(0), to: timeKeyOf(3), leastId: uint64Bytes(1n) };
  const timePages = [true, false].flatMap((isDescending) =>
    [1, 2, MANY].flatMap((limit) =>
      [0, 6, LARGE].map((maxBytes) => store.timePage({ ...range, isDescending }, limit, maxBytes)),
    ),
  );
  const causal = (after: StoredEvent | null) => store.causalPage(topicKey, after?.id ?? NOTHING, 2, 7);
  return {
    timePages,
    causal: walk(causal),
    gone: [
      store.goneInTime({ ...range, isDescending: false }),
      store.goneInTime({ ...range, from: timeKeyOf(1), isDescending: true }),
      ...[2n, 7n].map((seq) => store.goneInIds(topicKey, uint64Bytes(1n), uint64Bytes(seq))),
    ],
    below: store.tree.blocksBelow(topicKey, uint64Bytes(7n), 4),
    greatest: store.greatest(topicKey),
    linkable: store.links.linkableHeads(topicKey, uint64Bytes(8n), 3),
    envelopes: [0, 1, 2, 3].map((ts) => [
      store.findEnvelope(topicKey, timeKeyOf(ts), uint64Bytes(3n)),
      store.isEnvelopeDelivered(topicKey, timeKeyOf(ts)),
      store.firstDelivered(topicKey, timeKeyOf(ts)),
    ]),
    seqs: [1n, 5n].map((seq) => store.idsWithSeq(topicKey, seq, 2)),
  };
}

/** What a store answers, asked in every way in which partitions are read together. */
function answers(store: ShardStore, events: readonly StoredEvent[]) {
  const { partitions, tree } = store;
  const all = { from: NOTHING, to: null };
  return {
    partitions: partitions.all(),
    contents: partitions
      .all()
      .map(({ number }) =>
        [1, 2, 3, 9].map((classId) =>
          walk((after: StoredEvent | null) => partitions.eventsOf(number, classId, after, 2, 6)),
        ),
      ),
    // Positions of what was dropped, too.
    events: events.map((event) => [
      store.get(event),
      store.outline(event)?.position,
      store.isWithoutMessage(event),
      store.findByDigest(digestOfId(event.id)),
    ]),
    ends: [store.lastPosition(), store.lastPending(), store.firstPendingMs()],
    pending: store.pendingStoredUntil(500, 3).map(({ position }) => position),
    delivered: walk((after: StoredEvent | null) => store.deliveredAfter(after?.position ?? 0, 3, 9)),
    names: walk((after: { position: number } | null) => store.namesAfter(after?.position ?? 0, 2)).length,
    topics: KEYS.map((key) => aboutTopic(store, key)),
    buckets: [0, bucketOf(KEYS[3] as Bytes)].flatMap((bucket) =>
      [2, 3, 5, MANY].map((limit) => bucketPages(store, bucket, limit)),
    ),
    inOrder: walk((after: StoredEvent | null) => tree.eventsOfTopics(all, after, 3, 9)),
    topicKeys: [null, ...KEYS].map((key) => tree.topicAfter(all, key)),
    byPrefix: tree
      .namesByDigestPrefix(new Set(events.slice(0, 5).map(({ id }) => readUint64(id, 8) >> 2n)))
      .map(({ id }) => toHex(id))
      .sort(),
    missing: store.links.missingParents(MANY, null),
  };
}

describe("the partitions of a shard", () => {
  test("are read together as one table would be, in SQLite as in the model, whatever was closed and dropped", () =>
    onStorage((storage) => {
      const check = (history: readonly Step[]) => {
        wipe(storage);
        const [inSql, inModel] = [new SqlShardStore(storage), new MemoryShardStore()];
        const twins = new Twins([inSql, inModel]);
        for (const [n, step] of history.entries()) {
          twins.apply(step);
          if (n % 7 === 0) expect(inSql.partitions.all()).toEqual(inModel.partitions.all());
        }
        const found = answers(inSql, twins.events);
        expect(found).toEqual(answers(inModel, twins.events));
        // Another life knows what this one does.
        expect(answers(new SqlShardStore(storage), twins.events)).toEqual(found);
        for (const { number } of inSql.partitions.all()) {
          expect(inModel.partitions.classesOf(number)).toEqual(inSql.partitions.classesOf(number));
          for (const [after, limit] of [
            [null, MANY],
            [KEYS[1] as Bytes, 1],
          ] as const)
            expect(keysOf(inModel, number, after, limit)).toEqual(keysOf(inSql, number, after, limit));
        }
      };
      fc.assert(fc.property(steps, check), { numRuns: 150 });
    }));

  test.each(["SQLite", "memory"])("end at five, and the open one stays, in %s", (kind) =>
    onStorage((storage) => {
      const store = kind === "SQLite" ? new SqlShardStore(storage) : new MemoryShardStore();
      const { partitions } = store;
      for (let n = 1; n < MAX_PARTITIONS; n++) store.transaction(() => partitions.roll(n));
      expect(partitions.all()).toHaveLength(MAX_PARTITIONS);
      expect(partitions.canRoll()).toBe(false);
      expect(() => store.transaction(() => partitions.roll(9))).toThrow(
        expect.objectContaining({ code: "partitions_full" }),
      );
      expect(() => store.transaction(() => partitions.drop(5))).toThrow(
        expect.objectContaining({ code: "partition_open" }),
      );
      store.transaction(() => partitions.drop(2));
      // Once more changes nothing, after a crash say.
      store.transaction(() => partitions.drop(2));
      store.transaction(() => partitions.roll(10));
      expect(partitions.all().map(({ number }) => number)).toEqual([1, 3, 4, 5, 6]);
      expect(partitions.eventsOf(2, 1, null, 1, 1)).toEqual([]);
      expect(partitions.usedBytes()).toBeGreaterThanOrEqual(0);
    }),
  );

  test("are dropped at no row for each event, also while a page was cut short", () =>
    onStorage((storage) => {
      const store = new SqlShardStore(storage);
      const twins = new Twins([store]);
      const each = { topic: 0, seq: 1, ts: 1, class: 1, bytes: 5, isGone: false };
      for (let n = 0; n < 300; n++) twins.insert({ ...each, seq: n % 10 });
      twins.roll();
      expect(store.deliveredAfter(0, 100, 50)).toHaveLength(6);
      expect(store.causalPage(KEYS[0] as Bytes, NOTHING, 100, 50)).toHaveLength(6);
      expect(
        store.timePage(
          {
            topicKey: KEYS[0] as Bytes,
            from: timeKeyOf(0),
            to: timeKeyOf(3),
            isDescending: false,
            leastId: NOTHING,
          },
          100,
          1,
        ),
      ).toHaveLength(1);
      const written = rowsWritten(storage, () => store.transaction(() => store.partitions.drop(1)));
      // The partition's own row, that of its class, and what the view is.
      expect(written).toBeLessThan(10);
      expect(store.positionOf(twins.events[7] as StoredEvent)).toBeUndefined();
      expect(store.lastPosition()).toBe(300);
      expect(rowsRead(storage, () => store.deliveredAfter(0, 100, LARGE))).toBeLessThan(5);
    }));
});

test.each([
  [
    "nothing was dropped",
    [
      [0, 10],
      [10, 20],
      [20, null],
    ],
    0,
  ],
  [
    "the oldest was dropped",
    [
      [10, 20],
      [20, null],
    ],
    10,
  ],
  [
    "one between was dropped",
    [
      [0, 10],
      [20, 30],
      [30, null],
    ],
    20,
  ],
  ["all but the open one were dropped", [[30, null]], 30],
] as const)(
  "a reader misses nothing from the position behind which all is there, where %s",
  (_, ranges, from) => {
    const partitions = ranges.map(
      ([after, upTo], n): Partition => ({
        number: n + 1,
        after,
        upTo,
        openedMs: 0,
        closedMs: upTo && 1,
        cutAt: 0,
      }),
    );
    expect(wholeFrom(partitions)).toBe(from);
  },
);
