import { z } from "zod";
import type { Bytes } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES } from "./event-id.ts";
import { MAX_PEER_EVENTS } from "./limits.ts";
import {
  decodeBody as decode,
  type EventName,
  eventTuple,
  eventName as name,
  sized,
  wireEvent,
} from "./peer-messages.ts";
import { CELL_BYTES, SKETCH_CELLS } from "./sketch.ts";
import { SYMBOL_BYTES } from "./sketch-symbol.ts";
import {
  type AskedSlots,
  type BucketClass,
  type BucketListing,
  type CellsQuestion,
  type CompareAnswer,
  type CompareQuestion,
  FIRST_CELLS,
  GROUP_TAG_BYTES,
  MAX_ASKED_GROUPS,
  MAX_ASKED_ROOTS,
  MAX_ASKED_SLOTS,
  MAX_ASKED_SYMBOLS,
  MAX_LISTED_IDS,
  MAX_OFFERED_NAMES,
  type RangeAnswer,
  type RangeQuestion,
  type RootsAnswer,
  type RootsQuestion,
  type SlotPlace,
  type SlotsAnswer,
  type SlotsQuestion,
  type TopicIds,
} from "./sync-messages.ts";
import { BUCKET_GROUPS, bucketClassKey, HASH_BYTES } from "./sync-tree.ts";
import { BUCKETS } from "./topic.ts";

/** The bodies of anti-entropy as dag-cbor; lists of hashes and ids are packed into byte strings. */

const uint32 = z.int().min(0).max(0xffffffff);
const bucket = z
  .int()
  .min(0)
  .max(BUCKETS - 1);
const classId = z.int().min(0).max(255);
const packed = (size: number, limit: number) =>
  z.custom<Bytes>(
    (value) => value instanceof Uint8Array && value.length % size === 0 && value.length <= size * limit,
    `not at most ${limit} parts of ${size} bytes`,
  );
const bucketClass = z
  .tuple([bucket, classId])
  .transform(([at, id]): BucketClass => ({ bucket: at, class: id }));

/** Cuts a packed list. */
const parts = (bytes: Bytes, size: number): Bytes[] =>
  Array.from({ length: bytes.length / size }, (_, i) => bytes.slice(i * size, (i + 1) * size));

function join(list: readonly Uint8Array[], size: number): Bytes {
  const bytes = new Uint8Array(list.length * size);
  for (const [i, part] of list.entries()) bytes.set(part, i * size);
  return bytes;
}

