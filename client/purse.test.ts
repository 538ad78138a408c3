import { describe, expect, onTestFinished, test, vi } from "vitest";
import { toHex } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { unavailable } from "../protocol/errors.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { TOKEN_BYTES } from "../protocol/privacy-pass.ts";
import { toBase64 } from "./base64.ts";
import type { NodeFacts } from "./node-facts.ts";
import { Purse, type PurseParts } from "./purse.ts";
import { type KeptStamp, MemoryStampStore } from "./stamp-store.ts";

const suite = portableSuite();
const network = new Network(DEVELOPMENT_GENESIS, suite);
const node = new Uint8Array(32).fill(7);
const NOW_MS = 1_800_000_000_000;
const DAY_MS = 86_400_000;
const info = { key: node, networkId: network.id, network: "test" };
const facts = { info: async () => info } as unknown as NodeFacts;

let made = 0;
function stamp(changes: { key?: string; fromMs?: number; toMs?: number; node?: string } = {}): KeptStamp {
  const { key = "key", fromMs = NOW_MS - DAY_MS, toMs = NOW_MS + DAY_MS } = changes;
  const id = (made++).toString(16).padStart(64, "0");
  const token = new Uint8Array(TOKEN_BYTES);
  token[1] = 2;
  token.set(new TextEncoder().encode(key), 2);
  return {
    id,
    node: changes.node ?? toHex(node),
    network: toHex(network.id),
    key,
    from: String(firstSeqOf(fromMs)),
    to: String(firstSeqOf(toMs)),
    seed: id,
    token: toBase64(token),
  };
}
const batch = (count = 100) => Array.from({ length: count }, () => stamp());

function purseOf(changes: Partial<PurseParts> = {}) {
  const store = changes.store ?? new MemoryStampStore();
  const shop = {
    bought: 0,
    buy: async () => {
      shop.bought++;
      return batch();
    },
  };
  const parts: PurseParts = {
    store,
    shop,
    facts,
    now: () => NOW_MS,
    ahead: 0,
    delayMs: { least: 0, most: 0 },
    buysWhenEmpty: true,
    failed: () => {},
    ...changes,
  };
  const purse = new Purse(parts);
  onTestFinished(() => purse.close());
  return { purse, store, shop };
}

const seeds = (taken: readonly { seed: Uint8Array }[]) => taken.map(({ seed }) => toHex(seed));

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

  test("throws away the stamps of a key that its node does not take", async () => {
    const { purse, store } = purseOf({ buysWhenEmpty: false });
    await store.add([stamp({ key: "a" }), stamp({ key: "b" }), stamp({ key: "a" })]);
    expect(await purse.count()).toBe(3);
    await purse.forgetKey("a");
    await purse.take(1);
    await expect(purse.take(1)).rejects.toMatchObject({ code: "stamps_missing" });
  });
});
