import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setLogSink } from "../log.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { START_MS } from "../testing/shard-world.ts";
import { mergePeers } from "./merge-peers.ts";
import { PEERS_KNOWN_MS, PEERS_REMEMBERED_MS, PeerBook } from "./peer-book.ts";
import type { JoinedPeer } from "./peer-list-api.ts";

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

const key = (n: number) => new Uint8Array(32).fill(n);
const joined = (url: string, n: number, isConfigured = false): JoinedPeer => ({
  url,
  key: key(n),
  joinedMs: START_MS,
  succeededMs: null,
  followed: null,
  isConfigured,
});

function open() {
  const clock = new ManualClock(START_MS);
  const world = {
    joined: [joined("https://j", 1)],
    isAway: false,
    asked: 0,
    /** Where an answer waits, which it never need leave. */
    held: undefined as Promise<void> | undefined,
  };
  const list = {
    joinedPeers: async () => {
      world.asked++;
      const { joined: answer, held } = world;
      if (world.isAway) throw new Error("away");
      await held;
      return answer;
    },
  };
  const book = new PeerBook({ configured: [{ url: "https://c", key: key(9) }], list, clock });
  const urls = async () => (await book.current()).map(({ url }) => url);
  return { clock, world, book, urls };
}

const after = (clock: ManualClock, ms: number) => {
  while (clock.step(clock.nowMs() + ms));
};

describe("the peers of a node", () => {
  test("are those of the configuration at first, and those that joined once they are known", async () => {
    const { book, urls } = open();
    expect(book.known().map(({ url }) => url)).toEqual(["https://c"]);
    expect(await urls()).toEqual(["https://j", "https://c"]);
    expect(book.known().map(({ url }) => url)).toEqual(["https://j", "https://c"]);
  });

  test("are asked for once in five seconds; once a minute by who needs an answer at once", async () => {
    const { clock, world, book, urls } = open();
    await urls();
    after(clock, PEERS_REMEMBERED_MS - 1);
    await urls();
    expect(world.asked).toBe(1);
    after(clock, 1);
    world.joined = [];
    expect(await urls()).toEqual(["https://c"]);
    after(clock, PEERS_KNOWN_MS - 1);
    book.known();
    expect(world.asked).toBe(2);
    after(clock, 1);
    book.known();
    expect(world.asked).toBe(3);
  });

  test("hold on while the object that has them is away, which is not asked by everyone then", async () => {
    const { clock, world, urls } = open();
    await urls();
    world.isAway = true;
    after(clock, PEERS_REMEMBERED_MS);
    for (let i = 0; i < 3; i++) expect(await urls()).toEqual(["https://j", "https://c"]);
    expect(world.asked).toBe(2);
  });

  test("are asked for anew where the request that asked is gone, and its question with it", async () => {
    const { clock, world, book, urls } = open();
    world.held = new Promise(() => {});
    void urls();
    book.known();
    expect(world.asked).toBe(1);
    world.held = undefined;
    expect(await urls()).toEqual(["https://j", "https://c"]);
    world.held = new Promise(() => {});
    after(clock, PEERS_KNOWN_MS);
    book.known();
    world.held = undefined;
    after(clock, PEERS_REMEMBERED_MS);
    world.joined = [];
    book.known();
    expect(await urls()).toEqual(["https://c"]);
  });

  test("are not taken from an answer to a question from before a change here", async () => {
    const { world, book, urls } = open();
    const release = Promise.withResolvers<void>();
    world.held = release.promise;
    const early = urls();
    world.joined = [];
    world.held = undefined;
    book.forget();
    release.resolve();
    await early;
    expect(await urls()).toEqual(["https://c"]);
    expect(world.asked).toBe(2);
  });

  test("are asked for at once after a change here", async () => {
    const { world, book, urls } = open();
    await urls();
    world.joined = [];
    book.forget();
    expect(await urls()).toEqual(["https://c"]);
  });
});

test("who joined counts more than the configuration under its URL or its key", () => {
  const configured = [
    { url: "https://same-url", key: key(1) },
    { url: "https://same-key", key: key(2) },
    { url: "https://bare" },
    { url: "https://other", key: key(3) },
  ];
  const merged = mergePeers(configured, [
    joined("https://same-url", 7),
    joined("https://moved", 2),
    joined("https://gone", 8, true),
  ]);
  expect(merged.map(({ url, key: each }) => `${url} ${each?.[0] ?? "-"}`)).toEqual([
    "https://same-url 7",
    "https://moved 2",
    "https://bare -",
    "https://other 3",
  ]);
});
