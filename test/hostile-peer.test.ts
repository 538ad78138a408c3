import { beforeAll, describe, expect, test } from "vitest";
import { type Bytes, fromUtf8, toHex, utf8 } from "../protocol/bytes.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { type EncodedEvent, toWire, type WireEvent } from "../protocol/event.ts";
import { eventId } from "../protocol/event-id.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodePage, encodePull, encodePush } from "../protocol/peer-messages.ts";
import { shardOf, topicKey } from "../protocol/topic.ts";
import { Admin } from "./support/admin.ts";
import { BAD_EVENTS } from "./support/bad-events.ts";
import { besiegedNode, SHARDS } from "./support/besieged-node.ts";
import { type HostilePeer, random } from "./support/hostile-peer.ts";
import { envelope, lineOf } from "./support/node-client.ts";
import { network as rules, suite, TestPeer } from "./support/peer.ts";
import { expectRefusal, REFUSALS } from "./support/refusals.ts";
import { topicNames } from "./support/spray.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** The events that a hostile peer makes and sends to a real node, each time with a key of its own. */

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const besieged = besiegedNode(3);
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

/** Sends events of which none breaks a rule, so that nothing is held against the peer. */
async function send(peer: TestPeer, ...events: readonly EncodedEvent[]): Promise<void> {
  expect(await peer.pushEvents(...events.map(toWire))).toEqual({ lacking: false, refused: 0 });
  expect(await breachesOf(keyOf(peer))).toBeUndefined();
}

/** Sends events that the node may store, sooner or later. */
async function give(peer: TestPeer, ...events: readonly EncodedEvent[]): Promise<void> {
  besieged.now.stored.allow(...events);
  await send(peer, ...events);
}

/** One topic of each shard. */
function topicsOfShards(name: string): string[] {
  const names = topicNames(name, 100);
  const isOf = (shard: number) => (topic: string) => shardOf(topicKey(utf8(topic), suite), SHARDS) === shard;
  return Array.from({ length: SHARDS }, (_, shard) => names.find(isOf(shard)) ?? "");
}

/** Later than all that is ahead was made and sent, and before the end of this file. */
const AHEAD_MS = 120_000 + 20_000;
const ORPHANS = "/xmtp/0/m-orphans/proto";
/** What cannot be judged or delivered yet: the last tests look at it again. */
const held: Record<"small" | "large", EncodedEvent[]> = { small: [], large: [] };
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

