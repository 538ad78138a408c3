import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Bytes, concatBytes, fromHex, utf8 } from "../protocol/bytes.ts";
import { encodeCbor } from "../protocol/cbor.ts";
import { type EncodedEvent, encodeBlock, signedBytes, type WireEvent } from "../protocol/event.ts";
import { eventId } from "../protocol/event-id.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodePull, encodePush } from "../protocol/peer-messages.ts";
import refused from "../protocol/vectors/refused.json" with { type: "json" };
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { newSigner, network as rules, suite, type Tampering, TestPeer } from "./support/peer.ts";
import { expectHealthy, expectRefusal, REFUSALS, type Refusal } from "./support/refusals.ts";

/** Bad input to the peer API of a real node: what is refused, and that nothing of it is stored. */

const TOPIC = "/xmtp/0/m-bad-peer/proto";
const MINUTE_MS = 60_000;

let network: TestNetwork;
let node: TestNode;
let peer: TestPeer;
let stored: readonly string[];

beforeAll(async () => {
  network = await startNetwork(1);
  node = network.node(0);
  peer = new TestPeer(node);
  return () => network.stop();
});

beforeEach(async () => {
  stored = await peer.storedIds();
});

/** Nothing was stored, by any of the ways to look, and the node works. */
afterEach(async () => {
  expect(await peer.storedIds()).toEqual(stored);
  expect(await node.queryAll(TOPIC)).toEqual([]);
  expect(await node.events(TOPIC)).toEqual([]);
  expect(await node.heads(TOPIC)).toEqual([]);
  await expectHealthy(node);
});

const pushOf = (...events: readonly WireEvent[]): Bytes =>
  encodePush({ runs: [{ previous: null, events }], ephemeral: [] });

