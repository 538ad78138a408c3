import { type Bytes, compareBytes, concatBytes } from "../bytes.ts";
import { eventId } from "../event-id.ts";
import { endOfSlotMs, SLOT_MS, slotOfSeq } from "../retention.ts";
import {
  comparedRange,
  firstSeqOfSlot,
  leavesAt,
  newestAsOf,
  SETTLE_MS,
  type SlotRange,
} from "../sync-range.ts";
import {
  BUCKET_GROUPS,
  type BucketRoot,
  bucketGroupHash,
  bucketGroupOf,
  byBucketAndClass,
  nodeRoot,
  rootOf,
  type SlotLeaf,
  slotGroups,
  slotHash,
} from "../sync-tree.ts";
import { BUCKETS } from "../topic.ts";
import { hex, seedOf, suite } from "./encoding.ts";

/** Noon of 2026-03-01, as in the other files, lies in this slot. */
const SLOT = Math.floor(Date.UTC(2026, 2, 1, 12) / SLOT_MS);

/** Event `i` of the vectors, in a slot. */
const idAt = (i: number, slot: number): Bytes =>
  eventId(firstSeqOfSlot(slot) + BigInt(i % 3), seedOf(`event ${i}`));
const idsAt = (first: number, count: number, slot: number): Bytes[] =>
  Array.from({ length: count }, (_, i) => idAt(first + i, slot)).sort(compareBytes);

const leafAt = (slot: number): SlotLeaf => ({ slot, count: 1, hash: slotHash([idAt(slot, slot)], suite) });
const leavesAtSlots = (...slots: number[]): SlotLeaf[] => slots.map(leafAt);

const SLOTS: readonly (readonly [description: string, ids: readonly Bytes[]])[] = [
  ["One id.", idsAt(0, 1, SLOT)],
  ["Two ids of one seq: they differ in their digests.", [idAt(0, SLOT), idAt(3, SLOT)].sort(compareBytes)],
  ["Ten ids.", idsAt(0, 10, SLOT)],
  ["The first slot of time, and an id of zeros.", [new Uint8Array(40)]],
];

/** First and last slot of a group. */
const [FIRST, LAST] = [SLOT - (SLOT % 64), SLOT - (SLOT % 64) + 63];
type RootCase = readonly [description: string, leaves: readonly SlotLeaf[], range: SlotRange];
const ALL: SlotRange = { from: 0, to: 2 ** 22 };
const ROOTS: readonly RootCase[] = [
  ["No leaf.", [], ALL],
  ["One leaf.", leavesAtSlots(SLOT), ALL],
  ["The first and the last slot of a group.", leavesAtSlots(FIRST, LAST), ALL],
  ["The last slot of one group and the first of the next.", leavesAtSlots(LAST, LAST + 1), ALL],
  [
    "Three groups, of which the range cuts the first and the last.",
    leavesAtSlots(FIRST, FIRST + 1, SLOT + 64, LAST + 65, LAST + 66),
    { from: FIRST + 1, to: LAST + 66 },
  ],
  [
    "A range that begins and ends between two leaves of one group.",
    leavesAtSlots(FIRST, SLOT, LAST),
    { from: SLOT, to: SLOT + 1 },
  ],
  ["A range without a leaf.", leavesAtSlots(FIRST, LAST), { from: FIRST + 1, to: LAST }],
  ["A range that ends before it begins.", leavesAtSlots(FIRST, LAST), { from: LAST + 1, to: FIRST }],
  ["The first slot of time and the last.", leavesAtSlots(0, 2 ** 22 - 1), ALL],
];

const rootAt = (bucket: number, id: number): BucketRoot => ({
  bucket,
  class: id,
  root: seedOf(`root ${bucket} ${id}`),
});
const BUCKET_GROUP_CASES: readonly (readonly [description: string, roots: readonly BucketRoot[]])[] = [
  ["A group without events.", []],
  ["One root.", [rootAt(70, 1)]],
  ["Three classes of one bucket.", [rootAt(64, 0), rootAt(64, 1), rootAt(64, 255)]],
  ["All buckets of the last group.", Array.from({ length: 64 }, (_, i) => rootAt(BUCKETS - 64 + i, 1))],
];

interface Placed {
  readonly bucket: number;
  readonly class: number;
  readonly id: Bytes;
}
const NODES: readonly (readonly [description: string, events: readonly Placed[]])[] = [
  ["Nothing.", []],
  ["One event.", [{ bucket: 0, class: 1, id: idAt(0, SLOT) }]],
  ["The same event in the next class.", [{ bucket: 0, class: 2, id: idAt(0, SLOT) }]],
  ["The same event in the last bucket.", [{ bucket: BUCKETS - 1, class: 1, id: idAt(0, SLOT) }]],
  [
    "Thirty events in four buckets, two classes and four slots.",
    Array.from({ length: 30 }, (_, i) => ({
      bucket: [5, 63, 64, 4_000][i % 4] as number,
      class: 1 + (i % 2),
      id: idAt(i, SLOT + 40 * (i % 5)),
    })),
  ],
];

