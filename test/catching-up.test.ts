import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { type Envelope, envelope, lineOf, type NodeClient } from "./support/node-client.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { spray, topicNames } from "./support/spray.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** How nodes come by what was not pushed to them. No scheduler runs here but where a test calls it. */

const expectLines = (lines: readonly string[], envelopes: readonly Envelope[]): void =>
  expect(lines.toSorted()).toEqual(envelopes.map(lineOf).sort());

async function holdsAll(node: NodeClient, topics: readonly string[], envelopes: readonly Envelope[]) {
  const events = await Promise.all(topics.map((topic) => node.events(topic)));
  const held = new Set(events.flat().map((event) => lineOf(event.envelope)));
  return envelopes.every((each) => held.has(lineOf(each)));
}

describe("a scheduled pull", () => {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await startNetwork(3, { without: [2] });
    return () => network.stop();
  });

  /** What the nodes hold after the last node's scheduled handler ran, and nothing else was waited for. */
  async function expectCaughtUp(late: TestNode, topics: readonly string[], sprayed: readonly Envelope[]) {
    await late.runScheduled();
    expectLines(await expectSameReplicas(network.nodes, topics), sprayed);
  }

  test("brings a node that starts late, and one that was away, all that it lacks", async () => {
    const [first, second, late] = [network.node(0), network.node(1), network.node(2)];
    const topics = topicNames("late", 4);
    const before = await spray([first, second], topics, 200, 21);
    await untilEventsAre([first, second], topics, before.length);
    await late.start();
    const subscription = await Subscription.open(late, topics);
    await expectCaughtUp(late, topics, before);
    await subscription.reach(before.length);
    await subscription.close();
    expectLines(subscription.envelopes.map(lineOf), before);

    await late.stop();
    const whileAway = await spray([first, second], topics, 100, 22);
    await untilEventsAre([first, second], topics, before.length + whileAway.length);
    await late.start();
    await expectCaughtUp(late, topics, [...before, ...whileAway]);
  });

  test("brings what a node took while it was alone to the others", async () => {
    const [first, second, alone] = [network.node(0), network.node(1), network.node(2)];
    const topics = topicNames("alone", 3);
    await Promise.all([first.stop(), second.stop()]);
    const taken = await spray([alone], topics, 50, 31);
    await Promise.all([first.start(), second.start()]);
    await Promise.all([first.runScheduled(), second.runScheduled()]);
    expectLines(await expectSameReplicas(network.nodes, topics), taken);
    const linked = await spray(network.nodes, topics, 30, 32);
    // A peer that was away is pushed to again after a pause only.
    await Promise.all(network.nodes.map((node) => node.runScheduled()));
    await untilEventsAre(network.nodes, topics, taken.length + linked.length);
    await expectSameReplicas(network.nodes, topics);
  });
});

describe("a push", () => {
  test("that names an earlier event makes a node that lacks that pull at once, also what is of other topics", async () => {
    // One shard, so that the event before is one of another topic, and no parent.
    const network = await startNetwork(2, { shards: 1 });
    onTestFinished(() => network.stop());
    const [first, late] = [network.node(0), network.node(1)];
    const topics = topicNames("previous", 3);
    await late.stop();
    const missed = await spray([first], topics, 60, 41);
    await late.start();
    // The first pushes may still fall into the pause that a peer that was down is given.
    let pushes = 0;
    await until("what was missed, after a push", async () => {
      await first.publish(envelope("/xmtp/0/m-pushed/proto", pushes++, "a push"));
      return holdsAll(late, topics, missed);
    });
    await untilEventsAre(network.nodes, ["/xmtp/0/m-pushed/proto"], pushes);
    await expectSameReplicas(network.nodes, [...topics, "/xmtp/0/m-pushed/proto"]);
  });

  test("whose parents are missing makes a node ask for them, and deliver them first", async () => {
    const network = await startNetwork(3, { shards: 1 });
    onTestFinished(() => network.stop());
    const [first, gone, late] = [network.node(0), network.node(1), network.node(2)];
    const [topic = ""] = topicNames("parents", 1);
    await late.stop();
    const missed = await spray([gone], [topic], 60, 42);
    await untilEventsAre([first], [topic], missed.length);
    await gone.stop();
    await late.start();
    const subscription = await Subscription.open(late, [topic]);
    // Its origin has no event before it: nothing but its links tells that events are missing.
    const child = envelope(topic, 1_000, "the child");
    await first.publish(child);
    await subscription.reach(missed.length + 1);
    await subscription.close();
    const inOrder = (await first.events(topic)).map((event) => lineOf(event.envelope));
    expectLines(subscription.envelopes.map(lineOf), [...missed, child]);
    expect(lineOf(subscription.envelopes.at(-1) ?? child)).toBe(inOrder.at(-1));
    await expectSameReplicas([first, late], [topic]);
  });
});