describe("requests", () => {
  const empty = encodePull({ cursors: [] });

  test("without a signature", async () => {
    const response = await node.request("/peer/v1/push", { method: "POST", body: pushOf(peer.event(TOPIC)) });
    await expectRefusal(response, REFUSALS.unauthenticated);
    expect(response.headers.get("www-authenticate")).not.toBeNull();
  });

  test.each<[string, () => Tampering]>([
    ["signed 10 min ago", () => ({ nowMs: Date.now() - 10 * MINUTE_MS })],
    ["signed 10 min ahead", () => ({ nowMs: Date.now() + 10 * MINUTE_MS })],
    ["signed for another node", () => ({ receiver: newSigner().publicKey })],
    [
      "signed for another node, with the header put right",
      () => ({
        receiver: newSigner().publicKey,
        headers: (headers) => ({ ...headers, "pennypost-to": node.key }),
      }),
    ],
    ["signed for another path", () => ({ signedPath: "/peer/v1/pull" })],
    ["signed for another method", () => ({ signedMethod: "GET" })],
    ["signed over another body", () => ({ signedBody: empty })],
    [
      "signed over another body, with the digest put right",
      () => {
        const body = pushOf(peer.event(TOPIC));
        const right = `sha-256=:${Buffer.from(suite.sha256(body)).toString("base64")}:`;
        return { signedBody: empty, headers: (headers) => ({ ...headers, "content-digest": right }) };
      },
    ],
    [
      "with another key's signature",
      () => ({
        headers: ({ "signature-input": input = "", ...headers }) => ({
          ...headers,
          "signature-input": input.replace(/keyid="[^"]*"/, `keyid="${"ab".repeat(32)}"`),
        }),
      }),
    ],
    [
      "with a signature of zeros",
      () => ({
        headers: (headers) => ({ ...headers, signature: `node=:${Buffer.alloc(64).toString("base64")}:` }),
      }),
    ],
    [
      "with a signature that is none",
      () => ({ headers: (headers) => ({ ...headers, signature: "node=???" }) }),
    ],
    [
      "with an input that is none",
      () => ({ headers: (headers) => ({ ...headers, "signature-input": "(" }) }),
    ],
    [
      "that leave the digest out of what is signed",
      () => ({
        headers: ({ "signature-input": input = "", ...headers }) => ({
          ...headers,
          "signature-input": input.replace(' "content-digest"', ""),
        }),
      }),
    ],
  ])("%s", async (_, tampering) => {
    const response = await peer.send("/peer/v1/push", pushOf(peer.event(TOPIC)), tampering());
    await expectRefusal(response, REFUSALS.unauthenticated);
  });

  const hugeArray = Uint8Array.of(0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
  test.each<[string, Uint8Array<ArrayBuffer>, Refusal]>([
    ["nothing", new Uint8Array(), REFUSALS.invalid],
    ["no CBOR", utf8("no CBOR at all"), REFUSALS.invalid],
    ["lists nested 10,000 deep", new Uint8Array(10_001).fill(0x81, 0, 10_000), REFUSALS.invalid],
    ["maps nested 10,000 deep", Uint8Array.from(Array(10_000).fill([0xa1, 0x60]).flat()), REFUSALS.invalid],
    [
      "a million empty maps",
      concatBytes(Uint8Array.of(0x9a, 0x00, 0x0f, 0x42, 0x40), new Uint8Array(1_000_000).fill(0xa0)),
      REFUSALS.invalid,
    ],
    ["a list of 2^64-1 items, by its own word", hugeArray, REFUSALS.invalid],
    [
      "a list of 2^32-1 items, by its own word",
      Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff),
      REFUSALS.invalid,
    ],
    ["bytes longer than the body", Uint8Array.of(0x81, 0x5a, 0x7f, 0xff, 0xff, 0xff, 1), REFUSALS.invalid],
    [
      "a text longer than the body",
      Uint8Array.of(0x81, 0x7b, 0, 0, 0, 1, 0, 0, 0, 0, 0x61),
      REFUSALS.invalid,
    ],
    ["a list of an indefinite length", Uint8Array.of(0x9f, 0xff), REFUSALS.invalid],
    [
      "bytes after the end",
      concatBytes(encodePush({ runs: [], ephemeral: [] }), Uint8Array.of(0)),
      REFUSALS.invalid,
    ],
    ["another type", encodeCbor({ runs: [] }), REFUSALS.invalid],
    ["a run that is no pair", encodeCbor([[[]], []]), REFUSALS.invalid],
    ["an event that is no triple", encodeCbor([[[null, [[new Uint8Array(1)]]]], []]), REFUSALS.invalid],
    [
      "a signature of 63 bytes",
      encodeCbor([[[null, [[new Uint8Array(9), new Uint8Array(63), new Uint8Array()]]]], []]),
      REFUSALS.invalid,
    ],
    [
      "a block of 8,193 bytes",
      encodeCbor([[[null, [[new Uint8Array(8_193), new Uint8Array(64), new Uint8Array()]]]], []]),
      REFUSALS.invalid,
    ],
    [
      "99 hops",
      encodeCbor([[], [[99, [new Uint8Array(9), new Uint8Array(64), new Uint8Array()]]]]),
      REFUSALS.invalid,
    ],
    ["3 MB", new Uint8Array(3 * 1024 * 1024), REFUSALS.exhausted],
  ])("that hold %s", async (_, body, refusal) => {
    for (const path of ["/peer/v1/push", "/peer/v1/pull", "/peer/v1/want"])
      await expectRefusal(await peer.send(path, body), refusal);
  });
});

/** An event with another block, signed for it. */
const withBlock = (event: EncodedEvent, block: Bytes, signer = peer.signer): WireEvent => ({
  block,
  message: event.message,
  signature: signer.sign(signedBytes(suite.sha256(block))),
});

const replaced = (block: Bytes, from: Uint8Array, to: Uint8Array): Bytes => {
  const at = Buffer.from(block).indexOf(from);
  return concatBytes(block.subarray(0, at), to, block.subarray(at + from.length));
};

const flipped = (bytes: Bytes): Bytes => bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));

