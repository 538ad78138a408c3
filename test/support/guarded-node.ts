import { afterEach, beforeAll, beforeEach, expect } from "vitest";
import { startNetwork, type TestNode } from "./network.ts";
import { TestPeer } from "./peer.ts";
import { expectHealthy } from "./refusals.ts";

export interface GuardedNode {
  readonly node: TestNode;
  readonly peer: TestPeer;
  /** What a test stored on purpose: all that the node holds now. */
  allow(ids: readonly string[]): void;
}

/**
 * A node for a file of bad input, started before its tests. After each of them nothing was stored, by any of the ways
 * to look, and the node works. `topic` is what the bad input writes to.
 */
export function guardedNode(topic: string): GuardedNode {
  let guarded: Pick<GuardedNode, "node" | "peer"> | undefined;
  let stored: readonly string[] = [];
  const started = () => {
    if (!guarded) throw new Error("the node is there once the tests run");
    return guarded;
  };

  beforeAll(async () => {
    const network = await startNetwork(1);
    const node = network.node(0);
    guarded = { node, peer: new TestPeer(node) };
    return () => network.stop();
  });

  beforeEach(async () => {
    stored = await started().peer.storedIds();
  });

  afterEach(async () => {
    const { node, peer } = started();
    expect(await peer.storedIds()).toEqual(stored);
    expect(await node.queryAll(topic)).toEqual([]);
    expect(await node.events(topic)).toEqual([]);
    expect(await node.heads(topic)).toEqual([]);
    await expectHealthy(node);
  });

  return {
    get node() {
      return started().node;
    },
    get peer() {
      return started().peer;
    },
    allow(ids) {
      stored = ids;
    },
  };
}