describe("events that are not stored, or not delivered, at once", () => {
  const ahead = (peer: TestPeer, topics: readonly string[], count: number, bytes: number) =>
    topics.flatMap((topic) =>
      Array.from({ length: count }, (_, i) => {
        const seq = firstSeqOf(Date.now() + AHEAD_MS) + BigInt(i);
        return peer.event(topic, { seq, message: new Uint8Array(bytes) });
      }),
    );

  test("are held when they are ahead of the clock, and dropped when they are far ahead", async () => {
    const [many, heavy, far] = [sender(), sender(), sender()];
    held.small = ahead(many, topicsOfShards("small"), 500, 9);
    held.large = ahead(heavy, topicsOfShards("large"), 6, 1_000_000);
    await besieged.now.expectBounded(async () => {
      for (let i = 0; i < held.small.length; i += 1_000) await give(many, ...held.small.slice(i, i + 1_000));
      for (let i = 0; i < held.large.length; i += 2) await give(heavy, ...held.large.slice(i, i + 2));
    });
    const beyond = [11 * MINUTE_MS, 400 * DAY_MS].map((ms) =>
      far.event("/xmtp/0/m-far/proto", { seq: firstSeqOf(Date.now() + ms) }),
    );
    await send(far, ...beyond);
    expect(await storedOf([...held.small, ...held.large, ...beyond])).toEqual([]);
  });

  test("are stored when a parent is withheld or made up", async () => {
    const peer = sender();
    const withheld = peer.event(ORPHANS);
    orphans.push(peer.event(ORPHANS, { links: [withheld.id] }), peer.event(ORPHANS, { links: madeUp(16) }));
    await give(peer, ...orphans);
    expect(await storedOf(orphans)).toEqual(orphans);
    // The topic goes on meanwhile.
    const honest = envelope(ORPHANS, 1, "from an honest peer");
    await besieged.now.honest.publish(honest);
    await subscription.reach(1);
    expect(subscription.envelopes.map(lineOf)).toEqual([lineOf(honest)]);
  });

  test("are stored when thousands of parents are made up", async () => {
    const peer = sender();
    const topics = topicsOfShards("flood");
    for (let i = 0; i < 200; i++) flood.push(peer.event(topics[i % SHARDS] ?? "", { links: madeUp(16) }));
    await give(peer, ...flood);
    expect(await storedOf(flood)).toEqual(flood);
  });
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

  test("are refused when they come as missing parents, in the place of these", async () => {
    const { node, stored } = besieged.now;
    const [topic = "", ...elsewhere] = topicsOfShards("parents");
    for (const peer of strangers) {
      const forger = peer.sender(node);
      const bad = BAD_EVENTS.map(([, make]) => make(forger, topic));
      // Nothing is wrong with these but that they are of other shards than the one that asks for parents.
      const foreign = elsewhere.map((each) => forger.event(each));
      stored.allow(...foreign);
      const events = [...bad, ...foreign];
      peer.script = { "/peer/v1/want": () => encodePage({ events, more: false }) };
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

describe("events that are dated back", () => {
  const PLAIN = "hostile plain";
  const days = (class_: number) =>
    (rules.genesis.classes.find(({ id }) => id === class_)?.durationMs ?? 0) / DAY_MS;

  test("are stored above the expiry line of their class, as their origin's, and dropped below", async () => {
    const peer = sender();
    const at = (ageDays: number) => peer.event(PLAIN, { seq: firstSeqOf(Date.now() - ageDays * DAY_MS) });
    const retention = days(rules.classOf(utf8(PLAIN)).id);
    const [fresh, expired] = [at(retention - 1), at(retention + 1)];
    await give(peer, fresh);
    await send(peer, expired);
    expect(await storedOf([fresh, expired])).toEqual([fresh]);
    const [event] = await besieged.now.node.events(PLAIN);
    expect(event?.origin).toBe(toDidKey(peer.signer.publicKey));
  });
});

test("two events under one seq are both stored, are evidence, and nothing is held against who sent them", async () => {
  const { node } = besieged.now;
  const peer = sender();
  const topic = "/xmtp/0/m-equivocation/proto";
  const events = Array.from({ length: 20 }, (_, i) => {
    const seq = firstSeqOf(Date.now() - MINUTE_MS) + BigInt(i) * 1_024n;
    return [1n, 2n].map((ts) => peer.event(topic, { seq, ts }));
  }).flat();
  for (const event of events) await give(peer, event);
  expect(await storedOf(events)).toEqual(events);
  await until("the proofs", async () => {
    const response = await node.request(`/v1/evidence?origin=${keyOf(peer)}`);
    const { evidence } = (await response.json()) as { evidence: unknown[] };
    return evidence.length === 20;
  });
  expect(await breachesOf(keyOf(peer))).toBeUndefined();
});

describe("in the end", () => {
  test("what was held is stored, as much as there was room for: 1,000 events and 16 MB of a peer", async () => {
    const counts = async () => [(await storedOf(held.small)).length, (await storedOf(held.large)).length];
    await until("what was held", async () => String(await counts()) === "1000,16", { describe: counts });
  });

  test("what waited for its parents is delivered with a gap, and few questions were asked for them", async () => {
    const { node } = besieged.now;
    await subscription.reach(1 + orphans.length);
    expect(subscription.envelopes).toHaveLength(1 + orphans.length);
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
