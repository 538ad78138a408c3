import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes, utf8 } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { MAX_MESSAGE_BYTES, MAX_PAGE_BYTES, MAX_UINT64 } from "../../protocol/limits.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  Node,
  onStorage,
  START_MS,
  signers,
  wipe,
} from "../testing/shard-world.ts";
import { envelopeJson, queryEnvelopes, readTimePage, type TimeQuery, timeRangeOf } from "./queries.ts";
import type { ShardStore, StoredEvent } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const TOPIC = "/xmtp/0/m-queries/proto";
const LEAST = new Uint8Array(40);
const TIMES = [0n, 1n, 2n, 255n, 256n, 2n ** 53n + 1n, MAX_UINT64 - 1n, MAX_UINT64];

const query = (part: Partial<TimeQuery> = {}): TimeQuery => ({
  topic: utf8(TOPIC),
  topicKey: keyOf(TOPIC),
  startNs: 0n,
  endNs: 0n,
  isDescending: false,
  maxBytes: 8 * 1024 * 1024,
  limit: 100,
  after: null,
  ...part,
});

const tsOf = (timeKey: Bytes) => new DataView(timeKey.buffer, timeKey.byteOffset).getBigUint64(0);

/** The envelopes between two times by their definition: each once, with the least id that has not expired. */
function naiveOrder(
  events: readonly StoredEvent[],
  { startNs, endNs, isDescending }: TimeQuery,
  least: Bytes,
) {
  const byKey = new Map<string, string>();
  for (const { timeKey, id } of [...events].sort((a, b) => compareBytes(b.id, a.id))) {
    const isBetween = tsOf(timeKey) >= startNs && tsOf(timeKey) <= (endNs || MAX_UINT64);
    if (isBetween && compareBytes(id, least) >= 0) byKey.set(toHex(timeKey), toHex(id));
  }
  const sorted = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, id]) => id);
  return isDescending ? sorted.reverse() : sorted;
}

/** Reads page after page with the cursor that a client has, until one is not full. */
function walk(store: ShardStore, first: TimeQuery, least: Bytes, between: () => void = () => {}): string[] {
  const read: string[] = [];
  for (let after: Bytes | null = null; ; ) {
    const page = readTimePage(store, { ...first, after }, least);
    expect(page.events.length).toBeLessThanOrEqual(first.limit);
    read.push(...page.events.map(({ id }) => toHex(id)));
    const last = page.events.at(-1);
    if (!page.isFull || !last) return read;
    after = last.timeKey;
    between();
  }
}

const times = fc.constantFrom(...TIMES);
const envelopes = fc.array(
  fc.record({
    ts: times,
    message: fc.nat({ max: 9 }),
    origin: fc.constantFrom(...signers),
    ms: fc.nat({ max: 20 }),
  }),
  { maxLength: 60, size: "max" },
);
const queries = fc.record({
  startNs: fc.oneof(fc.constant(0n), times),
  endNs: fc.oneof(fc.constant(0n), times),
  isDescending: fc.boolean(),
  limit: fc.integer({ min: 1, max: 9 }),
});

function store(
  node: Node,
  { ts, message, origin, ms }: { ts: bigint; message: number; origin: Signer; ms: number },
) {
  const input = { topic: TOPIC, ts, message: `m${message}`, timeMs: START_MS + ms };
  node.ingest(forgeEvent({ ...input, signer: origin }), START_MS + 100);
}

describe("pages in time order", () => {
  test("joined, they are the whole order: any limit, both directions, equal timestamps, SQLite and model", () =>
    onStorage((storage) => {
      const property = fc.property(envelopes, queries, fc.nat({ max: 20 }), (all, part, expiredMs) => {
        wipe(storage);
        const nodes = [new Node(new SqlShardStore(storage)), new Node(new MemoryShardStore())];
        const least = forgeEvent({ topic: TOPIC, timeMs: START_MS + expiredMs }).id.map((byte, i) =>
          i < 8 ? byte : 0,
        );
        for (const node of nodes) {
          for (const each of all) store(node, each);
          const expected = naiveOrder(node.eventsOf(TOPIC), query(part), least);
          expect(walk(node.store, query(part), least)).toEqual(expected);
        }
      });
      fc.assert(property, { numRuns: 80 });
    }));

  test("what arrives between two pages neither repeats nor hides what was there", () => {
    const property = fc.property(envelopes, envelopes, queries, (all, later, part) => {
      const node = new Node(new MemoryShardStore());
      for (const each of all) store(node, each);
      const keyOfId = () =>
        new Map(node.eventsOf(TOPIC).map((each) => [toHex(each.id), toHex(each.timeKey)]));
      const there = naiveOrder(node.eventsOf(TOPIC), query(part), LEAST).map((id) => keyOfId().get(id));
      const arriving = [...later];
      const read = walk(node.store, query(part), LEAST, () => {
        const next = arriving.shift();
        if (next) store(node, next);
      }).map((id) => keyOfId().get(id));
      expect(new Set(read).size).toBe(read.length);
      expect(read.filter((key) => there.includes(key))).toEqual(there);
    });
    fc.assert(property, { numRuns: 60 });
  });

  test("a page ends at its bytes, but holds at least one envelope, in SQLite as in the model", () =>
    onStorage((storage) => {
      const sizes = fc.array(fc.record({ ts: fc.nat({ max: 5 }), size: fc.nat({ max: 40 }) }), {
        maxLength: 20,
      });
      const property = fc.property(
        sizes,
        fc.boolean(),
        fc.integer({ min: 0, max: 90 }),
        (all, isDescending, max) => {
          wipe(storage);
          const nodes = [new Node(new SqlShardStore(storage)), new Node(new MemoryShardStore())];
          const range = timeRangeOf(query({ isDescending }), LEAST);
          const pages = nodes.map((node) => {
            for (const { ts, size } of all)
              node.publish(TOPIC, ts, new Uint8Array(size).fill(size), START_MS);
            return range ? node.store.timePage(range, 8, max).map(({ message }) => message.length) : [];
          });
          expect(pages[0]).toEqual(pages[1]);
          expect(pages[0]?.length === 0).toBe(all.length === 0);
          const bytes = (pages[0] ?? []).reduce((sum, size) => sum + size, 0);
          if ((pages[0]?.length ?? 0) > 1) expect(bytes).toBeLessThanOrEqual(max);
        },
      );
      fc.assert(property, { numRuns: 100 });
    }));

  test("a page of the largest messages says that there is more, and its cursor leads on", () =>
    onStorage((storage) => {
      const node = new Node(new SqlShardStore(storage));
      const fits = Math.floor(MAX_PAGE_BYTES / MAX_MESSAGE_BYTES);
      for (let ts = 0; ts <= fits; ts++) node.publish(TOPIC, ts, new Uint8Array(MAX_MESSAGE_BYTES), START_MS);
      for (const isDescending of [false, true]) {
        const first = readTimePage(node.store, query({ isDescending }), LEAST);
        expect([first.events.length, first.isFull]).toEqual([fits, true]);
        const after = first.events.at(-1)?.timeKey ?? null;
        const second = readTimePage(node.store, query({ isDescending, after }), LEAST);
        expect([second.events.length, second.isFull]).toEqual([1, false]);
        expect(tsOf(second.events[0]?.timeKey as Bytes)).toBe(isDescending ? 0n : BigInt(fits));
      }
    }));
});

