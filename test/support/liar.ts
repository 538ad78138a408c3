import type { Bytes } from "../../protocol/bytes.ts";
import { CELL_BYTES, SKETCH_CELLS, Sketch } from "../../protocol/sketch.ts";
import {
  decodeCells,
  decodeCellsAnswer,
  decodeCompare,
  decodeCompareAnswer,
  encodeCells,
  encodeCellsAnswer,
  encodeCompare,
  encodeCompareAnswer,
} from "../../protocol/sync-codec.ts";
import { FIRST_CELLS } from "../../protocol/sync-messages.ts";
import { random, type Script } from "./hostile-peer.ts";
import type { TestPeer } from "./peer.ts";

/** What a node says of all that it holds as of a slot. */
async function heldBy(sender: TestPeer, asOf: number) {
  const question = encodeCompare({ asOf, newest: random(32), previous: random(32) });
  const answer = decodeCompareAnswer(await sender.ask("/peer/v1/sync/compare", question));
  if (answer.kind !== "different") throw new Error(`nobody has the roots of random bytes: ${answer.kind}`);
  const body = encodeCells({ asOf: answer.asOf, cells: SKETCH_CELLS });
  return { ...answer, cells: decodeCellsAnswer(await sender.ask("/peer/v1/sync/cells", body)) };
}

/** Says that it holds what the node holds, but for the events of some symbols, in a sketch that tells them. */
export function differsBy(sender: TestPeer, symbols: readonly Bytes[]): Script {
  const sketchOf = async (asOf: number) => {
    const held = await heldBy(sender, asOf);
    const sketch = Sketch.fromBytes(held.cells);
    for (const symbol of symbols) sketch.toggleSymbol(symbol);
    return { held, cells: sketch.prefix() };
  };
  return {
    "/peer/v1/sync/compare": async ({ body }) => {
      const { held, cells } = await sketchOf(decodeCompare(body).asOf);
      const tags = held.tags.map((byte) => byte ^ 1);
      return encodeCompareAnswer({ ...held, tags, cells: cells.slice(0, FIRST_CELLS * CELL_BYTES) });
    },
    "/peer/v1/sync/cells": async ({ body }) => {
      const { asOf, cells: count } = decodeCells(body);
      return encodeCellsAnswer((await sketchOf(asOf)).cells.slice(0, count * CELL_BYTES));
    },
  };
}

/** Says that it differs everywhere, in sketches of which nothing can be told. */
export const JAMMED: Script = {
  "/peer/v1/sync/compare": ({ body }) =>
    encodeCompareAnswer({
      kind: "different",
      asOf: decodeCompare(body).asOf,
      count: 1_000_000,
      tags: random(256),
      cells: random(FIRST_CELLS * CELL_BYTES),
    }),
  "/peer/v1/sync/cells": ({ body }) => encodeCellsAnswer(random(decodeCells(body).cells * CELL_BYTES)),
};
