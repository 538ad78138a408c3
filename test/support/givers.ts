import { expect } from "vitest";
import { type EncodedEvent, toWire } from "../../protocol/event.ts";
import type { HostilePeer } from "./hostile-peer.ts";
import { offering } from "./liar.ts";
import type { TestNode } from "./network.ts";
import { pagesOf } from "./past-events.ts";
import { TestPeer } from "./peer.ts";
import { eachOf, within } from "./until.ts";

/** How the events of a peer come to a node. */
export interface Giver {
  readonly peer: TestPeer;
  /** Gives events that break no rule. */
  give(events: readonly EncodedEvent[]): Promise<void>;
}

/** A new peer, which pushes them. */
export function pusherTo(node: TestNode): Giver {
  const peer = new TestPeer(node);
  const push = async (page: readonly EncodedEvent[]) =>
    expect(await peer.pushEvents(...page.map(toWire))).toEqual({ lacking: false, refused: 0 });
  return { peer, give: (events) => eachOf([...pagesOf(events)], 1, push) };
}

/** One of the node's peers, which is open, and is asked for them. */
export function answererTo(node: TestNode, stranger: HostilePeer): Giver {
  const give = async (events: readonly EncodedEvent[]) => {
    stranger.script = offering(events);
    await stranger.lure(node);
    await within("the end of the node's rounds", node.runScheduled());
    stranger.script = {};
  };
  return { peer: stranger.sender(node), give };
}
