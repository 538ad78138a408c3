import fc from "fast-check";
import { expect, test } from "vitest";
import type { EnvelopePage } from "../../durable-objects/topic-shard/queries.ts";
import { compareBytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { mergePages } from "./queries.ts";
import { readQuery } from "./requests.ts";

const key = (ts: number, digest: number) =>
  concatBytes(uint64Bytes(BigInt(ts)), new Uint8Array(32).fill(digest));

/** What a shard would answer for a topic with these rows. */
function pageOf(rows: readonly Uint8Array[], limit: number, cut: number): EnvelopePage {
  const page = rows.slice(0, Math.min(limit, cut));
  return {
    timeKeys: concatBytes(...page),
    json: page.map((row) => JSON.stringify(toHex(row))),
    isFull: page.length < rows.length || page.length === limit,
  };
}

const rowsOfTopic = fc.uniqueArray(
  fc.tuple(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 255 })),
  {
    maxLength: 12,
    selector: ([ts, digest]) => `${ts}/${digest}`,
  },
);

test("merged pages begin like the merged topics, however their pages were cut", () => {
  fc.assert(
    fc.property(
      fc.array(rowsOfTopic, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 20 }),
      fc.boolean(),
      (topics, limit, cut, isAscending) => {
        const sign = isAscending ? 1 : -1;
        const order = (a: Uint8Array, b: Uint8Array) => sign * compareBytes(a, b);
        const direction = isAscending ? "SORT_DIRECTION_ASCENDING" : "SORT_DIRECTION_DESCENDING";
        const query = readQuery({ contentTopics: ["t"], pagingInfo: { limit, direction } });
        const sorted = topics.map((rows) => rows.map(([ts, digest]) => key(ts, digest)).sort(order));
        const all = sorted.flat().sort(order).map(toHex);
        const { rows, isFull } = mergePages(
          sorted.map((topic) => pageOf(topic, limit, cut)),
          query,
        );
        const merged = rows.map(({ timeKey }) => toHex(timeKey));
        expect(merged).toEqual(all.slice(0, merged.length));
        if (!isFull) expect(merged).toEqual(all);
        if (isFull) expect(merged.length).toBeGreaterThan(0);
      },
    ),
  );
});
