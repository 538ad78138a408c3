import { describe, expect, test } from "vitest";
import { guardedNode } from "./support/guarded-node.ts";
import { envelope } from "./support/node-client.ts";
import { expectRefusal, expectStreamRefusal, REFUSALS, type Refusal } from "./support/refusals.ts";

/** Bad input to the client API of a real node: a clear error, nothing stored, and the node goes on. */

const TOPIC = "/xmtp/0/m-bad/proto";
const MAX_MESSAGE_BYTES = 1_048_214;
const good = envelope(TOPIC, 1, "good");
const publishOf = (changes: object): string => JSON.stringify({ envelopes: [{ ...good, ...changes }] });
const queryOf = (changes: object): string => JSON.stringify({ contentTopics: [TOPIC], ...changes });
const pagingOf = (pagingInfo: unknown): string => queryOf({ pagingInfo });
const cursorOf = (index: unknown): string => pagingOf({ limit: 1, cursor: { index } });
const digest = Buffer.alloc(32, 1).toString("base64");
const manyTopics = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `/xmtp/0/m-${i}/proto`);
/** `count` bytes that are no JSON, in chunks, without a length. */
function streamOf(count: number): ReadableStream<Uint8Array> {
  const chunk = Buffer.alloc(65_536, "x");
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(chunk);
      sent += chunk.length;
      if (sent >= count) controller.close();
    },
  });
}

const guarded = guardedNode(TOPIC);
const post = (path: string, body: string | Uint8Array<ArrayBuffer>): Promise<Response> =>
  guarded.node.request(path, { method: "POST", body });

