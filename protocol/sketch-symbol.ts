import type { Bytes } from "./bytes.ts";

/**
 * What a sketch holds of an event: a symbol of 96 bits, bucket (12) ‖ slot (22) ‖ the first 62 bits of the block's digest.
 * Its check and its cells follow from these bits alone, and must be the same on every node. With
 * h1, h2, h3, h4 = MurmurHash3_x86_128 of the 12 bytes, seed 0:
 *
 * - The check is h1.
 * - The cells are 0, then from each cell i the next one is the least j with r·(j + 1)·(j + 2) > 2^24·(i + 1)·(i + 2), where
 *   r = 1 + the top 24 bits of the next output of xoroshiro64** (Blackman, Vigna 2018), whose first state is h2, h3.
 *
 * So cell i is among them with probability 1/(1 + i/2), as Yang, Gilad, Alizadeh ask (Practical Rateless Set
 * Reconciliation, SIGCOMM 2024); they draw the gap by an approximation, this is the exact one.
 */

export const SYMBOL_BYTES = 12;

const DIGEST_AT = 8;

/** Writes the symbol of an event in a bucket: its id is 40 bytes. */
export function writeSymbol(into: Uint8Array, bucket: number, id: Uint8Array): void {
  const byte = (at: number) => id[at] as number;
  // slotOfSeq without a BigInt, since this runs for each event: the seq's bits 62 to 41.
  const slot = ((byte(0) & 0x7f) << 15) | (byte(1) << 7) | (byte(2) >> 1);
  into[0] = bucket >> 4;
  into[1] = (bucket << 4) | (slot >> 18);
  into[2] = slot >> 10;
  into[3] = slot >> 2;
  into[4] = (slot << 6) | (byte(DIGEST_AT) >> 2);
  for (let at = 5; at < SYMBOL_BYTES; at++) into[at] = (byte(at + 3) << 6) | (byte(at + 4) >> 2);
}

/** The symbol of an event in a bucket. */
export function symbolOf(bucket: number, id: Uint8Array): Bytes {
  const symbol = new Uint8Array(SYMBOL_BYTES);
  writeSymbol(symbol, bucket, id);
  return symbol;
}

/** Where the event of a symbol is to be looked up. Any 12 bytes have a place. */
export function placeOfSymbol(symbol: Uint8Array): { readonly bucket: number; readonly slot: number } {
  const byte = (at: number) => symbol[at] as number;
  return {
    bucket: (byte(0) << 4) | (byte(1) >> 4),
    slot: ((byte(1) & 15) << 18) | (byte(2) << 10) | (byte(3) << 2) | (byte(4) >> 6),
  };
}

/** The cell after `index`, for a draw from 1 to 2^24. For cells below 2^12 no rounding can change what the floor gives. */
export function nextCell(index: number, draw: number): number {
  return Math.floor(Math.sqrt((0x1000000 * (index + 1) * (index + 2)) / draw + 0.25) - 0.5);
}

const rotate = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** MurmurHash3's mix of one word of input. */
const mixWord = (word: number, before: number, bits: number, after: number): number =>
  Math.imul(rotate(Math.imul(word, before), bits), after);

/** MurmurHash3's last mix of a word. */
function finish(word: number): number {
  const a = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  const b = Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
  return b ^ (b >>> 16);
}

/** The check of a symbol and a walk over its cells; one object serves many symbols, so that none is made for each event. */
export class SymbolWalk {
  /** A signed word: its bits are what counts. */
  check = 0;
  /** The cell at which the walk stands. */
  cell = 0;
  #state0 = 0;
  #state1 = 0;

  /** Begins at cell 0 of the symbol of these words: its bytes, four by four, little-endian. */
  start(word0: number, word1: number, word2: number): void {
    const a = SYMBOL_BYTES ^ mixWord(word0, 0x239b961b, 15, 0xab0e9789);
    const b = SYMBOL_BYTES ^ mixWord(word1, 0xab0e9789, 16, 0x38b34ae5);
    const c = SYMBOL_BYTES ^ mixWord(word2, 0x38b34ae5, 17, 0xa1e38b93);
    const sum = (a + b + c + SYMBOL_BYTES) | 0;
    const second = finish(b + sum);
    const third = finish(c + sum);
    const first = (finish(sum) + second + third + finish(SYMBOL_BYTES + sum)) | 0;
    this.check = first;
    this.#state0 = (second + first) | 0;
    this.#state1 = (third + first) | 0;
    this.cell = 0;
  }

  /** Goes to the symbol's next cell. There is no last one: the caller ends where its cells do. */
  next(): void {
    const low = this.#state0;
    const output = Math.imul(rotate(Math.imul(low, 0x9e3779bb), 5), 5);
    const high = this.#state1 ^ low;
    this.#state0 = rotate(low, 26) ^ high ^ (high << 9);
    this.#state1 = rotate(high, 13);
    this.cell = nextCell(this.cell, (output >>> 8) + 1);
  }
}

/** One of the three words of a symbol. */
export function symbolWord(symbol: Uint8Array, word: 0 | 1 | 2): number {
  const byte = (at: number) => symbol[4 * word + at] as number;
  return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24);
}

/** The walk of a symbol, at its cell 0. */
function walkOf(symbol: Uint8Array): SymbolWalk {
  const walk = new SymbolWalk();
  walk.start(symbolWord(symbol, 0), symbolWord(symbol, 1), symbolWord(symbol, 2));
  return walk;
}

/** The check of a symbol as it stands in a cell: 4 bytes, little-endian. */
export function checkOfSymbol(symbol: Uint8Array): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, walkOf(symbol).check, true);
  return bytes;
}

/** The cells of a symbol in a sketch of so many cells, ascending. */
export function cellsOfSymbol(symbol: Uint8Array, cells: number): number[] {
  const own: number[] = [];
  for (const walk = walkOf(symbol); walk.cell < cells; walk.next()) own.push(walk.cell);
  return own;
}
