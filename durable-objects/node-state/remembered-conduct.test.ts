import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Bytes } from "../../protocol/bytes.ts";
import { setLogSink } from "../log.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryConductStore } from "../testing/memory-conduct-store.ts";
import { START_MS } from "../testing/shard-world.ts";
import { Conduct } from "./conduct.ts";
import { FIRST_SUSPENSION_MS } from "./penalty.ts";
import { REMEMBERED_MS, RememberedConduct } from "./remembered-conduct.ts";

const A = new Uint8Array(32).fill(1);

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

/** What two isolates know of one object that counts. */
function world() {
  const clock = new ManualClock(START_MS);
  const conduct = new Conduct({ clock, store: new MemoryConductStore() });
  const calls = { breach: 0, suspendedUntil: 0 };
  const state = { isAway: false };
  const reach = <T>(name: keyof typeof calls, answer: () => Promise<T>): Promise<T> => {
    calls[name]++;
    return state.isAway ? Promise.reject(new Error("away")) : answer();
  };
  const api = {
    breach: (peer: Bytes, rules: readonly string[]) => reach("breach", () => conduct.breach(peer, rules)),
    suspendedUntil: (peer: Bytes) => reach("suspendedUntil", () => conduct.suspendedUntil(peer)),
  };
  const isolate = () => new RememberedConduct(api, clock);
  return { clock, conduct, calls, state, isolate };
}

const UNTIL = START_MS + FIRST_SUSPENSION_MS;

describe("an isolate", () => {
  test("asks once in five seconds for a peer, however many requests come", async () => {
    const { clock, calls, isolate } = world();
    const here = isolate();
    for (let ms = 0; ms < 60_000; ms += 10) {
      expect(await here.suspendedUntil(A)).toBe(0);
      clock.step(START_MS + ms + 10);
    }
    expect(calls.suspendedUntil).toBe(60_000 / REMEMBERED_MS);
  });

  test("knows at once of a suspension that its own breach brought; another one within five seconds", async () => {
    const { clock, conduct, calls, isolate } = world();
    const [here, there] = [isolate(), isolate()];
    expect(await there.suspendedUntil(A)).toBe(0);
    for (let i = 0; i < 4; i++) await here.breach(A, ["class"]);
    expect(await here.suspendedUntil(A)).toBe(UNTIL);
    expect(await there.suspendedUntil(A)).toBe(0);
    clock.step(START_MS + REMEMBERED_MS);
    expect(await there.suspendedUntil(A)).toBe(UNTIL);
    await conduct.resume(A);
    here.forget(A);
    expect(await here.suspendedUntil(A)).toBe(0);
    clock.step(START_MS + 2 * REMEMBERED_MS);
    expect(await there.suspendedUntil(A)).toBe(0);
    await here.breach(A, []);
    expect(calls.breach).toBe(4);
  });

  test("lets a suspension end when its time has come, not when it asks next", async () => {
    const { clock, isolate } = world();
    const here = isolate();
    for (let i = 0; i < 4; i++) await here.breach(A, ["class"]);
    clock.step(UNTIL - 1);
    expect(await here.suspendedUntil(A)).toBe(UNTIL);
    clock.step(UNTIL);
    expect(await here.suspendedUntil(A)).toBe(0);
  });

  test("goes by what it knows while nobody answers, and leaves nobody else alone", async () => {
    const { clock, state, isolate } = world();
    const here = isolate();
    for (let i = 0; i < 4; i++) await here.breach(A, ["class"]);
    state.isAway = true;
    clock.step(START_MS + 2 * REMEMBERED_MS);
    expect(await here.suspendedUntil(A)).toBe(UNTIL);
    expect(await here.suspendedUntil(new Uint8Array(32))).toBe(0);
    await here.breach(A, ["class"]);
    clock.step(UNTIL);
    expect(await here.suspendedUntil(A)).toBe(0);
  });
});
