import { request as httpRequest, type IncomingMessage } from "node:http";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, test } from "vitest";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { ASCENDING, DESCENDING, envelope, lineOf, type QueryPage, textOf } from "./support/node-client.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** What the API of 2023 takes and answers, at its edges: all of it good. */

let network: TestNetwork;
let node: TestNode;
let other: TestNode;

beforeAll(async () => {
  network = await startNetwork(2);
  node = network.node(0);
  other = network.node(1);
  return () => network.stop();
});

const post = (path: string, body: string, headers: Record<string, string> = {}): Promise<Response> =>
  node.request(path, { method: "POST", body, headers });

/** A request whose answer is not unpacked. */
async function rawPost(path: string, body: string, headers: Record<string, string>) {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  httpRequest(node.url + path, { method: "POST", headers }, resolve)
    .once("error", reject)
    .end(body);
  const response = await promise;
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk);
    // A stream has no end: its first line is enough.
    if (path.endsWith("subscribe")) break;
  }
  return { headers: response.headers, body: Buffer.concat(chunks) };
}

describe("values at their limits", () => {
  test("timestampNs 0 and 2^64-1, a topic of 300 bytes and an empty message are taken, and answered in order", async () => {
    const topic = `/xmtp/0/m-${"é".repeat(145)}`;
    expect(Buffer.byteLength(topic)).toBe(300);
    const greatest = 2n ** 64n - 1n;
    const published = [
      envelope(topic, 0, "at the beginning"),
      envelope(topic, 1, ""),
      envelope(topic, 2n ** 53n + 1n, "beyond what a double holds"),
      envelope(topic, greatest, "at the end"),
    ];
    const subscriptions = await Promise.all([node, other].map((each) => Subscription.open(each, [topic])));
    await node.publish(...published.toReversed());
    for (const subscription of subscriptions) {
      await subscription.reach(published.length);
      await subscription.close();
      expect(subscription.envelopes.map(lineOf).sort()).toEqual(published.map(lineOf).sort());
    }
    for (const each of [node, other]) {
      for (const limit of [1, 2, 100]) {
        expect(await each.queryAll(topic, { limit, direction: ASCENDING })).toEqual(published);
        expect(await each.queryAll(topic, { limit, direction: DESCENDING })).toEqual(published.toReversed());
      }
    }
    const inRange = await node.post<QueryPage>("/message/v1/query", {
      contentTopics: [topic],
      startTimeNs: "1",
      endTimeNs: String(greatest - 1n),
      pagingInfo: { direction: ASCENDING },
    });
    expect(inRange.envelopes).toEqual(published.slice(1, 3));
  });

  test("a message of 1,048,214 bytes reaches streams and queries of both nodes", async () => {
    const topic = "/xmtp/0/m-largest/proto";
    const largest = { ...envelope(topic, 1, ""), message: Buffer.alloc(1_048_214, 7).toString("base64") };
    const subscription = await Subscription.open(other, [topic]);
    await node.publish(largest);
    await subscription.reach(1);
    await subscription.close();
    expect(subscription.envelopes).toEqual([largest]);
    expect(await other.queryAll(topic)).toEqual([largest]);
  });

  test("1,000 envelopes in a publish, 10,000 topics in a subscription", async () => {
    const topics = Array.from({ length: 10_000 }, (_, i) => `/xmtp/0/m-many-${i}/proto`);
    const subscription = await Subscription.open(other, topics);
    const published = topics.slice(0, 1_000).map((topic, i) => envelope(topic, i, `to ${i}`));
    await node.publish(...published);
    await subscription.reach(published.length);
    await subscription.close();
    expect(subscription.envelopes.map(lineOf).sort()).toEqual(published.map(lineOf).sort());
  });

  test("an envelope that is published again is taken and stored once", async () => {
    const twice = envelope("/xmtp/0/m-twice/proto", 1, "twice");
    await node.publish(twice, twice);
    await node.publish(twice);
    expect(await node.queryAll(twice.contentTopic)).toEqual([twice]);
    expect((await node.events(twice.contentTopic)).length).toBe(1);
  });
});

