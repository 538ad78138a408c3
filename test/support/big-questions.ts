import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import {
  type EventName,
  encodePull,
  encodePush,
  encodeWant,
  type PeerPath,
} from "../../protocol/peer-messages.ts";
import {
  encodeCells,
  encodeCompare,
  encodeRange,
  encodeRoots,
  encodeSlots,
  encodeSymbols,
} from "../../protocol/sync-codec.ts";
import type { AskedSlots, BucketClass } from "../../protocol/sync-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { slotGroupOf } from "../../protocol/sync-tree.ts";
import { random } from "./hostile-peer.ts";
import { type LieContext, nameOf } from "./liar.ts";

export interface BigQuestion {
  readonly name: string;
  readonly path: PeerPath;
  body(context: LieContext): Bytes;
}

const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));
const madeUp = (): EventName => ({ topicKey: random(32), id: random(40) });
const cursorAt = (shard: number) => ({ shard, generation: random(8), position: 0 });
const asOf = () => newestAsOf(Date.now());
const BUCKET_GROUPS = times(64, (i) => i);

const wants = (wanted: number, have: number) =>
  encodeWant({ wanted: times(wanted, madeUp), ancestors: true, have: times(have, madeUp) });
const symbols = (count: number) => encodeSymbols(times(count, () => random(12)));
/** A pull with this as its cursor. */
const cursorOf = (...parts: readonly unknown[]) => encodeCbor([[parts]]);
const roots = (list: readonly BucketClass[]) =>
  encodeRoots({
    asOf: asOf(),
    groups: BUCKET_GROUPS,
    from: { bucket: 0, class: 0 },
    to: null,
    roots: list.map(({ bucket, class: id }) => ({ bucket, class: id, root: random(32) })),
  });
const partOf = ({ large }: LieContext, part: Partial<AskedSlots> = {}): AskedSlots => ({
  bucket: large.bucket,
  class: large.class,
  groups: [slotGroupOf(large.slot)],
  slots: [],
  place: null,
  ...part,
});
const slots = (parts: readonly AskedSlots[]) => encodeSlots({ asOf: asOf(), parts });
const slotHashes = (count: number) => times(count, (slot) => ({ slot, hash: random(32) }));

/** Questions that are fine, but for the slot as of which they are asked. */
export const QUESTIONS_AS_OF: readonly (readonly [PeerPath, (asOf: number, context: LieContext) => Bytes])[] =
  [
    ["/peer/v1/sync/cells", (at) => encodeCells({ asOf: at, cells: 32 })],
    [
      "/peer/v1/sync/roots",
      (at) =>
        encodeRoots({ asOf: at, groups: BUCKET_GROUPS, from: { bucket: 0, class: 0 }, to: null, roots: [] }),
    ],
    ["/peer/v1/sync/slots", (at, context) => encodeSlots({ asOf: at, parts: [partOf(context)] })],
    [
      "/peer/v1/sync/range",
      (at) => encodeRange({ asOf: at, class: null, fromBucket: 0, toBucket: 4_096, after: null }),
    ],
  ];

export const QUESTIONS_AT_LIMIT: readonly BigQuestion[] = [
  { name: "1,024 events that nobody has", path: "/peer/v1/want", body: () => wants(1_024, 1_040) },
  {
    name: "one event 1,024 times, with its ancestors",
    path: "/peer/v1/want",
    body: ({ known }) => encodeWant({ wanted: Array(1_024).fill(nameOf(known)), ancestors: true, have: [] }),
  },
  {
    name: "a shard 1,024 times",
    path: "/peer/v1/pull",
    body: () => encodePull({ cursors: times(1_024, () => cursorAt(0)) }),
  },
  {
    name: "what comes after the last place",
    path: "/peer/v1/pull",
    body: () => cursorOf(0, random(8), Number.MAX_SAFE_INTEGER),
  },
  {
    name: "as of the last slot that there is",
    path: "/peer/v1/sync/compare",
    body: () => encodeCompare({ asOf: 2 ** 32 - 1, newest: random(32), previous: random(32) }),
  },
  {
    name: "2,048 cells",
    path: "/peer/v1/sync/cells",
    body: () => encodeCells({ asOf: asOf(), cells: 2_048 }),
  },
  { name: "2,048 symbols", path: "/peer/v1/sync/symbols", body: () => symbols(2_048) },
  { name: "whether 2,048 are lacking", path: "/peer/v1/sync/lacking", body: () => symbols(2_048) },
  {
    name: "a bucket 8,192 times",
    path: "/peer/v1/sync/roots",
    body: ({ large }) => roots(Array(8_192).fill(large)),
  },
  {
    name: "8,192 buckets",
    path: "/peer/v1/sync/roots",
    body: () => roots(times(8_192, (i) => ({ bucket: i >> 1, class: 1 + (i & 1) }))),
  },
  {
    name: "a slot group of 128 buckets, each from deep within a slot on",
    path: "/peer/v1/sync/slots",
    body: (context) => {
      const place = { slot: context.large.slot, after: nameOf(context.known) };
      return slots(times(128, (i) => partOf(context, { bucket: context.large.bucket ^ i, place })));
    },
  },
  {
    name: "8,192 slots",
    path: "/peer/v1/sync/slots",
    body: (context) => slots([partOf(context, { groups: times(128, (i) => i), slots: slotHashes(8_192) })]),
  },
  {
    name: "everything",
    path: "/peer/v1/sync/range",
    body: () => encodeRange({ asOf: asOf(), class: null, fromBucket: 0, toBucket: 4_096, after: null }),
  },
  {
    name: "a range that ends before it begins",
    path: "/peer/v1/sync/range",
    body: () => encodeRange({ asOf: asOf(), class: null, fromBucket: 4_095, toBucket: 1, after: madeUp() }),
  },
];

