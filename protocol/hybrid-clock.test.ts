import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PennypostError } from "./errors.ts";
import { firstSeqOf, MAX_TIME_MS, nextSeq, shardOfSeq, timeOfSeq } from "./hybrid-clock.ts";
import { MAX_SEQ, MAX_SHARDS } from "./limits.ts";

const times = fc.integer({ min: 0, max: MAX_TIME_MS });
const shards = fc.integer({ min: 0, max: MAX_SHARDS - 1 });
/** Seqs around a time, so that they meet in one millisecond and one counter. */
const seqNear = (nowMs: number) => {
  const now = firstSeqOf(nowMs);
  const offset = fc.oneof(
    fc.bigInt({ min: -5_000n, max: 5_000n }),
    fc.bigInt({ min: -(2n ** 23n), max: 2n ** 23n }),
  );
  return fc.oneof(
    fc.constant(0n),
    offset.map((by) => (now + by < 0n ? 0n : now + by)),
  );
};
const inputs = times.chain((nowMs) =>
  fc.record({
    nowMs: fc.constant(nowMs),
    greatestParent: seqNear(nowMs),
    last: seqNear(nowMs),
    shard: shards,
  }),
);

describe("a seq", () => {
  test("holds 42 bits of time, 11 of counter and 10 of shard", () => {
    fc.assert(
      fc.property(times, fc.bigInt({ min: 0n, max: 2_047n }), shards, (timeMs, counter, shard) => {
        const seq = (BigInt(timeMs) << 21n) | (counter << 10n) | BigInt(shard);
        expect(timeOfSeq(seq)).toBe(timeMs);
        expect(shardOfSeq(seq)).toBe(shard);
        expect(firstSeqOf(timeMs)).toBe(BigInt(timeMs) << 21n);
        expect(seq).toBeLessThanOrEqual(MAX_SEQ);
      }),
    );
    expect(timeOfSeq(MAX_SEQ)).toBe(MAX_TIME_MS);
  });

  test("has no time outside 0 … 2^42 − 1 ms", () => {
    for (const timeMs of [-1, MAX_TIME_MS + 1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => firstSeqOf(timeMs)).toThrow(PennypostError);
    }
    expect(firstSeqOf(0)).toBe(0n);
    expect(firstSeqOf(MAX_TIME_MS)).toBe(MAX_SEQ - (2n ** 21n - 1n));
  });
});

describe("the next seq", () => {
  test("is the least of its shard that is not before now, and above the parents and the last", () => {
    fc.assert(
      fc.property(inputs, (input) => {
        const { nowMs, greatestParent, last, shard } = input;
        let naive = firstSeqOf(nowMs);
        if (naive <= greatestParent) naive = greatestParent + 1n;
        if (naive <= last) naive = last + 1n;
        while (shardOfSeq(naive) !== shard) naive += 1n;
        const seq = nextSeq(input);
        // At time 0 shard 0 can not have the seq 0, since it is above "none".
        expect(seq).toBe(naive === 0n ? 1_024n : naive);
        expect(seq).toBeGreaterThan(greatestParent);
        expect(seq).toBeGreaterThan(last);
        expect(shardOfSeq(seq)).toBe(shard);
        expect(timeOfSeq(seq)).toBeGreaterThanOrEqual(nowMs);
      }),
      { numRuns: 300 },
    );
  });

  test("grows with each event, whatever the clock and the parents do", () => {
    const step = fc.tuple(
      fc.integer({ min: -50, max: 50 }),
      fc.bigInt({ min: -(2n ** 22n), max: 2n ** 22n }),
    );
    fc.assert(
      fc.property(
        fc.integer({ min: 10_000, max: MAX_TIME_MS - 10_000 }),
        shards,
        fc.array(step),
        (startMs, shard, steps) => {
          let last = 0n;
          for (const [drift, parent] of steps) {
            const seq = nextSeq({
              nowMs: startMs + drift,
              greatestParent: firstSeqOf(startMs) + parent,
              last,
              shard,
            });
            expect(seq).toBeGreaterThan(last);
            last = seq;
          }
        },
      ),
    );
  });

  test("never is the same for two shards of a node", () => {
    fc.assert(
      fc.property(inputs, shards, (input, other) => {
        fc.pre(other !== input.shard);
        expect(nextSeq({ ...input, shard: other })).not.toBe(nextSeq(input));
      }),
    );
  });

  test("has room for 2,048 events of a shard in a millisecond, and goes on in the next", () => {
    const nowMs = 1_000;
    let last = 0n;
    for (let i = 0; i < 2_048; i++) last = nextSeq({ nowMs, greatestParent: 0n, last, shard: 1_023 });
    expect(timeOfSeq(last)).toBe(nowMs);
    expect(timeOfSeq(nextSeq({ nowMs, greatestParent: 0n, last, shard: 1_023 }))).toBe(nowMs + 1);
  });
});
