import { beforeAll, describe, expect, test } from "vitest";
import { type Bytes, fromUtf8, toHex, utf8 } from "../protocol/bytes.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { type EncodedEvent, toWire, type WireEvent } from "../protocol/event.ts";
import { eventId } from "../protocol/event-id.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { decodeWant, encodePage, encodePull, encodePush } from "../protocol/peer-messages.ts";
import { shardOf, topicKey } from "../protocol/topic.ts";
import { Admin } from "./support/admin.ts";
import { BAD_EVENTS } from "./support/bad-events.ts";
import { besiegedNode, SHARDS } from "./support/besieged-node.ts";
import { answererTo, type Giver, pusherTo } from "./support/givers.ts";
import { type HostilePeer, random } from "./support/hostile-peer.ts";
import { envelope, lineOf } from "./support/node-client.ts";
import { network as rules, suite, TestPeer } from "./support/peer.ts";
import { expectRefusal, REFUSALS } from "./support/refusals.ts";
import { topicNames } from "./support/spray.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** The events that a hostile peer makes, each time with a key of its own, on both ways to a real node. */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const besieged = besiegedNode(3);
/** Peers that are there all the while, so that they are asked for parents, too. */
const strangers: HostilePeer[] = [];

beforeAll(async () => {
  for (let i = 0; i < 3; i++) strangers.push(besieged.now.stranger());
  await Promise.all(strangers.map((peer) => peer.open()));
  return async () => void (await Promise.all(strangers.map((peer) => peer.close())));
});

const pushOf = (...events: readonly WireEvent[]) =>
  encodePush({ runs: [{ previous: null, events: events.map(toWire) }], ephemeral: [] });
const keyOf = ({ signer }: TestPeer) => toHex(signer.publicKey);
const sender = () => new TestPeer(besieged.now.node);
const breachesOf = async (key: string) => (await new Admin(besieged.now.node).conductOf(key))?.breaches;

/** Those of the events that the node has stored, delivered or not. */
async function storedOf(events: readonly EncodedEvent[]): Promise<EncodedEvent[]> {
  const topics = new Set(events.map(({ fields }) => fromUtf8(fields.topic)));
  const lists = await Promise.all([...topics].map((topic) => besieged.now.node.events(topic)));
  const ids = new Set(lists.flat().map(({ id }) => id));
  return events.filter(({ id }) => ids.has(toHex(id)));
}

const WAYS: readonly (readonly [string, (stranger: number) => Giver])[] = [
  ["pushed", () => pusherTo(besieged.now.node)],
  ["answered", (number) => answererTo(besieged.now.node, strangers[number] as HostilePeer)],
];

/** Sends events of which none is held against the peer. */
async function send(giver: Giver, ...events: readonly EncodedEvent[]): Promise<void> {
  await giver.give(events);
  expect(await breachesOf(keyOf(giver.peer))).toBeUndefined();
}

/** Sends events that the node may store, sooner or later. */
async function give(giver: Giver, ...events: readonly EncodedEvent[]): Promise<void> {
  besieged.now.stored.allow(...events);
  await send(giver, ...events);
}

/** One topic of each shard. */
function topicsOfShards(name: string): string[] {
  const names = topicNames(name, 100);
  const isOf = (shard: number) => (topic: string) => shardOf(topicKey(utf8(topic), suite), SHARDS) === shard;
  return Array.from({ length: SHARDS }, (_, shard) => names.find(isOf(shard)) ?? "");
}

/** Later than all that is ahead was made and sent, and before the end of this file. */
const AHEAD_MS = 120_000 + 25_000;
const ORPHANS = "/xmtp/0/m-orphans/proto";
/** What cannot be judged or delivered yet, of one peer each: the last tests look at it again. */
const held: { readonly limit: number; readonly events: EncodedEvent[] }[] = [];
const orphans: EncodedEvent[] = [];
const flood: EncodedEvent[] = [];
let subscription: Subscription;

beforeAll(async () => {
  subscription = await Subscription.open(besieged.now.node, [ORPHANS]);
  return () => subscription.close();
});

/** Ids of events that are nowhere. */
const madeUp = (count: number): Bytes[] =>
  Array.from({ length: count }, (_, i) =>
    eventId(firstSeqOf(Date.now() - MINUTE_MS) + BigInt(i), random(32)),
  );

describe.each(WAYS)("events that are %s, ahead of the clock", (way, giver) => {
  const ahead = (peer: TestPeer, name: string, count: number, bytes: number) =>
    topicsOfShards(`${name}-${way}`).flatMap((topic) =>
      Array.from({ length: count }, (_, i) => {
        const seq = firstSeqOf(Date.now() + AHEAD_MS) + BigInt(i);
        return peer.event(topic, { seq, message: new Uint8Array(bytes) });
      }),
    );

  test.each([
    ["many", 0, 260, 9, 1_000],
    ["heavy", 1, 5, 1_000_000, 16],
  ])("are held: %s", async (name, stranger, count, bytes, limit) => {
    const from = giver(stranger);
    const events = ahead(from.peer, name, count, bytes);
    await besieged.now.expectBounded(() => give(from, ...events));
    expect(await storedOf(events)).toEqual([]);
    held.push({ limit, events });
  });

  test("are dropped when they are far ahead", async () => {
    const from = giver(2);
    const events = [11 * MINUTE_MS, 400 * DAY_MS].map((ms) =>
      from.peer.event("/xmtp/0/m-far/proto", { seq: firstSeqOf(Date.now() + ms) }),
    );
    await send(from, ...events);
    expect(await storedOf(events)).toEqual([]);
  });
});

