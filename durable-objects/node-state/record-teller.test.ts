import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import type { WireRecord } from "../../protocol/record.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { setLogSink } from "../log.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryUntoldStore } from "../testing/memory-untold-store.ts";
import { memberRecord, network, START_MS, signers } from "../testing/shard-world.ts";
import { RecordTeller, TELL_DEADLINE_MS } from "./record-teller.ts";

const recordOf = (from: bigint) => memberRecord(signers[1] as (typeof signers)[number], false, from);
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** A part of the node, which answers when and as it is told to. */
class Listener {
  readonly name: string;
  /** The digests that it was told. */
  readonly told: string[] = [];
  records: readonly WireRecord[] = [];
  isAway = false;
  /** Answers wait for this. */
  gate: Promise<unknown> = Promise.resolve();

  constructor(name: string) {
    this.name = name;
  }

  async tell(records: readonly WireRecord[], digest: Uint8Array): Promise<void> {
    this.told.push(toHex(digest));
    await this.gate;
    if (this.isAway) throw new Error("it does not answer");
    this.records = records;
  }
}

class Scene {
  readonly clock = new ManualClock(START_MS);
  readonly store = new MemoryUntoldStore();
  readonly set = new RecordSet(network, suite);
  readonly listeners: Listener[];
  #next = 1n;
  teller = this.life();

  constructor(...names: readonly string[]) {
    this.listeners = names.map((name) => new Listener(name));
  }

  life(): RecordTeller {
    return new RecordTeller({
      store: this.store,
      clock: this.clock,
      listeners: () => this.listeners,
      records: () => this.set,
    });
  }

  listener(index: number): Listener {
    return this.listeners[index] as Listener;
  }

  /** A record comes in, and nobody is told yet. */
  add(): void {
    this.set.add(recordOf(this.#next++));
    this.teller.changed();
  }

  expectAllTold(): void {
    for (const { records } of this.listeners) expect(records).toHaveLength(this.set.size);
    expect(this.store.untold()).toEqual([]);
    expect(this.clock.timers).toBe(0);
  }
}

const warnings: string[] = [];
beforeEach(() => {
  warnings.length = 0;
  setLogSink((_, what, data) => void warnings.push(`${what} ${data.to}`));
});
afterEach(() => setLogSink());

describe("new records", () => {
  test("are told to all parts of the node once, without the records' other fields", async () => {
    const scene = new Scene("sync", "shard-0", "shard-1");
    scene.add();
    expect(scene.store.untold()).toEqual(["shard-0", "shard-1", "sync"]);
    await scene.teller.tellUntold();
    scene.expectAllTold();
    expect(Object.keys(scene.listener(0).records[0] ?? {})).toEqual(["block", "signature"]);
    await scene.teller.tellUntold();
    for (const { told } of scene.listeners) expect(told).toEqual([toHex(scene.set.digest)]);
  });

  test("are told again to who did not answer, and to nobody else, also in the next life", async () => {
    const scene = new Scene("sync", "shard-0", "shard-1");
    scene.listener(1).isAway = true;
    scene.add();
    await scene.teller.tellUntold();
    expect(scene.store.untold()).toEqual(["shard-0"]);
    expect(warnings).toEqual(["records_not_told shard-0"]);
    scene.listener(1).isAway = false;
    scene.teller = scene.life();
    await scene.teller.tellUntold();
    scene.expectAllTold();
    expect(scene.listeners.map(({ told }) => told.length)).toEqual([1, 2, 1]);
  });

  test("that came while others were told are told after, in the same round", async () => {
    const scene = new Scene("sync", "shard-0");
    const open = Promise.withResolvers<void>();
    scene.listener(0).gate = open.promise;
    scene.add();
    const round = scene.teller.tellUntold();
    await settle();
    scene.add();
    const second = scene.teller.tellUntold();
    open.resolve();
    await Promise.all([round, second]);
    scene.expectAllTold();
  });

  test("that came while others were told stay to be told when nobody asks for a round", async () => {
    const scene = new Scene("sync");
    const open = Promise.withResolvers<void>();
    scene.listener(0).gate = open.promise;
    scene.add();
    const round = scene.teller.tellUntold();
    await settle();
    scene.add();
    open.resolve();
    await round;
    expect(scene.store.untold()).toEqual(["sync"]);
    await scene.teller.tellUntold();
    scene.expectAllTold();
  });

  test("are told whenever in the end of a round they come", async () => {
    // A promise's turns from the listener's last answer on: none of them may be missed.
    for (let turns = 0; turns < 12; turns++) {
      const scene = new Scene("sync");
      const open = Promise.withResolvers<void>();
      scene.listener(0).gate = open.promise;
      scene.add();
      const round = scene.teller.tellUntold();
      await settle();
      open.resolve();
      for (let i = 0; i < turns; i++) await null;
      scene.add();
      const second = scene.teller.tellUntold();
      await Promise.all([round, second]);
      expect([turns, scene.store.untold()]).toEqual([turns, []]);
      scene.expectAllTold();
    }
  });

  test("are told also after rounds in which there was nothing to tell", async () => {
    const scene = new Scene("sync");
    for (let i = 0; i < 3; i++) {
      await scene.teller.tellUntold();
      await Promise.all([scene.teller.tellUntold(), scene.teller.tellUntold()]);
      scene.add();
      await scene.teller.tellUntold();
      scene.expectAllTold();
    }
  });

  test("go on to the others when one part never answers", async () => {
    const scene = new Scene("sync", "shard-0", "shard-1");
    scene.listener(1).gate = new Promise(() => {});
    scene.add();
    const round = scene.teller.tellUntold();
    await settle();
    expect(scene.store.untold()).toEqual(["shard-0"]);
    scene.clock.step(START_MS + TELL_DEADLINE_MS);
    await round;
    expect(warnings).toEqual(["records_not_told shard-0"]);
    scene.listener(1).gate = Promise.resolve();
    scene.add();
    await scene.teller.tellUntold();
    scene.expectAllTold();
  });

  test("are told to sixteen at a time", async () => {
    const scene = new Scene(...Array.from({ length: 40 }, (_, i) => `shard-${i}`));
    const open = Promise.withResolvers<void>();
    for (const each of scene.listeners) each.gate = open.promise;
    scene.add();
    const round = scene.teller.tellUntold();
    await settle();
    expect(scene.listeners.filter(({ told }) => told.length > 0)).toHaveLength(16);
    open.resolve();
    await round;
    scene.expectAllTold();
  });

  test("are not kept for a part that is no more", async () => {
    const scene = new Scene("sync");
    scene.store.addUntold(["shard-99"]);
    scene.add();
    await scene.teller.tellUntold();
    expect(scene.store.untold()).toEqual(["shard-99"]);
    expect(scene.listener(0).told).toHaveLength(1);
  });
});
