import { describe, expect, test } from "vitest";
import {
  MAX_BLOCK_BYTES,
  MAX_HELD_BYTES_PER_PEER,
  MAX_HELD_EVENTS_PER_PEER,
  MAX_MESSAGE_BYTES,
} from "../../protocol/limits.ts";
import { suite } from "../platform-suite.ts";
import { HeldEvents } from "./held-events.ts";
import { RecentIds } from "./recent-ids.ts";

const idOf = (n: number) => suite.sha256(new TextEncoder().encode(String(n)));
const wire = (bytes: number) => ({
  block: new Uint8Array(1),
  signature: new Uint8Array(64),
  message: new Uint8Array(bytes - 1),
});

describe("held events", () => {
  test("of a peer are at most 1,000, and 16 MB, shared out over the shards", () => {
    for (const shards of [1, 16]) {
      const byCount = new HeldEvents(shards);
      const kept = Array.from({ length: 1_100 }, (_, n) => byCount.hold(idOf(n), wire(10), "a")).filter(
        Boolean,
      );
      expect(kept).toHaveLength(Math.ceil(MAX_HELD_EVENTS_PER_PEER / shards));
      const byBytes = new HeldEvents(shards);
      const oneOfAnySize = MAX_MESSAGE_BYTES + MAX_BLOCK_BYTES;
      const room = Math.max(oneOfAnySize, Math.ceil(MAX_HELD_BYTES_PER_PEER / shards));
      expect(byBytes.hold(idOf(1), wire(room - 100), "a")).toBe(true);
      expect(byBytes.hold(idOf(2), wire(101), "a")).toBe(false);
      expect(byBytes.hold(idOf(3), wire(100), "a")).toBe(true);
      expect([byBytes.has(idOf(2)), byBytes.has(idOf(3)), byBytes.size]).toEqual([false, true, 2]);
    }
  });

  test("of one peer take no room from another, and are counted once", () => {
    const held = new HeldEvents(1_024);
    expect(held.hold(idOf(1), wire(10), "a")).toBe(true);
    expect(held.hold(idOf(1), wire(10), "a")).toBe(true);
    expect(held.hold(idOf(2), wire(10), "a")).toBe(false);
    expect(held.hold(idOf(2), wire(10), "b")).toBe(true);
    expect(held.size).toBe(2);
  });

  test("are taken out by peer, all at once, and there is room again", () => {
    const held = new HeldEvents(1);
    for (let n = 0; n < 5; n++) held.hold(idOf(n), wire(10 + n), n % 2 ? "a" : "b");
    const taken = held.takeAll();
    expect([...taken].map(([peer, events]) => [peer, events.map(({ message }) => message?.length)])).toEqual([
      ["b", [9, 11, 13]],
      ["a", [10, 12]],
    ]);
    expect([held.size, held.has(idOf(0))]).toEqual([0, false]);
    expect(held.hold(idOf(9), wire(MAX_HELD_BYTES_PER_PEER), "a")).toBe(true);
  });
});

test("recent ids are known until 4,096 newer ones came", () => {
  const ids = new RecentIds();
  expect([ids.add(idOf(0)), ids.add(idOf(0))]).toEqual([true, false]);
  for (let n = 1; n < RecentIds.MAX_IDS; n++) ids.add(idOf(n));
  expect(ids.add(idOf(0))).toBe(false);
  expect(ids.add(idOf(RecentIds.MAX_IDS))).toBe(true);
  expect(ids.add(idOf(0))).toBe(true);
  expect(ids.add(idOf(2))).toBe(false);
});
