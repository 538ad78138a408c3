import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pair } from "../testing/node-pair.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: 0, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a slot of more ids than one answer lists is compared page by page: each side gets what it lacks, and nothing moves twice", async () => {
  const pair = new Pair({ shardCount: 1 }, { shardCount: 2 });
  const events = Array.from({ length: 9_000 }, (_, n) => pair.event(n, "one busy topic", 2));
  const lacks = (rest: number) => events.filter((_, n) => n % 1_000 !== rest);
  await pair.give(pair.a, lacks(1));
  await pair.give(pair.b, lacks(2));
  const report = await pair.compareLists(pair.a, pair.b);
  expect(report).toMatchObject({ outcome: "different", received: 9, sent: 9 });
  // The comparison, the roots, two pages of the slot, and a page of events each way for both of them.
  expect(report.requests).toBeLessThanOrEqual(8);
  await pair.expectSame();
});
