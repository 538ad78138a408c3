import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Admin } from "./support/admin.ts";
import { LossyLine } from "./support/lossy-line.ts";
import { startNetwork, type TestNode } from "./support/network.ts";
import { LoopbackProxy, type Way, ways } from "./support/proxy.ts";
import { Publisher } from "./support/publisher.ts";
import { randomNumbers } from "./support/random.ts";
import { expectSameReplicas } from "./support/replicas.ts";
import { topicNames } from "./support/spray.ts";
import { until } from "./support/until.ts";

/** A line on which requests and answers are cut, delayed, repeated and lost is no peer's fault. */

const SEED = 20_261_123;
const LEAST_ROUNDS = 10;
const MOST_ROUNDS = 200;
/** So often at least everything happened on each line. */
const LEAST_STRIKES = 3;

/** Two lines from one node to another, one behind the other: of TCP, so that the node sees what is cut, and of HTTP. */
async function lossyWay(target: TestNode, seed: number) {
  const proxy = await LoopbackProxy.open(target.url);
  const line = await LossyLine.open(Number(new URL(proxy.url).port), seed);
  const random = randomNumbers(seed + 1);
  const strikes = { loseAnswer: 0, duplicate: 0, late: 0 };
  const way: Way = async (request, forward) => {
    const fate = random();
    if (fate < 0.1) strikes.loseAnswer++;
    else if (fate < 0.25) strikes.duplicate++;
    else if (fate < 0.4) strikes.late++;
    if (fate < 0.1) return ways.loseAnswer(request, forward);
    if (fate < 0.25) return ways.duplicate(request, forward);
    if (fate < 0.4) await sleep(random() * 500);
    return forward(request);
  };
  return {
    line,
    strikes,
    address: `${target.key}@${line.url}`,
    begin() {
      line.isLossy = true;
      proxy.way = way;
    },
    end() {
      line.isLossy = false;
      proxy.way = ways.open;
    },
    async close() {
      await line.close();
      await proxy.close();
    },
  };
}

async function expectNobodyBlamed(nodes: readonly TestNode[]): Promise<void> {
  for (const node of nodes) {
    const { peers, others } = await new Admin(node).peers();
    expect({ conduct: peers.map(({ conduct }) => conduct), others }).toEqual({ conduct: [null], others: [] });
  }
}

test("an honest peer behind a lossy line is never blamed, and what was published on both sides is on both in the end", async () => {
  const network = await startNetwork(2, { shards: 4, without: [0, 1] });
  const { nodes } = network;
  const lines = await Promise.all(nodes.map((_, i) => lossyWay(network.node(1 - i), SEED + i)));
  const topics = topicNames("lossy", 5);
  try {
    for (const [i, node] of nodes.entries()) {
      node.peers = [];
      node.strangers = [lines[i]?.address ?? ""];
      await node.start();
    }
    for (const line of lines) line.begin();
    const publishers = nodes.map(
      (node, i) => new Publisher(node, { name: `${i}`, topics, lanes: 2, pauseMs: 20 }),
    );
    const isStruck = () =>
      lines.every(({ line: { cuts, delays }, strikes }) =>
        [cuts, delays, ...Object.values(strikes)].every((count) => count >= LEAST_STRIKES),
      );
    for (let round = 0; round < LEAST_ROUNDS || !isStruck(); round++) {
      expect(round).toBeLessThan(MOST_ROUNDS);
      await Promise.all(publishers.map((publisher) => publisher.more(6)));
      await Promise.all(nodes.map((node) => node.runScheduled()));
      await expectNobodyBlamed(nodes);
    }
    await Promise.all(publishers.map((publisher) => publisher.stop()));
    for (const line of lines) line.end();
    await until("the same on both", async () => {
      await Promise.all(nodes.map((node) => node.runScheduled()));
      const { length } = await expectSameReplicas(nodes, topics);
      return length >= publishers.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    });
    await expectNobodyBlamed(nodes);
  } finally {
    await network.stop();
    await Promise.all(lines.map((line) => line.close()));
  }
});
