import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  type ClientOptions,
  type Fetch,
  Identity,
  MemoryStampStore,
  PennypostClient,
  type PennypostError,
  PublishError,
  type ReceivedEvent,
} from "../client/index.ts";
import { fromUtf8, toHex, utf8 } from "../protocol/bytes.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { network as rules } from "./support/peer.ts";
import { LoopbackProxy, type ProxiedAnswer, type Way, ways } from "./support/proxy.ts";
import { testWallet } from "./support/test-wallet.ts";
import { until } from "./support/until.ts";
import { untilWitnessed } from "./support/witnesses.ts";

/** The client library as an application uses it, over real nodes. */

let network: TestNetwork;
let home: TestNode;
let identity: Identity;

beforeAll(async () => {
  network = await startNetwork(3, { admission: "wallet,stamp" });
  home = network.node(0);
  identity = await Identity.create(testWallet("alice"));
  await untilWitnessed(network);
});
afterAll(() => network.stop());

const urlOf = (index: number): string => network.node(index).url;

function clientOf(options: Partial<ClientOptions> = {}): PennypostClient {
  const client = new PennypostClient({ url: home.url, identity, ...options });
  onTestFinished(() => client.close());
  return client;
}

const withStamps = (options: ClientOptions["stamps"] = {}): Partial<ClientOptions> => ({
  stamps: { witnesses: [urlOf(1)], ahead: 0, ...options },
});

/** Requests as they are sent, with what they were answered. */
class Recorder {
  readonly requests: { readonly path: string; readonly headers: Headers }[] = [];
  readonly fetch: Fetch = (url, init) => {
    this.requests.push({ path: new URL(url).pathname, headers: new Headers(init.headers) });
    return fetch(url, init);
  };

  to(path: string) {
    return this.requests.filter((each) => each.path === path);
  }
}

async function proxyOf(node: TestNode, way: Way = ways.open): Promise<LoopbackProxy> {
  const proxy = await LoopbackProxy.open(node.url);
  onTestFinished(() => proxy.close());
  proxy.way = way;
  return proxy;
}

async function all(events: AsyncIterable<ReceivedEvent>): Promise<ReceivedEvent[]> {
  const list: ReceivedEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

const textsOf = (events: readonly ReceivedEvent[]) => events.map(({ message }) => fromUtf8(message));

/** The code of what is thrown; "none" when nothing is. */
const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: PennypostError) => error.code ?? String(error),
  );

describe("publishing", () => {
  test("by a wallet: with its token, and a proof for this node and body", async () => {
    const topic = "/xmtp/0/m-by-wallet/proto";
    const recorder = new Recorder();
    const client = clientOf({ fetch: recorder.fetch });
    await client.publish([{ topic, message: utf8("hello"), timestampNs: 5n }]);
    const [event] = await all(client.query(topic));
    expect(event).toMatchObject({ topic, timestampNs: 5n, message: utf8("hello"), gap: false });
    const [sent] = recorder.to("/message/v1/publish");
    expect(sent?.headers.get("authorization")).toMatch(/^Bearer /);
    expect(sent?.headers.get("pennypost-proof")).toMatch(
      /^t=\d+, n=[0-9a-f]{32}, s=[0-9a-f]{128}, for=[0-9a-f]{64} POST \/message\/v1\/publish [0-9a-f]{64} 04[0-9a-f]{128}$/,
    );
  });

  test("by an identity that was kept as text, to the wallet's own topic and no other's", async () => {
    const client = clientOf({ identity: Identity.parse(identity.serialize()) });
    const own = `/xmtp/0/contact-${identity.wallet}/proto`;
    await client.publish([{ topic: own, message: utf8("key bundle") }]);
    expect(textsOf(await all(client.query(own)))).toEqual(["key bundle"]);
    const other = "/xmtp/0/contact-0x0000000000000000000000000000000000000001/proto";
    expect(await codeOf(client.publish([{ topic: other, message: utf8("x") }]))).toBe("topic_restricted");
  });

  test("with stamps that were bought over another connection alone, with no word about who it is", async () => {
    const topic = "/xmtp/0/m-by-stamps/proto";
    const [publishing, buying] = [new Recorder(), new Recorder()];
    const client = clientOf({ fetch: publishing.fetch, ...withStamps({ fetch: buying.fetch }) });
    await client.buyStamps();
    expect(publishing.requests).toEqual([]);
    await client.publish([
      { topic, message: utf8("one"), timestampNs: 1n },
      { topic, message: utf8("two"), timestampNs: 2n },
    ]);
    expect(textsOf(await all(client.query(topic)))).toEqual(["one", "two"]);
    expect(await client.stampsLeft()).toBe(98);
    const [sent] = publishing.to("/message/v1/publish");
    expect([...(sent?.headers.keys() ?? [])]).toEqual([]);
    expect(publishing.to("/v1/stamps")).toEqual([]);
    expect(buying.to("/v1/stamps")).toHaveLength(1);
  });

  test("with stamps ahead: when few are left, more are bought", async () => {
    const topic = "/xmtp/0/m-ahead/proto";
    const client = clientOf({ ...withStamps({ ahead: 100, delayMs: { least: 0, most: 1 } }) });
    await client.publish([{ topic, message: utf8("one") }]);
    await until("a second batch", async () => (await client.stampsLeft()) === 199);
  });

  test("never with a stamp where the wallet has to say who it is, unless the application says so", async () => {
    const client = clientOf(withStamps());
    const topic = `/xmtp/0/contact-${identity.wallet}/proto`;
    expect(await codeOf(client.publish([{ topic, message: utf8("x") }]))).toBe("topic_restricted");
    await client.publish([{ topic, message: utf8("x") }], { by: "wallet" });
  });

  test("to a node that asks for something says what", async () => {
    const client = new PennypostClient({ url: home.url });
    const failed = client.publish([{ topic: "/xmtp/0/m-nobody/proto", message: utf8("x") }]);
    await expect(failed).rejects.toThrow(PublishError);
    expect(await codeOf(failed)).toBe("wallet_token_missing");
  });

  test("whose answer was lost makes one event, and uses one stamp", async () => {
    const topic = "/xmtp/0/m-lost-answer/proto";
    let lost = 0;
    const proxy = await proxyOf(home, (request, forward) => {
      const isLost = request.path === "/message/v1/publish" && lost++ < 2;
      return isLost ? ways.loseAnswer(request, forward) : forward(request);
    });
    const client = clientOf({ url: proxy.url, ...withStamps() });
    await client.publish([{ topic, message: utf8("once") }]);
    expect(lost).toBe(3);
    expect(await client.stampsLeft()).toBe(99);
    expect(await home.events(topic)).toHaveLength(1);
    const sent = proxy.exchanges.filter(({ path }) => path === "/message/v1/publish");
    expect(new Set(sent.map(({ request }) => request.toString())).size).toBe(1);
  });

  test("that failed can be kept as text and sent again by another run of the program", async () => {
    const topic = "/xmtp/0/m-kept/proto";
    const store = new MemoryStampStore();
    const proxy = await proxyOf(home, (request, forward) =>
      request.path === "/message/v1/publish" ? ways.loseAnswer(request, forward) : forward(request),
    );
    const client = clientOf({ url: proxy.url, maxTries: 1, ...withStamps({ store }) });
    const error = await client
      .publish([{ topic, message: utf8("kept") }])
      .catch((reason: PublishError) => reason);
    if (!(error instanceof PublishError)) throw new Error("the publish was not acknowledged");
    expect(error.code).toBe("node_unreachable");
    const again = clientOf({ ...withStamps({ store }) });
    await again.send(JSON.parse(JSON.stringify(error.prepared)));
    expect(await home.events(topic)).toHaveLength(1);
    expect((await store.list()).length).toBe(99);
  });

  test("that a node is too busy for waits as long as it says", async () => {
    const topic = "/xmtp/0/m-busy/proto";
    let refused = 0;
    const busy: ProxiedAnswer = {
      status: 429,
      headers: { "retry-after": "1", "pennypost-error": "rate_limited" },
      body: Buffer.from('{"code":8,"message":"rate limit exceeded","details":[]}'),
    };
    const proxy = await proxyOf(home, async (request, forward) =>
      request.path === "/message/v1/publish" && refused++ < 1 ? busy : forward(request),
    );
    await clientOf({ url: proxy.url }).publish([{ topic, message: utf8("patient") }]);
    expect(refused).toBe(2);
    refused = -10;
    expect(
      await codeOf(clientOf({ url: proxy.url, maxTries: 2 }).publish([{ topic, message: utf8("x") }])),
    ).toBe("rate_limited");
  });
});

