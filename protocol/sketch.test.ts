import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, fromHex, toHex } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import { eventId } from "./event-id.ts";
import { CELL_BYTES, decodeDifference, SKETCH_CELLS, Sketch } from "./sketch.ts";
import { cellsOfSymbol, checkOfSymbol, SYMBOL_BYTES, symbolOf } from "./sketch-symbol.ts";
import { bytesOf, seqs } from "./testing/arbitraries.ts";
import { randomSymbols, sketchOfSymbols, sorted, symbolSets, xor } from "./testing/sketches.ts";
import { BUCKETS } from "./topic.ts";

interface Place {
  readonly bucket: number;
  readonly id: Bytes;
}

const events: fc.Arbitrary<Place> = fc.record({
  bucket: fc.integer({ min: 0, max: BUCKETS - 1 }),
  id: fc.tuple(seqs, bytesOf(32)).map(([seq, digest]) => eventId(seq, digest)),
});
/** Sets of events, small beside a full sketch. */
const sets = fc.uniqueArray(events, {
  maxLength: 40,
  selector: ({ bucket, id }) => toHex(symbolOf(bucket, id)),
});

function sketchOf(places: readonly Place[], cells?: number): Sketch {
  const sketch = new Sketch(cells);
  for (const { bucket, id } of places) sketch.toggle(bucket, id);
  return sketch;
}

const namesOf = (places: readonly Place[]) => places.map(({ bucket, id }) => toHex(symbolOf(bucket, id)));

function codeOf(work: () => unknown): string {
  try {
    work();
    return "good";
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return error.code;
  }
}

