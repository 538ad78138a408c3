import { type Bytes, compareBytes } from "../bytes.ts";
import { eventId } from "../event-id.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import { MAX_SEQ } from "../limits.ts";
import { CELL_BYTES, decodeDifference, SKETCH_CELLS, Sketch } from "../sketch.ts";
import { cellsOfSymbol, checkOfSymbol, placeOfSymbol, SYMBOL_BYTES, symbolOf } from "../sketch-symbol.ts";
import { BUCKETS } from "../topic.ts";
import { hex, seedOf, suite } from "./encoding.ts";

const SEQ = firstSeqOf(Date.UTC(2026, 2, 1, 12)) | 5n;

/** Symbol `i` of the vectors: any 12 bytes are one. */
const symbolAt = (i: number): Bytes => seedOf(`symbol ${i}`).slice(0, SYMBOL_BYTES);
const symbolsFrom = (first: number, count: number): Bytes[] =>
  Array.from({ length: count }, (_, i) => symbolAt(first + i));

function sketchOf(cells: number, ...symbols: Bytes[]): Sketch {
  const sketch = new Sketch(cells);
  for (const symbol of symbols) sketch.toggleSymbol(symbol);
  return sketch;
}

type SymbolCase = readonly [description: string, bucket: number, id: Bytes];

const SYMBOLS: readonly SymbolCase[] = [
  ["An event.", 3_187, eventId(SEQ, seedOf("sketch 1"))],
  ["Another event of its slot and bucket.", 3_187, eventId(SEQ + 1_024n, seedOf("sketch 2"))],
  ["The same id in the next bucket.", 3_188, eventId(SEQ, seedOf("sketch 1"))],
  ["The first bucket.", 0, eventId(SEQ, seedOf("sketch 3"))],
  ["The last bucket.", BUCKETS - 1, eventId(SEQ, seedOf("sketch 3"))],
  ["The greatest seq, and so the greatest slot.", 9, eventId(MAX_SEQ, seedOf("sketch 4"))],
  ["All bits are 0.", 0, eventId(0n, new Uint8Array(32))],
  ["All bits are 1.", BUCKETS - 1, eventId(MAX_SEQ, new Uint8Array(32).fill(255))],
  ["Bit 62 of the digest is the last that counts.", 9, eventId(SEQ, digestWith(7, 0b100))],
  ["Bits 63 and 64 of the digest do not count.", 9, eventId(SEQ, digestWith(7, 0b011))],
];

function digestWith(at: number, value: number): Bytes {
  const digest = new Uint8Array(32);
  digest[at] = value;
  return digest;
}

const SKETCHES: readonly (readonly [description: string, count: number, cells: number])[] = [
  ["No symbol.", 0, 2],
  ["One symbol.", 1, 16],
  ["Two symbols.", 2, 16],
  ["Twenty symbols.", 20, 32],
  ["The first cells of the one before.", 20, 8],
  ["A full sketch of a thousand symbols.", 1_000, SKETCH_CELLS],
];

/** Sketches longer than this are written as their SHA-256. */
const LONGEST_WRITTEN_CELLS = 32;

/** A sketch whose bytes are changed by hand. */
function changed(sketch: Sketch, change: (bytes: Bytes) => void): Bytes {
  const bytes = sketch.prefix();
  change(bytes);
  return bytes;
}

/** Clears all cells but one. */
const keepCell = (kept: number) => (bytes: Bytes) => {
  bytes.fill(0, 0, CELL_BYTES * kept);
  bytes.fill(0, CELL_BYTES * (kept + 1));
};

/** A cell of the first eight that is none of the symbol's. */
const strangeCell = (symbol: Bytes): number => {
  const own = cellsOfSymbol(symbol, 8);
  return [1, 2, 3, 4, 5, 6, 7].find((cell) => !own.includes(cell)) as number;
};

function moveFirstCell(to: number): (bytes: Bytes) => void {
  return (bytes) => {
    bytes.copyWithin(CELL_BYTES * to, 0, CELL_BYTES);
    keepCell(to)(bytes);
  };
}

const [a, b] = [symbolAt(0), symbolAt(1)] as const;
const common = symbolsFrom(100, 50);

const DIFFERENCES: readonly (readonly [description: string, mine: Bytes, theirs: Bytes])[] = [
  ["Two empty sketches.", new Sketch(2).prefix(), new Sketch(2).prefix()],
  ["Two equal sketches.", sketchOf(4, ...common).prefix(), sketchOf(4, ...common).prefix()],
  ["They have one more.", sketchOf(2, ...common).prefix(), sketchOf(2, ...common, a).prefix()],
  ["We have one more, and one cell is enough.", sketchOf(1, a).prefix(), sketchOf(1).prefix()],
  ["The symbol of zeros.", sketchOf(4).prefix(), sketchOf(4, new Uint8Array(SYMBOL_BYTES)).prefix()],
  [
    "Each has four that the other lacks.",
    sketchOf(24, ...common, ...symbolsFrom(0, 4)).prefix(),
    sketchOf(24, ...common, ...symbolsFrom(4, 4)).prefix(),
  ],
  [
    "Their sketch is shorter: its cells count.",
    sketchOf(24, ...common, a).prefix(),
    sketchOf(8, ...common, b).prefix(),
  ],
  ["More differences than cells.", sketchOf(8).prefix(), sketchOf(8, ...symbolsFrom(0, 9)).prefix()],
  ["A wrong check.", sketchOf(8).prefix(), changed(sketchOf(8, a), (bytes) => bytes.fill(1, 12, 13))],
  [
    "A symbol alone in a cell that is none of its own.",
    sketchOf(8).prefix(),
    changed(sketchOf(8, a), moveFirstCell(strangeCell(a))),
  ],
  [
    "A symbol that comes back when it is taken out.",
    sketchOf(8).prefix(),
    changed(sketchOf(8, a), keepCell(0)),
  ],
  ["All ones.", sketchOf(8).prefix(), new Uint8Array(CELL_BYTES * 8).fill(255)],
];

export function sketchVectors() {
  return {
    symbols: SYMBOLS.map(([description, bucket, id]) => {
      const symbol = symbolOf(bucket, id);
      return {
        description,
        bucket,
        id: hex(id),
        slot: placeOfSymbol(symbol).slot,
        symbol: hex(symbol),
        check: hex(checkOfSymbol(symbol)),
        cells: cellsOfSymbol(symbol, SKETCH_CELLS),
      };
    }),
    sketches: SKETCHES.map(([description, count, cells]) => {
      const bytes = sketchOf(cells, ...symbolsFrom(0, count)).prefix();
      return {
        description,
        count,
        cells,
        ...(cells > LONGEST_WRITTEN_CELLS ? { sha256: hex(suite.sha256(bytes)) } : { sketch: hex(bytes) }),
      };
    }),
    differences: DIFFERENCES.map(([description, mine, theirs]) => ({
      description,
      mine: hex(mine),
      theirs: hex(theirs),
      symbols: decodeDifference(mine, theirs)?.sort(compareBytes).map(hex) ?? null,
    })),
  };
}