describe("reading", () => {
  const topic = "/xmtp/0/m-reading/proto";
  const times = [5n, 1n, 4n, 4n, 2n];

  beforeAll(async () => {
    const client = new PennypostClient({ url: home.url, identity });
    for (const [i, timestampNs] of times.entries())
      await client.publish([{ topic, message: utf8(`message ${i}`), timestampNs }]);
  });

  test("by time, in either direction, between two times, page by page", async () => {
    const client = clientOf();
    const read = async (options: Parameters<typeof client.query>[1]) =>
      (await all(client.query(topic, options))).map(({ timestampNs }) => timestampNs);
    expect(await read({ pageSize: 2 })).toEqual([1n, 2n, 4n, 4n, 5n]);
    expect(await read({ pageSize: 2, direction: "descending" })).toEqual([5n, 4n, 4n, 2n, 1n]);
    expect(await read({ from: 2n, until: 4n, pageSize: 1 })).toEqual([2n, 4n, 4n]);
    expect(await read({ direction: "descending", limit: 3, pageSize: 2 })).toEqual([5n, 4n, 4n]);
    expect(await read({ from: 6n })).toEqual([]);
  });

  test("by cause, heads, and an event by its CID", async () => {
    const client = clientOf();
    const events = await all(client.events(topic, { pageSize: 2 }));
    expect(textsOf(events)).toEqual(times.map((_, i) => `message ${i}`));
    const [last] = events.slice(-1);
    const heads = await client.heads(topic);
    expect(heads).toEqual([{ id: last?.id, cid: last?.cid }]);
    expect(await client.event(heads[0]?.cid ?? "")).toEqual(last);
    expect(await all(client.events(topic, { after: events[2]?.id ?? "" }))).toEqual(events.slice(3));
    const unknown = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    expect(await codeOf(client.event(unknown))).toBe("event_not_found");
  });

  test("only from the node and the network that are expected", async () => {
    const networkId = toHex(rules.id);
    await clientOf({ nodeKey: home.key, networkId, genesis: rules.genesis }).info();
    expect(await codeOf(clientOf({ nodeKey: network.node(1).key }).info())).toBe("node_unexpected");
    expect(await codeOf(clientOf({ networkId: "00".repeat(32) }).info())).toBe("network_unexpected");
    expect(await codeOf(all(clientOf({ networkId: "00".repeat(32) }).query(topic)))).toBe(
      "network_unexpected",
    );
  });
});