describe("a sketch", () => {
  test("of one set against another decodes to what only one of them has", () => {
    fc.assert(
      fc.property(sets, sets, sets, (common, mine, theirs) => {
        const [left, right] = [sketchOf([...common, ...mine]), sketchOf([...common, ...theirs])];
        const expected = new Set<string>();
        for (const name of [...namesOf(mine), ...namesOf(theirs)]) {
          if (!expected.delete(name)) expected.add(name);
        }
        const before = [left.prefix(), right.prefix()];
        expect(sorted(decodeDifference(left, right.prefix()))).toEqual([...expected].sort());
        expect(sorted(decodeDifference(left.prefix(), right))).toEqual([...expected].sort());
        expect([left.prefix(), right.prefix()]).toEqual(before);
      }),
    );
  });

  test("does not depend on the order in which events came", () => {
    const shuffled = sets.chain((places) =>
      fc.tuple(fc.constant(places), fc.shuffledSubarray(places, { minLength: places.length })),
    );
    fc.assert(
      fc.property(shuffled, ([places, others]) => {
        expect(sketchOf(others).prefix()).toEqual(sketchOf(places).prefix());
      }),
    );
  });

  test("takes an event out that is toggled again, and is nothing when all are", () => {
    fc.assert(
      fc.property(sets, sets, (places, others) => {
        expect(sketchOf([...places, ...others, ...places]).prefix()).toEqual(sketchOf(others).prefix());
      }),
    );
    const event = { bucket: 7, id: eventId(1_000n, new Uint8Array(32).fill(9)) };
    expect(sketchOf([event, event]).prefix()).toEqual(new Sketch().prefix());
    expect(sketchOf([event]).prefix()).not.toEqual(new Sketch().prefix());
  });

  test("merged with that of other events is the sketch of all", () => {
    fc.assert(
      fc.property(sets, sets, (places, others) => {
        const merged = sketchOf(places);
        merged.merge(sketchOf(others));
        expect(merged.prefix()).toEqual(sketchOf([...places, ...others]).prefix());
      }),
    );
    expect(codeOf(() => new Sketch(8).merge(new Sketch(9)))).toBe("sketch_size");
    expect(codeOf(() => new Sketch(9).merge(new Sketch(8)))).toBe("sketch_size");
  });

  test("begins with what a sketch of fewer cells is", () => {
    fc.assert(
      fc.property(sets, fc.integer({ min: 1, max: SKETCH_CELLS }), (places, cells) => {
        const full = sketchOf(places);
        const shorter = sketchOf(places, cells).prefix();
        expect(full.prefix(cells)).toEqual(shorter);
        expect(full.prefix().slice(0, CELL_BYTES * cells)).toEqual(shorter);
        expect(full.clone(cells).prefix()).toEqual(shorter);
        expect(Sketch.fromBytes(shorter).prefix()).toEqual(shorter);
      }),
    );
  });

  test("is the same after it was decoded", () => {
    const sketch = sketchOfSymbols([new Uint8Array(SYMBOL_BYTES).fill(4)], 16);
    const before = sketch.prefix();
    expect(sketch.decode()).toEqual(sketch.decode());
    expect(sketch.prefix()).toEqual(before);
  });

  test("and its clone go their own ways", () => {
    const sketch = new Sketch(4);
    const clone = sketch.clone();
    clone.toggle(1, eventId(5n, new Uint8Array(32)));
    expect(sketch.prefix()).toEqual(new Sketch(4).prefix());
    expect(clone.prefix()).not.toEqual(sketch.prefix());
  });

  test("has in each cell the XOR of its symbols and of their checks", () => {
    fc.assert(
      fc.property(symbolSets, (held) => {
        const cells = Array.from({ length: 64 }, (): Bytes => new Uint8Array(CELL_BYTES));
        for (const symbol of held) {
          for (const cell of cellsOfSymbol(symbol, 64)) {
            const [sum, check] = [cells[cell] as Bytes, checkOfSymbol(symbol)];
            cells[cell] = new Uint8Array([
              ...xor(sum.subarray(0, SYMBOL_BYTES), symbol),
              ...xor(sum.subarray(SYMBOL_BYTES), check),
            ]);
          }
        }
        expect(sketchOfSymbols(held, 64).prefix()).toEqual(
          new Uint8Array(cells.flatMap((cell) => [...cell])),
        );
      }),
    );
  });

  test("has 1 to 2,048 cells, all of them whole", () => {
    for (const cells of [0, -1, 1.5, 2_049, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(codeOf(() => new Sketch(cells))).toBe("sketch_size");
      expect(codeOf(() => new Sketch().prefix(cells))).toBe("sketch_size");
      expect(codeOf(() => new Sketch().clone(cells))).toBe("sketch_size");
    }
    expect(codeOf(() => new Sketch(4).prefix(5))).toBe("sketch_size");
    for (const length of [0, 1, 15, 17, 2_048 * 16 - 1, 2_048 * 16 + 1, 2_049 * 16, 2 ** 28]) {
      expect(codeOf(() => Sketch.fromBytes(new Uint8Array(length)))).toBe("sketch_size");
      expect(codeOf(() => decodeDifference(new Sketch(), new Uint8Array(length)))).toBe("sketch_size");
    }
    expect(Sketch.fromBytes(new Uint8Array(2_048 * 16)).cells).toBe(SKETCH_CELLS);
  });

  test("is read from bytes that stand within others, at any place", () => {
    const bytes = sketchOfSymbols([new Uint8Array(SYMBOL_BYTES).fill(3)], 8).prefix();
    const within = new Uint8Array(bytes.length + 7);
    within.set(bytes, 3);
    expect(Sketch.fromBytes(within.subarray(3, 3 + bytes.length)).prefix()).toEqual(bytes);
  });
});

describe("decoding", () => {
  test("counts the cells of the shorter", () => {
    const [mine, theirs] = [new Uint8Array(SYMBOL_BYTES).fill(1), new Uint8Array(SYMBOL_BYTES).fill(2)];
    for (const [left, right] of [
      [2_048, 40],
      [40, 2_048],
    ]) {
      const found = decodeDifference(sketchOfSymbols([mine], left), sketchOfSymbols([theirs], right));
      expect(sorted(found)).toEqual([toHex(mine), toHex(theirs)].sort());
    }
  });

  test("answers undefined, and never something else, when there are more differences than cells", () => {
    const next = randomSymbols(11);
    for (let trial = 0; trial < 300; trial++) {
      const cells = 1 + (trial % 60);
      const held = Array.from({ length: cells + 1 + (trial % 7) }, next);
      expect(sketchOfSymbols(held, cells).decode()).toBeUndefined();
    }
  });

  // The figures come from the method: two symbols with all cells in common, and small sets, are what fails.
  test.each([
    { differences: 1, cells: 1, common: 500, trials: 200, rate: 1 },
    { differences: 10, cells: 32, common: 0, trials: 3_000, rate: 0.98 },
    { differences: 10, cells: 40, common: 50, trials: 3_000, rate: 0.99 },
    { differences: 100, cells: 224, common: 0, trials: 3_000, rate: 0.999 },
    { differences: 100, cells: 224, common: 3_000, trials: 100, rate: 0.999 },
    { differences: 1_000, cells: 1_600, common: 0, trials: 400, rate: 0.999 },
    { differences: 1_000, cells: 1_600, common: 20_000, trials: 3, rate: 0.999 },
  ])("finds $differences differences in $cells cells beside $common events", (each) => {
    const next = randomSymbols(each.differences + each.common + 1);
    let good = 0;
    for (let trial = 0; trial < each.trials; trial++) {
      const common = Array.from({ length: each.common }, next);
      const held = Array.from({ length: each.differences }, next);
      const half = held.length >> 1;
      const mine = sketchOfSymbols([...common, ...held.slice(0, half)], each.cells);
      const theirs = sketchOfSymbols([...held.slice(half), ...common.reverse()], each.cells);
      const found = decodeDifference(mine, theirs.prefix());
      if (found === undefined) continue;
      expect(sorted(found)).toEqual(sorted(held));
      good++;
    }
    expect(good / each.trials).toBeGreaterThanOrEqual(each.rate);
  });

  test("leaves a cell alone whose symbols look like one that has not this cell", () => {
    const [a, b] = [fromHex("674523018a5b58cb5e0806c5"), fromHex("674523017ca26c4b4df04a3b")];
    const both = xor(a, b);
    expect(toHex(checkOfSymbol(both))).toBe(toHex(xor(checkOfSymbol(a), checkOfSymbol(b))));
    const last = 24;
    const hasLast = [a, b, both].map((symbol) => cellsOfSymbol(symbol, last + 1).includes(last));
    expect(hasLast).toEqual([true, true, false]);
    expect(sorted(sketchOfSymbols([a, b], last + 1).decode())).toEqual([toHex(a), toHex(b)].sort());
  });
});
