import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { PennypostClient, type PennypostError, type ReceivedEvent } from "../client/index.ts";
import { eventView } from "../durable-objects/hub/event-views.ts";
import { utf8 } from "../protocol/bytes.ts";
import { toWire } from "../protocol/event.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import type { EventJson } from "./support/node-client.ts";
import { TestPeer } from "./support/peer.ts";
import { LoopbackProxy, ways } from "./support/proxy.ts";

/** A node, or who is on the line to it, that answers events otherwise than their origins signed them. */

const TOPIC = "/xmtp/0/m-verified/proto";
const OTHER_TOPIC = "/xmtp/0/m-verified-elsewhere/proto";
const COUNT = 6;
/** The place of what is tampered with. */
const AT = 3;

let network: TestNetwork;
let node: TestNode;
let proxy: LoopbackProxy;
let elsewhere: EventJson;
let client: PennypostClient;

beforeAll(async () => {
  network = await startNetwork(1, { shards: 4 });
  node = network.node(0);
  const publisher = new PennypostClient({ url: node.url });
  for (let i = 0; i < COUNT; i++)
    await publisher.publish([{ topic: TOPIC, message: utf8(`message ${i}`), timestampNs: BigInt(i) }]);
  await publisher.publish([{ topic: OTHER_TOPIC, message: utf8("elsewhere") }]);
  [elsewhere] = (await node.events(OTHER_TOPIC)) as [EventJson];
});
afterAll(() => network.stop());

beforeEach(async () => {
  proxy = await LoopbackProxy.open(node.url);
  client = new PennypostClient({ url: proxy.url });
  const opened = proxy;
  onTestFinished(() => opened.close());
});

type Page = { events: EventJson[]; cursor: string | null };