describe("timeRangeOf", () => {
  const key = (ts: bigint, fill: number) => concatBytes(uint64Bytes(ts), new Uint8Array(32).fill(fill));
  const bounds = (part: Partial<TimeQuery>) => {
    const range = timeRangeOf(query(part), LEAST);
    return range && [range.from, range.to];
  };

  test("no bounds: everything", () => {
    expect(bounds({})).toEqual([key(0n, 0), key(MAX_UINT64, 255)]);
  });

  test("both times belong to the range; one that ends before it begins is empty", () => {
    expect(bounds({ startNs: 5n, endNs: 5n })).toEqual([key(5n, 0), key(5n, 255)]);
    expect(bounds({ startNs: MAX_UINT64, endNs: MAX_UINT64 })).toEqual([
      key(MAX_UINT64, 0),
      key(MAX_UINT64, 255),
    ]);
    expect(bounds({ startNs: 6n, endNs: 5n })).toBeUndefined();
  });

  test("a cursor leaves itself out, and carries over whole bytes", () => {
    expect(bounds({ after: key(7n, 255) })).toEqual([key(8n, 0), key(MAX_UINT64, 255)]);
    expect(bounds({ after: key(8n, 0), isDescending: true })).toEqual([key(0n, 0), key(7n, 255)]);
  });

  test("nothing lies beyond the extremes", () => {
    expect(bounds({ after: key(MAX_UINT64, 255) })).toBeUndefined();
    expect(bounds({ after: key(0n, 0), isDescending: true })).toBeUndefined();
    expect(bounds({ after: key(9n, 1), endNs: 8n })).toBeUndefined();
    expect(bounds({ after: key(7n, 1), startNs: 8n, isDescending: true })).toBeUndefined();
  });

  test("a cursor outside the range does not widen it", () => {
    expect(bounds({ after: key(3n, 1), startNs: 8n })).toEqual([key(8n, 0), key(MAX_UINT64, 255)]);
    expect(bounds({ after: key(9n, 1), endNs: 8n, isDescending: true })).toEqual([key(0n, 0), key(8n, 255)]);
  });
});

describe("what a page says", () => {
  test("an envelope as the XMTP gateway wrote it, with any topic, time and bytes", () => {
    const topic = '/xmtp/0/"quoted"\n\u{1F600}';
    const node = new Node(new MemoryShardStore());
    const message = Uint8Array.from({ length: 256 }, (_, i) => i);
    const { timeKey } = node.publish(topic, MAX_UINT64, message, START_MS);
    const page = queryEnvelopes(node.store, { ...query(), topicKey: keyOf(topic) }, topic, LEAST);
    expect(page).toEqual({ timeKeys: timeKey, json: [expect.any(String)], isFull: false });
    expect(JSON.parse(page.json[0] as string)).toEqual({
      contentTopic: topic,
      timestampNs: String(MAX_UINT64),
      message: Buffer.from(message).toString("base64"),
    });
    // Bytes that are a view of a larger buffer.
    const wide = concatBytes(Uint8Array.of(1, 2, 3), timeKey).subarray(3) as Bytes;
    expect(envelopeJson('"t"', wide, envelopeOf("t", 1, "x").message)).toContain(`"${MAX_UINT64}"`);
  });

  test("no rows: an empty page that is not full", () => {
    expect(queryEnvelopes(new MemoryShardStore(), query(), TOPIC, LEAST)).toEqual({
      timeKeys: new Uint8Array(),
      json: [],
      isFull: false,
    });
  });
});
