import { beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../protocol/bytes.ts";
import type { EncodedEvent } from "../protocol/event.ts";
import { MAX_MESSAGE_BYTES } from "../protocol/limits.ts";
import {
  expectNothingLeft,
  type LinkedNode,
  type LinkedNodes,
  linkedNodes,
  startLinkedNodes,
  untilCompared,
  withoutPull,
} from "./support/linked-nodes.ts";
import { movedByPath } from "./support/moved-events.ts";
import { envelope, type NodeClient } from "./support/node-client.ts";
import { give, PastOrigin } from "./support/past-events.ts";
import { TestPeer } from "./support/peer.ts";
import { type Way, ways } from "./support/proxy.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { spray, topicNames } from "./support/spray.ts";
import { until } from "./support/until.ts";

/**
 * The cases in which the network of 2023 lost messages, on nodes that run by themselves: their schedulers call them each minute.
 * What anti-entropy is to bring is some hours old, since it compares settled slots.
 */

const idsOf = async (node: NodeClient, topic: string): Promise<string[]> =>
  (await node.events(topic)).map(({ id }) => id);

const origin = new PastOrigin();
const orphans = "/xmtp/0/m-orphans/proto";
const topics = [orphans];
let children: EncodedEvent[] = [];
let pair: LinkedNodes;
let a: LinkedNode;
let b: LinkedNode;

beforeAll(async () => {
  pair = await linkedNodes([16, 4, 8, 8]);
  pair.setWays(withoutPull);
  [a, b] = [pair.node(0), pair.node(1)];
  await Promise.all([a.start(), b.start()]);
  await untilCompared(a, b);
  // Their parent will never be seen; what becomes of them is looked at last.
  [, ...children] = origin.chain(orphans, 3);
  await give(a, children);
  return () => pair.stop();
});

describe("two nodes with 16 and 4 shards, whose pulls find nothing", () => {
  /** So many events of these topics went over the lines, each once, and all by anti-entropy. */
  function expectMoved(of: readonly string[], count: number): void {
    const {
      "/peer/v1/sync/symbols": fetched = 0,
      "/peer/v1/push": sent = 0,
      ...others
    } = movedByPath(pair.take(a, b), of);
    expect({ moved: fetched + sent, others }).toEqual({ moved: count, others: {} });
  }

  test("the last event of a quiet topic is found and brought", async () => {
    const [quiet = ""] = topicNames("quiet", 1);
    topics.push(quiet);
    const chain = origin.chain(quiet, 4);
    await Promise.all([give(a, chain), give(b, chain.slice(0, 3))]);
    await b.untilSame(a);
    await untilEventsAre([a, b], [quiet], 4);
    expectMoved([quiet], 1);
    await expectSameReplicas([a, b], [quiet]);
  });

  test("events of 1 MB, in numbers and on both sides, become the same", async () => {
    const [first = "", second = ""] = topicNames("large", 2);
    topics.push(first, second);
    const options = { bytes: MAX_MESSAGE_BYTES };
    await give(a, origin.chain(first, 8, options));
    await give(b, origin.chain(second, 8, options));
    await a.untilSame(b);
    expectMoved([first, second], 16);
    await expectSameReplicas([a, b], [first, second]);
  });

  test("answers that are lost after the commit, and requests that come twice, change nothing", async () => {
    const seen = new Map<string, number>();
    const lossy: Way = async (each, forward) => {
      const count = seen.get(each.path) ?? 0;
      seen.set(each.path, count + 1);
      if (count < 2) await forward(each);
      return count === 0 ? ways.loseAnswer(each, forward) : withoutPull(each, forward);
    };
    const paths = ["sync/compare", "sync/cells", "sync/symbols", "sync/lacking", "push"];
    const missing = () => paths.filter((path) => !seen.has(`/peer/v1/${path}`));
    // When the other node's own minute strikes, it fetches what else is pushed to it.
    for (let tries = 0; tries < 3 && missing().length > 0; tries++) {
      const of = topicNames(`lossy${tries}`, 5);
      topics.push(...of);
      for (const node of [a, b])
        await give(
          node,
          of.flatMap((topic) => origin.chain(topic, 10)),
        );
      pair.setWays(lossy);
      await a.untilSame(b);
      pair.setWays(withoutPull);
      expect(await expectSameReplicas([a, b], of)).toHaveLength(100);
      for (const topic of of) for (const node of [a, b]) expect(await node.queryAll(topic)).toHaveLength(20);
    }
    expect(missing()).toEqual([]);
  });
});

describe("a node that was away", () => {
  const MESSAGES = 10_000;
  const MAX_REQUESTS = 25;
  let nodes: LinkedNodes;
  let stays: LinkedNode;
  let away: LinkedNode;

  beforeAll(async () => {
    nodes = await startLinkedNodes([16, 16]);
    [stays, away] = [nodes.node(0), nodes.node(1)];
    return () => nodes.stop();
  });

  test("for 10,000 events of a topic catches up in at most 25 requests", async () => {
    const [topic = ""] = topicNames("missed", 1);
    await stays.untilSame(away);
    await away.stop();
    for (let at = 0; at < MESSAGES; at += 100)
      await stays.publish(
        ...Array.from({ length: 100 }, (_, i) => envelope(topic, at + i, `missed ${at + i}`)),
      );
    nodes.take(stays, away);
    await away.start();
    const [last] = await stays.heads(topic);
    await until("the last of the events", async () => (await away.heads(topic)).includes(last ?? ""));
    const exchanges = nodes.take(stays, away);
    expect(movedByPath(exchanges, [topic])).toEqual({ "/peer/v1/want": MESSAGES });
    expect(exchanges.length).toBeLessThanOrEqual(MAX_REQUESTS);
    expect(await idsOf(away, topic)).toEqual(await idsOf(stays, topic));
  });

  test("does so by anti-entropy alone, too", async () => {
    const [topic = ""] = topicNames("compared", 1);
    nodes.setWays(withoutPull);
    const chain = new PastOrigin().chain(topic, MESSAGES);
    await give(away, chain.slice(0, 20));
    await give(stays, chain);
    nodes.take(stays, away);
    await away.untilSame(stays);
    nodes.setWays(ways.open);
    const exchanges = nodes.take(stays, away);
    const byPath = movedByPath(exchanges, [topic]);
    expect(Object.values(byPath).reduce((sum, count) => sum + count, 0)).toBe(MESSAGES - 20);
    expect(exchanges.length).toBeLessThanOrEqual(MAX_REQUESTS);
    expect(await idsOf(away, topic)).toEqual(await idsOf(stays, topic));
  });

  test("while both sides took publishes on the same topics holds the same afterwards", async () => {
    const topics = topicNames("parted", 6);
    const both = [stays, away];
    const shared = topics.flatMap((topic) => new PastOrigin().chain(topic, 4));
    await Promise.all(both.map((node) => give(node, shared)));
    nodes.setWays(ways.cut);
    const published = await Promise.all(both.map((node, i) => spray([node], topics, 100, 61 + i)));
    const past = both.map(() => topics.flatMap((topic) => new PastOrigin().chain(topic, 5)));
    await Promise.all(both.map((node, i) => give(node, past[i] as EncodedEvent[])));
    for (const [i, node] of both.entries()) {
      const ids = await Promise.all(topics.map((topic) => idsOf(node, topic)));
      expect(ids.flat()).toHaveLength(shared.length + 100 + (past[i]?.length ?? 0));
    }
    nodes.setWays(ways.open);
    for (const [i, node] of both.entries()) await node.untilSame(both[1 - i] as LinkedNode);
    const count = shared.length + published.flat().length + past.flat().length;
    await untilEventsAre(both, topics, count);
    expect(await expectSameReplicas(both, topics)).toHaveLength(count);
    await stays.publish(envelope(topics[0] ?? "", 1_000_000, "after"));
    await untilEventsAre(both, topics, count + 1);
    await expectSameReplicas(both, topics);
    await expectNothingLeft(nodes, stays, away);
  });
});

describe("the first two nodes, after all that", () => {
  test("a parent that is withheld for ever stops nothing: its child is delivered as a gap", async () => {
    await expectSameReplicas([a, b], topics);
    for (const node of [a, b]) {
      await until("the children's delivery", async () => {
        const delivered = new Set(await new TestPeer(node).storedIds());
        return children.every(({ id }) => delivered.has(toHex(id)));
      });
      expect((await node.events(orphans)).map(({ gap = false }) => gap)).toEqual([true, false]);
    }
    await expectSameReplicas([a, b], topics);
  });

  test("once all is the same, a full round finds no difference and moves no body", async () => {
    await expectNothingLeft(pair, a, b);
  });

  test("bring all of quiet topics to new ones, by pull or without, when their origins are gone", async () => {
    const past = topicNames("past", 20);
    const fresh = topicNames("fresh", 5);
    await give(
      b,
      past.flatMap((topic) => new PastOrigin().chain(topic, 15)),
    );
    const published = await spray([b], fresh, 40, 51);
    await a.untilSame(b);
    await untilEventsAre([a], [...past, ...fresh], 300 + published.length);
    const known = await expectSameReplicas([a, b], [...past, ...fresh]);
    await b.kill();

    const [pulling, comparing] = [pair.node(2), pair.node(3)];
    pair.setWays(ways.open, [pulling, a]);
    pair.setWays(ways.cut, [pulling, comparing]);
    await Promise.all([pulling.start(), comparing.start()]);
    await comparing.untilSame(a);
    await untilEventsAre([pulling], [...past, ...fresh], known.length);
    await expectSameReplicas([a, pulling], [...past, ...fresh]);
    await expectSameReplicas([a, comparing], past);
    expect(movedByPath(pair.take(a, comparing), past)["/peer/v1/sync/range"]).toBeGreaterThan(0);
  });
});
