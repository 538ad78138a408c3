import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../protocol/bytes.ts";
import { type EncodedEvent, type NewEvent, toWire } from "../protocol/event.ts";
import { seqOfId } from "../protocol/event-id.ts";
import { DEFAULT_POLICY, type Genesis } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodePull } from "../protocol/peer-messages.ts";
import type { VerifiedRecord } from "../protocol/record.ts";
import { Admin } from "./support/admin.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope, lineOf } from "./support/node-client.ts";
import { newSigner, TestPeer } from "./support/peer.ts";
import { memberRecord, offerRecords, recordIds } from "./support/records.ts";
import { expectSameReplicas } from "./support/replicas.ts";
import { SocketSubscription } from "./support/socket.ts";
import { publishAt } from "./support/stamps.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** Founders and who comes and goes after them: whose events real nodes store, show and pass on. */

const HOUR_MS = 3_600_000;
const START_MS = Date.now();
/** Founders that are made of their key alone; the stranger is not known to the genesis. */
const [helper, leaver, stranger, recorder] = [newSigner(), newSigner(), newSigner(), newSigner()];

const genesisOf = (keys: readonly string[]): Genesis => ({
  ...DEFAULT_POLICY,
  version: 1,
  name: "founders",
  createdMs: START_MS - 240 * HOUR_MS,
  members: [...keys, ...[helper, leaver].map(({ publicKey }) => toHex(publicKey))],
  recordKeys: [toHex(recorder.publicKey)],
});

let network: TestNetwork;
/** Those that run from the beginning on. */
let nodes: readonly [TestNode, TestNode, TestNode];
const topics: string[] = [];

beforeAll(async () => {
  network = await startNetwork(4, { shards: 4, without: [3], genesis: genesisOf });
  nodes = [network.node(0), network.node(1), network.node(2)];
});
afterAll(() => network.stop());

const peerAt = (at: TestNode, signer = helper) => new TestPeer(at, signer, network.rules);
const record = (member: Bytes, admitted: boolean, from: bigint): VerifiedRecord =>
  memberRecord(member, admitted, from, recorder, network.rules);
const offer = async (at: TestNode, ...records: readonly VerifiedRecord[]) =>
  expect(await offerRecords(peerAt(at), ...records)).toBe(0);
const push = async (at: TestNode, ...events: readonly EncodedEvent[]) =>
  expect((await peerAt(at).pushEvents(...events.map(toWire))).refused).toBe(0);
const idsOf = (events: readonly { readonly id: Bytes }[]) => events.map(({ id }) => toHex(id)).sort();
const storedAt = async (at: TestNode, topic: string) => (await at.events(topic)).map(({ id }) => id);

const topicNamed = (name: string): string => {
  topics.push(`/xmtp/0/m-${name}/proto`);
  return `/xmtp/0/m-${name}/proto`;
};

/** As each minute, until every one of the nodes has just these events of a topic. */
async function untilStored(
  topic: string,
  ids: readonly string[],
  of: readonly TestNode[] = nodes,
): Promise<void> {
  let stored: string[][] = [];
  await until(
    `the same events of ${topic} at each node`,
    async () => {
      for (const each of of) await each.runScheduled();
      stored = await Promise.all(of.map((each) => storedAt(each, topic)));
      return stored.every((each) => each.join() === ids.join());
    },
    { describe: () => stored },
  );
}

/** Events of some members some hours ago, each a second after the one before. */
function history(agoMs: number) {
  let timeMs = START_MS - agoMs;
  return (
    signer: typeof helper,
    topic: string,
    links: readonly EncodedEvent[] = [],
    changes: Partial<NewEvent> = {},
  ) => {
    timeMs += 1_000;
    const ids = links.map(({ id }) => id);
    return peerAt(nodes[0], signer).event(topic, {
      seq: firstSeqOf(timeMs),
      ts: BigInt(timeMs),
      links: ids,
      ...changes,
    });
  };
}

async function restart(of: readonly TestNode[] = nodes): Promise<void> {
  for (const each of of) {
    await each.stop();
    await each.start();
  }
}

const askedBy = async (signer: typeof helper, at: TestNode): Promise<string | null> => {
  const response = await peerAt(at, signer).send("/peer/v1/pull", encodePull({ cursors: [] }));
  await response.body?.cancel();
  return response.headers.get("pennypost-error");
};

