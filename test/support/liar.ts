import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { decodeWant, type EventName, encodePage, encodePullAnswer } from "../../protocol/peer-messages.ts";
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
import { type BucketClass, FIRST_CELLS } from "../../protocol/sync-messages.ts";
import { topicKey } from "../../protocol/topic.ts";
import { random, type Script } from "./hostile-peer.ts";
import { pagesOf } from "./past-events.ts";
import { suite, type TestPeer } from "./peer.ts";

/** What a lie may be about. */
export interface LieContext {
  /** Sends the liar's requests to the node. */
  readonly sender: TestPeer;
  /** An event that the node has, some hours old. */
  readonly known: EncodedEvent;
  /** A bucket and class of which the node has too much to list it, and a slot that is full of it. */
  readonly large: BucketClass & { readonly slot: number };
  /** Good events of the liar's, which the node does not have but may store. */
  fresh(count: number): EncodedEvent[];
}

/** Something that a hostile peer answers. */
export interface Lie {
  readonly name: string;
  script(context: LieContext): Script;
  /** The rule that it is counted under; nothing is held against the peer where it is absent. */
  readonly rule?: string;
  /** What the node asks of it at most, in two rounds; `MOST_REQUESTS` by default. */
  readonly mostRequests?: number;
}

/** Two runs of pages, and what leads to them. */
export const MOST_REQUESTS = 600;

export const nameOf = ({ fields, id }: EncodedEvent): EventName => ({
  topicKey: topicKey(fields.topic, suite),
  id,
});

/** Names some events, and has no more. */
export const naming = (names: readonly EventName[]): Script => ({
  "/peer/v1/pull": () => {
    const cursor = { shard: 0, generation: new Uint8Array(8), position: 1 };
    return encodePullAnswer([{ cursor, names, more: false, restart: false }]);
  },
});

/** Names some events and sends what is wanted of them, in pages, as every node does. */
export function offering(events: readonly EncodedEvent[]): Script {
  const known = new Map(events.map((event) => [toHex(event.id), event]));
  return {
    ...naming(events.map(nameOf)),
    "/peer/v1/want": ({ body }) => {
      const found = decodeWant(body).wanted.flatMap(({ id }) => known.get(toHex(id)) ?? []);
      const [page = []] = pagesOf(found);
      return encodePage({ events: page, more: page.length < found.length });
    },
  };
}

/** What a node says of all that it holds as of a slot: no roots are those of random bytes. */
async function heldBy(sender: TestPeer, asOf: number) {
  const question = encodeCompare({ asOf, newest: random(32), previous: random(32) });
  const answer = decodeCompareAnswer(await sender.ask("/peer/v1/sync/compare", question));
  if (answer.kind !== "different") throw new Error(`it answers ${answer.kind}`);
  const body = encodeCells({ asOf: answer.asOf, cells: SKETCH_CELLS });
  return { ...answer, cells: decodeCellsAnswer(await sender.ask("/peer/v1/sync/cells", body)) };
}

const cellsOf = (sketch: Bytes, count: number): Bytes => sketch.slice(0, count * CELL_BYTES);
const flipped = (bytes: Bytes): Bytes => bytes.map((byte) => byte ^ 1);

/** Says that it holds what the node holds, but for the events of some symbols, in sketches that tell them. */
export function differsBy(sender: TestPeer, symbols: readonly Bytes[]): Script {
  const sketchAsOf = async (asOf: number) => {
    const held = await heldBy(sender, asOf);
    const sketch = Sketch.fromBytes(held.cells);
    for (const symbol of symbols) sketch.toggleSymbol(symbol);
    return { held, sketch: sketch.prefix() };
  };
  return {
    "/peer/v1/sync/compare": async ({ body }) => {
      const { held, sketch } = await sketchAsOf(decodeCompare(body).asOf);
      return encodeCompareAnswer({ ...held, tags: flipped(held.tags), cells: cellsOf(sketch, FIRST_CELLS) });
    },
    "/peer/v1/sync/cells": async ({ body }) => {
      const { asOf, cells } = decodeCells(body);
      return encodeCellsAnswer(cellsOf((await sketchAsOf(asOf)).sketch, cells));
    },
  };
}

/** Says that it differs everywhere, by `surplus` events more or less, in sketches of which nothing can be told. */
export function jammed(sender: TestPeer, surplus = 0): Script {
  return {
    "/peer/v1/sync/compare": async ({ body }) => {
      const held = await heldBy(sender, decodeCompare(body).asOf);
      const count = held.count + surplus;
      const cells = random(FIRST_CELLS * CELL_BYTES);
      return encodeCompareAnswer({ ...held, count, tags: flipped(held.tags), cells });
    },
    "/peer/v1/sync/cells": ({ body }) => encodeCellsAnswer(random(decodeCells(body).cells * CELL_BYTES)),
  };
}
