import { createExecutionContext } from "cloudflare:test";
import { exports } from "cloudflare:workers";
import { sha256 } from "@noble/hashes/sha2.js";
import { CID } from "multiformats/cid";
import { describe, expect, test } from "vitest";
import { envWith } from "../durable-objects/testing/fake-env.ts";
import { toHex } from "../protocol/bytes.ts";
import { portableSigner } from "../protocol/crypto.ts";
import { decodeBlock } from "../protocol/event.ts";
import { DEFAULT_POLICY } from "../protocol/genesis.ts";
import { handleRequest } from "./app.ts";

const base = "https://node.test";
const MEMBER = toHex(portableSigner(new Uint8Array(32).fill(7)).publicKey);
const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  exports.default.fetch(`${base}${path}`, { method: "POST", body: JSON.stringify(body), headers });
const get = (path: string, headers: Record<string, string> = {}) =>
  exports.default.fetch(`${base}${path}`, { headers });
const envelope = (contentTopic: string, timestampNs: string, message: string) => ({
  contentTopic,
  timestampNs,
  message: btoa(message),
});
const pathOf = (topic: string, rest: string) => `/v1/topics/${encodeURIComponent(topic)}/${rest}`;

interface EventsPage {
  events: { cid: string; id: string; envelope: { timestampNs: string }; links: { id: string }[] }[];
  cursor: string | null;
}