const view = (bytes: Bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

const ROOT_BYTES = 3 + HASH_BYTES;
function packRoot({ bucket: at, class: id, root }: BucketClass & { readonly root: Bytes }): Bytes {
  const bytes = new Uint8Array(ROOT_BYTES);
  view(bytes).setUint16(0, at);
  bytes[2] = id;
  bytes.set(root, 3);
  return bytes;
}
const unpackRoot = (bytes: Bytes) => ({
  bucket: view(bytes).getUint16(0),
  class: bytes[2] as number,
  root: bytes.slice(3),
});

/** A number of 32 bits and a hash. */
const NUMBERED_HASH_BYTES = 4 + HASH_BYTES;
function packNumbered(number: number, hash: Bytes): Bytes {
  const bytes = new Uint8Array(NUMBERED_HASH_BYTES);
  view(bytes).setUint32(0, number);
  bytes.set(hash, 4);
  return bytes;
}
const numberOf = (bytes: Bytes) => view(bytes).getUint32(0);

const compareSchema = z
  .tuple([uint32, sized(HASH_BYTES), sized(HASH_BYTES)])
  .transform(([asOf, newest, previous]): CompareQuestion => ({ asOf, newest, previous }));
const compareAnswerSchema = z.union([
  z.tuple([z.literal(0), uint32]).transform(([, asOf]): CompareAnswer => ({ kind: "same", asOf })),
  z.tuple([z.literal(1), uint32]).transform(([, asOf]): CompareAnswer => ({ kind: "apart", asOf })),
  z
    .tuple([
      z.literal(2),
      uint32,
      sized(DIGEST_BYTES),
      z.int().min(0),
      sized(BUCKET_GROUPS * GROUP_TAG_BYTES),
      sized(FIRST_CELLS * CELL_BYTES),
    ])
    .transform(
      ([, asOf, records, count, tags, cells]): CompareAnswer => ({
        kind: "different",
        asOf,
        records,
        count,
        tags,
        cells,
      }),
    ),
]);
const cellsSchema = z
  .tuple([uint32, z.int().min(1).max(SKETCH_CELLS)])
  .transform(([asOf, cells]): CellsQuestion => ({ asOf, cells }));
const groupNumbers = packed(1, BUCKET_GROUPS).refine(
  (groups) => groups.every((group) => group < BUCKET_GROUPS),
  "no bucket group",
);
const rootsSchema = z
  .tuple([uint32, groupNumbers, bucketClass, bucketClass.nullable(), packed(ROOT_BYTES, MAX_ASKED_ROOTS)])
  .transform(
    ([asOf, groups, from, to, roots]): RootsQuestion => ({
      asOf,
      groups: [...groups],
      from,
      to,
      roots: parts(roots, ROOT_BYTES).map(unpackRoot),
    }),
  );
const topicIds = z
  .tuple([sized(DIGEST_BYTES), packed(EVENT_ID_BYTES, MAX_LISTED_IDS)])
  .transform(([topicKey, ids]): TopicIds => ({ topicKey, ids: parts(ids, EVENT_ID_BYTES) }));
const topics = z.array(topicIds).max(MAX_LISTED_IDS);
const listing = z.union([
  z
    .tuple([bucket, classId, z.literal(0), topics])
    .transform(([at, id, , list]): BucketListing => ({ bucket: at, class: id, kind: "ids", topics: list })),
  z.tuple([bucket, classId, z.literal(1), packed(NUMBERED_HASH_BYTES, MAX_LISTED_IDS)]).transform(
    ([at, id, , list]): BucketListing => ({
      bucket: at,
      class: id,
      kind: "groups",
      groups: parts(list, NUMBERED_HASH_BYTES).map((each) => ({
        group: numberOf(each),
        hash: each.slice(4),
      })),
    }),
  ),
]);
const rootsAnswerSchema = z
  .tuple([z.array(listing).max(MAX_LISTED_IDS), bucketClass.nullable()])
  .transform(([listings, next]): RootsAnswer => ({ listings, next }));
const slotPlace = z
  .tuple([uint32, name.nullable()])
  .transform(([slot, after]): SlotPlace => ({ slot, after }));
const askedSlots = z
  .tuple([
    bucket,
    classId,
    z.array(uint32).max(MAX_ASKED_GROUPS),
    packed(NUMBERED_HASH_BYTES, MAX_ASKED_SLOTS),
    slotPlace.nullable(),
  ])
  .transform(
    ([at, id, groups, slots, place]): AskedSlots => ({
      bucket: at,
      class: id,
      groups,
      slots: parts(slots, NUMBERED_HASH_BYTES).map((each) => ({ slot: numberOf(each), hash: each.slice(4) })),
      place,
    }),
  );
const total = (list: readonly AskedSlots[], of: "groups" | "slots") =>
  list.reduce((sum, each) => sum + each[of].length, 0);
const isEachOnce = (list: readonly BucketClass[]) => new Set(list.map(bucketClassKey)).size === list.length;
const slotsSchema = z
  .tuple([uint32, z.array(askedSlots).max(MAX_ASKED_GROUPS)])
  .transform(([asOf, asked]): SlotsQuestion => ({ asOf, parts: asked }))
  .refine(({ parts: asked }) => total(asked, "groups") <= MAX_ASKED_GROUPS, "too many slot groups")
  .refine(({ parts: asked }) => total(asked, "slots") <= MAX_ASKED_SLOTS, "too many slots")
  .refine(({ parts: asked }) => isEachOnce(asked), "a bucket and class in two parts");
const slotsAnswerSchema = z
  .tuple([
    z.array(z.tuple([bucket, classId, uint32, topics])).max(MAX_LISTED_IDS),
    z.tuple([uint32, slotPlace]).nullable(),
  ])
  .transform(
    ([slots, next]): SlotsAnswer => ({
      slots: slots.map(([at, id, slot, list]) => ({ bucket: at, class: id, slot, topics: list })),
      next: next && { part: next[0], ...next[1] },
    }),
  );
const rangeSchema = z
  .tuple([uint32, classId.nullable(), bucket, z.int().min(1).max(BUCKETS), name.nullable()])
  .transform(
    ([asOf, id, fromBucket, toBucket, after]): RangeQuestion => ({
      asOf,
      class: id,
      fromBucket,
      toBucket,
      after,
    }),
  );
const rangeAnswerSchema = z
  .tuple([z.array(wireEvent).max(MAX_PEER_EVENTS), name.nullable()])
  .transform(([events, next]): RangeAnswer => ({ events, next }));
const symbolsSchema = z
  .tuple([packed(SYMBOL_BYTES, MAX_ASKED_SYMBOLS)])
  .transform(([symbols]) => parts(symbols, SYMBOL_BYTES));
const namesSchema = z.tuple([z.array(name).max(MAX_OFFERED_NAMES)]).transform(([names]) => names);
const flagsSchema = z
  .tuple([
    z.custom<Bytes>(
      (value) => value instanceof Uint8Array && value.length <= MAX_ASKED_SYMBOLS / 8,
      "too many flags",
    ),
  ])
  .transform(([bytes]) =>
    Array.from({ length: bytes.length * 8 }, (_, at) => ((bytes[at >> 3] as number) >> (at & 7)) % 2 === 1),
  );
const cellsAnswerSchema = z.tuple([packed(CELL_BYTES, SKETCH_CELLS)]).transform(([cells]) => cells);

const bucketClassTuple = ({ bucket: at, class: id }: BucketClass) => [at, id];
const topicTuples = (list: readonly TopicIds[]) =>
  list.map(({ topicKey, ids }) => [topicKey, join(ids, EVENT_ID_BYTES)]);
const numberedList = (list: readonly { readonly number: number; readonly hash: Bytes }[]) =>
  join(
    list.map(({ number, hash }) => packNumbered(number, hash)),
    NUMBERED_HASH_BYTES,
  );

export const encodeCompare = ({ asOf, newest, previous }: CompareQuestion): Bytes =>
  encodeCbor([asOf, newest, previous]);
export function encodeCompareAnswer(answer: CompareAnswer): Bytes {
  if (answer.kind === "same") return encodeCbor([0, answer.asOf]);
  if (answer.kind === "apart") return encodeCbor([1, answer.asOf]);
  return encodeCbor([2, answer.asOf, answer.records, answer.count, answer.tags, answer.cells]);
}
export const encodeCells = ({ asOf, cells }: CellsQuestion): Bytes => encodeCbor([asOf, cells]);
export const encodeCellsAnswer = (cells: Bytes): Bytes => encodeCbor([cells]);
export const encodeRoots = ({ asOf, groups, from, to, roots }: RootsQuestion): Bytes =>
  encodeCbor([
    asOf,
    Uint8Array.from(groups),
    bucketClassTuple(from),
    to && bucketClassTuple(to),
    join(roots.map(packRoot), ROOT_BYTES),
  ]);
export const encodeRootsAnswer = ({ listings, next }: RootsAnswer): Bytes =>
  encodeCbor([
    listings.map((each) =>
      each.kind === "ids"
        ? [each.bucket, each.class, 0, topicTuples(each.topics)]
        : [
            each.bucket,
            each.class,
            1,
            numberedList(each.groups.map(({ group, hash }) => ({ number: group, hash }))),
          ],
    ),
    next && bucketClassTuple(next),
  ]);
const placeTuple = (place: SlotPlace | null) =>
  place && [place.slot, place.after && [place.after.topicKey, place.after.id]];
export const encodeSlots = ({ asOf, parts: asked }: SlotsQuestion): Bytes =>
  encodeCbor([
    asOf,
    asked.map(({ bucket: at, class: id, groups, slots, place }) => [
      at,
      id,
      [...groups],
      numberedList(slots.map(({ slot, hash }) => ({ number: slot, hash }))),
      placeTuple(place),
    ]),
  ]);
export const encodeSlotsAnswer = ({ slots, next }: SlotsAnswer): Bytes =>
  encodeCbor([
    slots.map(({ bucket: at, class: id, slot, topics: list }) => [at, id, slot, topicTuples(list)]),
    next && [next.part, placeTuple(next)],
  ]);
export const encodeRange = ({ asOf, class: id, fromBucket, toBucket, after }: RangeQuestion): Bytes =>
  encodeCbor([asOf, id, fromBucket, toBucket, after && [after.topicKey, after.id]]);
export const encodeRangeAnswer = ({ events, next }: RangeAnswer): Bytes =>
  encodeCbor([events.map(eventTuple), next && [next.topicKey, next.id]]);
export const encodeSymbols = (symbols: readonly Bytes[]): Bytes => encodeCbor([join(symbols, SYMBOL_BYTES)]);
/** A list of answers yes or no, eight to a byte, the first in the lowest bit. */
export function encodeFlags(flags: readonly boolean[]): Bytes {
  const bytes = new Uint8Array(Math.ceil(flags.length / 8));
  for (const [at, flag] of flags.entries())
    if (flag) bytes[at >> 3] = (bytes[at >> 3] as number) | (1 << (at & 7));
  return encodeCbor([bytes]);
}
export const encodeNames = (names: readonly EventName[]): Bytes =>
  encodeCbor([names.map(({ topicKey, id }) => [topicKey, id])]);

/** Each decoder @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`. */
export const decodeCompare = (bytes: Uint8Array): CompareQuestion => decode(compareSchema, bytes);
export const decodeCompareAnswer = (bytes: Uint8Array): CompareAnswer => decode(compareAnswerSchema, bytes);
export const decodeCells = (bytes: Uint8Array): CellsQuestion => decode(cellsSchema, bytes);
export const decodeCellsAnswer = (bytes: Uint8Array): Bytes => decode(cellsAnswerSchema, bytes);
export const decodeRoots = (bytes: Uint8Array): RootsQuestion => decode(rootsSchema, bytes);
export const decodeRootsAnswer = (bytes: Uint8Array): RootsAnswer => decode(rootsAnswerSchema, bytes);
export const decodeSlots = (bytes: Uint8Array): SlotsQuestion => decode(slotsSchema, bytes);
export const decodeSlotsAnswer = (bytes: Uint8Array): SlotsAnswer => decode(slotsAnswerSchema, bytes);
export const decodeRange = (bytes: Uint8Array): RangeQuestion => decode(rangeSchema, bytes);
export const decodeRangeAnswer = (bytes: Uint8Array): RangeAnswer => decode(rangeAnswerSchema, bytes);
export const decodeSymbols = (bytes: Uint8Array): Bytes[] => decode(symbolsSchema, bytes);
/** Padded with false to whole bytes. */
export const decodeFlags = (bytes: Uint8Array): boolean[] => decode(flagsSchema, bytes);
export const decodeNames = (bytes: Uint8Array): EventName[] => decode(namesSchema, bytes);
