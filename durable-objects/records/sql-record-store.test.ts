import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { SqlUntoldStore } from "../node-state/sql-untold-store.ts";
import { MemoryRecordStore } from "../testing/memory-record-store.ts";
import { MemoryUntoldStore } from "../testing/memory-untold-store.ts";
import { CREATE_RECORDS, SqlRecordStore } from "./sql-record-store.ts";

const bytes = (length: number): fc.Arbitrary<Bytes> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((each) => Uint8Array.from(each));
/** Few, so that they come twice; in the order of bytes, not of text or numbers. */
const ids = [[0], [0, 1], [9], [10], [128], [255], [255, 0]].map((each) => Uint8Array.from(each));

const onStorage = (work: (storage: DurableObjectStorage) => void) =>
  runInDurableObject(env.NODE_STATE.get(env.NODE_STATE.newUniqueId()), (_, { storage }) => work(storage));

describe("the storage of records", () => {
  test("holds what the one in memory does, sorted by id, and over a restart; what is there is not overwritten", () =>
    onStorage((storage) => {
      const record = fc.record({ id: fc.constantFrom(...ids), block: bytes(3), signature: bytes(2) });
      const step = fc.record({ record, isDropped: fc.boolean() });
      storage.sql.exec(CREATE_RECORDS);
      fc.assert(
        fc.property(fc.array(step, { size: "max", maxLength: 30 }), (steps) => {
          storage.sql.exec("DELETE FROM records");
          const [sql, memory] = [new SqlRecordStore(storage.sql), new MemoryRecordStore()];
          for (const each of steps)
            for (const store of [sql, memory])
              if (each.isDropped) store.drop(each.record.id);
              else store.save(each.record);
          expect(sql.all()).toEqual(memory.all());
          storage.sql.exec(CREATE_RECORDS);
          expect(new SqlRecordStore(storage.sql).all()).toEqual(memory.all());
        }),
        { numRuns: 60 },
      );
    }));
});

describe("the storage of who is not told yet", () => {
  test("holds what the one in memory does, and over a restart", () =>
    onStorage((storage) => {
      const names = fc.array(fc.constantFrom("sync", "shard-0", "shard-1", "shard-10", "shard-2"), {
        maxLength: 4,
      });
      const step = fc.record({ names, isRemoved: fc.boolean() });
      fc.assert(
        fc.property(fc.array(step, { size: "max", maxLength: 20 }), (steps) => {
          const [sql, memory] = [new SqlUntoldStore(storage.sql), new MemoryUntoldStore()];
          storage.sql.exec("DELETE FROM untold_records");
          for (const { names: some, isRemoved } of steps)
            for (const store of [sql, memory])
              if (isRemoved) for (const name of some) store.removeUntold(name);
              else store.addUntold(some);
          expect(sql.untold()).toEqual(memory.untold());
          expect(new SqlUntoldStore(storage.sql).untold()).toEqual(memory.untold());
        }),
        { numRuns: 60 },
      );
    }));
});
