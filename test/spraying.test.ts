import { beforeAll, describe, expect, test } from "vitest";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { lineOf } from "./support/node-client.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { spray, topicNames } from "./support/spray.ts";

/** xmtpd's spraying tests, which compared counts only. */

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
    expect((await expectSameReplicas(nodes, topics)).sort()).toEqual(sprayed.map(lineOf).sort());
  });
});
