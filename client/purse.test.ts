import { describe, expect, onTestFinished, test, vi } from "vitest";
import { unavailable } from "../protocol/errors.ts";
import type { PurseParts } from "./purse.ts";
import { MemoryStampStore } from "./stamp-store.ts";
import { batch, DAY_MS, info, NOW_MS, purseOf, seeds, stamp } from "./testing/purse-scene.ts";

describe("a purse", () => {
  test("gives each stamp once, to whoever asks at the same time, in this program or another", async () => {
    const { purse, store } = purseOf();
    await store.add(batch(30));
    const { purse: other } = purseOf({ store });
    const takes = Array.from({ length: 10 }, (_, i) => (i % 2 ? purse : other).take(3));
    const taken = seeds((await Promise.all(takes)).flat());
    expect(new Set(taken).size).toBe(30);
    expect(await store.list()).toEqual([]);
  });

  test("goes on with what it knew where a purchase ends while it takes one that another program has", async () => {
    const store = new MemoryStampStore();
    await store.add(batch(2));
    const { purse } = purseOf({ store });
    const remove = store.remove.bind(store);
    vi.spyOn(store, "remove").mockImplementationOnce(async (id) => {
      await remove(id);
      await purse.buy();
      return false;
    });
    expect(await purse.take(1)).toHaveLength(1);
    expect(await purse.count()).toBe(100);
  });

  test("has a stamp out of its store before it is given", async () => {
    const { purse, store } = purseOf();
    await store.add(batch(1));
    const removed = Promise.withResolvers<void>();
    const remove = store.remove.bind(store);
    store.remove = async (id) => {
      await removed.promise;
      return remove(id);
    };
    let isGiven = false;
    const taking = purse.take(1).then(() => {
      isGiven = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(isGiven).toBe(false);
    removed.resolve();
    await taking;
    expect(await store.list()).toEqual([]);
  });

  test("gives those of the newest key first, and none of other nodes, of keys to come, or that ended", async () => {
    const { purse, store } = purseOf({ buysWhenEmpty: false });
    const [older, newer] = [stamp({ fromMs: NOW_MS - 9 * DAY_MS }), stamp({ fromMs: NOW_MS - DAY_MS })];
    const useless = [
      stamp({ node: "00".repeat(32) }),
      stamp({ fromMs: NOW_MS + 60_000 }),
      stamp({ toMs: NOW_MS + 60_000 }),
      stamp({ toMs: NOW_MS - 2 * DAY_MS }),
    ];
    await store.add([newer, ...useless, older]);
    expect(seeds(await purse.take(2))).toEqual([newer.seed, older.seed]);
    await expect(purse.take(1)).rejects.toMatchObject({ code: "stamps_missing" });
    // The one whose key ended days ago is thrown away; the others may be of use yet.
    expect((await store.list()).map(({ id }) => id)).toEqual(useless.slice(0, 3).map(({ id }) => id));
  });

  test("buys when it is empty, as often as is needed, and puts back what it took when that fails", async () => {
    const { purse, store, shop } = purseOf();
    expect(await purse.take(250)).toHaveLength(250);
    expect(shop.bought).toBe(3);
    expect(await purse.count()).toBe(50);
    shop.buy = async () => {
      throw unavailable("node_unreachable", "away");
    };
    await expect(purse.take(51)).rejects.toMatchObject({ code: "node_unreachable" });
    expect(await store.list()).toHaveLength(50);
  });

  test("makes one purchase at a time", async () => {
    const { purse, shop } = purseOf();
    await Promise.all([purse.buy(), purse.buy(), purse.take(1)]);
    expect(shop.bought).toBe(1);
  });

  test("buys ahead when few are left, after a delay between those that are set", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const { purse, store, shop } = purseOf({ ahead: 20, delayMs: { least: 1_000, most: 9_000 } });
    await store.add(batch(21));
    await purse.take(1);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(shop.bought).toBe(0);
    await purse.take(1);
    await vi.advanceTimersByTimeAsync(999);
    expect(shop.bought).toBe(0);
    await vi.advanceTimersByTimeAsync(8_001);
    expect([shop.bought, await purse.count()]).toEqual([1, 119]);
  });

  test("tells of a purchase ahead that failed, and does not try again at once", async () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const failures: unknown[] = [];
    let nowMs = NOW_MS;
    const parts = { ahead: 50, now: () => nowMs, failed: (error: unknown) => void failures.push(error) };
    const { purse, store, shop } = purseOf(parts);
    shop.buy = async () => {
      throw unavailable("rate_limited", "later", { retryAfterS: 120 });
    };
    await store.add(batch(40));
    for (const laterMs of [0, 60_000, 119_000, 121_000]) {
      nowMs = NOW_MS + laterMs;
      await purse.take(1);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(failures).toHaveLength(2);
  });

  test("takes no stamps of another node than its own, whatever answers where they are bought", async () => {
    const { purse, shop } = purseOf();
    const expected: unknown[] = [];
    shop.buy = async (...own: unknown[]) => {
      expected.push(...own);
      return batch();
    };
    await purse.take(1);
    expect(expected).toEqual([info]);
  });

  test("tells until when its node has to take a stamp: 20 minutes before its key ends", async () => {
    const { purse, store } = purseOf();
    await store.add([stamp({ toMs: NOW_MS + DAY_MS })]);
    expect((await purse.take(1))[0]?.untilMs).toBe(NOW_MS + DAY_MS - 1_200_000);
  });
});

describe("after a refusal, a purse that is empty", () => {
  const delayMs = { least: 1_000, most: 1_000 };

  /** Time goes on for timers and the purse's clock alike. */
  function scene(changes: Partial<PurseParts> = {}) {
    vi.useFakeTimers({ now: NOW_MS });
    onTestFinished(() => void vi.useRealTimers());
    const made = purseOf({ now: Date.now, delayMs, ...changes });
    const outcome = (count = 1) =>
      made.purse.take(count).then(
        () => "taken",
        (error) => error.code,
      );
    return { ...made, outcome };
  }

  test("buys after the delay, and its stamps are used after another", async () => {
    const { purse, store, shop, outcome } = scene();
    await store.add(batch(1));
    expect(await outcome()).toBe("taken");
    purse.noteRefusal();
    await expect(purse.take(1)).rejects.toMatchObject({ code: "stamps_missing", data: { retryAfterS: 2 } });
    await vi.advanceTimersByTimeAsync(999);
    expect([await outcome(), shop.bought]).toEqual(["stamps_missing", 0]);
    await vi.advanceTimersByTimeAsync(1);
    expect([await outcome(), shop.bought, await purse.count()]).toEqual(["stamps_missing", 1, 100]);
    await vi.advanceTimersByTimeAsync(999);
    expect(await outcome()).toBe("stamps_missing");
    await vi.advanceTimersByTimeAsync(1);
    expect(await outcome()).toBe("taken");
    // That refusal is over: what empties it now is its own use.
    expect([await outcome(100), shop.bought]).toEqual(["taken", 2]);
  });

  test("is held up no longer by a clock that is set back", async () => {
    const { purse, outcome } = scene();
    purse.noteRefusal();
    expect(await outcome()).toBe("stamps_missing");
    await vi.advanceTimersByTimeAsync(1_000);
    vi.setSystemTime(NOW_MS - DAY_MS / 2);
    expect(await outcome()).toBe("taken");
  });

  test("buys later too where it was a purchase ahead that the node refused, and tries that again", async () => {
    let isRefused = true;
    const { purse, store, shop, outcome } = scene({ ahead: 20 });
    shop.buy = async () => {
      shop.bought++;
      if (isRefused) throw unavailable("rate_limited", "never", { retryAfterS: 999_999_999 });
      return batch();
    };
    await store.add(batch(2));
    expect(await outcome()).toBe("taken");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(shop.bought).toBe(1);
    isRefused = false;
    expect([await outcome(), await outcome()]).toEqual(["taken", "stamps_missing"]);
    await vi.advanceTimersByTimeAsync(3_600_999);
    expect(shop.bought).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect([shop.bought, await purse.count()]).toEqual([2, 100]);
  });

  test("holds back what the application buys for that, and not what it bought before", async () => {
    const { purse, outcome } = scene();
    purse.noteRefusal();
    await purse.buy();
    expect(await outcome(100)).toBe("taken");
    purse.noteRefusal();
    expect(await outcome()).toBe("stamps_missing");
    await purse.buy();
    expect(await outcome()).toBe("stamps_missing");
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await outcome()).toBe("taken");
  });

  test("gives what is left for smaller publishes, and puts back what a greater one took", async () => {
    const { purse, store, outcome } = scene();
    await store.add(batch(3));
    purse.noteRefusal();
    expect([await outcome(4), await outcome(3)]).toEqual(["stamps_missing", "taken"]);
  });
});
