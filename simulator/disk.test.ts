import { beforeEach, describe, expect, test } from "vitest";
import { Disk } from "./disk.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";

/** A disk with a list of numbers, and a value that is written over. */
interface State {
  readonly list: number[];
  value: number;
}

let scheduler: Scheduler;
beforeEach(() => {
  scheduler = new Scheduler(0, 10_000, () => {});
});

const diskOf = (name: string) => new Disk<State>(() => ({ list: [], value: 0 }), scheduler, new Random(name));

function write(disk: Disk<State>, number: number): void {
  const push = { apply: ({ list }: State) => void list.push(number) };
  const set = {
    key: "value",
    apply: (state: State) => {
      state.value = number;
    },
  };
  push.apply(disk.state);
  set.apply(disk.state);
  disk.commit([push, set]);
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

describe("a disk", () => {
  test("keeps what was durable before a crash, and of the rest a beginning", async () => {
    const kept = new Set<number>();
    for (let run = 0; run < 60; run++) {
      scheduler = new Scheduler(0, 10_000, () => {});
      const disk = diskOf(`crash ${run}`);
      for (const number of upTo(3)) write(disk, number);
      await scheduler.runUntil(disk.durableMs);
      for (const number of [4, 5, 6]) write(disk, number);
      expect(disk.durableMs).toBeGreaterThan(scheduler.nowMs);
      const lost = disk.crash();
      expect(disk.state.list).toEqual(upTo(6 - lost));
      expect(disk.state.value).toBe(6 - lost);
      kept.add(6 - lost);
    }
    expect([...kept].sort()).toEqual([3, 4, 5, 6]);
  });

  test("makes commits durable in their order", async () => {
    const disk = diskOf("order");
    let before = 0;
    for (let i = 0; i < 50; i++) {
      write(disk, i);
      expect(disk.durableMs).toBeGreaterThanOrEqual(before);
      before = disk.durableMs;
    }
  });

  test("brings back the state that it remembered, though values were written over since", async () => {
    const disk = diskOf("snapshot");
    for (const number of upTo(4)) write(disk, number);
    await scheduler.runUntil(1_000);
    const snapshot = disk.snapshot();
    for (const number of [5, 6, 7, 8]) {
      write(disk, number);
      await scheduler.runUntil(scheduler.nowMs + 100);
    }
    disk.crash();
    expect(disk.stateAt(snapshot)).toEqual({ list: upTo(4), value: 4 });
    expect(disk.state.list).toEqual(upTo(8));
    expect(disk.restore(snapshot)).toBe(4);
    expect(disk.state).toEqual({ list: upTo(4), value: 4 });
    write(disk, 9);
    expect(disk.state).toEqual({ list: [...upTo(4), 9], value: 9 });
  });
});
