import * as dagCbor from "@ipld/dag-cbor";
import type { Bytes } from "../protocol/bytes.ts";
import { unavailable } from "../protocol/errors.ts";
import type { WireEvent } from "../protocol/event.ts";
import type { PeerPath } from "../protocol/peer-messages.ts";
import { madeUpId } from "./forgery.ts";
import { garbled } from "./garble.ts";
import { never } from "./life.ts";
import type { Random } from "./random.ts";

/** What a lie is made of. */
export interface LieParts {
  readonly random: Random;
  readonly nowMs: number;
  /** Broken events, and events that nobody asked for. */
  events(): WireEvent[];
  /** What an honest node would answer. */
  honest(): Promise<Bytes>;
}

type Lie = (parts: LieParts, question: Bytes) => Promise<Bytes> | Bytes;

const cbor = (value: unknown): Bytes => new Uint8Array(dagCbor.encode(value));
const tuple = ({ block, signature, message }: WireEvent) => [block, signature, message];
const name = ({ random, nowMs }: LieParts) => [random.bytes(32), madeUpId(nowMs, random)];
const names = (parts: LieParts, count: number) => Array.from({ length: count }, () => name(parts));
const asOfIn = (question: Bytes): number => {
  const value = dagCbor.decode<unknown>(question);
  return Array.isArray(value) && typeof value[0] === "number" ? value[0] : 0;
};

const ANY: readonly Lie[] = [
  async ({ honest, random }) => garbled(await honest(), random),
  async ({ honest, random }) => garbled(await honest(), random),
  ({ random }) => random.bytes(random.below(200)),
  () => new Uint8Array(),
  () => {
    throw unavailable("busy", "not now");
  },
  () => never<Bytes>(),
  () => cbor(Array.from({ length: 9 }).reduce<unknown>((inner) => [inner], 1)),
  ({ random }) => cbor(Array.from({ length: 500 }, () => random.next())),
];

/** Every event as if its message were gone: nobody can tell that from the truth. */
const bare = (events: readonly (readonly unknown[])[]) =>
  events.map(([block, signature]) => [block, signature, null]);
const barePage: Lie = async ({ honest }) => {
  const [events, rest] = dagCbor.decode<[unknown[][], unknown]>(await honest());
  return cbor([bare(events), rest]);
};

const page: readonly Lie[] = [
  barePage,
  barePage,
  (parts) => cbor([parts.events().map(tuple), false]),
  (parts) => cbor([parts.events().map(tuple), true]),
  () => cbor([[], true]),
  () => cbor([[], false]),
  async ({ honest, random }) => {
    const [events] = dagCbor.decode<[unknown[], boolean]>(await honest());
    return cbor([random.shuffled(events), true]);
  },
];

const OF_PATH: Readonly<Partial<Record<PeerPath, readonly Lie[]>>> = {
  "/peer/v1/push": [() => cbor([true, 0]), () => cbor([false, 4_000_000])],
  "/peer/v1/want": page,
  "/peer/v1/sync/symbols": page,
  "/peer/v1/pull": [
    (parts) => cbor([[[0, parts.random.bytes(8), 2 ** 40], names(parts, 3), true, false]]),
    (parts) => cbor([[[0, new Uint8Array(8), parts.random.below(99)], names(parts, 1), true, true]]),
    () => cbor([[[1_000, new Uint8Array(8), 0], [], true, false]]),
    () => cbor([]),
  ],
  "/peer/v1/sync/compare": [
    (_, question) => cbor([0, asOfIn(question)]),
    (_, question) => cbor([0, asOfIn(question)]),
    ({ random }) => cbor([0, random.next()]),
    (_, question) => cbor([1, asOfIn(question)]),
    // A jammed sketch, and tags that lead everywhere.
    async ({ honest, random }, question) => {
      const answer = dagCbor.decode<[number, number, number?, Uint8Array?, Uint8Array?]>(await honest());
      const cells = answer[4]?.length ?? 32 * 16;
      return cbor([2, asOfIn(question), random.below(50), random.bytes(256), random.bytes(cells)]);
    },
    (_, question) => cbor([2, asOfIn(question) + 3, 1, new Uint8Array(256), new Uint8Array(32 * 16)]),
  ],
  "/peer/v1/sync/cells": [
    async ({ honest, random }) => {
      const [cells] = dagCbor.decode<[Uint8Array]>(await honest());
      return cbor([random.bytes(cells.length)]);
    },
    ({ random }) => cbor([random.bytes(16)]),
  ],
  "/peer/v1/sync/roots": [
    () => cbor([[], null]),
    () => cbor([[], [0, 0]]),
    (_, question) => cbor([[], dagCbor.decode<unknown[]>(question)[2]]),
    ({ random }) => cbor([[[random.below(4_096), 1, 1, random.bytes(36)]], null]),
    ({ random, nowMs }) =>
      cbor([
        [[random.below(4_096), 7, 0, [[random.bytes(32), madeUpId(nowMs - 1e7, random)]]]],
        [4_095, 255],
      ]),
  ],
  "/peer/v1/sync/slots": [() => cbor([[], null]), () => cbor([[], [0, [0, null]]])],
  "/peer/v1/sync/range": [
    barePage,
    (parts) => cbor([parts.events().map(tuple), name(parts)]),
    () => cbor([[], [new Uint8Array(32), new Uint8Array(40)]]),
    () => cbor([[], null]),
  ],
  "/peer/v1/sync/lacking": [({ random }) => cbor([random.bytes(8)]), () => cbor([new Uint8Array()])],
  "/peer/v1/records": [
    () => cbor([[], new Uint8Array(), null]),
    ({ random }) => cbor([[], random.bytes(32 * 9), null]),
    ({ random }) => cbor([[], new Uint8Array(), random.bytes(32)]),
    ({ random }) => cbor([[[random.bytes(99), random.bytes(64)]], new Uint8Array(), null]),
  ],
  "/peer/v1/records/offer": [() => cbor([0]), () => cbor([4_000_000])],
  "/peer/v1/newest": [(parts) => cbor([names(parts, 4)]), () => cbor([[]])],
};

/** What a hostile node answers in place of the truth. */
export async function lie(path: PeerPath, question: Bytes, parts: LieParts): Promise<Bytes> {
  const own = OF_PATH[path] ?? [];
  const lies = own.length > 0 && parts.random.chance(65) ? own : ANY;
  return parts.random.pick(lies)(parts, question);
}