describe("events", () => {
  test.each<[string, () => WireEvent]>([
    [
      "whose message has another hash",
      () => {
        const event = peer.event(TOPIC);
        return { ...event, message: flipped(event.message) };
      },
    ],
    [
      "whose message is longer than they say",
      () => {
        const event = peer.event(TOPIC);
        return { ...event, message: concatBytes(event.message, Uint8Array.of(0)) };
      },
    ],
    [
      "whose signature is of another event",
      () => ({ ...peer.event(TOPIC), signature: peer.event(TOPIC).signature }),
    ],
    [
      "whose signature is of another key",
      () => {
        const event = peer.event(TOPIC);
        return withBlock(event, event.block, newSigner());
      },
    ],
    [
      "whose signature has one other bit",
      () => {
        const event = peer.event(TOPIC);
        return { ...event, signature: flipped(event.signature) };
      },
    ],
    [
      "whose signature is over the digest alone",
      () => {
        const event = peer.event(TOPIC);
        return { ...event, signature: peer.signer.sign(suite.sha256(event.block)) };
      },
    ],
    [
      "of an origin that did not sign",
      () => {
        const event = peer.event(TOPIC);
        const origin = newSigner().publicKey;
        return withBlock(event, encodeBlock({ ...event.fields, origin }));
      },
    ],
    [
      "of an origin that is no key",
      () => {
        const event = peer.event(TOPIC);
        return withBlock(event, encodeBlock({ ...event.fields, origin: new Uint8Array(32).fill(255) }));
      },
    ],
    [
      "of a node's own key that the node did not sign",
      () => {
        const event = peer.event(TOPIC);
        return withBlock(event, encodeBlock({ ...event.fields, origin: fromHex(node.key) }));
      },
    ],
    [
      "whose seq is not above a link's",
      () => {
        const parent = peer.event(TOPIC);
        return peer.event(TOPIC, { links: [parent.id], seq: parent.fields.seq });
      },
    ],
    ["older than the genesis", () => peer.event(TOPIC, { seq: firstSeqOf(rules.genesis.createdMs) - 1n })],
    ["with an empty topic", () => peer.event("", {})],
    ["with a topic of 301 bytes", () => peer.event("x".repeat(301))],
    [
      "with a lone surrogate in the topic",
      () => {
        const event = peer.event("/xmtp/0/m-\u0800/proto");
        return withBlock(event, replaced(event.block, utf8("\u0800"), Uint8Array.of(0xed, 0xa0, 0x80)));
      },
    ],
    ["of another class", () => peer.event(TOPIC, { class: 3 })],
    ["of a class that is not there", () => peer.event(TOPIC, { class: 77 })],
    ["of another network", () => peer.event(TOPIC, { net: suite.sha256(utf8("another")) })],
    ["with 17 links", () => peer.event(TOPIC, { links: idsBelowNow(17) })],
    ["with links that are not sorted", () => peer.event(TOPIC, { links: idsBelowNow(2).reverse() })],
    ["with a link twice", () => peer.event(TOPIC, { links: idsBelowNow(1).flatMap((id) => [id, id]) })],
    [
      "that are ephemeral and have a link",
      () => peer.event("/xmtp/0/mE-bad/proto", { links: idsBelowNow(1) }),
    ],
    [
      "with a field more",
      () => {
        const event = peer.event(TOPIC);
        // A map of eleven; the new name sorts first of those of three letters.
        const extended = concatBytes(Uint8Array.of(0xab), event.block.subarray(1));
        return withBlock(event, replaced(extended, utf8("cmsg"), utf8("cabc\u0001cmsg")));
      },
    ],
    [
      "that are not canonical",
      () => {
        const event = peer.event(TOPIC);
        // `v: 1` with the 1 in two bytes.
        return withBlock(
          event,
          replaced(event.block, utf8("av\u0001"), concatBytes(utf8("av"), Uint8Array.of(0x18, 1))),
        );
      },
    ],
    ["that are no map", () => withBlock(peer.event(TOPIC), Uint8Array.of(0x80))],
    [
      "with bytes after the block",
      () => {
        const event = peer.event(TOPIC);
        return withBlock(event, concatBytes(event.block, Uint8Array.of(0)));
      },
    ],
  ])("%s", async (_, event) => {
    expect(await peer.pushEvents(event())).toEqual({ lacking: false, refused: 1 });
  });

  const idsBelowNow = (count: number): Bytes[] =>
    Array.from({ length: count }, (_, i) =>
      eventId(firstSeqOf(Date.now() - MINUTE_MS) + BigInt(i), new Uint8Array(32)),
    );

  test("that are ahead of the clock are not stored, and not held against the peer", async () => {
    for (const aheadMs of [5 * MINUTE_MS, 60 * MINUTE_MS])
      expect(await peer.pushEvents(peer.event(TOPIC, { seq: firstSeqOf(Date.now() + aheadMs) }))).toEqual({
        lacking: false,
        refused: 0,
      });
  });

  test.each(refused.cases)("of the vectors: $rule: $description", async (each) => {
    const message =
      "message" in each ? Buffer.from(each.message, "base64") : new Uint8Array(each.patternBytes);
    const wire = {
      block: fromHex(each.block),
      signature: fromHex(each.signature),
      message: Uint8Array.from(message),
    };
    // A block or a signature of an impossible size is refused with the whole request.
    const response = await peer.send("/peer/v1/push", pushOf(wire));
    expect([200, 400]).toContain(response.status);
  });
});
