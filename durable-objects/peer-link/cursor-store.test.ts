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