describe("publish", () => {
  test.each<[string, string, Refusal]>([
    ["no JSON", "{envelopes", REFUSALS.invalid],
    ["JSON cut off", publishOf({}).slice(0, -2), REFUSALS.invalid],
    ["a list in place of an object", "[]", REFUSALS.invalid],
    ["a number in place of an object", "7", REFUSALS.invalid],
    ["null", "null", REFUSALS.invalid],
    ["envelopes that are no list", `{"envelopes":{}}`, REFUSALS.invalid],
    ["an envelope that is no object", `{"envelopes":["x"]}`, REFUSALS.invalid],
    ["an envelope that is null", `{"envelopes":[null]}`, REFUSALS.invalid],
    ["a topic that is a number", publishOf({ contentTopic: 7 }), REFUSALS.invalid],
    ["a topic that is a list", publishOf({ contentTopic: [TOPIC] }), REFUSALS.invalid],
    ["no topic", publishOf({ contentTopic: undefined }), REFUSALS.invalid],
    ["an empty topic", publishOf({ contentTopic: "" }), REFUSALS.invalid],
    [
      "a topic of 301 bytes",
      publishOf({ contentTopic: `${TOPIC}${"x".repeat(301 - TOPIC.length)}` }),
      REFUSALS.invalid,
    ],
    [
      "a topic of 151 characters in 302 bytes",
      publishOf({ contentTopic: "é".repeat(151) }),
      REFUSALS.invalid,
    ],
    ["a lone surrogate in a topic", publishOf({ contentTopic: `${TOPIC}\ud800` }), REFUSALS.invalid],
    ["a lone low surrogate in a topic", publishOf({ contentTopic: `\udc00${TOPIC}` }), REFUSALS.invalid],
    ["a message that is no base64", publishOf({ message: "a*b=" }), REFUSALS.invalid],
    ["a message with a line feed", publishOf({ message: "QUJD\nQUJD" }), REFUSALS.invalid],
    ["base64 of an impossible length", publishOf({ message: "QUJDR" }), REFUSALS.invalid],
    ["base64 padded in the middle", publishOf({ message: "QQ==QQ==" }), REFUSALS.invalid],
    ["a message that is a number", publishOf({ message: 7 }), REFUSALS.invalid],
    ["a message that is a list of bytes", publishOf({ message: [1, 2] }), REFUSALS.invalid],
    ["a timestamp below 0", publishOf({ timestampNs: "-1" }), REFUSALS.invalid],
    ["a timestamp of 2^64", publishOf({ timestampNs: String(2n ** 64n) }), REFUSALS.invalid],
    ["a timestamp of 2^64 as a number", publishOf({}).replace('"1"', String(2n ** 64n)), REFUSALS.invalid],
    ["a timestamp with a fraction", publishOf({ timestampNs: 1.5 }), REFUSALS.invalid],
    ["a timestamp that is a word", publishOf({ timestampNs: "now" }), REFUSALS.invalid],
    ["a timestamp that is an object", publishOf({ timestampNs: {} }), REFUSALS.invalid],
    ["1,001 envelopes", JSON.stringify({ envelopes: Array(1_001).fill(good) }), REFUSALS.invalid],
    [
      "a good envelope and a bad one",
      JSON.stringify({ envelopes: [good, { ...good, message: 7 }] }),
      REFUSALS.invalid,
    ],
    ["a million empty objects", `{"envelopes":[${"{},".repeat(1_000_000)}{}]}`, REFUSALS.invalid],
    ["objects nested 10,000 deep", `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`, REFUSALS.invalid],
  ])("%s", async (_, body, refusal) => {
    await expectRefusal(await post("/message/v1/publish", body), refusal);
  });

  test("bytes that are no UTF-8", async () => {
    const body = Buffer.from(publishOf({ contentTopic: `${TOPIC}?` }));
    body[body.indexOf("?")] = 0xff;
    await expectRefusal(await post("/message/v1/publish", Uint8Array.from(body)), REFUSALS.invalid);
  });

  test("a message of one byte too many says so, in the words that clients know", async () => {
    const message = Buffer.alloc(MAX_MESSAGE_BYTES + 1).toString("base64");
    const refused = await post("/message/v1/publish", publishOf({ message }));
    expect(await expectRefusal(refused, REFUSALS.invalid)).toBe("message too big");
    const topic = await post("/message/v1/publish", publishOf({ contentTopic: "x".repeat(301) }));
    expect(await expectRefusal(topic, REFUSALS.invalid)).toBe("topic length too big");
  });

  test("a request of 50 MB as a stream, and one of 17 MB with a length", async () => {
    const streamed = await guarded.node.request("/message/v1/publish", {
      method: "POST",
      body: streamOf(50_000_000),
      duplex: "half",
    } as RequestInit);
    await expectRefusal(streamed, REFUSALS.exhausted);
    const message = Buffer.alloc(1_000_000).toString("base64");
    const sized = JSON.stringify({ envelopes: Array(13).fill({ ...good, message }) });
    await expectRefusal(await post("/message/v1/publish", sized), REFUSALS.exhausted);
  });
});

