import { beforeAll, describe, expect, test } from "vitest";
import { fromUtf8, toHex } from "../protocol/bytes.ts";
import type { EncodedEvent, WireEvent } from "../protocol/event.ts";
import { encodePage, type PeerPath } from "../protocol/peer-messages.ts";
import { slotOfSeq } from "../protocol/retention.ts";
import { symbolOf } from "../protocol/sketch-symbol.ts";
import { encodeRangeAnswer } from "../protocol/sync-codec.ts";
import { bucketOf } from "../protocol/topic.ts";
import { Admin } from "./support/admin.ts";
import { BAD_EVENTS } from "./support/bad-events.ts";
import { besiegedNode } from "./support/besieged-node.ts";
import { type HostilePeer, random, type Script, type Writer } from "./support/hostile-peer.ts";
import { QUICK_ANSWERS, redirect, SLOW_ANSWERS } from "./support/hostile-transport.ts";
import {
  differsBy,
  jammed,
  type Lie,
  type LieContext,
  MOST_REQUESTS,
  nameOf,
  naming,
} from "./support/liar.ts";
import { MALFORMED_BODIES } from "./support/malformed-bodies.ts";
import { PAGE_LIES } from "./support/page-lies.ts";
import { give, PastOrigin } from "./support/past-events.ts";
import { untilEventsAre } from "./support/replicas.ts";
import { hasMuchMore, hasOtherSlots, TREE_LIES } from "./support/tree-lies.ts";
import { until } from "./support/until.ts";

/** What a hostile peer answers to a real node that asks it, each time with a key of its own. */

const besieged = besiegedNode(125);
/** What the node has settled: more of one topic than it lists. */
const SETTLED = new PastOrigin().chain("/xmtp/0/m-settled/proto", 1_000);
const KNOWN = SETTLED[500] as EncodedEvent;
const LARGE = {
  bucket: bucketOf(nameOf(KNOWN).topicKey),
  class: KNOWN.fields.class,
  slot: slotOfSeq(KNOWN.fields.seq),
};

beforeAll(async () => {
  besieged.now.stored.allow(...SETTLED);
  await give(besieged.now.node, SETTLED);
});

let topics = 0;
function contextOf(peer: HostilePeer): LieContext {
  const { node, stored } = besieged.now;
  const sender = peer.sender(node);
  const fresh = (count: number) => {
    const events = Array.from({ length: count }, () =>
      sender.event(`/xmtp/0/m-fresh-${topics++ % 64}/proto`),
    );
    stored.allow(...events);
    return events;
  };
  return { sender, known: KNOWN, large: LARGE, fresh };
}

const breachesOf = async ({ key }: HostilePeer) => {
  const conduct = await new Admin(besieged.now.node).conductOf(key);
  return conduct?.breaches;
};

describe("an answer", () => {
  const pulled = (answer: Writer): Script => ({ "/peer/v1/pull": () => answer });
  /** Those that answered so, and are asked otherwise later. */
  const met: HostilePeer[] = [];

  test.each(QUICK_ANSWERS)("that is %s is cut off", async (_, answer) => {
    const { now } = besieged;
    met.push(await now.expectBounded(() => now.visit(pulled(answer))));
  });

  test("that comes slowly, or never, is given up", async () => {
    const { now } = besieged;
    const visits = SLOW_ANSWERS.map(([, answer]) => [now.stranger(), pulled(answer)] as const);
    await now.expectBounded(() => now.visitAll(visits));
    // The peer failed, and broke no rule.
    for (const [peer] of visits) expect(await breachesOf(peer)).toBeUndefined();
    met.push(...visits.map(([peer]) => peer));
  });

  test("of any such kind to a push keeps nothing from the others", async () => {
    const { now } = besieged;
    const answers = [...SLOW_ANSWERS, ...QUICK_ANSWERS].map(([, answer]) => answer);
    await Promise.all(met.map((peer, i) => peer.open({ "/peer/v1/push": () => answers[i] as Writer })));
    try {
      await now.expectBounded(async () => {
        await Promise.all(met.map((peer) => peer.lure(now.node)));
        await until("a push to each", () => met.every((peer) => peer.asked("/peer/v1/push").length > 0));
        await now.expectHonestServed();
      });
    } finally {
      await Promise.all(met.map((peer) => peer.close()));
    }
  });

  test("that leads elsewhere is followed nowhere", async () => {
    const { now } = besieged;
    const other = now.stranger();
    await other.open();
    const leading = (url: string, status: number) =>
      [now.stranger(), pulled(redirect(`${url}/peer/v1/pull`, status))] as const;
    const visits = [
      ...[301, 302, 303, 307, 308].map((status) => leading(other.url, status)),
      ...[now.node.url, now.honest.url, "http://localhost:1"].map((url) => leading(url, 307)),
    ];
    await now.visitAll(visits);
    expect(other.asked("/peer/v1/pull")).toEqual([]);
    await other.close();
    for (const [peer] of visits) expect(await breachesOf(peer)).toBeUndefined();
  });

  test("that no message can be is held against the peer, whatever was asked", async () => {
    const { now } = besieged;
    /** How a node is brought to ask so. */
    const led: readonly (readonly [PeerPath, (context: LieContext) => Script])[] = [
      ["/peer/v1/pull", () => ({})],
      ["/peer/v1/want", ({ fresh }) => naming(fresh(1).map(nameOf))],
      ["/peer/v1/newest", () => ({})],
      ["/peer/v1/sync/compare", () => ({})],
      ["/peer/v1/sync/cells", ({ sender }) => jammed(sender)],
      ["/peer/v1/sync/roots", ({ sender }) => jammed(sender)],
      ["/peer/v1/sync/slots", hasOtherSlots],
      ["/peer/v1/sync/range", hasMuchMore],
      ["/peer/v1/sync/symbols", ({ sender }) => differsBy(sender, [random(12)])],
      ["/peer/v1/sync/lacking", ({ sender }) => differsBy(sender, [symbolOf(LARGE.bucket, KNOWN.id)])],
    ];
    const visits = MALFORMED_BODIES.map(([, body], i) => {
      const peer = now.stranger();
      const [path, lead] = led[i % led.length] as (typeof led)[number];
      return { peer, path, script: { ...lead(contextOf(peer)), [path]: () => body } };
    });
    await now.expectBounded(() => now.visitAll(visits.map(({ peer, script }) => [peer, script])));
    for (const { peer, path } of visits) {
      expect(peer.asked(path).length, path).toBeGreaterThan(0);
      const rules = Object.keys((await breachesOf(peer)) ?? {});
      expect(["cbor_malformed", "cbor_too_large", "peer_body_invalid"], path).toContain(rules.join());
    }
  });
});

