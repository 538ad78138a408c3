import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { MemorySyncStore } from "../testing/memory-sync-store.ts";
import { onSyncStorage } from "../testing/sync-world.ts";
import { SqlSyncStore } from "./sql-sync-store.ts";
import type { StoredHandOver, SyncStore } from "./sync-store.ts";

const bytes: fc.Arbitrary<Bytes> = fc.uint8Array({ maxLength: 9 }).map((each) => Uint8Array.from(each));
const shard = fc.nat({ max: 3 });
/** A shard has always the same parts. */
const handOver: fc.Arbitrary<StoredHandOver> = fc.record({
  shard,
  asOf: fc.nat({ max: 0xffffffff }),
  parts: fc
    .tuple(bytes, bytes)
    .map(([first, second]) => [first, second].map((records, part) => ({ part, records }))),
  sketches: fc.record({ newest: bytes, previous: bytes }),
});
/** Also that of a shard that nothing ever changes. */
const number = fc.oneof(fc.nat({ max: 9 }), fc.constantFrom(0, Number.MAX_SAFE_INTEGER));

type Write = (store: SyncStore) => void;
const write: fc.Arbitrary<Write> = fc.oneof(
  fc.tuple(shard, number).map(
    ([at, due]): Write =>
      (store) =>
        store.saveDueAsOf(at, due),
  ),
  handOver.map(
    (each): Write =>
      (store) =>
        store.saveHandOver(each),
  ),
  fc.tuple(shard, number).map(
    ([at, timeMs]): Write =>
      (store) =>
        store.saveScrubbedMs(at, timeMs),
  ),
  bytes.map(
    (summary): Write =>
      (store) =>
        store.saveSummary(summary),
  ),
);
const transactions = fc.array(
  fc.record({ writes: fc.array(write, { maxLength: 5 }), isFailing: fc.boolean() }),
  { maxLength: 12 },
);

const contents = (store: SyncStore) => ({
  dueAsOfs: [...store.dueAsOfs()].sort(),
  handOvers: [...store.handOvers()],
  scrubbedMs: [...store.scrubbedMs()].sort(),
  summary: store.summary(),
});

function wipe({ sql }: DurableObjectStorage): void {
  for (const table of ["shards", "hand_overs", "parts", "scrubs", "summary"])
    sql.exec(`DELETE FROM ${table}`);
}

describe("the sync object's storage", () => {
  test("holds what was written in transactions that did not fail, as the one in memory does, and over a restart", () =>
    onSyncStorage((storage) => {
      fc.assert(
        fc.property(transactions, (all) => {
          wipe(storage);
          const [sql, memory] = [new SqlSyncStore(storage), new MemorySyncStore()];
          for (const { writes, isFailing } of all) {
            for (const store of [sql, memory]) {
              const work = () =>
                store.transaction(() => {
                  for (const each of writes) each(store);
                  if (isFailing) throw new Error("no room");
                  return writes.length;
                });
              if (isFailing) expect(work).toThrow("no room");
              else expect(work()).toBe(writes.length);
            }
            expect(contents(sql)).toEqual(contents(memory));
          }
          expect(contents(new SqlSyncStore(storage))).toEqual(contents(memory));
        }),
        { numRuns: 60 },
      );
    }));

  test("is empty at first", () =>
    onSyncStorage((storage) => {
      const empty = { dueAsOfs: [], handOvers: [], scrubbedMs: [], summary: undefined };
      expect(contents(new SqlSyncStore(storage))).toEqual(empty);
    }));

  test("writes no row for roots and times that are as they were", () =>
    onSyncStorage((storage) => {
      const store = new SqlSyncStore(storage);
      const exec = storage.sql.exec.bind(storage.sql);
      let rows = 0;
      vi.spyOn(storage.sql, "exec").mockImplementation((query, ...bindings: SqlStorageValue[]) => {
        const cursor = exec(query, ...bindings);
        rows += cursor.rowsWritten;
        return cursor as never;
      });
      const rowsOf = (work: () => void) => {
        rows = 0;
        work();
        return rows;
      };
      const sketches = { newest: new Uint8Array(3), previous: new Uint8Array(3) };
      const partsOf = (...fills: number[]) =>
        fills.map((fill, part) => ({ part, records: new Uint8Array(75).fill(fill) }));
      const save = (asOf: number, ...fills: number[]) =>
        store.saveHandOver({ shard: 2, asOf, parts: partsOf(...fills), sketches });
      expect(rowsOf(() => save(5, 1, 2, 3))).toBe(4);
      expect(rowsOf(() => save(6, 1, 9, 3))).toBe(2);
      expect(rowsOf(() => save(7, 1, 9, 3))).toBe(1);
      expect(rowsOf(() => store.saveDueAsOf(2, 9))).toBe(1);
      expect(rowsOf(() => store.saveDueAsOf(2, 9))).toBe(0);
      expect(rowsOf(() => store.saveDueAsOf(2, 8))).toBe(1);
      vi.restoreAllMocks();
    }));

  test("reads sketches one by one, when they are looked at", () =>
    onSyncStorage((storage) => {
      const store = new SqlSyncStore(storage);
      const sketches = { newest: new Uint8Array(32_768), previous: new Uint8Array(32_768) };
      for (let n = 0; n < 20; n++) store.saveHandOver({ shard: n, asOf: 5, parts: [], sketches });
      const read = vi.spyOn(storage.sql, "exec");
      const sketchReads = () => read.mock.calls.filter(([query]) => query.includes("newest")).length;
      for (const { shard: at, sketches: some } of store.handOvers()) {
        expect(some).toEqual(sketches);
        expect(sketchReads()).toBe(at + 1);
      }
      read.mockClear();
      expect([...store.handOvers()].map(({ asOf }) => asOf)).toEqual(Array(20).fill(5));
      expect(sketchReads()).toBe(0);
      vi.restoreAllMocks();
    }));
});
