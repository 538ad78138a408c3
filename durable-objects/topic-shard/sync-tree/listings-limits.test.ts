import { describe, expect, test, vi } from "vitest";
import { compareBytes, toHex } from "../../../protocol/bytes.ts";
import type { EventName } from "../../../protocol/peer-messages.ts";
import { placeOfSymbol, SYMBOL_BYTES, symbolOf } from "../../../protocol/sketch-symbol.ts";
import { decodeSlotsAnswer, encodeSlotsAnswer } from "../../../protocol/sync-codec.ts";
import { type AskedSlots, MAX_LISTED_IDS } from "../../../protocol/sync-messages.ts";
import { slotGroupOf } from "../../../protocol/sync-tree.ts";
import { ListedShard } from "../../testing/listed-shard.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import type { RawEvent } from "../../testing/raw-events.ts";
import { rowsRead } from "../../testing/rows-read.ts";
import { onStorage } from "../../testing/shard-world.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import type { NamePage } from "./listings.ts";

const AS_OF = 6_500;
const BUCKET = 6;
const AT = { bucket: BUCKET, class: 7 };

/** So many events of three topics in one slot. */
const dense = (count: number, slot = AS_OF - 2): RawEvent[] =>
  Array.from({ length: count }, (_, n) => ({ bucket: BUCKET, topic: n % 3, slot, class: 7, n }));

const onShard = (events: readonly RawEvent[], work: (shard: ListedShard, sql: SqlStorage) => void) =>
  onStorage((storage) => work(new ListedShard(new SqlShardStore(storage), events, AS_OF), storage.sql));

const idsOf = (names: readonly EventName[]) => names.map(({ topicKey, id }) => toHex(topicKey) + toHex(id));
const sorted = ({ stored }: ListedShard) =>
  idsOf(stored.toSorted((a, b) => compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id)));

describe("a slot with more ids than one answer lists", () => {
  test("is listed in several, each within what is read from the wire, nothing lost and nothing doubled", () =>
    onShard(dense(20_000), (shard) => {
      const counts: number[] = [];
      const found: string[] = [];
      let part: AskedSlots = { ...AT, groups: [slotGroupOf(AS_OF - 2)], slots: [], place: null };
      while (counts.length < 9) {
        const { slots, next } = shard.listings.differingSlots(part, AS_OF, MAX_LISTED_IDS);
        const answer = { slots, next: next && { part: 0, ...next } };
        expect(decodeSlotsAnswer(encodeSlotsAnswer(answer))).toEqual(answer);
        const names = slots.flatMap(({ topics }) =>
          topics.flatMap(({ topicKey, ids }) => ids.map((id) => ({ topicKey, id }))),
        );
        counts.push(names.length);
        found.push(...idsOf(names));
        if (!next) break;
        part = { ...part, place: next };
      }
      expect(counts).toEqual([8_192, 8_192, 3_616]);
      expect(found).toEqual(sorted(shard));
    }));

  test("that arrive while it is being listed come where they belong: what was to be listed still is, once", () =>
    onShard(dense(9_000), (shard) => {
      const before = sorted(shard);
      const part: AskedSlots = { ...AT, groups: [slotGroupOf(AS_OF - 2)], slots: [], place: null };
      const first = shard.listings.differingSlots(part, AS_OF, MAX_LISTED_IDS);
      shard.insertLate(dense(12_000).slice(9_000));
      const second = shard.listings.differingSlots({ ...part, place: first.next }, AS_OF, MAX_LISTED_IDS);
      const listed = [first, second].flatMap(({ slots }) =>
        slots.flatMap(({ topics }) =>
          topics.flatMap(({ topicKey, ids }) => ids.map((id) => ({ topicKey, id }))),
        ),
      );
      const texts = idsOf(listed);
      const seen = new Set(texts);
      expect(seen.size).toBe(texts.length);
      expect(before.filter((name) => !seen.has(name))).toEqual([]);
      expect(second.next).toBeNull();
    }));
});

test("the names of a large bucket come 8,192 at a time, each read once, nothing lost and nothing doubled", () =>
  onShard(dense(20_000), (shard, sql) => {
    let rows = 0;
    const found: string[] = [];
    const counts: number[] = [];
    for (let after: EventName | null = null; counts.length < 9; ) {
      let page: NamePage = { names: [], next: null };
      rows += rowsRead({ sql }, () => {
        page = shard.listings.names(AT, AS_OF, after);
      });
      const { names, next } = page;
      counts.push(names.length);
      found.push(...idsOf(names));
      if (!next) break;
      after = next;
    }
    expect(counts).toEqual([8_192, 8_192, 3_616]);
    expect(found).toEqual(sorted(shard));
    // A walk reads up to 1,024 rows ahead of where a page ends.
    expect(rows).toBeLessThan(20_100 + 2 * 1_024);
  }));

test("a symbol of the last slot that there is stands for nothing", () =>
  onShard(dense(1), (shard) => {
    const symbol = new Uint8Array(SYMBOL_BYTES).fill(255);
    expect(placeOfSymbol(symbol).slot).toBe(2 ** 22 - 1);
    expect(shard.listings.bySymbols([symbol])).toEqual([]);
  }));

