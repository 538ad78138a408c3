import { describe, expect, test } from "vitest";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { Sketch } from "../../../protocol/sketch.ts";
import { onStorage, wipe } from "../../testing/shard-world.ts";
import { TreeNode } from "../../testing/tree-node.ts";
import { SqlShardStore } from "../sql-shard-store.ts";

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

const onNode = (work: (node: TreeNode) => void) =>
  onStorage((storage) => {
    wipe(storage);
    work(new TreeNode(new SqlShardStore(storage)));
  });

describe.each(Object.entries(MEANWHILE))(
  "what a scrub mended stays mended with %s before the hand-over",
  (_, meanwhile) => {
    test("roots", () =>
      onNode((node) => {
        node.publish("kept-0", 1);
        node.publish("kept-1", 2);
        node.nowMs += 2 * SLOT_MS;
        node.check(node.handOver());
        for (let part = 0; part < 16; part++)
          node.store.tree.saveTreeValue(`roots-${part}`, new Uint8Array());
        node.restart();
        expect(scrub(node)).toMatchObject({ roots: 2, isWhole: true });
        meanwhile(node);
        node.check(node.handOver());
      }));

    test("sketches, though an event came late meanwhile", () =>
      onNode((node) => {
        node.publish("kept-0", 1);
        node.nowMs += 3 * SLOT_MS;
        node.check(node.handOver());
        node.store.tree.saveTreeValue("sketch-newest", new Sketch().prefix());
        node.restart();
        node.arrive("kept-0", 7, 2);
        expect(scrub(node)).toMatchObject({ roots: 1, isWhole: true });
        meanwhile(node);
        node.check(node.handOver());
      }));
  },
);
