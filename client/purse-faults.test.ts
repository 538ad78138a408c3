import { describe, expect, onTestFinished, test, vi } from "vitest";
import { unavailable } from "../protocol/errors.ts";
import type { PurseParts } from "./purse.ts";
import { batch, DAY_MS, NOW_MS, purseOf, seeds, stamp } from "./testing/purse-scene.ts";

describe("a caller that gives up waiting", () => {
  const reason = new Error("no patience");

  /** A purse whose next purchase, or removal, waits until it is let go on. */
  function waiting(changes: Partial<PurseParts> = {}) {
    const made = purseOf(changes);
    const gate = Promise.withResolvers<void>();
    const [buy, remove] = [made.shop.buy, made.store.remove.bind(made.store)];
    const hold = {
      purchase: () => {
        made.shop.buy = async () => {
          await gate.promise;
          return buy();
        };
      },
      removal: () => {
        made.store.remove = async (id) => {
          await gate.promise;
          return remove(id);
        };
      },
    };
    return { ...made, hold, gate };
  }

  test("for a purchase is free at once, and others get what is bought", async () => {
    const { purse, store, shop, hold, gate } = waiting();
    hold.purchase();
    const aborting = new AbortController();
    const first = purse.take(1, aborting.signal);
    const second = purse.take(2);
    aborting.abort(reason);
    await expect(first).rejects.toBe(reason);
    gate.resolve();
    expect(await second).toHaveLength(2);
    expect([shop.bought, (await store.list()).length]).toEqual([1, 98]);
  });

  test("for a turn is free at once, and takes nothing when it comes", async () => {
    const { purse, store, hold, gate } = waiting();
    hold.purchase();
    const first = purse.take(1);
    const aborting = new AbortController();
    const second = purse.take(2, aborting.signal);
    aborting.abort(reason);
    await expect(second).rejects.toBe(reason);
    gate.resolve();
    await first;
    expect(await purse.take(99)).toHaveLength(99);
    expect(await store.list()).toEqual([]);
  });

  test.each([1, 2])(
    "for a store that is slow is free at once, and the stamps of %i go back",
    async (count) => {
      const { purse, store, shop, hold, gate } = waiting();
      await store.add(batch(2));
      hold.removal();
      const aborting = new AbortController();
      const first = purse.take(count, aborting.signal);
      await vi.waitFor(() => expect(purse.count()).resolves.toBe(2));
      aborting.abort(reason);
      await expect(first).rejects.toBe(reason);
      gate.resolve();
      expect(await purse.take(2)).toHaveLength(2);
      expect([shop.bought, await store.list()]).toEqual([0, []]);
    },
  );

  test("that did so before takes nothing, and has nothing bought", async () => {
    const { purse, store, shop } = purseOf();
    await expect(purse.take(1, AbortSignal.abort(reason))).rejects.toBe(reason);
    await store.add(batch(2));
    expect(await purse.take(2)).toHaveLength(2);
    expect(shop.bought).toBe(0);
  });
});

describe("a store that fails", () => {
  const full = new Error("the disk is full");

  test("keeps no stamp from being used that was bought, or that it does not take back", async () => {
    const { purse, store, shop } = purseOf();
    const add = vi.spyOn(store, "add").mockRejectedValue(full);
    await expect(purse.take(1)).rejects.toMatchObject({ code: "stamp_store_failed", cause: full });
    expect([shop.bought, await purse.count(), await store.list()]).toEqual([1, 100, []]);
    const aborting = new AbortController();
    const late = purse.take(40, aborting.signal);
    aborting.abort();
    await expect(late).rejects.toThrow();
    const taken = seeds(await purse.take(60));
    add.mockRestore();
    // What it did not take before it gets with what comes next.
    await purse.buy();
    expect(await store.list()).toHaveLength(140);
    expect(new Set([...taken, ...seeds(await purse.take(140))]).size).toBe(200);
  });

  test("with a text that is no stamp has its others used", async () => {
    const { purse, store } = purseOf({ buysWhenEmpty: false });
    const good = stamp();
    const bad = [
      { token: "AAAA" },
      { token: "?" },
      { seed: "zz" },
      { seed: "00" },
      { to: "soon" },
      { from: "" },
    ];
    await store.add([...bad.map((changes) => ({ ...stamp(), ...changes })), good]);
    expect(seeds(await purse.take(1))).toEqual([good.seed]);
    await expect(purse.take(1)).rejects.toMatchObject({ code: "stamps_missing" });
  });

  test("at throwing away what has ended does not matter", async () => {
    const { purse, store } = purseOf();
    await store.add([stamp({ toMs: NOW_MS - 2 * DAY_MS }), stamp()]);
    vi.spyOn(store, "remove").mockRejectedValueOnce(full);
    expect(await purse.take(1)).toHaveLength(1);
  });
});

test("what an application throws when it is told of a failure is not left unhandled", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const unhandled = vi.fn();
  process.on("unhandledRejection", unhandled);
  onTestFinished(() => void process.off("unhandledRejection", unhandled));
  const failed = vi.fn(() => {
    throw new Error("of the application");
  });
  const { purse, store, shop } = purseOf({ ahead: 50, failed });
  shop.buy = async () => Promise.reject(unavailable("node_unreachable", "away"));
  await store.add(batch(2));
  await purse.take(1);
  await vi.advanceTimersByTimeAsync(10);
  vi.useRealTimers();
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect([failed.mock.calls.length, unhandled.mock.calls]).toEqual([1, []]);
});