function nodeOf(events: readonly Placed[]): { readonly groups: readonly Bytes[]; readonly root: Bytes } {
  const roots: BucketRoot[] = [];
  for (const members of Map.groupBy(events, (each) => each.bucket * 256 + each.class).values()) {
    const [first] = members;
    const slots = Map.groupBy(members.map(({ id }) => id).sort(compareBytes), slotOfId);
    const leaves = [...slots].map(([slot, ids]) => ({ slot, count: ids.length, hash: slotHash(ids, suite) }));
    const root = rootOf(slotGroups(leaves, ALL, suite), suite);
    if (first && root) roots.push({ bucket: first.bucket, class: first.class, root });
  }
  const byGroup = Map.groupBy(roots.sort(byBucketAndClass), ({ bucket }) => bucketGroupOf(bucket));
  const groups = Array.from({ length: BUCKET_GROUPS }, (_, group) =>
    bucketGroupHash(byGroup.get(group) ?? [], suite),
  );
  return { groups, root: nodeRoot(concatBytes(...groups), suite) };
}

const slotOfId = (id: Bytes): number => slotOfSeq(new DataView(id.buffer).getBigUint64(0));

const DAY_MS = 86_400_000;
const RANGES: readonly (readonly [description: string, durationMs: number | null, asOf: number])[] = [
  ["Kept 30 days.", 30 * DAY_MS, SLOT],
  ["Kept 90 days.", 90 * DAY_MS, SLOT],
  ["Kept for ever.", null, SLOT],
  ["Kept for four slots: one of them is compared.", 4 * SLOT_MS, SLOT],
  ["Kept for a millisecond more than four slots: as five.", 4 * SLOT_MS + 1, SLOT],
  ["Kept for three slots: nothing is compared.", 3 * SLOT_MS, SLOT],
  ["The ephemeral class, of duration 0.", 0, SLOT],
  ["At the beginning of time the range begins with slot 0.", 30 * DAY_MS, 100],
  ["The last asOf at which slot 0 is compared.", 30 * DAY_MS, 2_469],
  ["The first at which it is not.", 30 * DAY_MS, 2_470],
];
const TIMES: readonly (readonly [description: string, nowMs: number])[] = [
  ["A slot has settled two minutes after its end.", endOfSlotMs(SLOT) + SETTLE_MS],
  ["A millisecond before, the one before it was the last to settle.", endOfSlotMs(SLOT) + SETTLE_MS - 1],
  ["Before anything has settled.", SLOT_MS],
];

const classOf = (durationMs: number | null) => ({ id: 0, name: "class", durationMs, priority: 0 });

export function syncTreeVectors() {
  return {
    slots: SLOTS.map(([description, ids]) => ({
      description,
      ids: ids.map(hex),
      hash: hex(slotHash(ids, suite)),
    })),
    roots: ROOTS.map(([description, leaves, range]) => {
      const groups = slotGroups(leaves, range, suite);
      const root = rootOf(groups, suite);
      return {
        description,
        leaves: leaves.map(({ slot, hash }) => ({ slot, hash: hex(hash) })),
        ...range,
        groups: groups.map(({ group, hash }) => ({ group, hash: hex(hash) })),
        root: root ? hex(root) : null,
      };
    }),
    bucketGroups: BUCKET_GROUP_CASES.map(([description, roots]) => ({
      description,
      roots: roots.map(({ bucket, class: id, root }) => ({ bucket, class: id, root: hex(root) })),
      hash: hex(bucketGroupHash(roots, suite)),
    })),
    nodes: NODES.map(([description, events]) => {
      const { groups, root } = nodeOf(events);
      return {
        description,
        events: events.map(({ bucket, class: id, id: event }) => ({ bucket, class: id, id: hex(event) })),
        groups: groups.flatMap((hash, group) =>
          hash.some((byte) => byte > 0) ? [{ group, hash: hex(hash) }] : [],
        ),
        root: hex(root),
      };
    }),
    ranges: RANGES.map(([description, durationMs, asOf]) => {
      const { from, to } = comparedRange(classOf(durationMs), asOf);
      const leaves = from < to ? leavesAt(classOf(durationMs), from) : null;
      return { description, durationMs, asOf, from, to, leavesAt: leaves };
    }),
    times: TIMES.map(([description, nowMs]) => ({ description, nowMs, asOf: newestAsOf(nowMs) })),
  };
}
