import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Pair } from "../testing/node-pair.ts";

/** What one answer has no room for. */

beforeEach(() => {
  vi.useFakeTimers({ now: 0, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a slot of more ids than one answer lists is compared page by page: each side gets what it lacks, and nothing moves twice", async () => {
  const pair = new Pair({ shardCount: 1 }, { shardCount: 2 });
  const events = Array.from({ length: 9_000 }, (_, n) => pair.event(n, "one busy topic", 2));
  const without = (rest: number) => events.filter((_, n) => n % 1_000 !== rest);
  await pair.give(pair.a, without(998));
  await pair.give(pair.b, without(999));
  const report = await pair.compareLists(pair.a, pair.b);
  expect(report).toMatchObject({ outcome: "different", received: 9, sent: 9 });
  // The comparison, the roots, two pages of the slot, and a page of events each way for both of them.
  expect(report.requests).toBeLessThanOrEqual(8);
  await pair.expectSame();
});

test("a slot of which the one who asks has more than is read at once is compared with the peer's few ids page by page", async () => {
  const pair = new Pair({ shardCount: 2 }, { shardCount: 1 });
  const events = Array.from({ length: 9_000 }, (_, n) => pair.event(n, "one busy topic", 2));
  await pair.give(
    pair.a,
    events.filter((_, n) => n % 1_000 !== 998),
  );
  await pair.give(
    pair.b,
    events.filter((_, n) => n % 10 === 8),
  );
  const pages: number[] = [];
  for (const shard of pair.a.shards) {
    const list = shard.listIdsOfSlot.bind(shard);
    shard.listIdsOfSlot = async (...asked) => {
      const page = await list(...asked);
      pages.push(page.topics.reduce((sum, { ids }) => sum + ids.length, 0));
      return page;
    };
  }
  const report = await pair.compareLists(pair.a, pair.b);
  expect(pages).toEqual([8_192, 799]);
  expect(report).toMatchObject({ outcome: "different", received: 9, sent: 8_100 });
  await pair.expectSame();
});

test("buckets with more ids than one answer lists are compared answer by answer", async () => {
  const pair = new Pair({ shardCount: 4 }, { shardCount: 1 });
  const topics = 20;
  const events = Array.from({ length: topics * 430 }, (_, n) =>
    pair.event(n, `topic-${n % topics}`, 2 + (n % 9)),
  );
  await pair.give(pair.a, events.slice(topics));
  await pair.give(pair.b, events.slice(0, -topics));
  const report = await pair.compareLists(pair.a, pair.b);
  expect(report).toMatchObject({ outcome: "different", received: topics, sent: topics });
  // The comparison, two answers about roots, and a page of events each way for both of them.
  expect(report.requests).toBeLessThanOrEqual(7);
  await pair.expectSame();
});
