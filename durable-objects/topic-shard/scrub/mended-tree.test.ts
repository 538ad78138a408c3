import { describe, expect, test } from "vitest";
import { toHex, utf8 } from "../../../protocol/bytes.ts";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { shardOf, topicKey } from "../../../protocol/topic.ts";
import { suite } from "../../platform-suite.ts";
import { madeUpId, onStorage, wipe } from "../../testing/shard-world.ts";
import { loseSketches, markOf, TreeNode } from "../../testing/tree-node.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { encodeMark } from "../sync-tree/tree-mark.ts";

const full = () => {
  throw new Error("disk is full");
};

/** What may come between the end of a scrub and the next hand-over. */
const MEANWHILE: Readonly<Record<string, (node: TreeNode) => void>> = {
  nothing: () => {},
  "a restart": (node) => node.restart(),
  "a failed write": (node) => expect(() => node.run(full)).toThrow("disk is full"),
};

function scrub(node: TreeNode) {
  const pass = node.core.beginScrub();
  while (node.run(() => node.core.stepScrub(pass, node.nowMs)));
  return pass.report;
}

const onNode = (work: (node: TreeNode) => void, place?: TreeNode["place"]) =>
  onStorage((storage) => {
    wipe(storage);
    work(new TreeNode(new SqlShardStore(storage), place));
  });

function loseRoots(node: TreeNode): void {
  for (let part = 0; part < 16; part++) node.store.tree.saveTreeValue(`roots-${part}`, new Uint8Array());
  node.restart();
}

/** Topics of the class that is kept, in one shard of 64. */
const SHARD_OF_64 = { shard: 3, shardCount: 64 };
const topicsIn = (count: number, { shard, shardCount }: typeof SHARD_OF_64): string[] => {
  const names = Array.from({ length: 10_000 }, (_, i) => `kept ${i}`);
  return names.filter((name) => shardOf(topicKey(utf8(name), suite), shardCount) === shard).slice(0, count);
};

describe.each(Object.entries(MEANWHILE))(
  "what a scrub mended stays mended with %s before the hand-over",
  (_, meanwhile) => {
    test("roots", () =>
      onNode((node) => {
        node.publish("kept-0", 1);
        node.publish("kept-1", 2);
        node.nowMs += 2 * SLOT_MS;
        node.check(node.handOver());
        loseRoots(node);
        expect(scrub(node)).toMatchObject({ roots: 2, isWhole: true });
        meanwhile(node);
        node.check(node.handOver());
      }));

    test("sketches, though an event came late meanwhile", () =>
      onNode((node) => {
        node.publish("kept-0", 1);
        node.nowMs += 3 * SLOT_MS;
        node.check(node.handOver());
        loseSketches(node.store);
        node.restart();
        node.arrive("kept-0", 7, 2);
        expect(scrub(node)).toMatchObject({ roots: 1, isWhole: true });
        meanwhile(node);
        node.check(node.handOver());
      }));
  },
);

describe("an event that came late is in the sketches after a restart", () => {
  test("when the scrub that folded it mended something in its last step", () =>
    onNode((node) => {
      const [first = "", second = "", late = ""] = topicsIn(3, SHARD_OF_64);
      node.publish(first, 1);
      node.publish(second, 2);
      node.nowMs += 3 * SLOT_MS;
      node.handOver();
      loseRoots(node);
      node.arrive(late, 7, 2);
      expect(scrub(node)).toMatchObject({ roots: 2, isWhole: true });
      node.restart();
      node.check(node.handOver());
    }, SHARD_OF_64));

  test("when a scrub folded it and mended nothing, and a mark came by itself after it", () =>
    onNode((node) => {
      node.publish("kept-0", 1);
      node.nowMs += 3 * SLOT_MS;
      node.handOver();
      node.arrive("kept-0", 7, 2);
      expect(scrub(node)).toMatchObject({ roots: 0, isWhole: true });
      for (let n = 0; n < 1_100; n++) node.publish("kept-1", 10 + n);
      node.restart();
      node.check(node.handOver());
    }));

  test("when it still waited for its parent, and each of 256 steps of a scrub had made a mark", () =>
    onNode(
      (node) => {
        const topics = Array.from({ length: 300 }, (_, i) => `kept ${i}`);
        for (const [n, topic] of topics.entries()) node.publish(topic, n);
        node.nowMs += 3 * SLOT_MS;
        node.handOver();
        loseRoots(node);
        node.arrive("kept 0", 1_000, 2, [madeUpId(node.nowMs - 2 * SLOT_MS - 1_000)]);
        const pass = node.core.beginScrub();
        while (pass.repairs < 256) node.run(() => node.core.stepScrub(pass, node.nowMs));
        node.restart();
        // The roots of the buckets behind are still to be mended.
        const { asOf, sketches } = node.handOver();
        expect(toHex(sketches.newest)).toBe(node.expected(asOf).newest.sketch);
      },
      { shard: 0, shardCount: 1, scrubLimits: { idsPerStep: 1 } },
    ));
});

test("sketches that were written down in rows of their own, as they were once, are those of the mark from then on", () =>
  onNode((node) => {
    node.publish("kept-0", 1);
    node.nowMs += 3 * SLOT_MS;
    node.check(node.handOver());
    const { sketches, ...mark } = markOf(node.store);
    node.store.tree.saveTreeValue("sketch-newest", sketches?.newest ?? new Uint8Array());
    node.store.tree.saveTreeValue("sketch-previous", sketches?.previous ?? new Uint8Array());
    node.store.tree.saveTreeValue("mark", encodeMark({ ...mark, sketches: null }));
    node.restart();
    node.check(node.handOver());
    node.publish("kept-0", 2);
    node.nowMs += SLOT_MS;
    node.check(node.handOver());
    node.restart();
    expect(scrub(node)).toMatchObject({ roots: 0, isWhole: true });
  }));
