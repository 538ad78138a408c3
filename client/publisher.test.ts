import { secp256k1 } from "@noble/curves/secp256k1.js";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { toHex, utf8 } from "../protocol/bytes.ts";
import { addressOfKey } from "../protocol/evm-address.ts";
import { type Fetch, type KeptStamp, MemoryStampStore, type NewEnvelope, PublishError } from "./index.ts";
import { NodeFacts } from "./node-facts.ts";
import { NodeHttp } from "./node-http.ts";
import { Publisher } from "./publisher.ts";
import { Purse } from "./purse.ts";
import { network, node, stamp, suite } from "./testing/purse-scene.ts";

const WALLET = addressOfKey(secp256k1.getPublicKey(suite.sha256(utf8("a wallet")), false));
const TOPIC = "/xmtp/0/m-published/proto";
const hello: NewEnvelope = { topic: TOPIC, message: utf8("hello") };
const aborted = { code: "publish_aborted", name: "PublishError" };

/** Good today. */
const newStamp = () => stamp({ fromMs: Date.now() - 1_000, toMs: Date.now() + 86_400_000 });

type Sent = { envelopes: { stamp?: string; timestampNs: string }[] };

/** A publisher with some stamps, to a node that takes everything unless it is told otherwise. */
async function scene(stamps: number) {
  const store = new MemoryStampStore();
  await store.add(Array.from({ length: stamps }, newStamp));
  const sent: Sent[] = [];
  const line: { answer: Fetch } = { answer: async () => Response.json({}) };
  const fetch: Fetch = async (url, init) => {
    if (url.endsWith("/v1/info"))
      return Response.json({ key: toHex(node), networkId: toHex(network.id), network: "test" });
    sent.push(JSON.parse(new TextDecoder().decode(init.body as Uint8Array)));
    return line.answer(url, init);
  };
  const http = new NodeHttp("https://node.test", { fetch, maxTries: 1 });
  const facts = new NodeFacts(http, {}, suite);
  const shop = {
    buy: vi.fn(async (): Promise<KeptStamp[]> => Promise.reject(new Error("the shop burnt down"))),
  };
  const delayMs = { least: 0, most: 0 };
  const policy = { ahead: 0, delayMs, buysWhenEmpty: true, failed: () => {} };
  const purse = new Purse({ store, shop, facts, now: Date.now, ...policy });
  onTestFinished(() => purse.close());
  const identity = undefined;
  const publisher = new Publisher({ http, facts, suite, now: Date.now, identity, purse });
  return { store, sent, line, shop, purse, publisher };
}

/** What a publish of a greeting came to. */
async function failureOf(publisher: Publisher, signal?: AbortSignal): Promise<PublishError> {
  const publish = publisher.prepare([hello], "stamps", signal).then((each) => publisher.send(each, signal));
  const error = await publish.catch((reason: unknown) => reason);
  if (error instanceof PublishError) return error;
  throw new Error("it is a PublishError", { cause: error });
}

test("a way to be admitted that there is not sends nothing, and takes no stamp", async () => {
  const { publisher, store, sent } = await scene(1);
  // As a program without types may say it: it must not go as an open publish.
  const refused = publisher.prepare([hello], "stamp" as "stamps");
  await expect(refused).rejects.toMatchObject({ code: "admission_way_invalid" });
  expect([sent.length, await store.list()]).toEqual([0, [expect.anything()]]);
});