describe.each(WAYS)("events that are %s, and wait for a parent or are old", (way, giver) => {
  test("are stored when a parent is withheld or made up", async () => {
    const from = giver(2);
    const withheld = from.peer.event(ORPHANS);
    const children = [[withheld.id], madeUp(16)].map((links, i) =>
      from.peer.event(ORPHANS, { links, message: utf8(`${i} of those that are ${way}`) }),
    );
    await give(from, ...children);
    expect(await storedOf(children)).toEqual(children);
    orphans.push(...children);
    // The topic goes on meanwhile.
    const honest = envelope(ORPHANS, 1, `from an honest peer beside what is ${way}`);
    await besieged.now.honest.publish(honest);
    await until("the honest one", () => subscription.envelopes.map(lineOf).includes(lineOf(honest)));
  });

  test("are stored when thousands of parents are made up", async () => {
    const from = giver(2);
    const topics = topicsOfShards("flood");
    const children = Array.from({ length: 100 }, (_, i) =>
      from.peer.event(topics[i % SHARDS] ?? "", { links: madeUp(16) }),
    );
    await give(from, ...children);
    expect(await storedOf(children)).toEqual(children);
    flood.push(...children);
  });

  test("are stored, when they are dated back, above the expiry line of their class, as their origin's, and dropped below", async () => {
    const from = giver(2);
    const topic = `hostile, plain and ${way}`;
    const { durationMs } = rules.classOf(utf8(topic));
    const [fresh, expired] = [-1, 1].map((days) =>
      from.peer.event(topic, { seq: firstSeqOf(Date.now() - (durationMs ?? 0) - days * DAY_MS) }),
    ) as [EncodedEvent, EncodedEvent];
    besieged.now.stored.allow(fresh);
    await send(from, fresh, expired);
    expect(await storedOf([fresh, expired])).toEqual([fresh]);
    const [event] = await besieged.now.node.events(topic);
    expect(event?.origin).toBe(toDidKey(from.peer.signer.publicKey));
  });

  test("are both stored when there are two under one seq, are evidence, and nothing is held against who sent them", async () => {
    const { node } = besieged.now;
    const from = giver(2);
    const first = firstSeqOf(Date.now() - MINUTE_MS);
    const lives = [1n, 2n].map((ts) =>
      Array.from({ length: 20 }, (_, i) => {
        const seq = first + BigInt(i) * 1_024n;
        return from.peer.event("/xmtp/0/m-equivocation/proto", { seq, ts });
      }),
    );
    for (const events of lives) await give(from, ...events);
    expect(await storedOf(lives.flat())).toEqual(lives.flat());
    await until("the proofs", async () => {
      const response = await node.request(`/v1/evidence?origin=${keyOf(from.peer)}`);
      const { evidence } = (await response.json()) as { evidence: unknown[] };
      return evidence.length === 20;
    });
    expect(await breachesOf(keyOf(from.peer))).toBeUndefined();
  });
});

test("events ahead of the clock that a peer names again and again are asked for once", async () => {
  const { peer, give: name } = answererTo(besieged.now.node, strangers[2] as HostilePeer);
  const events = topicsOfShards("ahead").map((topic) =>
    peer.event(topic, { seq: firstSeqOf(Date.now() + 5 * MINUTE_MS) }),
  );
  for (let times = 0; times < 3; times++) await name(events);
  const wants = strangers[2]?.asked("/peer/v1/want").map(({ body }) => decodeWant(body).wanted) ?? [];
  const ids = new Set(events.map(({ id }) => toHex(id)));
  expect(wants.flat().filter(({ id }) => ids.has(toHex(id)))).toHaveLength(events.length);
  expect(await storedOf(events)).toEqual([]);
});