describe("a member that is not known yet", () => {
  let topic: string;
  let events: EncodedEvent[];
  beforeAll(() => {
    topic = topicNamed("stranger");
    const make = history(5 * HOUR_MS);
    const first = make(stranger, topic);
    const second = make(stranger, topic, [first]);
    events = [first, second, make(helper, topic, [second])];
  });

  test("has its events on no node, and may ask for nothing", async () => {
    const [, second, third] = nodes;
    await push(second, ...events);
    await push(third, ...events);
    await push(third, events[0] as EncodedEvent);
    for (const each of nodes) await each.runScheduled();
    // What links to them is there, since nothing is wrong with it.
    for (const each of nodes) expect(await storedAt(each, topic)).toEqual(idsOf(events.slice(2)));
    for (const each of nodes) expect(await askedBy(stranger, each)).toBe("not_a_member");
    expect(await new Admin(second).conductOf(toHex(helper.publicKey))).toBeUndefined();
  });

  test("has them on all when its record comes to one, also on one that has forgotten what it held", async () => {
    const [first, , third] = nodes;
    await restart([third]);
    await offer(first, record(stranger.publicKey, true, 0n));
    await untilStored(topic, idsOf(events));
    await expectSameReplicas(nodes, [topic]);
    for (const each of nodes)
      await until("an answer to the new member", async () => (await askedBy(stranger, each)) === null);
    await restart();
    await expectSameReplicas(nodes, [topic]);
    for (const each of nodes) expect(await askedBy(stranger, each)).toBeNull();
  });
});

