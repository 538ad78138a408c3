import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { setLogSink } from "../log.ts";
import { nodeStateOf } from "../stubs.ts";
import { START_MS } from "../testing/shard-world.ts";
import { UNTIL_LIFTED } from "./conduct-api.ts";
import { NodeState } from "./node-state.ts";
import { FIRST_SUSPENSION_MS } from "./penalty.ts";

const PEER = new Uint8Array(32).fill(0x61);

beforeEach(() => {
  setLogSink(() => {});
  vi.useFakeTimers({ now: START_MS, toFake: ["Date", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  setLogSink();
  vi.useRealTimers();
  return reset();
});

/** Lives of the object, one after the other, on one storage. */
const onOneStorage = (work: (life: () => NodeState) => Promise<void>) =>
  runInDurableObject(env.NODE_STATE.get(env.NODE_STATE.newUniqueId()), (_, state) =>
    work(() => new NodeState(state, env)),
  );

describe("the node's object", () => {
  test("knows in its next life who is suspended, and what was counted up to ten seconds before", () =>
    onOneStorage(async (life) => {
      const first = life();
      for (let i = 0; i < 4; i++) await first.breach(PEER, ["signature"]);
      const until = { ok: true, value: START_MS + FIRST_SUSPENSION_MS };
      expect(await life().suspendedUntil(PEER)).toEqual(until);
      await first.breach(PEER, ["class", "class"]);
      await vi.advanceTimersByTimeAsync(10_000);
      const records = await life().conductRecords();
      expect(records.ok && records.value).toEqual([
        {
          peer: PEER,
          strikes: 4,
          lastBreachMs: START_MS,
          suspendedUntilMs: until.value,
          breaches: new Map([
            ["signature", 4],
            ["class", 2],
          ]),
        },
      ]);
      expect(await first.resume(PEER)).toEqual({ ok: true, value: true });
      expect(await life().suspendedUntil(PEER)).toEqual({ ok: true, value: 0 });
    }));

  test("goes on where a life ended: strikes add up to a suspension that only the operator ends", () =>
    onOneStorage(async (life) => {
      for (let i = 0; i < 12; i++) {
        await life().breach(PEER, ["signature"]);
        await vi.advanceTimersByTimeAsync(3_600_000);
      }
      await vi.advanceTimersByTimeAsync(365 * 86_400_000);
      expect(await life().suspendedUntil(PEER)).toEqual({ ok: true, value: UNTIL_LIFTED });
    }));

  test("keeps proofs, and its first shard count, from life to life", () =>
    onOneStorage(async (life) => {
      const half = { block: Uint8Array.of(1), signature: Uint8Array.of(2) };
      const proof = { origin: PEER, seq: new Uint8Array(8), first: half, second: half };
      expect(await life().keepProofs([proof])).toEqual({ ok: true, value: 1 });
      expect(await life().keepProofs([proof])).toEqual({ ok: true, value: 0 });
      const page = await life().proofs(PEER, null, 5);
      expect(page).toEqual({ ok: true, value: { proofs: [proof], more: false } });
      expect(await life().registerShards(8)).toEqual({ ok: true, value: 8 });
      expect(await life().registerShards(4)).toMatchObject({ error: { code: "shard_count_mismatch" } });
    }));

  test("answers the same over its stub", async () => {
    const state = nodeStateOf(env);
    for (let i = 0; i < 3; i++) expect(await state.breach(PEER, ["class"])).toBe(0);
    expect(await state.breach(PEER, ["class"])).toBe(START_MS + FIRST_SUSPENSION_MS);
    expect(await state.suspendedUntil(PEER)).toBe(START_MS + FIRST_SUSPENSION_MS);
    expect((await state.conductRecords())[0]?.breaches).toEqual(new Map([["class", 4]]));
    expect([
      await state.resume(PEER),
      await state.resume(PEER),
      await state.resume(new Uint8Array(32)),
    ]).toEqual([true, false, null]);
    expect(await state.keepProofs([])).toBe(0);
    expect(await state.proofs(null, null, 1)).toEqual({ proofs: [], more: false });
  });
});