describe("routes", () => {
  test("an unknown path, a wrong method and a preflight are answered as the gateway did", async () => {
    const unknown = await get("/message/v1/nothing");
    expect(unknown.status).toBe(404);
    expect(await unknown.json()).toEqual({ code: 5, message: "Not Found", details: [] });
    for (const path of ["/message/v1/query", "/peer/v1/push"]) {
      const wrong = await get(path);
      expect(wrong.status).toBe(501);
      expect(await wrong.json()).toMatchObject({ code: 12, details: [] });
    }
    const headers = { Origin: "https://app.test", "Access-Control-Request-Method": "POST" };
    const preflight = await exports.default.fetch(`${base}/message/v1/query`, { method: "OPTIONS", headers });
    expect(preflight.status).toBe(200);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
    expect(preflight.headers.get("access-control-allow-headers")).toContain("Authorization");
  });

  test("every answer lets any origin read it, errors too", async () => {
    for (const response of [
      await get("/health"),
      await get("/nothing"),
      await post("/message/v1/query", {}),
    ]) {
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      await response.body?.cancel();
    }
  });

  test("the node tells who it is and how it is", async () => {
    const health = await get("/health");
    expect(health.status).toBe(200);
    expect(await health.json()).toEqual({ status: "ok", failing: [] });
    const founder = { ...DEFAULT_POLICY, version: 1, name: "n", createdMs: 1, members: [MEMBER] };
    const GENESIS = JSON.stringify({ ...founder, recordKeys: founder.members });
    const outside = await handleRequest(
      new Request(`${base}/health`),
      envWith({ GENESIS }),
      createExecutionContext(),
    );
    expect(outside.status).toBe(200);
    expect(await outside.json()).toEqual({
      status: "degraded",
      failing: [
        { part: "membership", code: "not_a_member", why: expect.stringContaining("is not a member") },
      ],
    });
    const info = (await (await get("/v1/info")).json()) as Record<string, unknown>;
    expect(info).toMatchObject({ network: "pennypost-development", shards: 4, limits: { topicBytes: 300 } });
    expect(info.node).toMatch(/^did:key:z6Mk/);
    expect(info.networkId).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("publish and query", () => {
  test("one bad envelope keeps the whole request from being stored", async () => {
    const topic = "/xmtp/0/m-atomic/proto";
    const response = await post("/message/v1/publish", {
      envelopes: [envelope(topic, "1", "a"), { contentTopic: "" }],
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toEqual({ code: 3, message: "content topic required", details: [] });
    const answer = await post("/message/v1/query", { contentTopics: [topic] });
    expect(await answer.json()).toEqual({
      envelopes: [],
      pagingInfo: { limit: 0, cursor: null, direction: "SORT_DIRECTION_UNSPECIFIED" },
    });
  });

  test("batch answers come in the order of the requests", async () => {
    const topics = Array.from({ length: 10 }, (_, i) => `/xmtp/0/m-batch-${i}/proto`);
    await post("/message/v1/publish", {
      envelopes: topics.map((topic, i) => envelope(topic, String(i), `m${i}`)),
    });
    const requests = topics.toReversed().map((topic) => ({ contentTopics: [topic] }));
    const answer = (await (await post("/message/v1/batch-query", { requests })).json()) as {
      responses: { envelopes: { contentTopic: string }[] }[];
    };
    expect(
      answer.responses.map(({ envelopes }) => envelopes.map(({ contentTopic }) => contentTopic)),
    ).toEqual(topics.toReversed().map((topic) => [topic]));
    expect(await (await post("/message/v1/batch-query", {})).json()).toEqual({ responses: [] });
  });

  test("a query of several topics merges them in time order and pages exactly", async () => {
    const topics = ["/xmtp/0/m-merge-a/proto", "/xmtp/0/m-merge-b/proto", "/xmtp/0/m-merge-c/proto"];
    const envelopes = topics.flatMap((topic) =>
      ["1", "1", "2", "3"].map((ts, i) => envelope(topic, ts, `${topic}${i}`)),
    );
    await post("/message/v1/publish", { envelopes });
    for (const direction of ["SORT_DIRECTION_ASCENDING", "SORT_DIRECTION_DESCENDING"]) {
      const seen: { timestampNs: string; message: string }[] = [];
      let cursor: unknown = null;
      do {
        const query = { contentTopics: topics, pagingInfo: { limit: 5, direction, cursor } };
        const page = (await (await post("/message/v1/query", query)).json()) as {
          envelopes: typeof seen;
          pagingInfo: { cursor: unknown };
        };
        seen.push(...page.envelopes);
        cursor = page.pagingInfo.cursor;
      } while (cursor !== null);
      expect(new Set(seen.map(({ message }) => message)).size).toBe(12);
      expect(seen).toHaveLength(12);
      const times = seen.map(({ timestampNs }) => Number(timestampNs));
      const sign = direction === "SORT_DIRECTION_ASCENDING" ? 1 : -1;
      expect(times).toEqual(times.toSorted((a, b) => sign * (a - b)));
    }
  });

  test("an answer is compressed for those who ask for it", async () => {
    const topic = "/xmtp/0/m-gzip/proto";
    await post("/message/v1/publish", { envelopes: [envelope(topic, "1", "a".repeat(1000))] });
    const plain = await (await post("/message/v1/query", { contentTopics: [topic] })).text();
    const packed = await post("/message/v1/query", { contentTopics: [topic] }, { "Accept-Encoding": "gzip" });
    expect(packed.headers.get("content-encoding")).toBe("gzip");
    expect(await packed.text()).toBe(plain);
    const refused = await post(
      "/message/v1/query",
      { contentTopics: [topic] },
      { "Accept-Encoding": "gzip;q=0" },
    );
    expect(refused.headers.get("content-encoding")).toBeNull();
    await refused.body?.cancel();
  });
});

describe("events", () => {
  const topic = "/xmtp/0/m-events/proto";

  test("an event is served as its block, which anyone can verify, and as JSON", async () => {
    await post("/message/v1/publish", { envelopes: [envelope(topic, "7", "seven")] });
    const { heads } = (await (await get(pathOf(topic, "heads"))).json()) as {
      heads: { cid: string; id: string }[];
    };
    expect(heads).toHaveLength(1);
    const cid = heads[0]?.cid ?? "";
    const response = await get(`/v1/events/${cid}`);
    expect(response.headers.get("content-type")).toBe("application/vnd.ipld.dag-cbor");
    const block = new Uint8Array(await response.arrayBuffer());
    expect(toHex(sha256(block))).toBe(toHex(CID.parse(cid).multihash.digest));
    expect(decodeBlock(block).ts).toBe(7n);
    const json = await (await get(`/v1/events/${cid}`, { Accept: "application/json" })).json();
    expect(json).toMatchObject({
      cid,
      envelope: { contentTopic: topic, timestampNs: "7", message: btoa("seven") },
    });
  });

  test("a text far too long for a CID is refused without reading it", async () => {
    expect((await get(`/v1/events/${"z".repeat(12_000)}`)).status).toBe(400);
  });

  test("a CID that is none, or that nobody has, is told apart", async () => {
    expect((await get("/v1/events/nonsense")).status).toBe(400);
    const unknown = "bafyreidkmgkh6xq5zo72xz2ssi5z5xcdrpxya7msftnsk3ha6yx55z5gry";
    const response = await get(`/v1/events/${unknown}`);
    expect(response.status).toBe(404);
    expect(response.headers.get("pennypost-error")).toBe("event_not_found");
    await response.body?.cancel();
  });

  test.each(["time", "causal"])("a topic's events are listed in %s order, page by page", async (order) => {
    const own = `/xmtp/0/m-list-${order}/proto`;
    const envelopes = ["5", "4", "4", "3", "9", "0"].map((ts, i) => envelope(own, ts, `m${i}`));
    await post("/message/v1/publish", { envelopes });
    const seen: EventsPage["events"] = [];
    let cursor: string | null = null;
    do {
      const query = `events?order=${order}&limit=2${cursor ? `&cursor=${cursor}` : ""}`;
      const page = (await (await get(pathOf(own, query))).json()) as EventsPage;
      expect(page.events.length).toBeLessThanOrEqual(2);
      seen.push(...page.events);
      cursor = page.cursor;
    } while (cursor);
    expect(seen).toHaveLength(6);
    const ids = seen.map(({ id }) => id);
    if (order === "time") {
      expect(seen.map((each) => each.envelope.timestampNs)).toEqual(["0", "3", "4", "4", "5", "9"]);
    } else {
      expect(ids).toEqual(ids.toSorted());
      for (const [i, { links }] of seen.entries())
        for (const link of links) expect(ids.indexOf(link.id)).toBeLessThan(i);
    }
  });

  test("a topic's events are listed between two times, both included, in either direction", async () => {
    const own = "/xmtp/0/m-between/proto";
    await post("/message/v1/publish", {
      envelopes: ["1", "2", "2", "3", "4"].map((ts, i) => envelope(own, ts, `m${i}`)),
    });
    const times = async (query: string) => {
      const { events } = (await (await get(pathOf(own, `events?${query}`))).json()) as EventsPage;
      return events.map((each) => each.envelope.timestampNs);
    };
    expect(await times("start=2&end=3")).toEqual(["2", "2", "3"]);
    expect(await times("start=3")).toEqual(["3", "4"]);
    expect(await times("end=2&direction=descending")).toEqual(["2", "2", "1"]);
  });

  test.each([
    "order=sideways",
    "limit=0",
    "limit=1001",
    "limit=x",
    "cursor=zz",
    "order=causal&cursor=00",
    "order=causal&direction=descending",
    "direction=up",
    "start=-1",
    "end=18446744073709551616",
    "order=causal&start=1",
  ])("events?%s is refused", async (query) => {
    const response = await get(pathOf(topic, `events?${query}`));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: 3 });
  });

  test("a subscription over plain GET says that it is a WebSocket", async () => {
    const response = await get("/v1/subscribe");
    expect(response.status).toBe(400);
    expect(response.headers.get("pennypost-error")).toBe("upgrade_required");
    await response.body?.cancel();
  });
});
