import { encodeCbor } from "../../protocol/cbor.ts";
import { encodePage } from "../../protocol/peer-messages.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { symbolOf } from "../../protocol/sketch-symbol.ts";
import {
  decodeCompare,
  decodeRange,
  decodeRoots,
  encodeCellsAnswer,
  encodeCompareAnswer,
  encodeFlags,
  encodeRangeAnswer,
  encodeRootsAnswer,
  encodeSlotsAnswer,
} from "../../protocol/sync-codec.ts";
import type { BucketClass, BucketListing, RootsAnswer, SlotsAnswer } from "../../protocol/sync-messages.ts";
import { slotGroupOf } from "../../protocol/sync-tree.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { random, type Script } from "./hostile-peer.ts";
import { differsBy, jammed, type Lie, type LieContext, nameOf } from "./liar.ts";
import { suite } from "./peer.ts";

/** What a hostile peer answers when it is asked how the two differ. */

const FIRST: BucketClass = { bucket: 0, class: 1 };
const symbols = (count: number) => Array.from({ length: count }, () => random(12));

/** Compares as of another slot than it was asked, and differs. */
const asOf = (change: (asked: number) => number, kind: "same" | "different"): Script => ({
  "/peer/v1/sync/compare": ({ body }) => {
    const answered = change(decodeCompare(body).asOf);
    if (kind === "same") return encodeCompareAnswer({ kind, asOf: answered });
    const lists = { count: 9, tags: random(256), cells: random(512) };
    return encodeCompareAnswer({ kind, asOf: answered, records: recordsDigest([], suite), ...lists });
  },
});

const cells = ({ sender }: LieContext, count: number): Script => ({
  ...jammed(sender),
  "/peer/v1/sync/cells": () => encodeCellsAnswer(random(count * 16)),
});

const roots = (
  { sender }: LieContext,
  answer: RootsAnswer | ((from: BucketClass) => RootsAnswer),
): Script => ({
  ...jammed(sender),
  "/peer/v1/sync/roots": ({ body }) =>
    encodeRootsAnswer(typeof answer === "function" ? answer(decodeRoots(body).from) : answer),
});

const ids = (at: BucketClass, count = 0): BucketListing => ({
  ...at,
  kind: "ids",
  topics: count === 0 ? [] : [{ topicKey: random(32), ids: Array.from({ length: count }, () => random(40)) }],
});
const groups = (at: BucketClass, numbers: readonly number[]): BucketListing => ({
  ...at,
  kind: "groups",
  groups: numbers.map((group) => ({ group, hash: random(32) })),
});
const listing = (...listings: readonly BucketListing[]): RootsAnswer => ({ listings, next: null });

/** Says that a slot group of the large bucket differs, so that it is asked about its slots. */
export const hasOtherSlots = (context: LieContext): Script => {
  const { bucket, class: id, slot } = context.large;
  return roots(context, listing(groups({ bucket, class: id }, [slotGroupOf(slot)])));
};

const slots = (
  context: LieContext,
  answer: (number: number) => Omit<SlotsAnswer, "slots"> & { readonly slots: readonly number[] },
): Script => {
  const { bucket, class: id } = context.large;
  return {
    ...hasOtherSlots(context),
    "/peer/v1/sync/slots": ({ number }) => {
      const { slots: listed, next } = answer(number);
      const full = listed.map((each) => ({ bucket, class: id, slot: each, topics: [] }));
      return encodeSlotsAnswer({ slots: full, next });
    },
  };
};

/** Says that it has very much where the node has nothing, so that it is asked for all of it. */
export const hasMuchMore = (context: LieContext): Script =>
  roots(context, listing(groups({ bucket: context.large.bucket ^ 1, class: 1 }, [1])));

/** Answers that with empty pages. */
const range = (context: LieContext, next: (number: number) => number): Script => ({
  ...hasMuchMore(context),
  "/peer/v1/sync/range": ({ body, number }) => {
    const { fromBucket } = decodeRange(body);
    const topicKey = new Uint8Array(32);
    new DataView(topicKey.buffer).setUint16(0, fromBucket << 4);
    new DataView(topicKey.buffer).setUint16(2, next(number));
    return encodeRangeAnswer({ events: [], next: { topicKey, id: random(40) } });
  },
});

const everyBucket = (make: (at: BucketClass) => BucketListing): RootsAnswer =>
  listing(...Array.from({ length: 8_192 }, (_, i) => make({ bucket: i >> 1, class: 1 + (i & 1) })));

const invalid = { rule: "peer_answer_invalid" } as const;
const malformed = { rule: "peer_body_invalid" } as const;

