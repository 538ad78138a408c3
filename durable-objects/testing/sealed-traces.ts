import * as fc from "fast-check";
import { SLOT_MS } from "../../protocol/retention.ts";
import {
  type Step as ShardStep,
  traces as shardTraces,
  tracesWithRecords as shardTracesWithRecords,
} from "./shard-traces.ts";
import { TREE_TOPICS } from "./tree-node.ts";

export { World } from "./shard-traces.ts";

/** Random lives of a shard that seals and merges: `part` of what it has delivered, from 0 to 1. */
const own = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("seal" as const),
      part: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("merge" as const), which: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
);

export type OwnStep =
  | { readonly kind: "seal"; readonly part: number }
  /** A merge begins, or the one under way ends. */
  | { readonly kind: "merge"; readonly which: number }
  | { readonly kind: "restart" };
export type Step = ShardStep | OwnStep;

/** Puts steps of this kind between others, at random places. */
const mixed = <Other>(others: fc.Arbitrary<Other[]>): fc.Arbitrary<(Other | OwnStep)[]> =>
  fc.tuple(others, fc.array(fc.tuple(fc.nat(59), own), { maxLength: 12 })).map(([steps, extra]) => {
    const all: (Other | OwnStep)[] = [...steps];
    for (const [place, step] of extra) all.splice(place % (all.length + 1), 0, step);
    return all;
  });

export const traces: fc.Arbitrary<Step[]> = mixed(shardTraces);

/** Records that go further back than in the lives of shards that do not seal, and at the end one that takes out what an origin has. */
const lateRecord = fc.record({
  kind: fc.constant("record" as const),
  origin: fc.nat(2),
  admitted: fc.constant(false),
  agoMs: fc.nat({ max: 60_000 }),
});
export const tracesWithRecords: fc.Arbitrary<Step[]> = fc
  .tuple(mixed(shardTracesWithRecords), lateRecord, mixed(shardTraces), lateRecord)
  .map(([before, first, between, last]) => [...before, first, ...between, last]);

export type TreeStep =
  | OwnStep
  | { readonly kind: "publish"; readonly topic: number }
  | { readonly kind: "arrive"; readonly topic: number; readonly ago: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "handOver" };

const topic = fc.nat({ max: TREE_TOPICS.length - 1 });
const treeStep: fc.Arbitrary<Exclude<TreeStep, OwnStep>> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("publish" as const), topic }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      topic,
      ago: fc.oneof(fc.nat({ max: 9 }), fc.nat({ max: 90 })),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: 20 * SLOT_MS }) }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "handOver" as const }) },
);
export const tracesOfTree: fc.Arbitrary<TreeStep[]> = mixed(
  fc.array(treeStep, { maxLength: 50, size: "max" }),
);
