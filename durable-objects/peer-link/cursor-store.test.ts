import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MemoryCursorStore } from "../testing/memory-cursor-store.ts";
import { onStorage } from "../testing/shard-world.ts";
import { SqlCursorStore } from "./sql-cursor-store.ts";

const cursor = fc.record({
  shard: fc.nat({ max: 3 }),
  generation: fc.nat({ max: 2 }).map((fill) => new Uint8Array(8).fill(fill)),
  position: fc.nat({ max: 3 }),
});

test("cursors are kept by shard, and only what moved is written: in SQLite as in memory", () =>
  onStorage((storage) => {
    const sql = new SqlCursorStore(storage);
    fc.assert(
      fc.property(fc.array(cursor, { maxLength: 20 }), (trace) => {
        storage.sql.exec("DELETE FROM cursors");
        const memory = new MemoryCursorStore();
        for (const each of trace) {
          const before = memory.all().find(({ shard }) => shard === each.shard);
          const hasMoved = memory.keep(each);
          expect(hasMoved).toBe(JSON.stringify(before) !== JSON.stringify(each));
          expect(sql.keep(each)).toBe(hasMoved);
          expect(new SqlCursorStore(storage).all()).toEqual(memory.all());
        }
      }),
    );
  }));

test("when the newest own events were asked for last is 0 at first, and known over a restart", () =>
  onStorage((storage) => {
    for (const store of [new SqlCursorStore(storage), new MemoryCursorStore()]) {
      expect(store.askedNewestMs()).toBe(0);
      for (const timeMs of [5, 1_800_000_000_000]) {
        store.saveAskedNewestMs(timeMs);
        expect(store.askedNewestMs()).toBe(timeMs);
      }
    }
    expect(new SqlCursorStore(storage).askedNewestMs()).toBe(1_800_000_000_000);
  }));