describe("a publish that fails can be sent again as it was", () => {
  test.each(["list", "remove"] as const)("where the store's %s does", async (method) => {
    const { publisher, store, sent } = await scene(2);
    const broken = new Error("the disk is full");
    vi.spyOn(store, method).mockRejectedValueOnce(broken);
    const error = await failureOf(publisher);
    expect(error).toMatchObject({ code: "stamp_store_failed", cause: { cause: broken } });
    expect([sent, await store.list()]).toEqual(
      [[], { length: 2 }].map((each) => expect.objectContaining(each)),
    );
    vi.useFakeTimers({ now: Date.now() + 60_000, toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    await publisher.send(JSON.parse(JSON.stringify(error.prepared)));
    expect(sent).toMatchObject([
      { envelopes: [{ ...error.prepared.envelopes[0], stamp: expect.any(String) }] },
    ]);
  });

  test("where no stamp is to be had", async () => {
    const { publisher, store, sent } = await scene(0);
    const error = await failureOf(publisher);
    expect(error).toMatchObject({ code: "publish_failed", message: expect.stringContaining("burnt down") });
    await store.add([newStamp()]);
    await publisher.send(error.prepared);
    expect(sent).toHaveLength(1);
  });

  test("where the caller aborts it while the node says nothing: with the same stamp", async () => {
    const { publisher, line, sent, store } = await scene(2);
    const aborting = new AbortController();
    const reason = new Error("no patience");
    line.answer = () => {
      aborting.abort(reason);
      return new Promise(() => {});
    };
    const error = await failureOf(publisher, aborting.signal);
    expect(error).toMatchObject({ ...aborted, cause: reason });
    line.answer = async () => Response.json({});
    await publisher.send(error.prepared);
    expect(sent[1]).toEqual(sent[0]);
    expect(await store.list()).toHaveLength(1);
  });

  test("where the caller aborts it before: nothing is sent, and no stamp is gone", async () => {
    const { publisher, sent, store, purse } = await scene(1);
    await purse.count();
    const error = await failureOf(publisher, AbortSignal.abort());
    expect(error).toMatchObject(aborted);
    expect(await store.list()).toHaveLength(1);
    const stamped = await publisher.prepare([hello], "stamps");
    const refused = vi.spyOn(purse, "noteRefusal");
    await expect(publisher.send(stamped, AbortSignal.abort())).rejects.toMatchObject({
      ...aborted,
      prepared: stamped,
    });
    // What was not sent the node did not refuse.
    expect([sent, refused.mock.calls]).toEqual([[], []]);
  });

  test("where it was prepared for another node, or the node does not say who it is", async () => {
    const { publisher, sent } = await scene(1);
    const prepared = { ...(await publisher.prepare([hello], "open")), node: "00".repeat(32) };
    const failed = { name: "PublishError", code: "node_unexpected", prepared };
    await expect(publisher.send(prepared)).rejects.toMatchObject(failed);
    const http = new NodeHttp("https://node.test", {
      fetch: () => Promise.reject(new Error("away")),
      maxTries: 1,
    });
    const facts = new NodeFacts(http, {}, suite);
    const away = new Publisher({ http, facts, suite, now: Date.now, identity: undefined, purse: undefined });
    const lost = { name: "PublishError", code: "node_unreachable", prepared };
    await expect(away.send(prepared)).rejects.toMatchObject(lost);
    expect(sent).toEqual([]);
  });
});

describe("what is no publish is refused, and nothing is sent", () => {
  const messageOf = (message: unknown) => [{ topic: TOPIC, message }] as NewEnvelope[];

  test.each<[string, unknown, string, string]>([
    ["no envelope", [], "envelopes_missing", "one envelope or more"],
    ["no list", hello, "envelopes_missing", "one envelope or more"],
    ["a text as a message", messageOf("hello"), "message_invalid", "new TextEncoder().encode(text)"],
    ["no message", messageOf(undefined), "message_invalid", "Uint8Array"],
    ["other numbers than bytes", messageOf(new Uint16Array(2)), "message_invalid", "Uint8Array"],
    ["no envelope in the list", [null], "topic_empty", "a string"],
    ["a topic that is no text", [{ ...hello, topic: 7 }], "topic_empty", "a string"],
    ["a number as a time", [{ ...hello, timestampNs: 7 }], "time_invalid", "bigint"],
  ])("%s", async (_, envelopes, code, hint) => {
    const { publisher, sent } = await scene(1);
    const prepared = publisher.prepare(envelopes as NewEnvelope[]);
    const message = expect.stringContaining(hint);
    await expect(prepared).rejects.toMatchObject({ name: "PennypostError", code, message });
    expect(sent).toEqual([]);
  });

  test.each(["contact", "privatestore"])("a stamp for a wallet's own topic: %s", async (kind) => {
    const { publisher, store } = await scene(1);
    const topic = `/xmtp/0/${kind}-${WALLET}/proto`;
    const message = expect.stringContaining('{ by: "wallet" }');
    const prepared = publisher.prepare([{ topic, message: utf8("x") }], "stamps");
    await expect(prepared).rejects.toMatchObject({ code: "topic_restricted", message });
    expect(await store.list()).toHaveLength(1);
  });
});
