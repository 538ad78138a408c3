import { expect, test } from "vitest";
import { shardsOfMinute } from "./scheduled.ts";

const MINUTE_MS = 60_000;

test.each([1, 2, 16, 64, 1_024])("each of %i shards has its turn once in 16 minutes", (count) => {
  const startMs = 123_456_789 * MINUTE_MS + 7;
  const turns = Array.from({ length: 16 }, (_, minute) =>
    shardsOfMinute(count, startMs + minute * MINUTE_MS),
  );
  expect(turns.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, shard) => shard));
  expect(Math.max(...turns.map(({ length }) => length))).toBe(Math.ceil(count / 16));
  expect(shardsOfMinute(count, startMs + 16 * MINUTE_MS)).toEqual(turns[0]);
});
