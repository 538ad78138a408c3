import { describe, expect, test } from "vitest";
import { MemoryConductStore } from "../durable-objects/testing/memory-conduct-store.ts";
import { MemoryCursorStore } from "../durable-objects/testing/memory-cursor-store.ts";
import { MemoryEvidenceStore } from "../durable-objects/testing/memory-evidence-store.ts";
import { MemoryHistoryStore } from "../durable-objects/testing/memory-history-store.ts";
import { MemoryHubNames } from "../durable-objects/testing/memory-hub-names.ts";
import { MemoryShardStore } from "../durable-objects/testing/memory-shard-store.ts";
import { MemorySyncStore } from "../durable-objects/testing/memory-sync-store.ts";
import { MemoryUntoldStore } from "../durable-objects/testing/memory-untold-store.ts";
import { Disk } from "./disk.ts";
import { GuardedStore } from "./guarded-store.ts";
import { isOfDeadLife, Life, LifeIsOver } from "./life.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { StorageFaults } from "./storage-faults.ts";
import * as methods from "./store-methods.ts";

const methodsOf = (store: object): string[] =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(store)).filter(
    (name) => name !== "constructor" && typeof Reflect.get(store, name) === "function",
  );

describe("the stores of a node", () => {
  const stores = [
    ["shard", new MemoryShardStore(), methods.SHARD_METHODS],
    ["partitions", new MemoryShardStore().partitions, methods.PARTITION_METHODS],
    ["tree", new MemoryShardStore().tree, methods.TREE_METHODS],
    ["links", new MemoryShardStore().links, methods.LINK_METHODS],
    ["removed", new MemoryShardStore().removed, methods.REMOVED_METHODS],
    ["sealed", new MemoryShardStore().sealed, methods.SEALED_METHODS],
    ["records", new MemoryShardStore().records, methods.RECORD_METHODS],
    ["untold", new MemoryUntoldStore(), methods.UNTOLD_METHODS],
    ["names", new MemoryHubNames(), methods.NAME_METHODS],
    ["sync", new MemorySyncStore(), methods.SYNC_METHODS],
    ["cursors", new MemoryCursorStore(), methods.CURSOR_METHODS],
    ["history", new MemoryHistoryStore(), methods.HISTORY_METHODS],
    ["conduct", new MemoryConductStore(), methods.CONDUCT_METHODS],
    ["evidence", new MemoryEvidenceStore(), methods.EVIDENCE_METHODS],
  ] as const;
  test.each(stores)("have no method that the simulation does not know: %s", (_, store, { reads, writes }) => {
    const known = new Set([...reads, ...Object.keys(writes), "transaction"]);
    expect(methodsOf(store).filter((name) => !known.has(name))).toEqual([]);
  });
});

/** A store of a list, with a transaction. */
class ListStore {
  readonly list: number[] = [];

  transaction<T>(work: () => T): T {
    const before = [...this.list];
    try {
      return work();
    } catch (error) {
      this.list.splice(0, this.list.length, ...before);
      throw error;
    }
  }

  add(number: number): void {
    this.list.push(number);
  }

  all(): number[] {
    return [...this.list];
  }
}

function scene() {
  const scheduler = new Scheduler(0, 1_000, () => {});
  const disk = new Disk(() => new ListStore(), scheduler, new Random("guarded"));
  const faults = new StorageFaults(() => {});
  const life = new Life("shard", scheduler);
  const commits: string[][] = [];
  const guarded = new GuardedStore(disk, {
    check: () => life.check(),
    step: (point) => faults.step(life.name, point),
    committed: (writes) => commits.push(writes.map(({ args }) => String(args[0]))),
  });
  const store = guarded.view<ListStore>((state) => state, { reads: ["all"], writes: { add: null } });
  const crash = () => {
    life.end();
    disk.crash();
  };
  return { disk, faults, life, commits, store, crash, scheduler };
}

describe("a guarded store", () => {
  test("commits a transaction as one, and a write of its own as another", () => {
    const { store, commits, disk } = scene();
    store.transaction(() => {
      store.add(1);
      store.transaction(() => store.add(2));
    });
    store.add(3);
    expect(store.all()).toEqual([1, 2, 3]);
    expect(commits).toEqual([["1", "2"], ["3"]]);
    expect(disk.commits).toBe(2);
  });

  test("leaves nothing of a transaction that failed, at once or after a crash", () => {
    const { store, commits, crash, disk, faults } = scene();
    faults.failWrites("shard", 1);
    expect(() => store.transaction(() => store.add(1))).toThrow("injected");
    expect(() =>
      store.transaction(() => {
        store.add(2);
        throw new Error("no");
      }),
    ).toThrow("no");
    expect([store.all(), commits]).toEqual([[], []]);
    crash();
    expect(disk.state.all()).toEqual([]);
  });

  test.each([
    ["write", []],
    ["committed", [1, 2]],
  ] as const)("can crash at %s, and is dead then", (point, most) => {
    const { store, disk, faults, crash, life } = scene();
    faults.set({ point, object: "shard", left: point === "write" ? 1 : 0, spring: crash });
    const write = () =>
      store.transaction(() => {
        store.add(1);
        store.add(2);
      });
    expect(write).toThrow(LifeIsOver);
    expect(life.isOver).toBe(true);
    expect([[], most]).toContainEqual(disk.state.all());
    for (const call of [() => store.all(), () => store.add(3), () => store.transaction(() => {})])
      expect(call).toThrow(LifeIsOver);
    expect(disk.state.all()).not.toContain(3);
  });

  test("refuses a method that it does not know", () => {
    const { store } = scene();
    expect(() => (store as unknown as { clear(): void }).clear()).toThrow("does not know the method clear");
  });
});

describe("a life", () => {
  test("has timers and answers only while it lasts", async () => {
    const { life, scheduler } = scene();
    const seen: string[] = [];
    life.clock(() => 60_000).after(10, () => seen.push("early"));
    life.clock(() => 0).after(20, () => seen.push("late"));
    expect(life.clock(() => 60_000).nowMs()).toBe(60_000);
    scheduler.at(15, "crash", () => life.end());
    await scheduler.runUntil(100);
    expect(seen).toEqual(["early"]);
    expect(life.overMs).toBe(15);
  });

  test("is known in what others say of it", () => {
    expect(isOfDeadLife(new LifeIsOver("shard"))).toBe(true);
    const told = Object.assign(new Error("write failed"), { data: { why: new LifeIsOver("shard").message } });
    expect(isOfDeadLife(told)).toBe(true);
    expect(isOfDeadLife(new Error("other"))).toBe(false);
  });
});
