import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { mergeOn, sealUpTo } from "../testing/held-segments.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import {
  type Step,
  type TreeStep,
  traces,
  tracesOfTree,
  tracesWithRecords,
  World,
} from "../testing/sealed-traces.ts";
import { keyOf, Node, onStorage, TOPICS, wipe } from "../testing/shard-world.ts";
import { TREE_TOPICS, TreeNode } from "../testing/tree-node.ts";
import { headsOf } from "../topic-shard/heads.ts";
import type { ShardStore } from "../topic-shard/shard-store.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { type HotShardStore, TieredShardStore } from "./tiered-shard-store.ts";

/** Two shards live the same life, and one of them seals now and then what it has delivered, and merges it: nobody can tell the two by what they say. */

const MANY = 1e6;

/** What the rules see of a store, whatever is sealed. */
function seen(store: ShardStore, names: readonly EventName[]) {
  return {
    known: names.map((name) => store.positionOf(name) !== undefined),
    heads: TOPICS.map((topic) => headsOf(store, keyOf(topic)).map(toHex)),
    linkable: TOPICS.map((topic) =>
      store.links.linkableHeads(keyOf(topic), new Uint8Array(40).fill(255), 16).map(toHex),
    ),
    greatest: TOPICS.map((topic) => store.greatest(keyOf(topic))?.id),
    missing: store.links.missingParents(MANY, null).map(({ topicKey, id }) => toHex(topicKey) + toHex(id)),
    pending: store.pendingStoredUntil(Number.MAX_SAFE_INTEGER, MANY).map(({ id }) => toHex(id)),
  };
}

function seal(node: Node | TreeNode, part: number): void {
  const store = node.store as TieredShardStore;
  sealUpTo(store, Math.floor(node.core.position * part), (move) => node.core.seal(move));
}

function live(trace: readonly Step[], hot: HotShardStore): void {
  const world = new World();
  const tiered = new TieredShardStore(hot);
  const [sealing, plain] = [new Node(tiered), new Node(new MemoryShardStore())];
  // Both have made all events that the world knows.
  const blockOf = (id: Bytes) =>
    world.events.find((each) => compareBytes(each.id, id) === 0)?.wire.block as Bytes;
  sealing.readWanted = () => {
    const wanted = tiered.tree.takeWanted();
    tiered.tree.keepBlocks(
      wanted,
      wanted.map(({ entry }) => blockOf(entry.id)),
    );
  };
  for (const [n, step] of trace.entries()) {
    if (step.kind === "seal") seal(sealing, step.part);
    else if (step.kind === "merge") mergeOn(tiered, step.which);
    else if (step.kind === "restart") sealing.core = sealing.freshCore();
    else {
      // An envelope is one within the hot window alone: none comes twice here.
      const [first, second] = world.apply("message" in step ? { ...step, message: n } : step, [
        sealing,
        plain,
      ]);
      expect(first).toEqual(second);
    }
    const names = world.events.map(({ topic, id }) => ({ topicKey: keyOf(topic), id }));
    expect(seen(sealing.store, names)).toEqual(seen(plain.store, names));
  }
  for (const node of [sealing, plain]) {
    const scrub = node.run((core) => core.beginScrub());
    while (node.run((core) => core.stepScrub(scrub, world.nowMs)));
  }
  const names = world.events.map(({ topic, id }) => ({ topicKey: keyOf(topic), id }));
  expect(seen(sealing.store, names)).toEqual(seen(plain.store, names));
}

test("events are known, linked, waited for and heads as if nothing were sealed", () => {
  fc.assert(
    fc.property(traces, (trace) => live(trace, new MemoryShardStore())),
    { numRuns: 120, endOnFailure: true },
  );
});

test("also when records take origins' events out, hot and sealed, and let them come again", () => {
  fc.assert(
    fc.property(tracesWithRecords, (trace) => live(trace, new MemoryShardStore())),
    { numRuns: 120, endOnFailure: true },
  );
});

test("in SQLite as well", () =>
  onStorage((storage) => {
    fc.assert(
      fc.property(tracesWithRecords, (trace) => {
        wipe(storage);
        live(trace, new SqlShardStore(storage));
      }),
      { numRuns: 40, endOnFailure: true },
    );
  }));

function liveInTree(trace: readonly TreeStep[]): void {
  const [sealing, plain] = [
    new TreeNode(new TieredShardStore(new MemoryShardStore())),
    new TreeNode(new MemoryShardStore()),
  ];
  for (const [n, step] of trace.entries()) {
    for (const node of [sealing, plain]) {
      node.nowMs += 11;
      if (step.kind === "publish") node.publish(TREE_TOPICS[step.topic] as string, n);
      if (step.kind === "arrive") node.arrive(TREE_TOPICS[step.topic] as string, n, step.ago);
      if (step.kind === "wait") node.nowMs += step.ms;
      if (step.kind === "restart") node.restart();
    }
    if (step.kind === "seal") seal(sealing, step.part);
    if (step.kind === "merge") mergeOn(sealing.store as TieredShardStore, step.which);
    if (step.kind !== "handOver") continue;
    const handOver = plain.handOver();
    expect(sealing.handOver()).toEqual(handOver);
    plain.check(handOver);
    for (const topic of TREE_TOPICS) {
      const bucket = bucketOf(keyOf(topic));
      for (const classId of [1, 2, 7]) {
        const listings = [sealing, plain].map(({ core, nowMs }) => [
          core.listings.bucket({ bucket, class: classId }, newestAsOf(nowMs), "shortest"),
          core.listings.names({ bucket, class: classId }, newestAsOf(nowMs), null),
        ]);
        expect(listings[0]).toEqual(listings[1]);
      }
    }
  }
}

test("roots, sketches and lists of ids are the same as if nothing were sealed", () => {
  fc.assert(fc.property(tracesOfTree, liveInTree), { numRuns: 80 });
});