describe("query", () => {
  test.each<[string, string, string]>([
    ["/message/v1/query", "no topic", "{}"],
    ["/message/v1/query", "an empty body", ""],
    ["/message/v1/query", "no JSON", "{"],
    ["/message/v1/query", "topics that are no list", queryOf({ contentTopics: TOPIC })],
    ["/message/v1/query", "a topic that is no text", queryOf({ contentTopics: [1] })],
    ["/message/v1/query", "a topic of 301 bytes", queryOf({ contentTopics: ["x".repeat(301)] })],
    ["/message/v1/query", "a lone surrogate", queryOf({ contentTopics: ["\ud800"] })],
    ["/message/v1/query", "10,000 topics", queryOf({ contentTopics: manyTopics(10_000) })],
    ["/message/v1/query", "a start that is no number", queryOf({ startTimeNs: "x" })],
    ["/message/v1/query", "an end of 2^64", queryOf({ endTimeNs: String(2n ** 64n) })],
    ["/message/v1/query", "paging that is no object", pagingOf([])],
    ["/message/v1/query", "a limit below 0", pagingOf({ limit: -1 })],
    ["/message/v1/query", "a limit of 2^32", pagingOf({ limit: 2 ** 32 })],
    ["/message/v1/query", "an unknown direction", pagingOf({ direction: "SORT_DIRECTION_SIDEWAYS" })],
    ["/message/v1/query", "direction 3", pagingOf({ direction: 3 })],
    ["/message/v1/query", "a cursor that is a text", pagingOf({ cursor: "abc" })],
    ["/message/v1/query", "a cursor whose index is a text", cursorOf("abc")],
    ["/message/v1/query", "a cursor with a short digest", cursorOf({ digest: "QUJD", senderTimeNs: "1" })],
    ["/message/v1/query", "a cursor whose digest is no base64", cursorOf({ digest: "*", senderTimeNs: "1" })],
    ["/message/v1/query", "a cursor of no time", cursorOf({ digest, senderTimeNs: "x" })],
    ["/message/v1/batch-query", "requests that are no list", `{"requests":{}}`],
    ["/message/v1/batch-query", "a request without a topic", `{"requests":[{}]}`],
    [
      "/message/v1/batch-query",
      "51 requests",
      JSON.stringify({ requests: Array(51).fill({ contentTopics: [TOPIC] }) }),
    ],
    ["/message/v1/batch-query", "no JSON", "nothing"],
  ])("%s: %s", async (path, _, body) => {
    await expectRefusal(await post(path, body), REFUSALS.invalid);
  });

  test("no topic says so in the words that clients know", async () => {
    const message = await expectRefusal(await post("/message/v1/query", "{}"), REFUSALS.invalid);
    expect(message).toBe("content topics required");
  });
});

describe("subscribe", () => {
  test.each<[string, string]>([
    ["no topic", "{}"],
    ["no JSON", "{"],
    ["topics that are no list", `{"contentTopics":"x"}`],
    ["a lone surrogate", `{"contentTopics":["\\ud800"]}`],
    ["10,001 topics", JSON.stringify({ contentTopics: manyTopics(10_001) })],
  ])("%s", async (_, body) => {
    await expectStreamRefusal(await post("/message/v1/subscribe", body), REFUSALS.invalid);
  });
});

describe("the node's own API, paths and methods", () => {
  const topic = encodeURIComponent(TOPIC);
  test.each<[string, string, Refusal]>([
    ["GET", "/", REFUSALS.notFound],
    ["POST", "/message/v1/unknown", REFUSALS.notFound],
    ["GET", "/message/v2/publish", REFUSALS.notFound],
    ["GET", "/message/v1/publish", REFUSALS.wrongMethod],
    ["PUT", "/message/v1/query", REFUSALS.wrongMethod],
    ["DELETE", "/message/v1/batch-query", REFUSALS.wrongMethod],
    ["GET", "/message/v1/subscribe", REFUSALS.wrongMethod],
    ["POST", "/health", REFUSALS.wrongMethod],
    ["POST", "/v1/info", REFUSALS.wrongMethod],
    ["GET", "/peer/v1/push", REFUSALS.wrongMethod],
    ["GET", "/v1/subscribe", REFUSALS.invalid],
    ["GET", "/v1/events/not-a-cid", REFUSALS.invalid],
    ["GET", "/v1/events/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", REFUSALS.invalid],
    ["GET", "/v1/events/bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", REFUSALS.notFound],
    ["GET", `/v1/topics/${"x".repeat(301)}/heads`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?order=sideways`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?limit=0`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?limit=1001`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?limit=ten`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?direction=up`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?cursor=abc`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?order=causal&cursor=${"zz".repeat(40)}`, REFUSALS.invalid],
    ["GET", `/v1/topics/${topic}/events?order=causal&cursor=${"00".repeat(39)}`, REFUSALS.invalid],
    ["GET", "/v1/topics/%ff/heads", REFUSALS.invalid],
  ])("%s %s", async (method, path, refusal) => {
    await expectRefusal(await guarded.node.request(path, { method }), refusal);
  });
});