/** Changes each page of events, and each single event as a page of one. */
function tamper(change: (events: EventJson[]) => unknown[]): void {
  proxy.way = async (request, forward) => {
    const answer = await forward({
      ...request,
      headers: { ...request.headers, "accept-encoding": "identity" },
    });
    if (!/^\/v1\/(events|topics)\//.test(request.path) || answer.status !== 200) return answer;
    const json = JSON.parse(answer.body.toString()) as Page | EventJson;
    const changed = "events" in json ? { ...json, events: change(json.events) } : change([json])[0];
    const { "content-length": _, ...headers } = answer.headers;
    return { ...answer, headers, body: Buffer.from(JSON.stringify(changed)) };
  };
}

/** Changes one event of a page, or the single one. */
const changeOne = (change: (event: EventJson) => unknown) =>
  tamper((events) =>
    events.map((event, i) => (i === Math.min(AT, events.length - 1) ? change(event) : event)),
  );

const flipped = (base64: string, at: number): string => {
  const bytes = Buffer.from(base64, "base64");
  bytes[at < 0 ? bytes.length + at : at] = (bytes.at(at) ?? 0) ^ 1;
  return bytes.toString("base64");
};

async function shown(events: AsyncIterable<ReceivedEvent>): Promise<{ ids: string[]; code: string }> {
  const ids: string[] = [];
  try {
    for await (const { id } of events) ids.push(id);
    return { ids, code: "none" };
  } catch (error) {
    return { ids, code: (error as PennypostError).code };
  }
}

const isTold = expect.stringMatching(/^(event|cbor)_/);

describe("an event that was changed", () => {
  test.each<[string, (event: EventJson) => unknown, unknown]>([
    ["in its block's first byte", (event) => ({ ...event, block: flipped(event.block, 0) }), isTold],
    ["in the middle of its block", (event) => ({ ...event, block: flipped(event.block, 60) }), isTold],
    ["in its block's origin", (event) => ({ ...event, block: flipped(event.block, -1) }), "event_signature"],
    [
      "in its signature",
      (event) => ({ ...event, signature: flipped(event.signature, 5) }),
      "event_signature",
    ],
    ["without a signature", ({ signature: _, ...event }) => event, "event_malformed"],
    [
      "in its message",
      (event) => ({ ...event, envelope: { ...event.envelope, message: flipped(event.envelope.message, 0) } }),
      "event_message",
    ],
    [
      "in its message's length",
      (event) => ({ ...event, envelope: { ...event.envelope, message: "" } }),
      "event_size",
    ],
    [
      "in its time",
      (event) => ({ ...event, envelope: { ...event.envelope, timestampNs: "77" } }),
      "event_mismatch",
    ],
    [
      "in its topic",
      (event) => ({ ...event, envelope: { ...event.envelope, contentTopic: OTHER_TOPIC } }),
      "event_mismatch",
    ],
    ["in its CID", (event) => ({ ...event, cid: elsewhere.cid }), "event_mismatch"],
    ["in its id", (event) => ({ ...event, id: elsewhere.id }), "event_mismatch"],
    ["in its origin", (event) => ({ ...event, origin: "did:key:z6Mk" }), "event_mismatch"],
    ["in its links", (event) => ({ ...event, links: [] }), "event_mismatch"],
    ["for one of another topic", () => elsewhere, "event_not_asked_for"],
    ["for nothing", () => null, "event_malformed"],
  ])("%s is not shown, and nothing behind it", async (_, change, code) => {
    const good = (await shown(client.events(TOPIC))).ids;
    expect(good).toHaveLength(COUNT);
    changeOne(change);
    const before = { ids: good.slice(0, AT), code };
    expect(await shown(client.events(TOPIC))).toEqual(before);
    expect(await shown(client.query(TOPIC))).toEqual(before);
    const cid = (await node.events(TOPIC))[AT]?.cid ?? "";
    const single = await client.event(cid).catch((error) => error.code);
    expect(single).toEqual(code);
  });

  test("for another good one of the same topic is noticed by its place, or by its CID", async () => {
    const events = await node.events(TOPIC);
    changeOne(() => events[1]);
    for (const list of [client.events(TOPIC), client.query(TOPIC)])
      expect((await shown(list)).code).toBe("event_order");
    const other = client.event(events[AT]?.cid ?? "").catch((error) => error.code);
    expect(await other).toBe("event_not_asked_for");
  });

  test("for one that an origin made up, of another network", async () => {
    const peer = new TestPeer(node);
    const made = peer.event(TOPIC, { net: new Uint8Array(32), ts: 3n });
    changeOne(() => viewOf(made));
    expect((await shown(client.events(TOPIC))).code).toBe("event_network");
  });

  test("for one of a class that the network does not give the topic", async () => {
    const made = new TestPeer(node).event(TOPIC, { class: 1, ts: 3n });
    changeOne(() => viewOf(made));
    expect((await shown(client.query(TOPIC))).code).toBe("event_refused");
    const trusting = new PennypostClient({ url: proxy.url, verify: "signatures" });
    expect((await shown(trusting.query(TOPIC))).code).toBe("none");
  });
});

const viewOf = (event: ReturnType<TestPeer["event"]>) =>
  eventView({ ...toWire(event), id: event.id, flags: 0 });

describe("a list that was changed", () => {
  test.each<[string, (events: EventJson[]) => unknown[], string]>([
    [
      "by swapping two events",
      (events) => [...events.slice(0, 2).reverse(), ...events.slice(2)],
      "event_order",
    ],
    [
      "by doubling one",
      (events) => events.flatMap((event, i) => (i === 1 ? [event, event] : [event])),
      "event_order",
    ],
    ["by more rows than were asked for", (events) => Array(101).fill(events[0]), "answer_malformed"],
    ["into no list", () => [[]], "event_malformed"],
  ])("%s is noticed, in either order", async (_, change, code) => {
    tamper(change);
    expect((await shown(client.events(TOPIC))).code).toBe(code);
    expect((await shown(client.query(TOPIC))).code).toBe(code);
  });

  test("into pages that never end is noticed", async () => {
    proxy.way = async (request, forward) => {
      const [path = ""] = request.path.split("&cursor=");
      const answer = await forward({ ...request, path });
      return answer;
    };
    expect((await shown(client.events(TOPIC, { pageSize: 2 }))).code).toBe("event_order");
  });

  test("by rows from outside the times is noticed", async () => {
    proxy.way = (request, forward) =>
      forward({ ...request, path: request.path.replace(/start=\d+/, "start=0") });
    expect((await shown(client.query(TOPIC, { from: 2n }))).code).toBe("event_not_asked_for");
  });
});

describe("an answer", () => {
  test("about the network that its document does not hash to is refused", async () => {
    proxy.way = async (request, forward) => {
      const answer = await forward(request);
      if (request.path !== "/v1/genesis") return answer;
      const genesis = JSON.parse(answer.body.toString());
      const { "content-length": _, ...headers } = answer.headers;
      return { ...answer, headers, body: Buffer.from(JSON.stringify({ ...genesis, name: "another" })) };
    };
    expect((await shown(client.query(TOPIC))).code).toBe("network_unexpected");
  });

  test("that is far too long, or none at all, is given up", async () => {
    proxy.way = async () => ({ status: 200, headers: {}, body: Buffer.alloc(128 * 1024, 0x20) });
    expect(await client.info().catch((error) => error.code)).toBe("answer_too_large");
    proxy.way = ways.cut;
    const hasty = new PennypostClient({ url: proxy.url, maxTries: 2 });
    expect(await hasty.info().catch((error) => error.code)).toBe("node_unreachable");
    proxy.way = () => new Promise(() => {});
    const impatient = new PennypostClient({ url: proxy.url, maxTries: 1, timeoutMs: 50 });
    expect(await impatient.info().catch((error) => error.code)).toBe("node_unreachable");
  });

  test("of heads whose CIDs are of others is refused", async () => {
    proxy.way = async (request, forward) => {
      const answer = await forward(request);
      const text = answer.body.toString().replace(/"cid":"[^"]+"/, `"cid":"${elsewhere.cid}"`);
      const { "content-length": _, ...headers } = answer.headers;
      return { ...answer, headers, body: Buffer.from(text) };
    };
    expect(await client.heads(TOPIC).catch((error) => error.code)).toBe("answer_malformed");
  });
});
