import { describe, expect, test } from "vitest";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryHistoryStore } from "../testing/memory-history-store.ts";
import { onStorage, START_MS } from "../testing/shard-world.ts";
import { HistoryKeeper, type HistoryStore, type LinkHistory, NO_HISTORY } from "./link-history.ts";
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
          ...NO_HISTORY,
          lastSync: { atMs: START_MS, report: reportOf("different") },
          lastPull: { atMs: START_MS + 5, received: 7 },
        };
        expect(keeper.history).toEqual(expected);
        expect(new HistoryKeeper(store, clock).history).toEqual(expected);
      }
    }));

  test("tells since when the peer fails, and how it refuses, in the next life too", () =>
    onStorage((storage) => {
      for (const store of [new MemoryHistoryStore(), new SqlHistoryStore(storage)]) {
        const clock = new ManualClock(START_MS);
        const keeper = new HistoryKeeper(store, clock);
        keeper.answered();
        clock.step(START_MS + MINUTE_MS);
        keeper.failed(null);
        clock.step(START_MS + 2 * MINUTE_MS);
        keeper.failed("not_a_member");
        const refused = {
          lastAnsweredMs: START_MS,
          downSinceMs: START_MS + MINUTE_MS,
          refusal: "not_a_member",
        };
        for (const each of [keeper, new HistoryKeeper(store, clock)])
          expect(each.history).toMatchObject(refused);
        const next = new HistoryKeeper(store, clock);
        clock.step(START_MS + 3 * MINUTE_MS);
        next.heard();
        expect(next.history).toMatchObject(refused);
        next.failed(null);
        next.heard();
        const up = { lastAnsweredMs: START_MS, downSinceMs: null, refusal: null };
        for (const each of [next, new HistoryKeeper(store, clock)]) expect(each.history).toMatchObject(up);
        next.answered();
        expect(next.history.lastAnsweredMs).toBe(START_MS + 3 * MINUTE_MS);
      }
    }));

  test("of a peer that comes and goes costs two rows a minute at most, and of one that stays away one", () => {
    const store = new MemoryHistoryStore();
    const clock = new ManualClock(START_MS);
    const keeper = new HistoryKeeper(store, clock);
    for (let second = 0; second < 600; second++) {
      clock.step(START_MS + second * 1_000);
      keeper.failed(null);
      keeper.answered();
    }
    expect(store.writes).toBe(20);
    const before = store.writes;
    for (let minute = 10; minute < 600; minute++) {
      clock.step(START_MS + minute * MINUTE_MS);
      keeper.failed(null);
    }
    expect(store.writes - before).toBe(1);
    expect(new HistoryKeeper(store, clock).history.downSinceMs).toBe(START_MS + 10 * MINUTE_MS);
  });

  test("of an earlier version, which knew less, is read", () => {
    const store = new MemoryHistoryStore();
    const { lastSync, lastPull } = NO_HISTORY;
    store.saveHistory({ lastSync, lastPull } as LinkHistory);
    expect(new HistoryKeeper(store, new ManualClock(START_MS)).history).toEqual(NO_HISTORY);
  });

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
