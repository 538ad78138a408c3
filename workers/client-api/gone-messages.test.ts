import { env, exports } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { shardStub } from "../../durable-objects/stubs.ts";
import { development, forgeEvent } from "../../durable-objects/testing/shard-world.ts";
import { fromBase64 } from "../../protocol/base64.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { toWire, type WireEvent } from "../../protocol/event.ts";
import { digestOfId, eventCid } from "../../protocol/event-id.ts";
import { shardOf, topicKey } from "../../protocol/topic.ts";
import { readSignedEvent } from "../../protocol/validity.ts";

/** What clients are answered of events whose messages are gone. */

const base = "https://node.test";
const get = (path: string, headers: Record<string, string> = {}) =>
  exports.default.fetch(`${base}${path}`, { headers });
const signer = platformSigner(new Uint8Array(32).fill(0x77));
const MINUTE_MS = 60_000;

/** Events of another node, the n-th at the time n, of which those that `isGone` says come without their messages. */
async function give(topic: string, count: number, isGone: (n: number) => boolean) {
  const nowMs = Date.now() - MINUTE_MS;
  const events = Array.from({ length: count }, (_, n) =>
    forgeEvent({ topic, ts: n + 1, message: `m${n}`, timeMs: nowMs + n, network: development, signer }),
  );
  const wires = events.map(
    (event, n): WireEvent => ({ ...toWire(event), ...(isGone(n) ? { message: null } : {}) }),
  );
  const shard = shardStub(env, shardOf(topicKey(utf8(topic), suite), nodeConfig(env).shardCount));
  expect(await shard.ingest(wires, "peer", [])).toMatchObject({
    ok: true,
    value: { stored: count, refused: [] },
  });
  return events;
}

interface Page {
  events: { id: string }[];
  gone: number;
  cursor: string | null;
}

const pathOf = (topic: string, query: string) => `/v1/topics/${encodeURIComponent(topic)}/events?${query}`;

/** All pages of a list. */
async function pagesOf(topic: string, query: string): Promise<Page[]> {
  const pages: Page[] = [];
  for (let cursor: string | null = ""; cursor !== null && pages.length < 100; ) {
    const page = (await (
      await get(pathOf(topic, `${query}${cursor && `&cursor=${cursor}`}`))
    ).json()) as Page;
    pages.push(page);
    ({ cursor } = page);
  }
  return pages;
}

describe.each([
  ["in the middle, more than a page", 40, (n: number) => n >= 5 && n < 30],
  ["first and last", 20, (n: number) => n < 6 || n > 12],
  ["every other one", 15, (n: number) => n % 2 === 0],
  ["all of them", 9, () => true],
  ["none", 9, () => false],
])("where the messages that are gone are %s", (name, count, isGone) => {
  const gone = Array.from({ length: count }, (_, n) => n).filter(isGone).length;

  test.each(["order=time&direction=ascending", "order=time&direction=descending", "order=causal"])(
    "a list shows the others, and counts them: %s",
    async (query) => {
      const topic = `/xmtp/0/m-gone-${name}-${query}/proto`;
      const events = await give(topic, count, isGone);
      const pages = await pagesOf(topic, `${query}&limit=4`);
      const shown = events.filter((_, n) => !isGone(n)).map(({ id }) => toHex(id));
      expect(pages.flatMap((page) => page.events.map(({ id }) => id))).toEqual(
        query.includes("descending") ? shown.reverse() : shown,
      );
      expect(pages.reduce((sum, page) => sum + page.gone, 0)).toBe(gone);
      for (const page of pages.slice(0, -1)) expect(page.events).toHaveLength(4);
    },
  );

  test("a client of the old API, which stops at an empty page, gets all that there are", async () => {
    const topic = `/xmtp/0/m-gone-old-${name}/proto`;
    const events = await give(topic, count, isGone);
    const messages: string[] = [];
    let cursor: unknown;
    for (let pages = 0; pages < 100; pages++) {
      const pagingInfo = { limit: 4, direction: "SORT_DIRECTION_ASCENDING", ...(cursor ? { cursor } : {}) };
      const body = JSON.stringify({ contentTopics: [topic], pagingInfo });
      const response = await exports.default.fetch(`${base}/message/v1/query`, { method: "POST", body });
      const page = (await response.json()) as {
        envelopes: { message: string }[];
        pagingInfo: { cursor: unknown };
      };
      messages.push(...page.envelopes.map(({ message }) => atob(message)));
      ({ cursor } = page.pagingInfo);
      if (page.envelopes.length === 0 || !cursor) break;
    }
    expect(messages).toEqual(events.flatMap((_, n) => (isGone(n) ? [] : [`m${n}`])));
  });
});

test("an event without its message answers 410 with all by which it can be verified, and its block as ever", async () => {
  const [event] = await give("/xmtp/0/m-gone-one/proto", 1, () => true);
  if (!event) throw new Error("no event");
  const cid = eventCid(digestOfId(event.id)).toString();
  const response = await get(`/v1/events/${cid}`, { Accept: "application/json" });
  expect([response.status, response.headers.get("pennypost-error")]).toEqual([410, "message_gone"]);
  const { code, details } = (await response.json()) as {
    code: number;
    details: { metadata: Record<"block" | "signature" | "id" | "cid" | "reason", string> }[];
  };
  const metadata = details[0]?.metadata;
  expect([code, metadata]).toMatchObject([5, { reason: "absent", id: toHex(event.id), cid }]);
  const [block, signature] = [metadata?.block, metadata?.signature].map((part) => fromBase64(part ?? ""));
  if (!block || !signature) throw new Error("no base64");
  const read = readSignedEvent({ block, signature, message: null }, development.id, suite);
  expect(toHex(read.id)).toBe(toHex(event.id));
  const raw = await get(`/v1/events/${cid}`);
  expect([raw.status, toHex(new Uint8Array(await raw.arrayBuffer()))]).toEqual([200, toHex(event.block)]);
});
