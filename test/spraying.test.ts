import { beforeAll, describe, expect, test } from "vitest";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { type Envelope, envelope, lineOf } from "./support/node-client.ts";
import { randomNumbers } from "./support/random.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { Subscription } from "./support/subscription.ts";
import { eachOf, until } from "./support/until.ts";

/** xmtpd's spraying tests, which compared counts only. */

/** Requests in flight at a time, over all nodes. */
const WIDTH = 16;

const sorted = (texts: readonly string[]): string[] => [...texts].sort();
const topicNames = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `/xmtp/0/m-${name}-${i}/proto`);

/** Publishes messages to random nodes and topics, with few different timestamps. */
async function spray(
  nodes: readonly TestNode[],
  topics: readonly string[],
  messages: number,
  seed: number,
): Promise<Envelope[]> {
  const random = randomNumbers(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const jobs = Array.from({ length: messages }, (_, n) => ({
    node: pick(nodes),
    envelope: envelope(pick(topics), Math.floor(random() * 50), `message ${n} of spray ${seed}`),
  }));
  await eachOf(jobs, WIDTH, (job) => job.node.publish(job.envelope));
  return jobs.map((job) => job.envelope);
}

describe.each([
  { count: 3, topicCount: 10, messages: 300 },
  { count: 5, topicCount: 3, messages: 100 },
  { count: 10, topicCount: 5, messages: 100 },
])("$count nodes, $topicCount topics, $messages messages", ({ count, topicCount, messages }) => {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await startNetwork(count);
    return () => network.stop();
  });

  test("all nodes come to the same events, heads, order and bytes", async () => {
    const { nodes } = network;
    const topics = topicNames("spray", topicCount);
    const sprayed = await spray(nodes, topics, messages, count);
    await Promise.all(nodes.map((node) => node.runScheduled()));
    await untilEventsAre(nodes, topics, messages);
    expect(sorted(await expectSameReplicas(nodes, topics))).toEqual(sorted(sprayed.map(lineOf)));
  });
});

describe("pushes that do not arrive", () => {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await startNetwork(3, { without: [2] });
    return () => network.stop();
  });

  /** What the nodes hold after the last node's scheduled handler ran, and nothing else was waited for. */
  async function expectCaughtUp(late: TestNode, topics: readonly string[], sprayed: readonly Envelope[]) {
    await late.runScheduled();
    expect(sorted(await expectSameReplicas(network.nodes, topics))).toEqual(sorted(sprayed.map(lineOf)));
  }

  test("a node that starts late, and one that was away, catch up by their scheduled pull", async () => {
    const [first, second, late] = [network.node(0), network.node(1), network.node(2)];
    const topics = topicNames("late", 4);
    const before = await spray([first, second], topics, 200, 21);
    await untilEventsAre([first, second], topics, before.length);
    await late.start();
    const subscription = await Subscription.open(late, topics);
    await expectCaughtUp(late, topics, before);
    await subscription.reach(before.length);
    await subscription.close();
    expect(sorted(subscription.envelopes.map(lineOf))).toEqual(sorted(before.map(lineOf)));

    await late.stop();
    const whileAway = await spray([first, second], topics, 100, 22);
    await untilEventsAre([first, second], topics, before.length + whileAway.length);
    await late.start();
    await expectCaughtUp(late, topics, [...before, ...whileAway]);
  });

  test("a push that names an earlier event makes a node that lacks it pull at once", async () => {
    const [first, second, late] = [network.node(0), network.node(1), network.node(2)];
    const topics = topicNames("previous", 3);
    await late.stop();
    const missed = await spray([first, second], topics, 60, 41);
    await late.start();
    const pushed: Envelope[] = [];
    // The first ones may still fall into the pause that a peer that was down is given.
    await until("what was missed, after a push", async () => {
      for (const [i, topic] of topics.entries()) {
        const next = envelope(topic, 1_000 + pushed.length, `push ${pushed.length}`);
        await network.node(i % 2).publish(next);
        pushed.push(next);
      }
      const events = await Promise.all(topics.map((topic) => late.events(topic)));
      const held = new Set(events.flat().map((event) => lineOf(event.envelope)));
      return missed.every((each) => held.has(lineOf(each)));
    });
    await untilEventsAre(network.nodes, topics, missed.length + pushed.length);
    await expectSameReplicas(network.nodes, topics);
  });

  test("what a node took while it was alone reaches the others when it pulls from them", async () => {
    const [first, second, alone] = [network.node(0), network.node(1), network.node(2)];
    const topics = topicNames("alone", 3);
    await Promise.all([first.stop(), second.stop()]);
    const taken = await spray([alone], topics, 50, 31);
    await Promise.all([first.start(), second.start()]);
    await Promise.all([first.runScheduled(), second.runScheduled()]);
    expect(sorted(await expectSameReplicas(network.nodes, topics))).toEqual(sorted(taken.map(lineOf)));
    const linked = await spray(network.nodes, topics, 30, 32);
    // A peer that was away is pushed to again after a pause only.
    await Promise.all(network.nodes.map((node) => node.runScheduled()));
    await untilEventsAre(network.nodes, topics, taken.length + linked.length);
    await expectSameReplicas(network.nodes, topics);
  });
});
