import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Pair } from "../testing/node-pair.ts";

/** Two whole nodes that hold different events, and one run of anti-entropy. Nothing is pushed or pulled otherwise. */

beforeEach(() => {
  vi.useFakeTimers({ now: 0, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const topicOf = (n: number) => (n % 3 === 0 ? `kept-${n % 12}` : `topic-${n % 40}`);

describe("anti-entropy between two nodes", () => {
  test.each([
    [1, 1],
    [4, 2],
    [16, 1],
    [2, 64],
  ])("with %i and %i shards heals differences on both sides, and then finds none", async (a, b) => {
    const pair = new Pair({ shardCount: a }, { shardCount: b });
    const events = Array.from({ length: 300 }, (_, n) => pair.event(n, topicOf(n), 2 + ((n * 7) % 90)));
    await pair.give(
      pair.a,
      events.filter((_, n) => n % 50 !== 1),
    );
    await pair.give(
      pair.b,
      events.filter((_, n) => n % 70 !== 2),
    );
    const report = await pair.sync(pair.a, pair.b);
    expect(report).toMatchObject({ outcome: "different", received: 6, sent: 5 });
    expect(report.roundTrips).toBeLessThanOrEqual(4);
    await pair.expectSame();
    expect(await pair.a.ids()).toHaveLength(300);
  });

  test.each([1, 2, 20, 100, 600])(
    "locates %i differences in at most three round trips and few bytes",
    async (count) => {
      const pair = new Pair({ shardCount: 4 }, { shardCount: 4 });
      const events = Array.from({ length: 2_000 }, (_, n) =>
        pair.event(n, `topic-${n % 300}`, 2 + ((n * 7) % 90)),
      );
      await pair.give(pair.a, events);
      await pair.give(pair.b, events.slice(count));
      const located = await pair.sync(pair.b, pair.a);
      expect(located).toMatchObject({ outcome: "different", received: count, sent: 0 });
      expect(located.roundTrips).toBeLessThanOrEqual(count <= 15 ? 1 : 2);
      await pair.expectSame();
    },
  );

  test("an empty node gets everything from one that is not, page by page, and the other way round", async () => {
    for (const isAsker of [true, false]) {
      const pair = new Pair({ shardCount: 4 }, { shardCount: 8 });
      const events = Array.from({ length: 500 }, (_, n) =>
        pair.event(n, topicOf(n), 2 + ((n * 7) % 90), "x".repeat(10_000)),
      );
      await pair.give(pair.a, events);
      const report = await (isAsker ? pair.sync(pair.b, pair.a) : pair.sync(pair.a, pair.b));
      expect(report).toMatchObject(isAsker ? { received: 500, sent: 0 } : { received: 0, sent: 500 });
      expect(report.roundTrips).toBe(1);
      expect(report.requests).toBeLessThanOrEqual(20);
      await pair.expectSame();
    }
  });

  test("many differences, in small and large buckets, are found by the tree", async () => {
    const pair = new Pair({ shardCount: 2, smallBucketEvents: 20 }, { shardCount: 1, smallBucketEvents: 7 });
    const events = Array.from({ length: 4_000 }, (_, n) =>
      pair.event(n, n % 2 ? `topic-${n % 30}` : "one busy topic", 2 + (n % 95)),
    );
    await pair.give(
      pair.a,
      events.filter((_, n) => n % 3 !== 1),
    );
    await pair.give(
      pair.b,
      events.filter((_, n) => n % 3 !== 2),
    );
    const report = await pair.sync(pair.b, pair.a);
    expect(report).toMatchObject({ outcome: "different", received: 1_333, sent: 1_333 });
    expect(report.roundTrips).toBeLessThanOrEqual(4);
    await pair.expectSame();
  });

  test("any two sets become one", async () => {
    const place = fc.record({
      topic: fc.nat({ max: 9 }),
      ago: fc.integer({ min: 2, max: 96 }),
      at: fc.constantFrom("a", "b", "both"),
    });
    const sides = fc.record({ shards: fc.constantFrom(1, 2, 8), small: fc.constantFrom(1, 4, 512) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(place, { maxLength: 120, size: "max" }),
        sides,
        sides,
        fc.boolean(),
        async (places, first, second, mayUseSketch) => {
          const pair = new Pair(
            { shardCount: first.shards, smallBucketEvents: first.small },
            { shardCount: second.shards, smallBucketEvents: second.small },
          );
          const events = places.map(({ topic, ago }, n) => pair.event(n, topicOf(topic), ago));
          const isAt = (node: string) =>
            events.filter((_, n) => [node, "both"].includes(places[n]?.at ?? ""));
          await pair.give(pair.a, isAt("a"));
          await pair.give(pair.b, isAt("b"));
          if (mayUseSketch) await pair.sync(pair.a, pair.b);
          else await pair.compareLists(pair.a, pair.b);
          await pair.expectSame();
        },
      ),
      { numRuns: 60 },
    );
  });
});
