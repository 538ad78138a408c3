import { afterEach, beforeAll, beforeEach, expect } from "vitest";
import { startNetwork, type TestNode } from "./network.ts";
import { TestPeer } from "./peer.ts";
import { expectHealthy } from "./refusals.ts";

export interface GuardedNode {
  readonly node: TestNode;
  /** Another one in each test, since a node leaves a peer alone that goes on sending what breaks a rule. */
  readonly peer: TestPeer;
  /** What the node holds now is there on purpose. */
  allow(): Promise<void>;
}

/**
 * A node for a file of bad input, started before its tests. After each of them nothing was stored, by any of the ways
 * to look, and the node works. `topic` is what the bad input writes to.
 */
export function guardedNode(topic: string): GuardedNode {
  let guarded: { readonly node: TestNode; readonly observer: TestPeer; peer: TestPeer } | undefined;
  let stored: object = {};
  const started = () => {
    if (!guarded) throw new Error("the node is there once the tests run");
    return guarded;
  };
  const look = async () => {
    const { node, observer } = started();
    return {
      ids: await observer.storedIds(),
      envelopes: await node.queryAll(topic),
      events: await node.events(topic),
      heads: await node.heads(topic),
    };
  };

  beforeAll(async () => {
    const network = await startNetwork(1);
    const node = network.node(0);
    guarded = { node, observer: new TestPeer(node), peer: new TestPeer(node) };
    return () => network.stop();
  });

  beforeEach(async () => {
    started().peer = new TestPeer(started().node);
    stored = await look();
  });

  afterEach(async () => {
    expect(await look()).toEqual(stored);
    await expectHealthy(started().node);
  });

  return {
    get node() {
      return started().node;
    },
    get peer() {
      return started().peer;
    },
    async allow() {
      stored = await look();
    },
  };
}
