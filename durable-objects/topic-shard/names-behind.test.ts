import { expect, test } from "vitest";
import { namesBehind } from "./names-behind.ts";
import type { PlacedName } from "./shard-store.ts";

const nameAt = (position: number): PlacedName => ({
  position,
  topicKey: new Uint8Array(32),
  id: new Uint8Array(40),
  flags: 0,
  class: 1,
});

test.each([1, 2, 3, 100])("are all behind a position, each once, in reads of %i", (perRead) => {
  // Positions have gaps where events were lost.
  const stored = [1, 2, 5, 6, 7, 20, 21].map(nameAt);
  const namesAfter = (position: number, limit: number) =>
    stored.filter((name) => name.position > position).slice(0, limit);
  const read = (from: number) =>
    [...namesBehind({ namesAfter }, from, perRead)].map(({ position }) => position);
  expect(read(0)).toEqual([1, 2, 5, 6, 7, 20, 21]);
  expect(read(5)).toEqual([6, 7, 20, 21]);
  expect(read(21)).toEqual([]);
});
