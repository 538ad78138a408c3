import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../../protocol/bytes.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../../protocol/genesis.ts";
import { firstSeqOf } from "../../../protocol/hybrid-clock.ts";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { comparedRange, isInRange, newestAsOf } from "../../../protocol/sync-range.ts";
import { rootOf, slotGroups, slotHash } from "../../../protocol/sync-tree.ts";
import { bucketOf } from "../../../protocol/topic.ts";
import { suite } from "../../platform-suite.ts";
import { unpackRecords } from "../../sync/root-records.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import {
  envelopeOf,
  forgeEvent,
  newGeneration,
  onStorage,
  SUBJECT,
  signers,
  wipe,
} from "../../testing/shard-world.ts";
import { ShardCore } from "../shard-core.ts";
import type { ShardStore } from "../shard-store.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { slotOfId } from "./bucket-leaves.ts";
import type { HandOver } from "./shard-tree.ts";

/** Slots leave the range of one class soon, and that of another never. */
const network = new Network(
  {
    ...DEVELOPMENT_GENESIS,
    classes: [
      { id: 1, name: "short", durationMs: 8 * SLOT_MS, priority: 1 },
      { id: 2, name: "odd", durationMs: 80 * SLOT_MS + 1, priority: 1 },
      { id: 7, name: "permanent", durationMs: null, priority: 2 },
    ],
    prefixes: [
      ["", 1],
      ["odd", 2],
      ["kept", 7],
    ],
    members: signers.map(({ publicKey }) => toHex(publicKey)),
  },
  suite,
);
/** "odd-0", "short-188" and "kept-17" are chosen so that some share a bucket. */
const TOPICS = ["short", "odd-0", "kept-0", "kept-1", "odd-1"];
const START_MS = Date.UTC(2026, 5, 1);

class TreeNode {
  readonly store: ShardStore;
  core: ShardCore;
  nowMs = START_MS;

  constructor(store: ShardStore) {
    this.store = store;
    this.core = this.#freshCore();
  }

  #freshCore(): ShardCore {
    const context = {
      network,
      suite,
      signer: SUBJECT,
      shard: 0,
      shardCount: 1,
      smallBucketEvents: 3,
      newGeneration,
    };
    return new ShardCore(this.store, context);
  }

  restart(): void {
    this.core = this.#freshCore();
  }

  run<T>(work: () => T): T {
    try {
      return this.store.transaction(() => {
        const result = work();
        this.core.checkpointWhenDue();
        return result;
      });
    } catch (error) {
      this.core.reload();
      throw error;
    }
  }

  publish(topic: string, ts: number): void {
    this.run(() => this.core.publish(envelopeOf(topic, ts, "m"), this.nowMs));
  }

  arrive(topic: string, ts: number, agoSlots: number, links: Bytes[] = []): void {
    const timeMs = this.nowMs - agoSlots * SLOT_MS;
    const event = forgeEvent({
      topic,
      ts,
      links,
      network,
      classId: network.classOf(envelopeOf(topic, 0).topic).id,
      timeMs,
    });
    this.run(() => this.core.ingest(event, this.nowMs));
  }

  handOver(): HandOver {
    return this.run(() => this.core.handOver(newestAsOf(this.nowMs)));
  }

  /** What a hand-over must say, from nothing but the stored events. */
  expected(asOf: number) {
    const events = this.store.tree.eventsOfTopics({ from: new Uint8Array(), to: null }, null, 1e6, 1e9);
    const at = (when: number) => {
      const sketch = new Sketch();
      const roots = new Map<string, string>();
      for (const each of events)
        if (isInRange(comparedRange(network.retentionOf(each.class), when), slotOfId(each.id)))
          sketch.toggle(bucketOf(each.topicKey), each.id);
      const groups = Map.groupBy(events, (each) => `${bucketOf(each.topicKey)} ${each.class}`);
      for (const [name, members] of groups) {
        const slots = Map.groupBy(members, ({ id }) => slotOfId(id));
        const leaves = [...slots]
          .sort(([a], [b]) => a - b)
          .map(([slot, own]) => ({
            slot,
            count: own.length,
            hash: slotHash(own.map(({ id }) => id).sort(compareBytes), suite),
          }));
        const range = comparedRange(network.retentionOf(Number(name.split(" ")[1])), when);
        const root = rootOf(slotGroups(leaves, range, suite), suite);
        if (root) roots.set(name, toHex(root));
      }
      return { sketch: toHex(sketch.prefix()), roots: Object.fromEntries(roots) };
    };
    return { newest: at(asOf), previous: at(asOf - 1) };
  }

  check(handOver: HandOver): void {
    const records = handOver.parts.flatMap(({ records: packed }) => unpackRecords(packed));
    const rootsOf = (which: "newest" | "previous") =>
      Object.fromEntries(
        records.flatMap((record) => {
          const root = record[which];
          return root ? [[`${record.bucket} ${record.class}`, toHex(root)]] : [];
        }),
      );
    const { sketches } = handOver;
    expect({
      newest: { sketch: toHex(sketches.newest), roots: rootsOf("newest") },
      previous: { sketch: toHex(sketches.previous), roots: rootsOf("previous") },
    }).toEqual(this.expected(handOver.asOf));
  }
}

type Step =
  | { readonly kind: "publish"; topic: number }
  | { readonly kind: "arrive"; topic: number; ago: number; isOrphan: boolean }
  | { readonly kind: "wait"; slots: number }
  | { readonly kind: "handOver" }
  | { readonly kind: "restart" }
  | { readonly kind: "overdue" }
  | { readonly kind: "fail" };
const topic = fc.nat({ max: TOPICS.length - 1 });
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
  { weight: 1, arbitrary: fc.constant({ kind: "overdue" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "fail" as const }) },
);
const traces = fc.array(step, { maxLength: 50, size: "max" });

function play(node: TreeNode, trace: readonly Step[]): HandOver[] {
  const handedOver: HandOver[] = [];
  for (const [n, each] of trace.entries()) {
    const name = "topic" in each ? (TOPICS[each.topic] as string) : "";
    node.nowMs += 11;
    if (each.kind === "publish") node.publish(name, n);
    if (each.kind === "arrive") {
      const parent = new Uint8Array(40);
      new DataView(parent.buffer).setBigUint64(0, firstSeqOf(node.nowMs - each.ago * SLOT_MS - 1));
      node.arrive(name, n, each.ago, each.isOrphan ? [parent] : []);
    }
    if (each.kind === "wait") node.nowMs += Math.floor(each.slots ** 1.5 * SLOT_MS * 0.3);
    if (each.kind === "restart") node.restart();
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
});