describe("a member that is removed", () => {
  let topic: string;
  let removal: VerifiedRecord;
  /** Before the removal; from it on; and another's, which links to one of those. */
  let early: EncodedEvent[];
  let late: EncodedEvent[];
  let child: EncodedEvent;
  let fresh: EncodedEvent;
  let left: string[];
  /** Where a subscription at the third node was before all of them. */
  let atFirst: string;
  /** Of all events, by id. */
  let cids: Map<string, string>;

  beforeAll(() => {
    topic = topicNamed("leaver");
    const make = history(4 * HOUR_MS);
    const first = make(leaver, topic);
    early = [first, make(leaver, topic, [first])];
    const from = make(leaver, topic, early.slice(1));
    late = [from, make(leaver, topic, early)];
    child = make(helper, topic, [from]);
    late.push(make(leaver, topic, [child]));
    // Not yet compared by anti-entropy: these come by pull.
    fresh = peerAt(nodes[0], leaver).event(topic, { links: [child.id] });
    removal = record(leaver.publicKey, false, from.fields.seq);
    left = idsOf([...early, child]);
  });

  test("has its later events on no node, be the record there before, among or after them, or come with a round", async () => {
    const [first, second, third] = nodes;
    const socket = await SocketSubscription.open(third, [topic]);
    atFirst = socket.token;
    await offer(first, removal);
    await push(first, ...early, ...late, child, fresh);
    await push(second, ...late.slice(0, 2), ...early);
    expect(await storedAt(second, topic)).toHaveLength(4);
    await offer(second, removal);
    await restart([second]);
    await push(second, ...late.slice(2), child, fresh);
    await push(third, fresh, child, ...late, ...early);
    await socket.reach(7);
    // Where the record is, nothing of it is to be seen; where it is not, all is.
    expect(await storedAt(first, topic)).toEqual(left);
    expect(await storedAt(third, topic)).toHaveLength(7);
    cids = new Map(socket.events.map(({ id, cid }) => [id, cid]));
    await socket.close();
    await untilStored(topic, left);
    await expectSameReplicas(nodes, [topic]);
  });

  test("has them in no read any more", async () => {
    const shown = [...early, child].map(({ fields }) => fields.ts.toString()).sort();
    for (const each of nodes) {
      expect((await each.queryAll(topic)).map(({ timestampNs }) => timestampNs).sort()).toEqual(shown);
      expect(await each.heads(topic)).toEqual(idsOf([...early.slice(1), child]));
      for (const [id, cid] of cids) {
        const response = await each.request(`/v1/events/${cid}`);
        await response.body?.cancel();
        const answer = [response.status, response.headers.get("pennypost-error")];
        expect(answer).toEqual(left.includes(id) ? [200, null] : [404, "event_not_found"]);
      }
      const stored = await peerAt(each).storedIds();
      for (const id of idsOf([...late, fresh])) expect(stored).not.toContain(id);
    }
  });

  test("has what it makes further refused everywhere, however it comes, and asks in vain", async () => {
    const subscriptions = await Promise.all(nodes.map((each) => Subscription.open(each, [topic])));
    const socket = await SocketSubscription.open(nodes[2], [topic], atFirst);
    // What was taken out since does not come again.
    await socket.reach(3);
    const further = peerAt(nodes[0], leaver).event(topic, { ts: 77n, links: [child.id] });
    for (const each of nodes) {
      await push(each, further, ...late);
      await until(
        "no answer to who was removed",
        async () => (await askedBy(leaver, each)) === "not_a_member",
      );
    }
    for (const each of nodes) await each.runScheduled();
    const last = envelope(topic, 99, "the last");
    await nodes[0].publish(last);
    await Promise.all(subscriptions.map((each) => each.reach(1)));
    await socket.reach(4);
    for (const { envelopes } of subscriptions) expect(envelopes.map(lineOf)).toEqual([lineOf(last)]);
    const read = socket.events.map(({ id }) => id);
    expect(read.slice(0, 3).sort()).toEqual(left);
    expect(socket.events.slice(3).map(({ envelope: each }) => lineOf(each))).toEqual([lineOf(last)]);
    await Promise.all([socket.close(), ...subscriptions.map((each) => each.close())]);
    const [newest] = (await storedAt(nodes[0], topic)).slice(-1);
    left.push(newest ?? "");
    await untilStored(topic, left);
    // Nobody is blamed for passing on what was good as far as it knew.
    for (const each of nodes) {
      const { peers, others } = await new Admin(each).peers();
      expect([...peers, ...others].flatMap(({ conduct }) => conduct ?? [])).toEqual([]);
    }
  });

  test("leaves the same at a node that begins now, and at all after restarts", async () => {
    const beginner = network.node(3);
    await beginner.start();
    await until("a run with the second node", () => new Admin(beginner).sync(nodes[1].key));
    expect(await storedAt(beginner, topic)).toEqual(left.slice(0, 3));
    await untilStored(topic, left, network.nodes);
    await restart(network.nodes);
    const ids = await Promise.all(network.nodes.map((each) => recordIds(peerAt(each))));
    expect(ids[0]).toContain(toHex(removal.id));
    for (const each of ids) expect(each).toEqual(ids[0]);
    await push(nodes[1], ...late, fresh);
    for (const each of network.nodes) expect(await storedAt(each, topic)).toEqual(left);
    await expectSameReplicas(network.nodes, topics);
  });
});

describe("a node that is removed itself", () => {
  test("loses what it published from then on, publishes no more, and is asked nothing, until it is admitted again", async () => {
    const topic = topicNamed("node");
    const [first, , removed] = nodes;
    for (let i = 0; i < 4; i++) await removed.publish(envelope(topic, i, `${i}`));
    const before = await storedAt(removed, topic);
    await untilStored(topic, before);
    const from = seqOfId(Buffer.from(before[2] ?? "", "hex"));
    const key = Uint8Array.from(Buffer.from(removed.key, "hex"));
    await offer(first, record(key, false, from));
    // It is told by those that are members still.
    await untilStored(topic, before.slice(0, 2));
    expect(await publishAt(removed, [envelope(topic, 9, "no more")])).toEqual([503, "not_a_member"]);
    await restart([removed]);
    expect(await publishAt(removed, [envelope(topic, 9, "no more")])).toEqual([503, "not_a_member"]);
    await first.publish(envelope(topic, 10, "goes on"));
    await untilStored(topic, [...before.slice(0, 2), ...(await storedAt(first, topic)).slice(2)]);

    await offer(first, record(key, true, firstSeqOf(Date.now())));
    await until("a publish of who was admitted again", async () => {
      await first.runScheduled();
      return (await publishAt(removed, [envelope(topic, 11, "again")]))[0] === 200;
    });
    const after = await storedAt(removed, topic);
    expect(after).toHaveLength(4);
    await untilStored(topic, after, network.nodes);
    await expectSameReplicas(network.nodes, topics);
  });
});
