import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, readUint64, toHex } from "./bytes.ts";
import { eventId } from "./event-id.ts";
import { MAX_SEQ } from "./limits.ts";
import { slotOfSeq } from "./retention.ts";
import { SKETCH_CELLS } from "./sketch.ts";
import {
  cellsOfSymbol,
  checkOfSymbol,
  nextCell,
  placeOfSymbol,
  SYMBOL_BYTES,
  symbolOf,
  writeSymbol,
} from "./sketch-symbol.ts";
import { bytesOf } from "./testing/arbitraries.ts";
import { BUCKETS } from "./topic.ts";

const buckets = fc.integer({ min: 0, max: BUCKETS - 1 });
const seqs = fc.bigInt({ min: 0n, max: MAX_SEQ });
const symbols = bytesOf(SYMBOL_BYTES);

/** Symbol `i` of a run of similar ones: two events in a row differ in no more than this. */
function similarSymbol(i: number): Uint8Array {
  const symbol = new Uint8Array(SYMBOL_BYTES);
  new DataView(symbol.buffer).setUint32(SYMBOL_BYTES - 4, i);
  return symbol;
}

describe("a symbol", () => {
  test("is the bucket, the slot and the first 62 bits of the digest", () => {
    fc.assert(
      fc.property(buckets, seqs, bytesOf(32), (bucket, seq, digest) => {
        const symbol = symbolOf(bucket, eventId(seq, digest));
        const bits = (BigInt(bucket) << 84n) | (BigInt(slotOfSeq(seq)) << 62n) | (readUint64(digest) >> 2n);
        expect(toHex(symbol)).toBe(bits.toString(16).padStart(24, "0"));
        expect(placeOfSymbol(symbol)).toEqual({ bucket, slot: slotOfSeq(seq) });
        // A seq has 63 bits; a 64th does not reach the bucket.
        expect(symbolOf(bucket, eventId(seq | (1n << 63n), digest))).toEqual(symbol);
        const over = new Uint8Array(SYMBOL_BYTES).fill(255);
        writeSymbol(over, bucket, eventId(seq, digest));
        expect(over).toEqual(symbol);
      }),
    );
  });

  test("has a place, whatever its bytes", () => {
    fc.assert(
      fc.property(symbols, (symbol) => {
        const { bucket, slot } = placeOfSymbol(symbol);
        expect(bucket >= 0 && bucket < BUCKETS && slot >= 0 && slot < 2 ** 22).toBe(true);
      }),
    );
  });
});

describe("the check of a symbol", () => {
  test("is the first word of MurmurHash3_x86_128, as another implementation answers it", () => {
    const cases = [
      ["000000000000000000000000", "332d18d1"],
      ["48656c6c6f2c20776f726c64", "693d8ca8"],
      ["ffffffffffffffffffffffff", "8175f5b8"],
    ] as const;
    for (const [symbol, word] of cases) {
      expect(toHex(checkOfSymbol(fromHex(symbol)).reverse())).toBe(word);
    }
  });

  test("is not linear: the XOR of symbols has not the XOR of their checks", () => {
    const wordOf = (symbol: Uint8Array) => new DataView(checkOfSymbol(symbol).buffer).getUint32(0);
    const xor = (a: Uint8Array, b: Uint8Array) => a.map((byte, at) => byte ^ (b[at] as number));
    let agreeing = 0;
    for (let i = 1; i < 20_000; i++) {
      const [a, b] = [similarSymbol(i), similarSymbol(3 * i + 1)];
      const sum = wordOf(a) ^ wordOf(b) ^ wordOf(xor(a, b));
      if (sum === 0) agreeing++;
    }
    expect(agreeing).toBe(0);
  });
});

describe("the cells of a symbol", () => {
  test("are 0 first, ascending, and for fewer cells the first of them", () => {
    fc.assert(
      fc.property(symbols, fc.integer({ min: 1, max: SKETCH_CELLS }), (symbol, cells) => {
        const all = cellsOfSymbol(symbol, SKETCH_CELLS);
        expect(all[0]).toBe(0);
        expect(all).toEqual([...new Set(all)].sort((a, b) => a - b));
        expect(cellsOfSymbol(symbol, cells)).toEqual(all.filter((cell) => cell < cells));
      }),
    );
  });

  test("are hit with probability 1/(1 + i/2), also by symbols that hardly differ", () => {
    const TRIALS = 40_000;
    const hits = new Array<number>(SKETCH_CELLS).fill(0);
    for (let i = 0; i < TRIALS; i++) {
      for (const cell of cellsOfSymbol(similarSymbol(i), SKETCH_CELLS))
        hits[cell] = (hits[cell] as number) + 1;
    }
    expect(hits[0]).toBe(TRIALS);
    let squares = 0;
    for (let cell = 1; cell < SKETCH_CELLS; cell++) {
      const odds = 1 / (1 + cell / 2);
      squares += ((hits[cell] as number) - TRIALS * odds) ** 2 / (TRIALS * odds * (1 - odds));
    }
    // Chi-square over its degrees of freedom: 1, with a standard deviation of 0.03.
    expect(Math.abs(squares / (SKETCH_CELLS - 1) - 1)).toBeLessThan(0.12);
  });

  test("are drawn one by one: two symbols have all cells in common no more often than chance has it", () => {
    const CELLS = 64;
    const TRIALS = 20_000;
    const seen = new Map<string, number>();
    let same = 0;
    for (let i = 0; i < TRIALS; i++) {
      const cells = cellsOfSymbol(similarSymbol(i), CELLS).join();
      const before = seen.get(cells) ?? 0;
      same += before;
      seen.set(cells, before + 1);
    }
    let odds = 1;
    for (let cell = 1; cell < CELLS; cell++) {
      const hit = 1 / (1 + cell / 2);
      odds *= hit ** 2 + (1 - hit) ** 2;
    }
    const expected = (odds * TRIALS * (TRIALS - 1)) / 2;
    expect(Math.abs(same - expected)).toBeLessThan(6 * Math.sqrt(expected));
  });

  test("come after each other by whole numbers alone: no rounding shows", () => {
    const least = (index: number, draw: number) => {
      // Beyond, the cell is of no sketch whatever it is.
      if (nextCell(index, draw) >= 2 ** 12) return;
      const line = 2n ** 24n * BigInt(index + 1) * BigInt(index + 2);
      const isOver = (cell: number) => BigInt(draw) * BigInt(cell + 1) * BigInt(cell + 2) > line;
      const cell = nextCell(index, draw);
      expect([cell > index, isOver(cell), isOver(cell - 1)]).toEqual([true, true, false]);
    };
    const indexes = fc.integer({ min: 0, max: SKETCH_CELLS - 1 });
    fc.assert(fc.property(indexes, fc.integer({ min: 1, max: 2 ** 24 }), least), { numRuns: 3_000 });
    // Draws at and beside the lines between two cells, where rounding would show.
    fc.assert(
      fc.property(indexes, indexes, fc.integer({ min: -1, max: 1 }), (index, gap, beside) => {
        const line = (2 ** 24 * (index + 1) * (index + 2)) / ((index + gap + 1) * (index + gap + 2));
        const draw = Math.min(Math.max(Math.floor(line) + beside, 1), 2 ** 24);
        least(index, draw);
      }),
      { numRuns: 3_000 },
    );
  });
});
