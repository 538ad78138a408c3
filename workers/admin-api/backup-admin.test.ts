import { applyD1Migrations, createExecutionContext, reset, waitOnExecutionContext } from "cloudflare:test";
import { env as cloudflareEnv } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Env } from "../../durable-objects/env.ts";
import { setLogSink } from "../../durable-objects/log.ts";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { envWith } from "../../durable-objects/testing/fake-env.ts";
import { segmentOf, toSegmentEvent } from "../../durable-objects/testing/held-segments.ts";
import { type Bytes, concatBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import { createEvent, type EncodedEvent } from "../../protocol/event.ts";
import { digestOfId, eventCid } from "../../protocol/event-id.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { decodePage, encodeWant } from "../../protocol/peer-messages.ts";
import { createRecord } from "../../protocol/record.ts";
import { encodeRecordsOffer } from "../../protocol/record-messages.ts";
import { type SegmentEvent, writeSegment } from "../../protocol/segment-file.ts";
import { shardOf, topicKey } from "../../protocol/topic.ts";
import { handleRequest } from "../app.ts";
import { segmentShards } from "./import-segment.ts";

/** What a backup asks of a node, and what puts one back. */

const SECRET = "x".repeat(40);
const SHARDS = 4;
const signer = platformSigner(new Uint8Array(32).fill(5));
const network = new Network(DEVELOPMENT_GENESIS, suite);
const LARGE = new Uint8Array(70_000).fill(7);
/** Of one class, and of each shard. */
const TOPICS = Array.from({ length: 40 }, (_, n) => `topic ${n}`);

beforeEach(async () => {
  setLogSink(() => {});
  await applyD1Migrations(cloudflareEnv.DB, cloudflareEnv.TEST_MIGRATIONS);
});
afterEach(() => {
  setLogSink();
  return reset();
});

const withSecret = (parts: Partial<Env> = {}) => envWith({ ADMIN_SECRET: SECRET, ...parts });

async function ask(
  method: string,
  path: string,
  {
    body,
    headers = {},
    env = withSecret(),
  }: { body?: Bytes; headers?: Record<string, string>; env?: Env } = {},
): Promise<Response> {
  const context = createExecutionContext();
  const init = {
    method,
    headers: { Authorization: `Bearer ${SECRET}`, ...headers },
    ...(body ? { body } : {}),
  };
  const response = await handleRequest(new Request(`https://node.test${path}`, init), env, context);
  await waitOnExecutionContext(context);
  return response;
}

const json = async (method: string, path: string, body?: Bytes) => {
  const response = await ask(method, path, body ? { body } : {});
  const answer = (await response.json()) as object;
  return { ...answer, status: response.status, code: response.headers.get("pennypost-error") };
};

const START_MS = Date.now() - 3 * 3_600_000;

function eventOf(topic: string, n: number, message: Bytes = utf8(`${topic} ${n}`)): EncodedEvent {
  const name = utf8(topic);
  const fields = { net: network.id, topic: name, ts: BigInt(n), class: network.classOf(name).id, links: [] };
  return createEvent({ ...fields, seq: firstSeqOf(START_MS + n), message }, signer, suite);
}

const filesOf = (events: readonly EncodedEvent[]) => segmentOf(events.map(toSegmentEvent)).files;

const events = TOPICS.flatMap((topic, t) =>
  Array.from({ length: 40 }, (_, n) => eventOf(topic, 100 * t + n)),
);
const files = filesOf(events);

const send = (of: { blocks: Bytes; messages: Bytes | null }, more = "") =>
  json(
    "POST",
    `/admin/import/segment?blocks=${of.blocks.length}${more}`,
    of.messages ? concatBytes(of.blocks, of.messages) : of.blocks,
  );
const taken = { status: 200, stored: 0, known: 0, left: 0, leftBy: {}, refused: {}, needs: [] };

const listed = async () =>
  (
    (await json("GET", "/admin/export/segments")) as unknown as {
      segments: Record<string, number | string>[];
    }
  ).segments;

describe("the routes of backup", () => {
  test.each([
    ["GET", "/admin/export/segments"],
    ["GET", "/admin/export/segments/0/1/blocks"],
    ["GET", "/admin/export/hot/0"],
    ["POST", "/admin/export/hot/0"],
    ["POST", "/admin/import/records"],
    ["PUT", "/admin/import/large/0"],
    ["POST", "/admin/import/segment?blocks=1"],
  ])("%s %s needs the secret", async (method, path) => {
    const response = await ask(method, path, { headers: { Authorization: "Bearer y" } });
    expect([response.status, response.headers.get("pennypost-error")]).toEqual([401, "unauthenticated"]);
    await response.text();
  });

  test.each([
    ["GET", "/admin/export/segments?after=x", "number_invalid"],
    ["GET", "/admin/export/segments/4/1/blocks", "number_invalid"],
    ["GET", "/admin/export/segments/0/x/blocks", "number_invalid"],
    ["GET", "/admin/export/segments/0/1/topics", "file_invalid"],
    ["GET", "/admin/export/segments/0/1/blocks", "segment_unknown"],
    ["GET", "/admin/export/hot/0?after=1:1", "cursor_invalid"],
    ["GET", "/admin/export/hot/0?limit=1025", "number_invalid"],
    ["PUT", "/admin/import/large/9", "number_invalid"],
  ])("%s %s is refused", async (method, path, code) => {
    expect(await json(method, path)).toMatchObject({ code });
  });

  test("refuse bodies that are none", async () => {
    const body = utf8("nothing");
    expect(await json("POST", "/admin/export/hot/0", body)).toMatchObject({ code: "cbor_malformed" });
    expect(await json("POST", "/admin/import/records", body)).toMatchObject({ code: "cbor_malformed" });
    expect(await json("PUT", "/admin/import/large/0", body)).toMatchObject({ code: "message_not_large" });
    for (const blocks of ["", "?blocks=0", "?blocks=8", "?blocks=-1"])
      expect(await json("POST", `/admin/import/segment${blocks}`, body)).toMatchObject({
        code: "segment_length_invalid",
      });
    expect(await send({ blocks: body, messages: null })).toMatchObject({
      status: 400,
      code: "segment_malformed",
    });
  });
});

describe("a segment", () => {
  test("is adopted by each shard whose topics it has, and known the next time", async () => {
    expect(segmentShards(files.blocks, SHARDS)).toMatchObject({ shards: [0, 1, 2, 3], unreadable: [] });
    expect(await send(files)).toEqual({ ...taken, code: null, stored: events.length });
    expect(await send(files)).toEqual({ ...taken, code: null, known: events.length });
    const segments = await listed();
    expect(segments.map(({ shard }) => shard)).toEqual([0, 1, 2, 3]);
    expect(segments.reduce((sum, each) => sum + Number(each.events), 0)).toBe(events.length);
    const { rows } = (await json("GET", "/admin/audit")) as unknown as { rows: object[] };
    const row = { action: "import.segment", target: toHex(files.root), outcome: "done" };
    expect(rows).toMatchObject([row, row]);
  });

  test("is given back as files, whole and in parts", async () => {
    await send(files);
    for (const { shard, number, root, blocksBytes, messagesBytes } of await listed()) {
      const path = `/admin/export/segments/${shard}/${number}`;
      const object = await cloudflareEnv.BUCKET.get(`segments/${SHARDS}/${shard}/${root}.blocks.car`);
      const whole = await ask("GET", `${path}/blocks`);
      const bytes = new Uint8Array(await whole.arrayBuffer());
      expect([whole.status, whole.headers.get("content-length"), whole.headers.get("cache-control")]).toEqual(
        [200, String(blocksBytes), "no-store"],
      );
      expect(bytes).toEqual(new Uint8Array((await object?.arrayBuffer()) as ArrayBuffer));
      const rest = await ask("GET", `${path}/blocks`, { headers: { Range: "bytes=100-" } });
      expect(rest.status).toBe(206);
      expect(new Uint8Array(await rest.arrayBuffer())).toEqual(bytes.slice(100));
      const messages = await ask("GET", `${path}/messages`);
      expect((await messages.arrayBuffer()).byteLength).toBe(messagesBytes);
      const behind = await ask("GET", `${path}/blocks`, { headers: { Range: `bytes=${blocksBytes}-` } });
      expect([behind.status, behind.headers.get("pennypost-error")]).toEqual([400, "range_invalid"]);
      await behind.text();
    }
  });

  test("asks for its large messages where they are to be, and is taken then", async () => {
    const [topic = ""] = TOPICS;
    const shard = shardOf(topicKey(utf8(topic), suite), SHARDS);
    const large = eventOf(topic, 50_000, LARGE);
    const digest = toHex(large.fields.msg);
    const withLarge = filesOf([...events, large]);
    const first = await send(withLarge);
    const own = events.filter(({ fields }) => shardOf(topicKey(fields.topic, suite), SHARDS) === shard);
    expect(first).toMatchObject({ stored: events.length - own.length, needs: [{ shard, digest }] });
    expect(await json("PUT", `/admin/import/large/${shard}`, LARGE)).toMatchObject({ kept: digest });
    expect(await send(withLarge, `&shards=${shard}`)).toMatchObject({ stored: own.length + 1, needs: [] });
    expect(await send(withLarge)).toMatchObject({ stored: 0, known: events.length + 1, left: 0, needs: [] });
    let found: Bytes | undefined;
    for (const { number } of (await listed()).filter((each) => each.shard === shard)) {
      const response = await ask("GET", `/admin/export/segments/${shard}/${number}/${digest}`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (response.status === 200) found = bytes;
    }
    expect(found).toEqual(LARGE);
  });

  test("is taken without a large message that nobody has", async () => {
    const lost = eventOf(TOPICS[0] as string, 60_000, new Uint8Array(LARGE.length + 1));
    const withLost = filesOf([...events, lost]);
    expect(await send(withLost)).toMatchObject({ needs: [{ digest: toHex(lost.fields.msg) }] });
    expect(await send(withLost, "&lacking=true")).toMatchObject({ left: 0, refused: {}, needs: [] });
    const event = await ask("GET", `/v1/events/${eventCid(digestOfId(lost.id))}`, {
      headers: { Accept: "application/json" },
    });
    expect([event.status, event.headers.get("pennypost-error")]).toEqual([410, "message_gone"]);
    await event.text();
  });

  test("has what the rules refuse counted once, by rule, however many shards look at it", async () => {
    const [first, second, ...others] = events as [EncodedEvent, EncodedEvent, ...EncodedEvent[]];
    const forged = { ...first, signature: new Uint8Array(64).fill(1) };
    const misfiled = eventOf("/xmtp/0/m-one/proto", 1);
    const otherClass = filesOf([forged, second, ...others]);
    expect(await send(otherClass)).toMatchObject({ stored: events.length - 1, refused: { signature: 1 } });
    expect(await send(filesOf([misfiled]))).toMatchObject({ stored: 1, refused: {} });
  });

  test("has what is no event counted once, and what is of a later version, too", async () => {
    const made = (block: Bytes): SegmentEvent => ({
      ...{ topicKey: new Uint8Array(32), timeKey: new Uint8Array(40), origin: new Uint8Array(32) },
      ...{ msg: new Uint8Array(32), size: 0, signature: new Uint8Array(64), message: null, block },
      id: concatBytes(new Uint8Array(8), suite.sha256(block)),
    });
    const good = events.map(({ id, fields, signature, block, message }) => ({
      ...made(block),
      ...{
        id,
        signature,
        message,
        msg: fields.msg,
        size: fields.size,
        topicKey: topicKey(fields.topic, suite),
      },
    }));
    const others = [made(utf8("no event")), made(encodeCbor({ v: 9 }))];
    const facts = { net: network.id, class: 1, from: 0, to: 1 };
    const mixed = writeSegment(facts, [...others, ...good], suite);
    const { unreadable } = segmentShards(mixed.blocks, SHARDS);
    expect(unreadable).toHaveLength(2);
    const [rule = ""] = unreadable;
    expect(await send(mixed)).toMatchObject({
      ...{ stored: events.length, left: 1, leftBy: { "later-version": 1 }, refused: { [rule]: 1 } },
    });
    const none = writeSegment(facts, others, suite);
    expect(await send(none)).toMatchObject({ stored: 0, left: 1, refused: { [rule]: 1 } });
  });
});

test("what is in no segment is listed by its arrival, and read by its names", async () => {
  const envelopes = TOPICS.map((contentTopic) => ({ contentTopic, timestampNs: "1", message: "aGk=" }));
  await json("POST", "/message/v1/publish", utf8(JSON.stringify({ envelopes })));
  let count = 0;
  for (let shard = 0; shard < SHARDS; shard++)
    for (let after = "?limit=3"; ; ) {
      const page = (await json("GET", `/admin/export/hot/${shard}${after}`)) as unknown as {
        readonly names: [string, string][];
        readonly after: string;
        readonly more: boolean;
      };
      const wanted = page.names.map(([key, id]) => ({ topicKey: bytesOf(key), id: bytesOf(id) }));
      const body = encodeWant({ wanted, ancestors: false, have: [] });
      const answer = await ask("POST", `/admin/export/hot/${shard}`, { body });
      const read = decodePage(new Uint8Array(await answer.arrayBuffer()));
      expect(read.events).toHaveLength(wanted.length);
      count += read.events.length;
      if (!page.more) break;
      after = `?limit=3&after=${page.after}`;
    }
  expect(count).toBe(TOPICS.length);
});

test("records are judged as those of a peer", async () => {
  const member = platformSigner(new Uint8Array(32).fill(6)).publicKey;
  const fact = { kind: "member", member, admitted: true, from: 0n } as const;
  const { block, signature } = createRecord(fact, 2, network, signer, suite);
  const body = encodeRecordsOffer([
    { block, signature },
    { block, signature: new Uint8Array(64) },
  ]);
  // Nobody's key signs records of the development network.
  expect(await json("POST", "/admin/import/records", body)).toMatchObject({
    status: 200,
    added: 0,
    refused: [expect.any(String), expect.any(String)],
  });
  const { rows } = (await json("GET", "/admin/audit")) as unknown as { rows: object[] };
  expect(rows).toMatchObject([{ action: "import.records", outcome: "done" }]);
});

const bytesOf = (hex: string): Bytes => Uint8Array.from(Buffer.from(hex, "hex"));
