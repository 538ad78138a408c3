import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "./bytes.ts";
import { CELL_BYTES, decodeDifference, SKETCH_CELLS, Sketch } from "./sketch.ts";
import { cellsOfSymbol, checkOfSymbol, SYMBOL_BYTES } from "./sketch-symbol.ts";
import { bytesOf } from "./testing/arbitraries.ts";
import { randomSymbols, sketchOfSymbols, sorted, symbolSets, symbols, xor } from "./testing/sketches.ts";

describe("a hostile sketch", () => {
  /** What is answered must be a set whose sketch is the one that was sent. */
  function expectConsistent(bytes: Bytes): Bytes[] | undefined {
    const found = decodeDifference(new Sketch(bytes.length / CELL_BYTES), bytes);
    if (found === undefined) return undefined;
    expect(new Set(found.map(toHex)).size).toBe(found.length);
    expect(found.length).toBeLessThanOrEqual(bytes.length / CELL_BYTES);
    expect(sketchOfSymbols(found, bytes.length / CELL_BYTES).prefix()).toEqual(bytes);
    return found;
  }

  const cellOf = (symbol: Uint8Array) => new Uint8Array([...symbol, ...checkOfSymbol(symbol)]);

  test("of random bytes, or of one byte all through, is not decoded", () => {
    const wholeCells = fc
      .tuple(fc.integer({ min: 1, max: 64 }), bytesOf(CELL_BYTES, 64 * CELL_BYTES))
      .map(([cells, bytes]) =>
        bytes.slice(0, CELL_BYTES * Math.min(cells, Math.floor(bytes.length / CELL_BYTES))),
      );
    fc.assert(fc.property(wholeCells, (bytes) => void expectConsistent(bytes)));
    for (const byte of [1, 0x55, 0x80, 255]) {
      for (const cells of [1, 2, 100, SKETCH_CELLS]) {
        expect(expectConsistent(new Uint8Array(CELL_BYTES * cells).fill(byte))).toBeUndefined();
      }
    }
    const next = randomSymbols(5);
    const noise = new Uint8Array(CELL_BYTES * SKETCH_CELLS);
    for (let at = 0; at + SYMBOL_BYTES <= noise.length; at += SYMBOL_BYTES) noise.set(next(), at);
    expect(expectConsistent(noise)).toBeUndefined();
  });

  test("whose cells each hold a symbol of their own ends", () => {
    const next = randomSymbols(6);
    for (const isOwnCell of [false, true]) {
      const bytes = new Uint8Array(CELL_BYTES * SKETCH_CELLS);
      for (let cell = 0; cell < SKETCH_CELLS; cell++) {
        let symbol = next();
        while (isOwnCell && !cellsOfSymbol(symbol, SKETCH_CELLS).includes(cell)) symbol = next();
        bytes.set(cellOf(symbol), CELL_BYTES * cell);
      }
      expect(expectConsistent(bytes)).toBeUndefined();
    }
  });

  test("in which symbols bring each other back for ever ends", () => {
    fc.assert(
      fc.property(symbols, fc.integer({ min: 2, max: 256 }), (symbol, cells) => {
        const own = cellsOfSymbol(symbol, cells);
        fc.pre(own.length > 1);
        for (const cell of own) {
          const bytes = new Uint8Array(CELL_BYTES * cells);
          bytes.set(cellOf(symbol), CELL_BYTES * cell);
          expect(expectConsistent(bytes)).toBeUndefined();
        }
      }),
    );
  });

  test("that an honest one was made into, at some cells, is not decoded", () => {
    const changes = fc.array(fc.tuple(fc.nat(63), fc.oneof(symbols.map(cellOf), bytesOf(CELL_BYTES))), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(symbolSets, changes, (held, changed) => {
        const bytes = sketchOfSymbols(held, 64).prefix();
        for (const [cell, by] of changed) {
          const at = CELL_BYTES * cell;
          bytes.set(xor(bytes.subarray(at, at + CELL_BYTES), by), at);
        }
        expectConsistent(bytes);
      }),
      { numRuns: 300 },
    );
  });

  test("with one bit changed anywhere is not decoded", () => {
    const held = [1, 2, 3].map((byte) => new Uint8Array(SYMBOL_BYTES).fill(byte));
    const honest = sketchOfSymbols(held, 24).prefix();
    expect(sorted(expectConsistent(honest))).toEqual(sorted(held));
    for (let bit = 0; bit < 8 * honest.length; bit++) {
      const bytes = honest.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(expectConsistent(bytes)).toBeUndefined();
    }
  });
});
