import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import { type EncodedEvent, encodeBlock, signedBytes, type WireEvent } from "../protocol/event.ts";
import { eventId } from "../protocol/event-id.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodePush } from "../protocol/peer-messages.ts";
import refused from "../protocol/vectors/refused.json" with { type: "json" };
import { guardedNode } from "./support/guarded-node.ts";
import { newSigner, network as rules, suite } from "./support/peer.ts";

/** Events that break a rule, in correctly signed requests to the peer API of a real node. */

const TOPIC = "/xmtp/0/m-bad-events/proto";
const MINUTE_MS = 60_000;
const guarded = guardedNode(TOPIC);

/** An event with another block, signed for it. */
const withBlock = (event: EncodedEvent, block: Bytes, signer = guarded.peer.signer): WireEvent => ({
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
        const event = guarded.peer.event(TOPIC);
        return { ...event, message: flipped(event.message) };
      },
    ],
    [
      "whose message is longer than they say",
      () => {
        const event = guarded.peer.event(TOPIC);
        return { ...event, message: concatBytes(event.message, Uint8Array.of(0)) };
      },
    ],
    [
      "whose signature is of another event",
      () => ({ ...guarded.peer.event(TOPIC), signature: guarded.peer.event(TOPIC).signature }),
    ],
    [
      "whose signature is of another key",
      () => {
        const event = guarded.peer.event(TOPIC);
        return withBlock(event, event.block, newSigner());
      },
    ],
    [
      "whose signature has one other bit",
      () => {
        const event = guarded.peer.event(TOPIC);
        return { ...event, signature: flipped(event.signature) };
      },
    ],
    [
      "whose signature is over the digest alone",
      () => {
        const event = guarded.peer.event(TOPIC);
        return { ...event, signature: guarded.peer.signer.sign(suite.sha256(event.block)) };
      },
    ],
    [
      "of an origin that did not sign",
      () => {
        const event = guarded.peer.event(TOPIC);
        const origin = newSigner().publicKey;
        return withBlock(event, encodeBlock({ ...event.fields, origin }));
      },
    ],
    [
      "of an origin that is no key",
      () => {
        const event = guarded.peer.event(TOPIC);
        return withBlock(event, encodeBlock({ ...event.fields, origin: new Uint8Array(32).fill(255) }));
      },
    ],
    [
      "of a node's own key that the node did not sign",
      () => {
        const event = guarded.peer.event(TOPIC);
        return withBlock(event, encodeBlock({ ...event.fields, origin: fromHex(guarded.node.key) }));
      },
    ],
    [
      "whose seq is not above a link's",
      () => {
        const parent = guarded.peer.event(TOPIC);
        return guarded.peer.event(TOPIC, { links: [parent.id], seq: parent.fields.seq });
      },
    ],
    [
      "older than the genesis",
      () => guarded.peer.event(TOPIC, { seq: firstSeqOf(rules.genesis.createdMs) - 1n }),
    ],
    ["with an empty topic", () => guarded.peer.event("", {})],
    ["with a topic of 301 bytes", () => guarded.peer.event("x".repeat(301))],
    [
      "with a lone surrogate in the topic",
      () => {
        const event = guarded.peer.event("/xmtp/0/m-\u0800/proto");
        return withBlock(event, replaced(event.block, utf8("\u0800"), Uint8Array.of(0xed, 0xa0, 0x80)));
      },
    ],
    ["of another class", () => guarded.peer.event(TOPIC, { class: 3 })],
    ["of a class that is not there", () => guarded.peer.event(TOPIC, { class: 77 })],
    ["of another network", () => guarded.peer.event(TOPIC, { net: suite.sha256(utf8("another")) })],
    ["with 17 links", () => guarded.peer.event(TOPIC, { links: idsBelowNow(17) })],
    ["with links that are not sorted", () => guarded.peer.event(TOPIC, { links: idsBelowNow(2).reverse() })],
    [
      "with a link twice",
      () => guarded.peer.event(TOPIC, { links: idsBelowNow(1).flatMap((id) => [id, id]) }),
    ],
    [
      "that are ephemeral and have a link",
      () => guarded.peer.event("/xmtp/0/mE-bad/proto", { links: idsBelowNow(1) }),
    ],
    [
      "with a field more",
      () => {
        const event = guarded.peer.event(TOPIC);
        // A map of eleven; the new name sorts first of those of three letters.
        const extended = concatBytes(Uint8Array.of(0xab), event.block.subarray(1));
        return withBlock(event, replaced(extended, utf8("cmsg"), utf8("cabc\u0001cmsg")));
      },
    ],
    [
      "that are not canonical",
      () => {
        const event = guarded.peer.event(TOPIC);
        // `v: 1` with the 1 in two bytes.
        return withBlock(
          event,
          replaced(event.block, utf8("av\u0001"), concatBytes(utf8("av"), Uint8Array.of(0x18, 1))),
        );
      },
    ],
    ["that are no map", () => withBlock(guarded.peer.event(TOPIC), Uint8Array.of(0x80))],
    [
      "with bytes after the block",
      () => {
        const event = guarded.peer.event(TOPIC);
        return withBlock(event, concatBytes(event.block, Uint8Array.of(0)));
      },
    ],
  ])("%s", async (_, event) => {
    expect(await guarded.peer.pushEvents(event())).toEqual({ lacking: false, refused: 1 });
  });

  const idsBelowNow = (count: number): Bytes[] =>
    Array.from({ length: count }, (_, i) =>
      eventId(firstSeqOf(Date.now() - MINUTE_MS) + BigInt(i), new Uint8Array(32)),
    );

  test("that are bad do not keep a good one of the same push from being stored", async () => {
    const good = guarded.peer.event(`${TOPIC}/good`);
    const bad = guarded.peer.event(TOPIC, { class: 3 });
    const before = await guarded.peer.storedIds();
    const answer = await guarded.peer.pushEvents(bad, good, { ...bad, block: Uint8Array.of(0x80) });
    expect(answer).toEqual({ lacking: false, refused: 2 });
    expect(await guarded.peer.storedIds()).toEqual([...before, toHex(good.id)].sort());
    await guarded.allow();
  });

  test("that are ahead of the clock are not stored, and not held against the peer", async () => {
    for (const aheadMs of [5 * MINUTE_MS, 60 * MINUTE_MS])
      expect(
        await guarded.peer.pushEvents(guarded.peer.event(TOPIC, { seq: firstSeqOf(Date.now() + aheadMs) })),
      ).toEqual({
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
    const body = encodePush({ runs: [{ previous: null, events: [wire] }], ephemeral: [] });
    const response = await guarded.peer.send("/peer/v1/push", body);
    expect([200, 400]).toContain(response.status);
  });
});