describe("a page of a range", () => {
  const question = { asOf: AS_OF, class: null, fromBucket: 0, toBucket: 4_096, after: null };

  test("has at most 4,096 events", () =>
    onShard(dense(9_000), (shard) => {
      const pages: number[] = [];
      for (let after: EventName | null = null; pages.length < 9; ) {
        const { events, next }: ReturnType<typeof shard.listings.range> = shard.listings.range({
          ...question,
          after,
        });
        pages.push(events.length);
        if (!next) break;
        after = next;
      }
      expect(pages.slice(0, 2)).toEqual([4_096, 4_096]);
      expect(pages.reduce((sum, count) => sum + count, 0)).toBe(9_000);
    }));

  test("ends after 8,192 rows that are not of the range, and the next goes on behind them", () =>
    onShard([...dense(9_000, AS_OF + 1), { ...dense(1)[0], topic: 15, n: 10_000 } as RawEvent], (shard) => {
      const first = shard.listings.range(question);
      expect(first.events).toEqual([]);
      expect(first.next).not.toBeNull();
      const second = shard.listings.range({ ...question, after: first.next });
      expect([second.events.length, second.next]).toEqual([1, null]);
    }));
});

describe("a bucket of many topics", () => {
  const TOPICS = 1_500;
  const events = Array.from({ length: TOPICS }, (_, n) => ({
    ...{ bucket: BUCKET, topic: n, slot: AS_OF - 300 + (n % 299), class: 7 },
    n,
  }));

  test("is read a few times for all slots that differ, and says what was looked at", () =>
    onShard(events, (shard, sql) => {
      const groups = Array.from({ length: 6 }, (_, n) => slotGroupOf(AS_OF) - n);
      let found: string[] = [];
      let looked = 0;
      const rows = rowsRead({ sql }, () => {
        const part = { ...AT, groups, slots: [], place: null };
        const answer = shard.listings.differingSlots(part, AS_OF, MAX_LISTED_IDS);
        found = answer.slots.flatMap(({ topics }) =>
          topics.flatMap(({ topicKey, ids }) => idsOf(ids.map((id) => ({ topicKey, id })))),
        );
        looked = answer.rows;
      });
      expect(found.toSorted()).toEqual(sorted(shard).toSorted());
      expect(rows).toBeLessThan(15 * TOPICS);
      expect(looked).toBeGreaterThan(2 * TOPICS);
    }));

  test("is read once for all symbols that are looked for slot by slot", () =>
    onStorage((storage) => {
      const shard = new ListedShard(new SqlShardStore(storage), events, AS_OF, 10_000);
      const symbols = shard.stored.map(({ id }) => symbolOf(BUCKET, id));
      const rows = rowsRead(storage, () => expect(shard.listings.bySymbols(symbols)).toHaveLength(TOPICS));
      expect(rows).toBeLessThan(8 * TOPICS);
    }));
});

test("a page of a slot has 8,192 ids at most", () =>
  onShard(dense(9_000), async (shard) => {
    const whole = { after: null, upTo: null };
    const first = shard.listings.idsOfSlot(AT, AS_OF - 2, whole, MAX_LISTED_IDS);
    const second = shard.listings.idsOfSlot(AT, AS_OF - 2, { ...whole, after: first.next }, MAX_LISTED_IDS);
    const listed = [first, second].flatMap(({ topics }) =>
      topics.flatMap(({ topicKey, ids }) => idsOf(ids.map((id) => ({ topicKey, id })))),
    );
    expect(listed).toEqual(sorted(shard));
    expect(second.next).toBeNull();
  }));

test("a bucket is large as of the slot before, too: what has just left the range is listed by slot groups", () => {
  // The class of 8 slots: its range has the five below.
  const full = { bucket: BUCKET, topic: 1, slot: AS_OF - 6, class: 1 };
  const shard = new ListedShard(
    new MemoryShardStore(),
    [...Array.from({ length: 600 }, (_, n) => ({ ...full, n })), { ...full, slot: AS_OF - 2, n: 600 }],
    AS_OF,
  );
  const at = { bucket: BUCKET, class: 1 };
  expect(shard.listings.bucket(at, AS_OF - 1, "shortest").kind).toBe("groups");
  expect(shard.listings.bucket(at, AS_OF, "shortest")).toMatchObject({
    kind: "ids",
    topics: [{ ids: [{}] }],
  });
});

test("a bucket that has grown since its roots were computed is listed by slot groups", () =>
  onShard(dense(500), (shard) => {
    expect(shard.listings.bucket(AT, AS_OF, "shortest").kind).toBe("ids");
    shard.insertLate(dense(520).slice(500));
    expect(shard.listings.bucket(AT, AS_OF, "shortest").kind).toBe("groups");
  }));

test("a slot is read once for all symbols that name it", () =>
  onShard(dense(400), (shard, sql) => {
    const symbols = shard.stored.map(({ id }) => symbolOf(BUCKET, id));
    const read = vi.spyOn(sql, "exec");
    expect(shard.listings.bySymbols(symbols)).toHaveLength(400);
    expect(read).toHaveBeenCalledTimes(1);
    vi.restoreAllMocks();
  }));
