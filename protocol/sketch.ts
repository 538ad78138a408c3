import { swap32IfBE } from "@noble/hashes/utils.js";
import { type Bytes, toHex } from "./bytes.ts";
import { invalidArgument } from "./errors.ts";
import { SYMBOL_BYTES, SymbolWalk, symbolWord, writeSymbol } from "./sketch-symbol.ts";

/**
 * An invertible sketch of a set of events (a rateless IBLT: Yang, Gilad, Alizadeh, "Practical Rateless Set Reconciliation",
 * SIGCOMM 2024): the XOR of the sketches of two sets is the sketch of their difference, and can be decoded when the difference is
 * small beside the cells, whatever the size of the sets. In 99.9 % of cases 224 cells bear 100 differences, 1,600 cells 1,000.
 * A hostile sender can jam it: what it decodes to is a hint to be looked up, and a list of ids must stand behind it.
 */

/** The most cells of a sketch: 32 KiB. */
export const SKETCH_CELLS = 2_048;
/** The XOR of the cell's symbols (12), then the XOR of their checks (4, little-endian). */
export const CELL_BYTES = 16;
/** A cell is kept as four little-endian words. */
const WORDS = CELL_BYTES / 4;

function checkCells(cells: number, limit: number): void {
  if (Number.isInteger(cells) && cells >= 1 && cells <= limit) return;
  throw invalidArgument("sketch_size", `a sketch of ${cells} cells where 1 to ${limit} are allowed`, {
    cells,
    limit,
  });
}

export class Sketch {
  readonly cells: number;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #walk = new SymbolWalk();
  readonly #symbol = new Uint8Array(SYMBOL_BYTES);

  /** The sketch of no events. @throws PennypostError `sketch_size`. */
  constructor(cells = SKETCH_CELLS) {
    checkCells(cells, SKETCH_CELLS);
    this.cells = cells;
    this.#words = new Int32Array(WORDS * cells);
  }

  /** @throws PennypostError `sketch_size` when the bytes are not 1 to 2,048 whole cells. */
  static fromBytes(bytes: Uint8Array): Sketch {
    const sketch = new Sketch(bytes.length / CELL_BYTES);
    const { buffer } = sketch.#words;
    new Uint8Array(buffer).set(bytes);
    swap32IfBE(new Uint32Array(buffer));
    return sketch;
  }

