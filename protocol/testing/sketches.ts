import * as fc from "fast-check";
import { type Bytes, toHex } from "../bytes.ts";
import { Sketch } from "../sketch.ts";
import { SYMBOL_BYTES } from "../sketch-symbol.ts";
import { bytesOf } from "./arbitraries.ts";

/** What the tests of the sketch share. */

export const symbols = bytesOf(SYMBOL_BYTES);
export const symbolSets = fc.uniqueArray(symbols, { maxLength: 30, selector: toHex });

export function sketchOfSymbols(held: Iterable<Uint8Array>, cells?: number): Sketch {
  const sketch = new Sketch(cells);
  for (const symbol of held) sketch.toggleSymbol(symbol);
  return sketch;
}

export const sorted = (found: readonly Bytes[] | undefined) => found?.map(toHex).sort();
export const xor = (a: Uint8Array, b: Uint8Array): Bytes =>
  Uint8Array.from(a, (byte, at) => byte ^ (b[at] as number));

/** A generator of random words that a seed fixes (xorshift32). */
export function randomSymbols(seed: number): () => Bytes {
  let state = seed;
  return () => {
    const words = new Uint32Array(3);
    for (let at = 0; at < 3; at++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[at] = state;
    }
    return new Uint8Array(words.buffer);
  };
}
