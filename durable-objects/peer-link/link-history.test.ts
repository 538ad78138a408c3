import { describe, expect, test } from "vitest";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryHistoryStore } from "../testing/memory-history-store.ts";
import { onStorage, START_MS } from "../testing/shard-world.ts";
import { HistoryKeeper, type HistoryStore, NO_HISTORY } from "./link-history.ts";
import type { SyncReport } from "./reconciliation.ts";
import { SqlHistoryStore } from "./sql-history-store.ts";

const MINUTE_MS = 60_000;
const reportOf = (outcome: SyncReport["outcome"]): SyncReport => ({
  outcome,
  asOf: 1,
  roundTrips: 1,
  requests: 1,
  bytesSent: 2,
  bytesReceived: 3,
  received: 0,
  sent: 0,
});

describe("a link's history", () => {
  test("is what was done last, at once in memory and, where something moved, in the next life", () =>
    onStorage((storage) => {
      const stores: HistoryStore[] = [new MemoryHistoryStore(), new SqlHistoryStore(storage)];
      for (const store of stores) {
        const clock = new ManualClock(START_MS);
        const keeper = new HistoryKeeper(store, clock);
        expect(keeper.history).toEqual(NO_HISTORY);
        keeper.synced(reportOf("different"));
        clock.step(START_MS + 5);
        keeper.pulled(7);
        const expected = {
          lastSync: { atMs: START_MS, report: reportOf("different") },
          lastPull: { atMs: START_MS + 5, received: 7 },
        };
        expect(keeper.history).toEqual(expected);
        expect(new HistoryKeeper(store, clock).history).toEqual(expected);
      }
    }));

  test("of an idle peer costs a row an hour", () => {
    const store = new MemoryHistoryStore();
    const clock = new ManualClock(START_MS);
    const keeper = new HistoryKeeper(store, clock);
    keeper.synced(reportOf("same"));
    const before = store.writes;
    for (let minute = 1; minute <= 600; minute++) {
      clock.step(START_MS + minute * MINUTE_MS);
      keeper.pulled(0);
      keeper.synced(reportOf("same"));
      expect(keeper.history.lastSync?.atMs).toBe(clock.nowMs());
    }
    expect(store.writes - before).toBe(10);
    keeper.synced(reportOf("partial"));
    keeper.synced(reportOf("same"));
    expect(store.writes - before).toBe(12);
  });
});