describe("the JSON of protobuf", () => {
  test.each<[string, object]>([
    ["camelCase and texts", { contentTopic: "T", timestampNs: "5", message: "+/+/AA==" }],
    ["snake_case and numbers", { content_topic: "T", timestamp_ns: 5, message: "+/+/AA==" }],
    ["url-safe base64 without padding", { contentTopic: "T", timestampNs: 5, message: "-_-_AA" }],
    ["unknown fields and nulls", { contentTopic: "T", timestampNs: 5, message: "+/+/AA", x: [{}], y: null }],
  ])("is read in %s", async (name, given) => {
    const topic = `/xmtp/0/m-json-${name}/proto`;
    const body = JSON.stringify({ envelopes: [given] }).replace('"T"', JSON.stringify(topic));
    const response = await post("/message/v1/publish", body, { "content-type": "text/plain;charset=UTF-8" });
    expect({ status: response.status, body: await response.json() }).toEqual({ status: 200, body: {} });
    expect(await node.queryAll(topic)).toEqual([
      { contentTopic: topic, timestampNs: "5", message: "+/+/AA==" },
    ]);
  });

  test("is read without rounding where a 64-bit integer is a number", async () => {
    const topic = "/xmtp/0/m-exact/proto";
    const body = `{"envelopes":[{"contentTopic":"${topic}","timestampNs":18446744073709551615,"message":""}]}`;
    expect((await post("/message/v1/publish", body)).status).toBe(200);
    expect((await node.queryAll(topic))[0]?.timestampNs).toBe("18446744073709551615");
  });

  test("is read with nothing in it", async () => {
    for (const body of ["", "{}", '{"envelopes":null}', '{"envelopes":[]}']) {
      const response = await post("/message/v1/publish", body);
      expect({ status: response.status, body: await response.json() }).toEqual({ status: 200, body: {} });
    }
  });

  test.each<[string, object]>([
    ["camelCase", { contentTopics: ["T"], startTimeNs: "2", pagingInfo: { limit: 2, direction: ASCENDING } }],
    [
      "snake_case, enums as numbers",
      { content_topics: ["T"], start_time_ns: 2, paging_info: { limit: "2", direction: 1 } },
    ],
  ])("of a query is read in %s, and the answer has one form", async (name, given) => {
    const topic = `/xmtp/0/m-query-${name}/proto`;
    const stored = [1, 2, 3, 4].map((n) => envelope(topic, n, `number ${n}`));
    await node.publish(...stored);
    const body = JSON.stringify(given).replace('"T"', JSON.stringify(topic));
    const page = await (await post("/message/v1/query", body)).json();
    const digest = expect.stringMatching(/^[A-Za-z0-9+/]{43}=$/);
    expect(page).toEqual({
      envelopes: stored.slice(1, 3),
      pagingInfo: { limit: 2, direction: ASCENDING, cursor: { index: { digest, senderTimeNs: "3" } } },
    });
  });

  test("of an answer: descending where nothing is said, no cursor on a short page, an unknown topic is empty", async () => {
    const topic = "/xmtp/0/m-defaults/proto";
    await node.publish(envelope(topic, 1, "first"), envelope(topic, 2, "second"));
    const page = await node.query([topic]);
    expect(page.envelopes.map(textOf)).toEqual(["second", "first"]);
    expect(page.pagingInfo).toEqual({ limit: 0, cursor: null, direction: "SORT_DIRECTION_UNSPECIFIED" });
    expect((await node.query(["/xmtp/0/m-nothing/proto"])).envelopes).toEqual([]);
  });

  test("of a batch: the answers stand in the order of the requests", async () => {
    const topics = Array.from({ length: 50 }, (_, i) => `/xmtp/0/m-batch-${i}/proto`);
    await node.publish(...topics.map((topic, i) => envelope(topic, i, `of ${topic}`)));
    const requests = topics.toReversed().map((topic) => ({ contentTopics: [topic] }));
    const { responses } = await node.post<{ responses: QueryPage[] }>("/message/v1/batch-query", {
      requests,
    });
    expect(responses.map(({ envelopes }) => envelopes.map(textOf))).toEqual(
      topics.toReversed().map((topic) => [`of ${topic}`]),
    );
  });
});

