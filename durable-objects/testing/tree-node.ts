import { expect } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { Sketch } from "../../protocol/sketch.ts";
import { comparedRange, isInRange, newestAsOf } from "../../protocol/sync-range.ts";
import { rootOf, slotGroups, slotHash } from "../../protocol/sync-tree.ts";
import { bucketOf } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import { unpackRecords } from "../sync/root-records.ts";
import { type CoreContext, ShardCore } from "../topic-shard/shard-core.ts";
import type { ShardStore } from "../topic-shard/shard-store.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";
import { slotOfId } from "../topic-shard/sync-tree/slot-spans.ts";
import { decodeMark, encodeMark, type TreeMark } from "../topic-shard/sync-tree/tree-mark.ts";
import { envelopeOf, forgeEvent, newGeneration, SUBJECT, signers } from "./shard-world.ts";

/** Slots leave the range of one class soon, and that of another never. */
export const treeNetwork = new Network(
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
export const TREE_TOPICS = ["short", "odd-0", "kept-0", "kept-1", "odd-1"];
export const TREE_START_MS = Date.UTC(2026, 5, 1);

export const markOf = ({ tree }: ShardStore): TreeMark =>
  decodeMark(tree.treeValue("mark") ?? new Uint8Array());

/** What is stored of the sketches is of no events at all. */
export function loseSketches(store: ShardStore): void {
  const none = new Sketch().prefix();
  const mark = { ...markOf(store), sketches: { newest: none, previous: none } };
  store.tree.saveTreeValue("mark", encodeMark(mark));
}

/** A core on a network whose classes end soon, and what its tree must say. */
export class TreeNode {
  readonly store: ShardStore;
  readonly place: Pick<CoreContext, "shard" | "shardCount" | "scrubLimits">;
  core: ShardCore;
  nowMs = TREE_START_MS;

  constructor(store: ShardStore, place: TreeNode["place"] = { shard: 0, shardCount: 1 }) {
    this.store = store;
    this.place = place;
    this.core = this.#freshCore();
  }

  #freshCore(): ShardCore {
    const context = {
      network: treeNetwork,
      suite,
      signer: SUBJECT,
      ...this.place,
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
      network: treeNetwork,
      classId: treeNetwork.classOf(envelopeOf(topic, 0).topic).id,
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
        if (isInRange(comparedRange(treeNetwork.retentionOf(each.class), when), slotOfId(each.id)))
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
        const range = comparedRange(treeNetwork.retentionOf(Number(name.split(" ")[1])), when);
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