async function expectFutile({ script, rule, mostRequests = MOST_REQUESTS }: Lie): Promise<void> {
  const { now } = besieged;
  const peer = now.stranger();
  await now.expectBounded(() => now.visit(script(contextOf(peer)), peer));
  const asked = peer.questions.filter(({ path }) => path !== "/peer/v1/push");
  expect(asked.length).toBeLessThanOrEqual(mostRequests);
  expect(await breachesOf(peer)).toEqual(rule && { [rule]: expect.any(Number) });
}

describe("a peer that answers a pull with", () => test.each(PAGE_LIES)("$name", expectFutile));
describe("a peer that answers a comparison with", () => test.each(TREE_LIES)("$name", expectFutile));

test.each<[string, (context: LieContext, good: EncodedEvent, events: WireEvent[]) => Script]>([
  [
    "it has named",
    (_, good, events) => ({
      ...naming([nameOf(good)]),
      "/peer/v1/want": () => encodePage({ events, more: false }),
    }),
  ],
  [
    "its sketch shows",
    ({ sender }, good, events) => ({
      ...differsBy(sender, [symbolOf(bucketOf(nameOf(good).topicKey), good.id)]),
      "/peer/v1/sync/symbols": () => encodePage({ events, more: false }),
    }),
  ],
  [
    "it has in a range",
    (context, _, events) => ({
      ...hasMuchMore(context),
      "/peer/v1/sync/range": () => encodeRangeAnswer({ events, next: null }),
    }),
  ],
])("a page of what %s, in which each event but one breaks a rule, brings that one alone", async (_, lie) => {
  const { now } = besieged;
  const peer = now.stranger();
  const context = contextOf(peer);
  const [good] = context.fresh(1) as [EncodedEvent];
  const bad = BAD_EVENTS.map(([, make]) => make(context.sender, "/xmtp/0/m-bad/proto"));
  await now.visit(lie(context, good, [...bad, good, ...bad]), peer);
  const events = await now.node.events(fromUtf8(good.fields.topic));
  expect(events.map(({ id }) => id)).toContain(toHex(good.id));
  const counts = Object.values((await breachesOf(peer)) ?? {});
  expect(counts.reduce((sum, count) => sum + count, 0) % (2 * BAD_EVENTS.length)).toBe(0);
  expect(counts).not.toEqual([]);
});

test("a peer that says that all is the same does not keep what is missing away", async () => {
  const { now } = besieged;
  const missing = new PastOrigin().chain("/xmtp/0/m-missing/proto", 20);
  now.stored.allow(...missing);
  await give(now.honest, missing);
  await now.visitAll(Array.from({ length: 5 }, () => [now.stranger(), {}] as const));
  await untilEventsAre([now.node], ["/xmtp/0/m-missing/proto"], missing.length);
});

test("in the end the honest peer was served all the while, and nothing else is there", () =>
  besieged.now.expectConverged());