describe("events that break a rule", () => {
  test("are refused, what is good among them is stored, and who goes on is suspended", async () => {
    const peer = sender();
    const good = Array.from({ length: 5 }, () => peer.event("/xmtp/0/m-good/proto"));
    besieged.now.stored.allow(...good.slice(0, 4));
    for (const event of good.slice(0, 4)) {
      const bad = BAD_EVENTS.map(([, make]) => make(peer, "/xmtp/0/m-bad/proto"));
      const answer = await peer.pushEvents(...bad, toWire(event));
      expect(answer).toEqual({ lacking: false, refused: bad.length });
    }
    for (const body of [pushOf(good[4] as EncodedEvent), encodePull({ cursors: [] })]) {
      const path = body.length > 100 ? "/peer/v1/push" : "/peer/v1/pull";
      const refused = await peer.send(path, body);
      expect(refused.headers.get("pennypost-error")).toBe("peer_suspended");
      await expectRefusal(refused, REFUSALS.denied);
    }
    expect(await storedOf(good)).toEqual(good.slice(0, 4));
    const admin = new Admin(besieged.now.node);
    expect(await admin.conductOf(keyOf(peer))).toMatchObject({ strikes: 4, suspended: true });
  });

  test("are refused with all that comes along when they are larger than any can be", async () => {
    const peer = sender();
    const message = new Uint8Array(1_048_215);
    const large = [
      { ...peer.event("/xmtp/0/m-large/proto"), message },
      { ...peer.event("/xmtp/0/m-large/proto"), block: new Uint8Array(8_193) },
      { ...peer.event("/xmtp/0/m-large/proto"), signature: new Uint8Array(65) },
    ];
    for (const event of large) {
      const response = await peer.send("/peer/v1/push", pushOf(peer.event("/xmtp/0/m-large/proto"), event));
      await expectRefusal(response, REFUSALS.invalid);
    }
    const body = pushOf(...Array.from({ length: 3 }, () => ({ ...peer.event("large"), message })));
    await expectRefusal(await peer.send("/peer/v1/push", body), REFUSALS.exhausted);
    expect(await breachesOf(keyOf(peer))).toEqual({ peer_body_invalid: 3 });

    const largest = peer.event("/xmtp/0/m-large/proto", { message: message.slice(1) });
    besieged.now.stored.allow(largest);
    await peer.pushEvents(toWire(largest));
    expect(await storedOf([largest])).toEqual([largest]);
  });

  test("are refused when they come to be passed on, and what is to be passed on is not stored", async () => {
    const peer = sender();
    const topic = "/xmtp/0/mE-bad/proto";
    const fine = peer.event(topic);
    const bad = BAD_EVENTS.map(([, make]) => make(peer, topic));
    const ephemeral = [fine, ...bad].map((event) => ({ hops: 1, event: toWire(event) }));
    const run = { previous: null, events: [toWire(peer.event(topic))] };
    expect(await peer.push({ runs: [run], ephemeral })).toEqual({ lacking: false, refused: bad.length });
    const lasting = { hops: 1, event: toWire(peer.event("/xmtp/0/m-bad/proto")) };
    await peer.push({ ephemeral: [lasting] });
    expect(await besieged.now.node.events("/xmtp/0/m-bad/proto")).toEqual([]);
    expect(await besieged.now.node.events(topic)).toEqual([]);
  });

  test("are refused when they come as missing parents, in the place of these", async () => {
    const { node, stored } = besieged.now;
    const [topic = "", ...elsewhere] = topicsOfShards("parents");
    for (const [i, peer] of strangers.entries()) {
      const forger = peer.sender(node);
      const bad = BAD_EVENTS.map(([, make]) => make(forger, topic));
      // Nothing is wrong with these but that they are of other shards than the one that asks for parents.
      const foreign = elsewhere.map((each) => forger.event(each));
      stored.allow(...foreign);
      const events = [...bad, ...foreign];
      peer.script = { "/peer/v1/want": () => encodePage({ events, more: i > 0 }) };
    }
    const peer = sender();
    const child = peer.event(topic, { links: madeUp(1) });
    stored.allow(child);
    await peer.pushEvents(toWire(child));
    const breaches = await until("a breach", async () => {
      const all = await Promise.all(strangers.map(({ key }) => breachesOf(key)));
      return all.find((each) => each !== undefined);
    });
    expect(breaches.shard).toBeGreaterThan(0);
    for (const each of strangers) each.script = {};
    expect((await node.events(topic)).map(({ id }) => id)).toEqual([toHex(child.id)]);
  });
});

describe("in the end", () => {
  test("what was held is stored, as much as there was room for: 1,000 events and 16 MB of a peer", async () => {
    const { stored } = besieged.now;
    const counts = () => held.map(({ events }) => stored.foundOf(events).length);
    const limits = held.map(({ limit }) => limit);
    const areThere = async () => {
      await stored.check();
      return String(counts()) === String(limits);
    };
    await until("what was held", areThere, { describe: counts });
  });

  test("what waited for its parents is delivered with a gap, and few questions were asked for them", async () => {
    const { node } = besieged.now;
    await subscription.reach(WAYS.length + orphans.length);
    expect(subscription.envelopes).toHaveLength(WAYS.length + orphans.length);
    await until("gaps", async () => {
      const lists = await Promise.all(
        [ORPHANS, ...topicsOfShards("flood")].map((topic) => node.events(topic)),
      );
      return lists.flat().filter(({ gap }) => gap).length === orphans.length + flood.length;
    });
    const asked = strangers.reduce((sum, peer) => sum + peer.asked("/peer/v1/want").length, 0);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(200);
  });

  test("the honest peer was served all the while, and nothing else is there", () =>
    besieged.now.expectConverged());
});
