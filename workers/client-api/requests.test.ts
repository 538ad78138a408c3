import { expect, test } from "vitest";
import { readBatchQuery, readPublish, readQuery, readSubscribe } from "./requests.ts";

const topic = "/xmtp/0/m-a/proto";
const failure = (code: string, message?: string) =>
  expect.objectContaining(message ? { code, message, httpStatus: 400 } : { code, httpStatus: 400 });

test("an envelope without a time or a message has time 0 and an empty message", () => {
  const [envelope] = readPublish({ envelopes: [{ contentTopic: topic }] });
  expect(envelope).toMatchObject({ ts: 0n, message: new Uint8Array() });
});

test("a topic has 1 to 300 bytes of well-formed Unicode", () => {
  const publish = (contentTopic: string) => () => readPublish({ envelopes: [{ contentTopic }] });
  expect(publish("a".repeat(300))).not.toThrow();
  expect(publish("ä".repeat(150))).not.toThrow();
  expect(publish("a".repeat(301))).toThrow(failure("topic_too_long", "topic length too big"));
  expect(publish("ä".repeat(151))).toThrow(failure("topic_too_long", "topic length too big"));
  expect(publish("")).toThrow(failure("topic_empty"));
  expect(publish("\ud800")).toThrow(failure("topic_not_utf8"));
});

test("a message has at most 1,048,214 bytes", () => {
  const publish = (bytes: number) => () =>
    readPublish({ envelopes: [{ contentTopic: topic, message: Buffer.alloc(bytes).toString("base64") }] });
  expect(publish(1_048_214)).not.toThrow();
  expect(publish(1_048_215)).toThrow(failure("message_too_big", "message too big"));
});

test("a publish has at most 1,000 envelopes", () => {
  const envelopes = Array.from({ length: 1_001 }, () => ({ contentTopic: topic }));
  expect(readPublish({ envelopes: envelopes.slice(1) })).toHaveLength(1_000);
  expect(() => readPublish({ envelopes })).toThrow(failure("too_many_envelopes"));
});

test("a query pages by 100 and by 1,000 at most", () => {
  const limitOf = (limit?: number) => readQuery({ contentTopics: [topic], pagingInfo: { limit } }).limit;
  expect(limitOf()).toBe(100);
  expect(limitOf(0)).toBe(100);
  expect(limitOf(7)).toBe(7);
  expect(limitOf(5_000)).toBe(1_000);
});

test("an unset direction is descending, as the gateway had it", () => {
  const isDescending = (pagingInfo?: object) =>
    readQuery({ contentTopics: [topic], pagingInfo }).topics[0]?.isDescending;
  expect(isDescending()).toBe(true);
  expect(isDescending({ direction: "SORT_DIRECTION_DESCENDING" })).toBe(true);
  expect(isDescending({ direction: "SORT_DIRECTION_ASCENDING" })).toBe(false);
});

test("a query names 1 to 10 topics; one that stands twice is read once", () => {
  expect(() => readQuery({})).toThrow(failure("topics_required", "content topics required"));
  expect(() => readQuery({ contentTopics: Array.from({ length: 11 }, (_, i) => `t${i}`) })).toThrow(
    failure("too_many_topics"),
  );
  expect(readQuery({ contentTopics: [topic, topic] }).topics).toHaveLength(1);
});

test("the bytes of a page are shared by the topics of a query", () => {
  const bytesOf = (count: number) =>
    readQuery({ contentTopics: Array.from({ length: count }, (_, i) => `t${i}`) }).topics.map(
      ({ maxBytes }) => maxBytes,
    );
  expect(bytesOf(1)).toEqual([8 * 1024 * 1024]);
  expect(bytesOf(8)).toEqual(Array(8).fill(1024 * 1024));
});

test("a batch holds at most 50 queries, each checked", () => {
  const requests = Array.from({ length: 51 }, () => ({ contentTopics: [topic] }));
  expect(readBatchQuery({ requests: requests.slice(1) })).toHaveLength(50);
  expect(readBatchQuery({})).toEqual([]);
  expect(() => readBatchQuery({ requests })).toThrow(failure("too_many_requests"));
  expect(() => readBatchQuery({ requests: [{}] })).toThrow(failure("topics_required"));
  expect(() => readBatchQuery({ requests: [null] })).toThrow(failure("json_invalid"));
});

test("a subscription names 1 to 10,000 topics", () => {
  const contentTopics = Array.from({ length: 10_001 }, (_, i) => `t${i}`);
  expect(readSubscribe({ contentTopics: contentTopics.slice(1) })).toHaveLength(10_000);
  expect(() => readSubscribe({ contentTopics })).toThrow(failure("too_many_topics"));
  expect(() => readSubscribe({})).toThrow(failure("topics_required", "content topics required"));
});