export const QUESTIONS_OVER_LIMIT: readonly BigQuestion[] = [
  { name: "1,025 events", path: "/peer/v1/want", body: () => wants(1_025, 0) },
  { name: "below 1,041 events", path: "/peer/v1/want", body: () => wants(0, 1_041) },
  {
    name: "1,025 cursors",
    path: "/peer/v1/pull",
    body: () => encodePull({ cursors: times(1_025, () => cursorAt(0)) }),
  },
  { name: "a place of 2^53", path: "/peer/v1/pull", body: () => cursorOf(0, random(8), 2n ** 53n) },
  { name: "a place below 0", path: "/peer/v1/pull", body: () => cursorOf(0, random(8), -1) },
  { name: "a place between two", path: "/peer/v1/pull", body: () => cursorOf(0, random(8), 1.5) },
  { name: "a place in words", path: "/peer/v1/pull", body: () => cursorOf(0, random(8), "1") },
  { name: "shard 1,024", path: "/peer/v1/pull", body: () => cursorOf(1_024, random(8), 1) },
  {
    name: "2,049 cells",
    path: "/peer/v1/sync/cells",
    body: () => encodeCells({ asOf: asOf(), cells: 2_049 }),
  },
  { name: "no cells", path: "/peer/v1/sync/cells", body: () => encodeCells({ asOf: asOf(), cells: 0 }) },
  { name: "2,049 symbols", path: "/peer/v1/sync/symbols", body: () => symbols(2_049) },
  { name: "whether 2,049 are lacking", path: "/peer/v1/sync/lacking", body: () => symbols(2_049) },
  {
    name: "a symbol and a half",
    path: "/peer/v1/sync/symbols",
    body: () => encodeCbor([concatBytes(random(12), random(6))]),
  },
  {
    name: "8,193 roots",
    path: "/peer/v1/sync/roots",
    body: ({ large }) => roots(Array(8_193).fill(large)),
  },
  {
    name: "a class that is not there",
    path: "/peer/v1/sync/roots",
    body: () => roots([{ bucket: 1, class: 77 }]),
  },
  {
    name: "129 slot groups",
    path: "/peer/v1/sync/slots",
    body: (context) => slots(times(129, (bucket) => partOf(context, { bucket }))),
  },
  {
    name: "slots of a bucket and class in two parts",
    path: "/peer/v1/sync/slots",
    body: (context) => slots(times(2, () => partOf(context))),
  },
  {
    name: "8,193 slots",
    path: "/peer/v1/sync/slots",
    body: (context) => slots([partOf(context, { slots: slotHashes(8_193) })]),
  },
  {
    name: "bucket 4,097",
    path: "/peer/v1/sync/range",
    body: () => encodeRange({ asOf: asOf(), class: null, fromBucket: 0, toBucket: 4_097, after: null }),
  },
  {
    name: "that 4,097 events be stored",
    path: "/peer/v1/push",
    body: ({ known }) =>
      encodePush({ runs: [{ previous: null, events: Array(4_097).fill(known) }], ephemeral: [] }),
  },
  {
    name: "that 4,097 events be passed on",
    path: "/peer/v1/push",
    body: ({ known }) => encodePush({ runs: [], ephemeral: Array(4_097).fill({ hops: 1, event: known }) }),
  },
  {
    name: "about 1,025 events before",
    path: "/peer/v1/push",
    body: () => encodePush({ runs: times(1_025, () => ({ previous: madeUp(), events: [] })), ephemeral: [] }),
  },
];
