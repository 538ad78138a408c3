import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstSeqOf } from "../../../protocol/hybrid-clock.ts";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { MAX_BACK_SLOTS, newestAsOf } from "../../../protocol/sync-range.ts";
import { unpackRecords } from "../../sync/root-records.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import { envelopeOf, onStorage, wipe } from "../../testing/shard-world.ts";
import { TREE_TOPICS, TreeNode } from "../../testing/tree-node.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import type { HandOver } from "./shard-tree.ts";

type Step =
  | { readonly kind: "publish"; topic: number }
  | { readonly kind: "arrive"; topic: number; ago: number; isOrphan: boolean }
  | { readonly kind: "wait"; slots: number }
  | { readonly kind: "handOver" }
  | { readonly kind: "restart" }
  | { readonly kind: "catchUp" }
  | { readonly kind: "overdue" }
  | { readonly kind: "fail" };
const topic = fc.nat({ max: TREE_TOPICS.length - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("publish" as const), topic }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("arrive" as const),
      topic,
      ago: fc.oneof(fc.nat({ max: 9 }), fc.nat({ max: 90 })),
      isOrphan: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait" as const), slots: fc.nat({ max: 20 }) }) },
  { weight: 3, arbitrary: fc.constant({ kind: "handOver" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "catchUp" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "overdue" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "fail" as const }) },
);
const traces = fc.array(step, { maxLength: 50, size: "max" });

function play(node: TreeNode, trace: readonly Step[]): HandOver[] {
  const handedOver: HandOver[] = [];
  for (const [n, each] of trace.entries()) {
    const name = "topic" in each ? (TREE_TOPICS[each.topic] as string) : "";
    node.nowMs += 11;
    if (each.kind === "publish") node.publish(name, n);
    if (each.kind === "arrive") {
      const parent = new Uint8Array(40);
      new DataView(parent.buffer).setBigUint64(0, firstSeqOf(node.nowMs - each.ago * SLOT_MS - 1));
      node.arrive(name, n, each.ago, each.isOrphan ? [parent] : []);
    }
    if (each.kind === "wait") node.nowMs += Math.floor(each.slots ** 1.5 * SLOT_MS * 0.3);
    if (each.kind === "restart") node.restart();
    if (each.kind === "catchUp") node.run(() => node.core.catchUpTree(newestAsOf(node.nowMs)));
    if (each.kind === "overdue") node.run(() => node.core.deliverOverdue(node.nowMs, 3));
    if (each.kind === "fail") {
      expect(() =>
        node.run(() => {
          node.core.publish(envelopeOf("odd-1", n, "lost"), node.nowMs);
          node.core.handOver(newestAsOf(node.nowMs));
          throw new Error("no room");
        }),
      ).toThrow("no room");
    }
    if (each.kind !== "handOver") continue;
    const due = node.core.dueAsOf;
    const before = handedOver.at(-1);
    const now = node.handOver();
    node.check(now);
    // What was not due is what was handed over before.
    if (before && due > now.asOf) {
      const newest = ({ parts }: HandOver) =>
        parts.flatMap(({ records }) =>
          unpackRecords(records).flatMap((each) => (each.newest ? [each.newest] : [])),
        );
      expect(newest(now)).toEqual(newest(before));
    }
    handedOver.push(now);
  }
  return handedOver;
}

const isBehind = (node: TreeNode) => node.core.isTreeBehind(newestAsOf(node.nowMs));

describe("a shard's tree", () => {
  test("hands over what follows from the stored events alone, whatever came late, failed or restarted", () => {
    fc.assert(
      fc.property(traces, (trace) => {
        play(new TreeNode(new MemoryShardStore()), trace);
      }),
      { numRuns: 300 },
    );
  });

  test("is the same in SQLite", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(traces, (trace) => {
          wipe(storage);
          const ofSql = play(new TreeNode(new SqlShardStore(storage)), trace);
          expect(ofSql).toEqual(play(new TreeNode(new MemoryShardStore()), trace));
        }),
        { numRuns: 40 },
      );
    }));

  test("of a clock that was far ahead goes back with it, and its sketches with the next scrub", () => {
    fc.assert(
      fc.property(
        traces,
        traces,
        // Between the two hand-overs one slot may begin.
        fc.integer({ min: MAX_BACK_SLOTS + 2, max: 5_000 }),
        (before, meanwhile, slots) => {
          const node = new TreeNode(new MemoryShardStore());
          play(node, before);
          const { nowMs } = node;
          node.nowMs += slots * SLOT_MS;
          node.handOver();
          play(
            node,
            meanwhile.filter(({ kind }) => kind !== "publish" && kind !== "fail" && kind !== "wait"),
          );
          node.nowMs = nowMs + 50 * 11;
          const { asOf } = node.handOver();
          expect(asOf).toBe(newestAsOf(node.nowMs));
          const scrub = node.core.beginScrub();
          while (node.run(() => node.core.stepScrub(scrub, node.nowMs)));
          node.check(node.handOver());
        },
      ),
      { numRuns: 100 },
    );
  });

  test("that went ahead by itself is due at once until it has handed over, also after a restart", () => {
    const node = new TreeNode(new MemoryShardStore());
    node.arrive("kept-0", 1, 5);
    node.handOver();
    expect(node.core.dueAsOf).toBe(Number.MAX_SAFE_INTEGER);
    node.arrive("kept-0", 2, 5);
    node.run(() => node.core.catchUpTree(newestAsOf(node.nowMs)));
    expect([node.core.dueAsOf, isBehind(node)]).toEqual([0, false]);
    node.restart();
    expect(node.core.dueAsOf).toBe(0);
    node.check(node.handOver());
    node.restart();
    expect(node.core.dueAsOf).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("is behind at first, and when more than 64 slots are open", () => {
    const node = new TreeNode(new MemoryShardStore());
    expect(isBehind(node)).toBe(true);
    node.handOver();
    for (let slots = 0; slots <= 64; slots++) {
      expect(isBehind(node)).toBe(false);
      node.publish("kept-0", slots);
      node.nowMs += SLOT_MS;
    }
    expect(isBehind(node)).toBe(true);
    node.run(() => node.core.catchUpTree(newestAsOf(node.nowMs)));
    expect(isBehind(node)).toBe(false);
    node.check(node.handOver());
  });
});