export const TREE_LIES: readonly Lie[] = [
  { name: "as of the next slot", script: () => asOf((asked) => asked + 1, "different"), ...invalid },
  { name: "as of a slot long ago", script: () => asOf((asked) => asked - 9, "different"), ...invalid },
  {
    name: "as of the last slot that there is",
    script: () => asOf(() => 2 ** 32 - 1, "different"),
    ...invalid,
  },
  { name: "that all is the same as of no slot", script: () => asOf(() => 2 ** 32 - 1, "same") },
  { name: "a jammed sketch, and no difference behind it", script: ({ sender }) => jammed(sender) },
  { name: "a jammed sketch of very many more events", script: ({ sender }) => jammed(sender, 10 ** 9) },
  { name: "1,000 events that nobody has", script: ({ sender }) => differsBy(sender, symbols(1_000)) },
  {
    name: "events that it says are on the next page, for ever",
    script: ({ sender }) => ({
      ...differsBy(sender, symbols(9)),
      "/peer/v1/sync/symbols": () => encodePage({ events: [], more: true }),
    }),
    rule: "peer_page_invalid",
  },
  { name: "fewer cells than were asked", script: (context) => cells(context, 223), ...invalid },
  { name: "no cells", script: (context) => cells(context, 0), ...invalid },
  { name: "more cells than were asked", script: (context) => cells(context, 2_048), ...invalid },
  { name: "more cells than there are", script: (context) => cells(context, 2_049), ...malformed },
  {
    name: "that it lacks everything that there is",
    script: ({ sender, known }) => ({
      ...differsBy(sender, [symbolOf(bucketOf(nameOf(known).topicKey), known.id)]),
      "/peer/v1/sync/lacking": () => encodeFlags(Array<boolean>(2_048).fill(true)),
    }),
  },
  {
    name: "more flags than there are questions",
    script: ({ sender, known }) => ({
      ...differsBy(sender, [symbolOf(bucketOf(nameOf(known).topicKey), known.id)]),
      "/peer/v1/sync/lacking": () => encodeFlags(Array<boolean>(2_049).fill(true)),
    }),
    ...malformed,
  },
  {
    name: "roots that go on where they began",
    script: (context) => roots(context, (from) => ({ listings: [], next: from })),
    ...invalid,
  },
  {
    name: "roots that go on for ever",
    script: (context) =>
      roots(context, ({ bucket, class: id }) => ({
        listings: [],
        next: id < 255 ? { bucket, class: id + 1 } : { bucket: bucket + 1, class: 0 },
      })),
  },
  {
    name: "one bucket 8,192 times",
    script: (context) => roots(context, listing(...Array<BucketListing>(8_192).fill(ids(context.large)))),
    ...invalid,
  },
  {
    name: "one bucket 8,193 times",
    script: (context) => roots(context, listing(...Array<BucketListing>(8_193).fill(ids(context.large)))),
    ...malformed,
  },
  {
    name: "buckets from the last to the first",
    script: (context) => roots(context, listing(ids({ bucket: 4_095, class: 1 }), ids(FIRST))),
    ...invalid,
  },
  {
    name: "ids of a class that is not there",
    script: (context) => roots(context, listing(ids({ bucket: 9, class: 1 }), ids({ bucket: 9, class: 77 }))),
    ...invalid,
  },
  {
    name: "slot groups of a class that is not there",
    script: (context) => roots(context, listing(groups({ bucket: 9, class: 77 }, [1, 2]))),
    ...invalid,
  },
  {
    name: "every bucket, empty",
    script: (context) =>
      roots(
        context,
        everyBucket((at) => ids(at)),
      ),
  },
  {
    name: "every bucket, full",
    script: (context) =>
      roots(
        context,
        everyBucket((at) => groups(at, [1, 2, 3])),
      ),
  },
  { name: "8,192 ids that nobody has", script: (context) => roots(context, listing(ids(FIRST, 8_192))) },
  {
    name: "one id 8,192 times",
    script: (context) => {
      const [id, topicKey] = [random(40), random(32)];
      return roots(
        context,
        listing({ ...FIRST, kind: "ids", topics: [{ topicKey, ids: Array(8_192).fill(id) }] }),
      );
    },
  },
  { name: "8,193 ids", script: (context) => roots(context, listing(ids(FIRST, 8_193))), ...malformed },
  {
    name: "8,192 slot groups",
    script: (context) => {
      const { bucket, class: id } = context.large;
      return roots(context, listing(groups({ bucket, class: id }, [...Array(8_192).keys()])));
    },
  },
  {
    name: "one full slot 2,000 times",
    script: (context) => slots(context, () => ({ slots: Array(2_000).fill(context.large.slot), next: null })),
    ...invalid,
  },
  {
    name: "a slot of 8,192 ids that nobody has",
    script: (context) => {
      const { topics } = ids(FIRST, 8_192) as Extract<BucketListing, { kind: "ids" }>;
      const { bucket, class: id, slot } = context.large;
      return {
        ...hasOtherSlots(context),
        "/peer/v1/sync/slots": () =>
          encodeSlotsAnswer({ slots: [{ bucket, class: id, slot, topics }], next: null }),
      };
    },
  },
  {
    name: "the last slot that there is",
    script: (context) => slots(context, () => ({ slots: [2 ** 32 - 1], next: null })),
    ...invalid,
  },
  {
    name: "slots that go on where they began",
    script: (context) => slots(context, () => ({ slots: [], next: { part: 0, slot: 0, after: null } })),
    ...invalid,
  },
  {
    name: "slots that go on behind their end",
    script: (context) => slots(context, () => ({ slots: [], next: { part: 9, slot: 0, after: null } })),
    ...invalid,
  },
  {
    name: "slots that go on for ever",
    script: (context) =>
      slots(context, (number) => ({ slots: [], next: { part: 0, slot: 1 + number, after: null } })),
  },
  { name: "a range that goes on for ever", script: (context) => range(context, (number) => number) },
  {
    name: "a range that goes on where it began",
    script: (context) => range(context, (number) => 9 - (number % 2)),
    rule: "peer_page_invalid",
  },
  {
    name: "a range of what nobody asked for",
    script: (context) => ({
      ...hasMuchMore(context),
      "/peer/v1/sync/range": () => encodeRangeAnswer({ events: context.fresh(64), next: null }),
    }),
  },
  {
    name: "a tree in words",
    script: ({ sender }) => ({ ...jammed(sender), "/peer/v1/sync/roots": () => encodeCbor(["a", "b"]) }),
    ...malformed,
  },
];