describe("HTTP", () => {
  const topic = "/xmtp/0/m-http/proto";
  const query = JSON.stringify({ contentTopics: [topic] });

  test("answers of queries are packed for those who take gzip; streams never are", async () => {
    await node.publish(envelope(topic, 1, "packed ".repeat(100)));
    const plain = await rawPost("/message/v1/query", query, {});
    expect(plain.headers["content-encoding"]).toBeUndefined();
    const packed = await rawPost("/message/v1/query", query, { "accept-encoding": "gzip, deflate" });
    expect(packed.headers["content-encoding"]).toBe("gzip");
    expect(packed.body.length).toBeLessThan(plain.body.length);
    expect(gunzipSync(packed.body).toString()).toBe(plain.body.toString());
    const refused = await rawPost("/message/v1/query", query, { "accept-encoding": "gzip;q=0" });
    expect(refused.headers["content-encoding"]).toBeUndefined();
    const stream = await rawPost("/message/v1/subscribe", query, { "accept-encoding": "gzip" });
    expect(stream.headers["content-encoding"]).toBeUndefined();
    expect(stream.body.toString()).toBe('{"result":{}}\n');
  });

  test("a stream begins at once, as JSON, whatever became of an earlier subscriber", async () => {
    const subscription = await Subscription.open(node, [topic]);
    expect(subscription.headers.get("content-type")).toBe("application/json");
    await subscription.close();
    const next = await Subscription.open(node, [topic]);
    await node.publish(envelope(topic, 2, "to who is left"));
    await next.reach(1);
    await next.close();
    expect(next.envelopes.map(textOf)).toEqual(["to who is left"]);
  });

  test("pages of any origin may call", async () => {
    const preflight = await node.request("/message/v1/publish", {
      method: "OPTIONS",
      headers: {
        origin: "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-client-version",
      },
    });
    expect(preflight.status).toBe(200);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-methods")?.split(",")).toContain("POST");
    const allowed = preflight.headers.get("access-control-allow-headers")?.toLowerCase().split(",");
    for (const name of ["content-type", "authorization", "x-client-version", "x-app-version"])
      expect(allowed).toContain(name);
    const answers = [
      await post("/message/v1/query", query),
      await post("/message/v1/query", "{"),
      await post("/unknown", ""),
      await node.request("/health"),
    ];
    for (const answer of answers) {
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      await answer.arrayBuffer();
    }
    const stream = await Subscription.open(node, [topic]);
    expect(stream.headers.get("access-control-allow-origin")).toBe("*");
    await stream.close();
  });

  test("an event is answered by its CID, as its bytes or as JSON, on every node", async () => {
    const one = envelope("/xmtp/0/m-by-cid/proto", 1, "by its CID");
    await node.publish(one);
    const [event] = await node.events(one.contentTopic);
    const path = `/v1/events/${event?.cid}`;
    await until("the event on the other node", async () => (await other.request(path)).status === 200);
    for (const each of [node, other]) {
      const block = await each.request(path);
      expect(Buffer.from(await block.arrayBuffer()).toString("base64")).toBe(event?.block);
      expect(block.headers.get("content-type")).toBe("application/vnd.ipld.dag-cbor");
      const json = await each.request(path, { headers: { accept: "application/json" } });
      expect(await json.json()).toEqual(event);
    }
  });

  test("info names the node, its network and its limits", async () => {
    const [info, otherInfo] = [await node.info(), await other.info()];
    expect(info.key).toBe(node.key);
    expect(info.node).toMatch(/^did:key:z6Mk/);
    expect(info.networkId).toBe(otherInfo.networkId);
    expect(info.key).not.toBe(otherInfo.key);
    expect(info).toMatchObject({
      shards: 16,
      limits: { topicBytes: 300, messageBytes: 1_048_214, envelopesPerPublish: 1_000, pageRows: 1_000 },
    });
  });
});
