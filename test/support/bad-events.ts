import { type Bytes, concatBytes, fromHex, utf8 } from "../../protocol/bytes.ts";
import { type EncodedEvent, encodeBlock, signedBytes, type WireEvent } from "../../protocol/event.ts";
import { eventId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { newSigner, network as rules, suite, type TestPeer } from "./peer.ts";

const MINUTE_MS = 60_000;

/** An event with another block, signed for it. */
const withBlock = (peer: TestPeer, event: EncodedEvent, block: Bytes, signer = peer.signer): WireEvent => ({
  block,
  message: event.message,
  signature: signer.sign(signedBytes(suite.sha256(block))),
});

const replaced = (block: Bytes, from: Uint8Array, to: Uint8Array): Bytes => {
  const at = Buffer.from(block).indexOf(from);
  return concatBytes(block.subarray(0, at), to, block.subarray(at + from.length));
};

const flipped = (bytes: Bytes): Bytes => bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));

const idsBelowNow = (count: number): Bytes[] =>
  Array.from({ length: count }, (_, i) =>
    eventId(firstSeqOf(Date.now() - MINUTE_MS) + BigInt(i), new Uint8Array(32)),
  );

/** Events of a peer that break a rule each, by what is wrong with them. */
export const BAD_EVENTS: readonly (readonly [string, (peer: TestPeer, topic: string) => WireEvent])[] = [
  [
    "whose message has another hash",
    (peer, topic) => {
      const event = peer.event(topic);
      return { ...event, message: flipped(event.message) };
    },
  ],
  [
    "whose message is longer than they say",
    (peer, topic) => {
      const event = peer.event(topic);
      return { ...event, message: concatBytes(event.message, Uint8Array.of(0)) };
    },
  ],
  [
    "whose signature is of another event",
    (peer, topic) => ({ ...peer.event(topic), signature: peer.event(topic).signature }),
  ],
  [
    "whose signature is of another key",
    (peer, topic) => {
      const event = peer.event(topic);
      return withBlock(peer, event, event.block, newSigner());
    },
  ],
  [
    "whose signature has one other bit",
    (peer, topic) => {
      const event = peer.event(topic);
      return { ...event, signature: flipped(event.signature) };
    },
  ],
  [
    "whose signature is over the digest alone",
    (peer, topic) => {
      const event = peer.event(topic);
      return { ...event, signature: peer.signer.sign(suite.sha256(event.block)) };
    },
  ],
  [
    "of an origin that did not sign",
    (peer, topic) => {
      const event = peer.event(topic);
      const origin = newSigner().publicKey;
      return withBlock(peer, event, encodeBlock({ ...event.fields, origin }));
    },
  ],
  [
    "of an origin that is no key",
    (peer, topic) => {
      const event = peer.event(topic);
      return withBlock(peer, event, encodeBlock({ ...event.fields, origin: new Uint8Array(32).fill(255) }));
    },
  ],
  [
    "of a node's own key that the node did not sign",
    (peer, topic) => {
      const event = peer.event(topic);
      return withBlock(peer, event, encodeBlock({ ...event.fields, origin: fromHex(peer.node.key) }));
    },
  ],
  [
    "whose seq is not above a link's",
    (peer, topic) => {
      const parent = peer.event(topic);
      return peer.event(topic, { links: [parent.id], seq: parent.fields.seq });
    },
  ],
  [
    "older than the genesis",
    (peer, topic) => peer.event(topic, { seq: firstSeqOf(rules.genesis.createdMs) - 1n }),
  ],
  ["with an empty topic", (peer) => peer.event("")],
  ["with a topic of 301 bytes", (peer) => peer.event("x".repeat(301))],
  [
    "with a lone surrogate in the topic",
    (peer) => {
      const event = peer.event("/xmtp/0/m-\u0800/proto");
      return withBlock(peer, event, replaced(event.block, utf8("\u0800"), Uint8Array.of(0xed, 0xa0, 0x80)));
    },
  ],
  ["of another class", (peer, topic) => peer.event(topic, { class: 3 })],
  ["of a class that is not there", (peer, topic) => peer.event(topic, { class: 77 })],
  ["of another network", (peer, topic) => peer.event(topic, { net: suite.sha256(utf8("another")) })],
  ["with 17 links", (peer, topic) => peer.event(topic, { links: idsBelowNow(17) })],
  ["with links that are not sorted", (peer, topic) => peer.event(topic, { links: idsBelowNow(2).reverse() })],
  [
    "with a link twice",
    (peer, topic) => peer.event(topic, { links: idsBelowNow(1).flatMap((id) => [id, id]) }),
  ],
  [
    "that are ephemeral and have a link",
    (peer) => peer.event("/xmtp/0/mE-bad/proto", { links: idsBelowNow(1) }),
  ],
  [
    "with a field more",
    (peer, topic) => {
      const event = peer.event(topic);
      // A map of eleven; the new name sorts first of those of three letters.
      const extended = concatBytes(Uint8Array.of(0xab), event.block.subarray(1));
      return withBlock(peer, event, replaced(extended, utf8("cmsg"), utf8("cabc\u0001cmsg")));
    },
  ],
  [
    "that are not canonical",
    (peer, topic) => {
      const event = peer.event(topic);
      // `v: 1` with the 1 in two bytes.
      return withBlock(
        peer,
        event,
        replaced(event.block, utf8("av\u0001"), concatBytes(utf8("av"), Uint8Array.of(0x18, 1))),
      );
    },
  ],
  ["that are no map", (peer, topic) => withBlock(peer, peer.event(topic), Uint8Array.of(0x80))],
  [
    "with bytes after the block",
    (peer, topic) => {
      const event = peer.event(topic);
      return withBlock(peer, event, concatBytes(event.block, Uint8Array.of(0)));
    },
  ],
];
