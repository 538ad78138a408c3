import { beforeAll, describe, expect, test } from "vitest";
import { startNetwork, type TestNetwork } from "./support/network.ts";
import { DESCENDING, type Envelope, envelope, lineOf, type NodeClient } from "./support/node-client.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** xmtpd's end-to-end test of convergence (2023: 3 nodes, 3 messages), made stricter and larger. */

const lines = (envelopes: readonly Envelope[]): string[] => envelopes.map(lineOf);
const sorted = (texts: readonly string[]): string[] => [...texts].sort();

let topics = 0;
const freshTopic = (name: string): string => `/xmtp/0/m-${name}-${topics++}/proto`;

/** A subscription on each node, closed in the end. */
async function withSubscriptions(
  nodes: readonly NodeClient[],
  of: readonly string[] | "all",
  work: (subscriptions: readonly Subscription[]) => Promise<void>,
): Promise<void> {
  const subscriptions = await Promise.all(nodes.map((node) => Subscription.open(node, of)));
  try {
    await work(subscriptions);
    await Promise.all(subscriptions.map((each) => each.close()));
    for (const { badLines } of subscriptions) expect(badLines).toEqual([]);
  } finally {
    await Promise.all(subscriptions.map((each) => each.close()));
  }
}

/**
 * Waits until every subscription has all, lets each node publish a last envelope, and waits for these: what came twice
 * came before them. Answers the last envelopes.
 */
async function settle(
  nodes: readonly NodeClient[],
  subscriptions: readonly Subscription[],
  topic: string,
  count: number,
): Promise<Envelope[]> {
  await Promise.all(subscriptions.map((each) => each.reach(count)));
  const last = nodes.map((_, i) => envelope(topic, 1_000_000 + i, `last of ${i}`));
  await Promise.all(nodes.map((node, i) => node.publish(last[i] as Envelope)));
  const isComplete = ({ envelopes }: Subscription) => {
    const came = new Set(lines(envelopes));
    return last.every((each) => came.has(lineOf(each)));
  };
  await until("the last envelopes", () => subscriptions.every(isComplete));
  return last;
}

const byTime = (a: Envelope, b: Envelope): number => Number(BigInt(a.timestampNs) - BigInt(b.timestampNs));

/** Every node's paged query answers exactly these, in time order, the same on every node, and backwards. */
async function expectQueries(nodes: readonly NodeClient[], topic: string, union: readonly Envelope[]) {
  const answers = await Promise.all(nodes.map((node) => node.queryAll(topic, { limit: 7 })));
  for (const answer of answers) {
    expect(sorted(lines(answer))).toEqual(sorted(lines(union)));
    expect(answer.map(({ timestampNs }) => timestampNs)).toEqual(
      [...union].sort(byTime).map(({ timestampNs }) => timestampNs),
    );
    expect(lines(answer)).toEqual(lines(answers[0] ?? []));
  }
  for (const node of nodes) {
    const backwards = await node.queryAll(topic, { limit: 7, direction: DESCENDING });
    expect(lines(backwards).reverse()).toEqual(lines(answers[0] ?? []));
  }
}

/** In each subscription, what an event links to came before it. */
async function expectParentsFirst(node: NodeClient, topic: string, subscriptions: readonly Subscription[]) {
  const events = await node.events(topic);
  const lineOfId = new Map(events.map(({ id, envelope: each }) => [id, lineOf(each)]));
  const links = events.flatMap(({ id, links }) => links.map((parent) => ({ child: id, parent: parent.id })));
  expect(links.length).toBeGreaterThanOrEqual(events.length - 1);
  for (const { envelopes } of subscriptions) {
    const place = new Map(lines(envelopes).map((line, at) => [line, at]));
    const placeOf = (id: string) => place.get(lineOfId.get(id) ?? "") ?? Number.NaN;
    const wrong = links.filter(({ child, parent }) => !(placeOf(parent) < placeOf(child)));
    expect(wrong).toEqual([]);
  }
}

describe.each([
  { count: 3, each: 3 },
  { count: 5, each: 50 },
])("$count nodes, $each envelopes from each at the same times", ({ count, each }) => {
  let network: TestNetwork;
  beforeAll(async () => {
    network = await startNetwork(count);
    return () => network.stop();
  });

  test("every subscription delivers exactly the union, parents first; every query answers it", async () => {
    const { nodes } = network;
    const topic = freshTopic("union");
    const own = nodes.map((_, i) =>
      Array.from({ length: each }, (_, n) => envelope(topic, n + 1, `message ${n + 1} of client ${i}`)),
    );
    await withSubscriptions(nodes, [topic], async (subscriptions) => {
      await Promise.all(nodes.flatMap((node, i) => (own[i] ?? []).map((one) => node.publish(one))));
      const last = await settle(nodes, subscriptions, topic, count * each);
      const union = [...own.flat(), ...last];
      for (const { envelopes } of subscriptions)
        expect(sorted(lines(envelopes))).toEqual(sorted(lines(union)));
      await expectQueries(nodes, topic, union);
      for (const node of nodes) await expectParentsFirst(node, topic, subscriptions);
    });
  });

  test("an envelope that several nodes take at once is delivered once and stored once in time order", async () => {
    const { nodes } = network;
    const topic = freshTopic("same");
    const copies = Math.max(each, 30);
    const same = Array.from({ length: copies }, (_, n) => envelope(topic, n + 1, `message ${n + 1}`));
    await withSubscriptions(nodes, [topic], async (subscriptions) => {
      await Promise.all(nodes.flatMap((node) => same.map((one) => node.publish(one))));
      const last = await settle(nodes, subscriptions, topic, copies);
      const union = [...same, ...last];
      for (const { envelopes } of subscriptions)
        expect(sorted(lines(envelopes))).toEqual(sorted(lines(union)));
      await expectQueries(nodes, topic, union);
      const ids = await Promise.all(
        nodes.map(async (node) => (await node.events(topic)).map(({ id }) => id)),
      );
      // Else no node ever had two events of one envelope, and the test would say nothing.
      expect(ids[0]?.length).toBeGreaterThan(union.length);
      for (const each of ids) expect(each).toEqual(ids[0]);
    });
  });

  test("who subscribes to all gets all of XMTP's topics once, and no other", async () => {
    const { nodes } = network;
    const own = nodes.map((_, i) => [
      envelope(freshTopic("all"), 1, `from ${i}`),
      envelope(`/other/${i}`, 1, "not for all"),
    ]);
    const end = freshTopic("all");
    await withSubscriptions(nodes, "all", async (subscriptions) => {
      await Promise.all(nodes.map((node, i) => node.publish(...(own[i] ?? []))));
      const last = await settle(nodes, subscriptions, end, count);
      const union = [...own.flatMap(([xmtp]) => (xmtp ? [xmtp] : [])), ...last];
      for (const { envelopes } of subscriptions)
        expect(sorted(lines(envelopes))).toEqual(sorted(lines(union)));
    });
  });
});
