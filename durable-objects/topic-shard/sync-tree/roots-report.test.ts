import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { unavailable } from "../../../protocol/errors.ts";
import { setLogSink } from "../../log.ts";
import { ManualClock } from "../../testing/manual-clock.ts";
import { RootsReport } from "./roots-report.ts";

beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());

const RETRY_MS = 5_000;
const NEVER = Number.MAX_SAFE_INTEGER;

/** A shard's reports, and the sync object that hears them. */
class Scene {
  readonly clock = new ManualClock(0);
  dueAsOf = NEVER;
  readonly heard: number[] = [];
  /** Reports that arrive when the test says so, if it holds them. */
  readonly held: { arrive(): void; fail(): void }[] = [];
  isHolding = false;
  isDown = false;
  tries = 0;
  readonly report = new RootsReport({
    shard: 3,
    clock: this.clock,
    dueAsOf: () => this.dueAsOf,
    roots: { changed: (shard, dueAsOf) => this.#changed(shard, dueAsOf) },
  });

  async #changed(shard: number, dueAsOf: number): Promise<null> {
    expect(shard).toBe(3);
    this.tries++;
    if (this.isHolding)
      await new Promise<void>((resolve, reject) => {
        this.held.push({ arrive: resolve, fail: () => reject(unavailable("part_unavailable", "no")) });
      });
    if (this.isDown) throw unavailable("part_unavailable", "no");
    this.heard.push(dueAsOf);
    return null;
  }

  send(dueAsOf: number): Promise<void> {
    this.dueAsOf = dueAsOf;
    return this.report.send();
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.clock.nowMs() + ms;
    while (this.clock.step(endMs)) for (let turn = 0; turn < 9; turn++) await null;
  }
}

describe("a shard tells the sync object", () => {
  test("once for each earlier time from which its roots are others", async () => {
    const scene = new Scene();
    for (const due of [NEVER, 90, 90, 95, 80, 80, 0, 0, 50]) await scene.send(due);
    expect(scene.heard).toEqual([NEVER, 90, 80, 0]);
  });

  test("again after each hand-over, and nothing that the hand-over said", async () => {
    const scene = new Scene();
    await scene.send(0);
    scene.report.handedOver(90);
    for (const due of [90, 95, 90, 0, 0]) await scene.send(due);
    scene.report.handedOver(NEVER);
    for (const due of [NEVER, 70]) await scene.send(due);
    expect(scene.heard).toEqual([0, 0, 70]);
  });

  test("again 5 s later when it did not hear, until it does; of many reports that fail one comes again", async () => {
    const scene = new Scene();
    scene.isDown = true;
    await Promise.all([scene.send(80), scene.send(70), scene.send(60)]);
    expect([scene.tries, scene.clock.timers]).toEqual([3, 1]);
    await scene.pass(RETRY_MS - 1);
    expect(scene.tries).toBe(3);
    await scene.pass(1);
    expect([scene.tries, scene.clock.timers]).toEqual([4, 1]);
    scene.isDown = false;
    await scene.pass(RETRY_MS);
    expect([scene.heard, scene.clock.timers]).toEqual([[60], 0]);
    await scene.pass(10 * RETRY_MS);
    await scene.send(60);
    expect(scene.heard).toEqual([60]);
  });

  test("nothing later when the hand-over has said it meanwhile", async () => {
    const scene = new Scene();
    scene.isDown = true;
    await scene.send(80);
    scene.isDown = false;
    scene.dueAsOf = 200;
    scene.report.handedOver(200);
    await scene.pass(RETRY_MS);
    expect(scene.heard).toEqual([]);
  });

  test("of a change that comes after a hand-over, though an earlier report fails only then", async () => {
    const scene = new Scene();
    scene.report.handedOver(70);
    scene.isHolding = true;
    const failing = scene.send(50);
    scene.report.handedOver(90);
    scene.dueAsOf = 90;
    scene.held[0]?.fail();
    await failing;
    scene.isHolding = false;
    await scene.send(80);
    expect(scene.heard).toEqual([80]);
  });

  test("of a change while an earlier report is on its way", async () => {
    const scene = new Scene();
    scene.isHolding = true;
    const first = scene.send(80);
    const second = scene.send(70);
    const third = scene.send(70);
    for (const each of scene.held) each.arrive();
    await Promise.all([first, second, third]);
    expect(scene.heard).toEqual([80, 70]);
  });
});

test("a call while a report of the same is on its way ends when that one has arrived", async () => {
  const scene = new Scene();
  scene.isHolding = true;
  const first = scene.send(0);
  let isKnown = false;
  const second = scene.send(0).then(() => {
    isKnown = true;
  });
  for (let turn = 0; turn < 9; turn++) await null;
  expect([isKnown, scene.tries]).toEqual([false, 1]);
  scene.held[0]?.arrive();
  await Promise.all([first, second]);
  expect([isKnown, scene.heard]).toEqual([true, [0]]);
});
