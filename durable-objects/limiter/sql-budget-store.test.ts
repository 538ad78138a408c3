import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { MemoryBudgetStore } from "../testing/memory-budget-store.ts";
import type { BudgetStore } from "./budget-store.ts";
import type { WalletStanding } from "./limiter-api.ts";
import { SqlBudgetStore } from "./sql-budget-store.ts";

const DAYS = [20_780, 20_781];
const KEYS: readonly Bytes[] = [
  Uint8Array.of(1),
  Uint8Array.of(1, 0),
  Uint8Array.of(1, 255),
  Uint8Array.of(2),
  Uint8Array.of(2, 9),
  Uint8Array.of(3, 0, 0),
];

type Write = (store: BudgetStore) => void;
const day = fc.constantFrom(...DAYS);
const key = fc.constantFrom(...KEYS);
const bucket = fc.record({
  units: fc.oneof(fc.integer({ min: -1_000_000, max: 1_000_000 }), fc.constantFrom(0.1, 1 / 3, -0.7)),
  atMs: fc.integer({ min: 0, max: 4 }),
});
const standing = fc.constantFrom<WalletStanding>("none", "listed", "denied");
const write: fc.Arbitrary<Write> = fc.oneof(
  fc.tuple(day, fc.nat({ max: 255 })).map(
    ([at, secret]): Write =>
      (store) => {
        if (!store.days().includes(at)) store.beginDay(at, new Uint8Array(32).fill(secret));
      },
  ),
  {
    weight: 1,
    arbitrary: day.map(
      (at): Write =>
        (store) =>
          store.endDay(at),
    ),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(day, key, bucket).map(
      ([at, name, each]): Write =>
        (store) => {
          if (store.days().includes(at)) store.saveBucket(at, name, each);
        },
    ),
  },
  fc.tuple(day, fc.nat({ max: 3 }), fc.integer({ min: 0, max: 5 })).map(
    ([at, first, beforeMs]): Write =>
      (store) => {
        if (store.days().includes(at)) store.dropBuckets(at, first, beforeMs);
      },
  ),
  fc.tuple(key, standing).map(
    ([name, each]): Write =>
      (store) =>
        store.saveStanding(name, each),
  ),
);

const contents = (store: BudgetStore) => ({
  days: store.days().map((at) => ({
    at,
    secret: store.secretOf(at),
    buckets: KEYS.map((name) => store.bucket(at, name)),
    counts: [0, 1, 3, 100].map((most) => store.countBuckets(at, most)),
  })),
  noDays: DAYS.filter((at) => !store.days().includes(at)).map((at) => store.secretOf(at)),
  standings: KEYS.map((name) => store.standing(name)),
});

const onStorage = (work: (storage: DurableObjectStorage) => void) =>
  runInDurableObject(env.LIMITER.get(env.LIMITER.newUniqueId()), (_, { storage }) => work(storage));

function wipe(storage: DurableObjectStorage): void {
  const store = new SqlBudgetStore(storage);
  for (const at of store.days()) store.endDay(at);
  storage.sql.exec("DELETE FROM wallets");
}

describe("the limiter's storage", () => {
  test("holds what the one in memory does, and over a restart", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(fc.array(write, { size: "max", maxLength: 40 }), (writes) => {
          wipe(storage);
          const [sql, memory] = [new SqlBudgetStore(storage), new MemoryBudgetStore()];
          for (const each of writes) for (const store of [sql, memory]) each(store);
          expect(contents(sql)).toEqual(contents(memory));
          expect(contents(new SqlBudgetStore(storage))).toEqual(contents(memory));
        }),
        { numRuns: 200 },
      );
    }));

  test("takes back a transaction that fails, with the day that it began", () =>
    onStorage((storage) => {
      const store = new SqlBudgetStore(storage);
      store.beginDay(20_780, new Uint8Array(32));
      store.saveBucket(20_780, Uint8Array.of(1), { units: 5, atMs: 1 });
      const work = () =>
        store.transaction(() => {
          store.beginDay(20_781, new Uint8Array(32));
          store.saveBucket(20_780, Uint8Array.of(1), { units: 4, atMs: 2 });
          store.endDay(20_780);
          throw new Error("no room");
        });
      expect(work).toThrow("no room");
      expect(store.days()).toEqual([20_780]);
      expect(store.bucket(20_780, Uint8Array.of(1))).toEqual({ units: 5, atMs: 1 });
      expect(store.transaction(() => 7)).toBe(7);
    }));

  test("leaves nothing of a day that has ended: neither its secret nor a table", () =>
    onStorage((storage) => {
      const store = new SqlBudgetStore(storage);
      const tables = () =>
        storage.sql
          .exec<{ name: string }>("SELECT name FROM sqlite_schema WHERE name LIKE 'budgets%'")
          .toArray().length;
      store.beginDay(20_780, new Uint8Array(32));
      store.saveBucket(20_780, Uint8Array.of(1), { units: 5, atMs: 1 });
      expect(tables()).toBe(1);
      store.endDay(20_780);
      expect(tables()).toBe(0);
      expect(store.secretOf(20_780)).toBeUndefined();
    }));

  test("takes nothing for a day that is none", () =>
    onStorage((storage) => {
      const store = new SqlBudgetStore(storage);
      for (const none of [-1, 1.5, Number.NaN, 2 ** 53])
        expect(() => store.bucket(none, Uint8Array.of(1))).toThrow(RangeError);
    }));
});
