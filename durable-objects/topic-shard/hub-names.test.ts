import * as fc from "fast-check";
import { expect, test } from "vitest";
import { MemoryHubNames } from "../testing/memory-hub-names.ts";
import { onStorage } from "../testing/shard-world.ts";
import { SqlHubNames } from "./sql-hub-names.ts";

const step = fc.record({ isAdded: fc.boolean(), name: fc.nat({ max: 4 }).map((n) => `hub-${n}`) });

test("hubs' names are added once and removed, in SQLite as in memory", () =>
  onStorage((storage) => {
    const sql = new SqlHubNames(storage);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (trace) => {
        storage.sql.exec("DELETE FROM hubs");
        const memory = new MemoryHubNames();
        for (const { isAdded, name } of trace) {
          for (const names of [sql, memory]) isAdded ? names.add(name) : names.remove(name);
          expect(memory.all().includes(name)).toBe(isAdded);
          expect(new SqlHubNames(storage).all()).toEqual(memory.all());
        }
      }),
    );
  }));