  /** Adds an event that is not in the sketch, and removes one that is. */
  toggle(bucket: number, id: Uint8Array): void {
    writeSymbol(this.#symbol, bucket, id);
    this.toggleSymbol(this.#symbol);
  }

  /** As `toggle`, for a symbol of 12 bytes. */
  toggleSymbol(symbol: Uint8Array): void {
    const word0 = symbolWord(symbol, 0);
    const word1 = symbolWord(symbol, 1);
    const word2 = symbolWord(symbol, 2);
    const words = this.#words;
    const walk = this.#walk;
    for (walk.start(word0, word1, word2); walk.cell < this.cells; walk.next()) {
      toggleCell(words, walk.cell, word0, word1, word2, walk.check);
    }
  }

  /**
   * Makes this the sketch of what is in one of the two sets and not in both: of sets with nothing in common, of their union.
   * @throws PennypostError `sketch_size` when the other has not as many cells.
   */
  merge(other: Sketch): void {
    if (other.cells !== this.cells) {
      const why = `sketches of ${this.cells} and ${other.cells} cells do not merge`;
      throw invalidArgument("sketch_size", why, { cells: other.cells, limit: this.cells });
    }
    const words = this.#words;
    for (let at = 0; at < words.length; at++) {
      words[at] = (words[at] as number) ^ (other.#words[at] as number);
    }
  }

  /** The first cells as bytes: what a sketch of that many cells is. @throws PennypostError `sketch_size`. */
  prefix(cells = this.cells): Bytes {
    checkCells(cells, this.cells);
    const { buffer } = this.#words.slice(0, WORDS * cells);
    swap32IfBE(new Uint32Array(buffer));
    return new Uint8Array(buffer);
  }

  /** A sketch of its own, of the first cells. @throws PennypostError `sketch_size`. */
  clone(cells = this.cells): Sketch {
    checkCells(cells, this.cells);
    const copy = new Sketch(cells);
    copy.#words.set(this.#words.subarray(0, WORDS * cells));
    return copy;
  }

  /**
   * The symbols in the sketch, each once, in no order that means something; undefined when they are more than the cells bear, or the
   * sketch is not one of a set.
   */
  decode(): Bytes[] | undefined {
    return peel(this.#words.slice(), this.cells);
  }
}

/**
 * The symbols of the events that one side has and the other has not; undefined when the difference cannot be decoded (more of them than
 * the cells bear, or a jammed sketch). Where the two differ in length, the cells of the shorter count.
 * @throws PennypostError `sketch_size` for bytes that are no sketch.
 */
export function decodeDifference(mine: Sketch | Bytes, theirs: Sketch | Bytes): Bytes[] | undefined {
  const left = mine instanceof Sketch ? mine : Sketch.fromBytes(mine);
  const right = theirs instanceof Sketch ? theirs : Sketch.fromBytes(theirs);
  const cells = Math.min(left.cells, right.cells);
  const difference = left.clone(cells);
  difference.merge(right.clone(cells));
  return difference.decode();
}

function toggleCell(
  words: Int32Array,
  cell: number,
  word0: number,
  word1: number,
  word2: number,
  check: number,
): void {
  const at = WORDS * cell;
  words[at] = (words[at] as number) ^ word0;
  words[at + 1] = (words[at + 1] as number) ^ word1;
  words[at + 2] = (words[at + 2] as number) ^ word2;
  words[at + 3] = (words[at + 3] as number) ^ check;
}

function isEmpty(words: Int32Array, cell: number): boolean {
  const at = WORDS * cell;
  return (
    ((words[at] as number) |
      (words[at + 1] as number) |
      (words[at + 2] as number) |
      (words[at + 3] as number)) ===
    0
  );
}

/**
 * Takes symbols out of cells that hold just one, until all cells are empty. At most as many as there are cells, each once: no honest
 * sketch needs more, and a hostile one may hold symbols that bring each other back for ever.
 */
function peel(words: Int32Array, cells: number): Bytes[] | undefined {
  const peeled = new Map<string, Bytes>();
  const waiting = new CellQueue(cells);
  // From the last cell, since later cells hold fewer symbols.
  for (let cell = cells - 1; cell >= 0; cell--) waiting.add(cell);
  const walk = new SymbolWalk();
  for (let cell = waiting.take(); cell !== undefined; cell = waiting.take()) {
    const symbol = soleSymbol(words, cell, walk);
    if (symbol === undefined) continue;
    const name = toHex(symbol);
    if (peeled.has(name) || peeled.size === cells) return undefined;
    peeled.set(name, symbol);
    const [word0, word1, word2] = [symbolWord(symbol, 0), symbolWord(symbol, 1), symbolWord(symbol, 2)];
    for (walk.start(word0, word1, word2); walk.cell < cells; walk.next()) {
      toggleCell(words, walk.cell, word0, word1, word2, walk.check);
      if (!isEmpty(words, walk.cell)) waiting.add(walk.cell);
    }
  }
  return words.every((word) => word === 0) ? [...peeled.values()] : undefined;
}

/** The symbol of a cell that holds just one: its check is the cell's, and the cell is one of its own. */
function soleSymbol(words: Int32Array, cell: number, walk: SymbolWalk): Bytes | undefined {
  if (isEmpty(words, cell)) return undefined;
  const at = WORDS * cell;
  walk.start(words[at] as number, words[at + 1] as number, words[at + 2] as number);
  if (walk.check !== words[at + 3]) return undefined;
  while (walk.cell < cell) walk.next();
  if (walk.cell !== cell) return undefined;
  const symbol = new Uint8Array(SYMBOL_BYTES);
  const view = new DataView(symbol.buffer);
  for (let word = 0; word < WORDS - 1; word++) view.setInt32(4 * word, words[at + word] as number, true);
  return symbol;
}

/** The cells still to be looked at, first in first out, each at most once at a time, so that it never holds more than there are. */
class CellQueue {
  readonly #ring: Uint16Array;
  readonly #isWaiting: Uint8Array;
  #first = 0;
  #count = 0;

  constructor(cells: number) {
    this.#ring = new Uint16Array(cells);
    this.#isWaiting = new Uint8Array(cells);
  }

  add(cell: number): void {
    if (this.#isWaiting[cell] === 1) return;
    this.#isWaiting[cell] = 1;
    this.#ring[(this.#first + this.#count++) % this.#ring.length] = cell;
  }

  take(): number | undefined {
    if (this.#count === 0) return undefined;
    const cell = this.#ring[this.#first] as number;
    this.#first = (this.#first + 1) % this.#ring.length;
    this.#count--;
    this.#isWaiting[cell] = 0;
    return cell;
  }
}
