import { type Bytes, utf8 } from "../bytes.ts";
import { encodeCbor } from "../cbor.ts";
import { createEvent, envelopeDigest, signedBytes } from "../event.ts";
import { digestOfId, eventCid, eventId } from "../event-id.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import { MAX_LINKS, MAX_MESSAGE_BYTES, MAX_SEQ, MAX_UINT64 } from "../limits.ts";
import { bucketOf, topicKey } from "../topic.ts";
import {
  developmentNetwork,
  hex,
  patternMessage,
  seedOf,
  signerOf,
  suite,
  toMessageForm,
} from "./encoding.ts";

const START_MS = Date.UTC(2026, 2, 1);
const SEQ = firstSeqOf(START_MS) | 5n;

interface Input {
  readonly description: string;
  readonly topic: string;
  readonly ts?: bigint;
  readonly message?: Bytes;
  readonly links?: readonly Bytes[];
  readonly seq?: bigint;
  readonly grant?: unknown;
  readonly signer?: string;
}

/** Made-up parents: a link need not lead to an event that anyone has. */
const linkTo = (seq: bigint, name: string): Bytes => eventId(seq, suite.sha256(utf8(name)));
const sixteenLinks = Array.from({ length: MAX_LINKS }, (_, i) =>
  linkTo(SEQ - 1_024n * BigInt(MAX_LINKS - i), `parent ${i}`),
);
const twoOfOneSeq = [linkTo(SEQ - 1n, "b"), linkTo(SEQ - 1n, "a")].sort((a, b) => (hex(a) < hex(b) ? -1 : 1));

const CONVERSATION = "/xmtp/0/m-Wl3Aw8yZp7Zy0eCq1F5o4w/proto";

const INPUTS: readonly Input[] = [
  { description: "A plain event of a conversation, without parents.", topic: CONVERSATION },
  { description: "The client's timestampNs is 0.", topic: CONVERSATION, ts: 0n },
  { description: "The client's timestampNs is 2^64 - 1.", topic: CONVERSATION, ts: MAX_UINT64 },
  {
    description: "A timestampNs of 2^53, the first that a double cannot count on from.",
    topic: CONVERSATION,
    ts: 2n ** 53n,
  },
  { description: "A timestampNs of 2^53 - 1.", topic: CONVERSATION, ts: 2n ** 53n - 1n },
  { description: "One parent.", topic: CONVERSATION, links: [linkTo(SEQ - 1_024n, "parent")] },
  { description: "Sixteen parents, the most there may be.", topic: CONVERSATION, links: sixteenLinks },
  {
    description: "Two parents with one seq, which are sorted by their digests.",
    topic: CONVERSATION,
    links: twoOfOneSeq,
  },
  { description: "A topic that is not ASCII.", topic: "/xmtp/0/\u{1F600}-grüße-消息/proto" },
  {
    description: "A topic that begins with U+FEFF, which belongs to it.",
    topic: "\uFEFF/xmtp/0/m-marked/proto",
  },
  { description: "A topic that is U+FEFF alone.", topic: "\uFEFF" },
  { description: "A topic that begins with U+FEFF twice.", topic: "\uFEFF\uFEFFtwice" },
  { description: "A topic of 300 bytes, the most there may be.", topic: `/xmtp/0/${"é".repeat(146)}` },
  { description: "A topic with a zero byte and a line feed.", topic: "a\0b\nc" },
  { description: "An empty message.", topic: CONVERSATION, message: new Uint8Array() },
  {
    description: "A message of 1,048,214 bytes, the most there may be; byte i of it is i mod 251.",
    topic: CONVERSATION,
    message: patternMessage(MAX_MESSAGE_BYTES),
  },
  { description: "An event of the ephemeral class.", topic: "/xmtp/0/mE-Wl3Aw8yZp7Zy0eCq1F5o4w/proto" },
  { description: "An event of the class that is kept for ever.", topic: "/xmtp/0/contact-0x00/proto" },
  { description: "An event of the class of all other topics.", topic: "weather/zurich" },
  { description: "The greatest seq that there may be, 2^63 - 1.", topic: CONVERSATION, seq: MAX_SEQ },
  {
    description: "The first seq that the genesis allows.",
    topic: CONVERSATION,
    seq: firstSeqOf(developmentNetwork.genesis.createdMs),
  },
  {
    description: "A grant, which stands between class and links in the block.",
    topic: CONVERSATION,
    grant: { nonce: seedOf("nonce"), kind: "stamp", nested: { list: [1, -1, null, true, 1.5] } },
  },
  { description: "An empty grant, which is not the same as none.", topic: CONVERSATION, grant: {} },
  { description: "The same envelope at another origin.", topic: CONVERSATION, signer: "second origin" },
];

function caseOf(input: Input) {
  const signerName = input.signer ?? "origin";
  const topic = utf8(input.topic);
  const grant = input.grant === undefined ? undefined : encodeCbor(input.grant);
  const event = createEvent(
    {
      net: developmentNetwork.id,
      topic,
      ts: input.ts ?? BigInt(START_MS) * 1_000_000n,
      class: developmentNetwork.classOf(topic).id,
      links: input.links ?? [],
      seq: input.seq ?? SEQ,
      message: input.message ?? utf8("Grüezi! \u{1F600}"),
      ...(grant ? { grant } : {}),
    },
    signerOf(signerName),
    suite,
  );
  const { fields } = event;
  const digest = digestOfId(event.id);
  const key = topicKey(topic, suite);
  return {
    description: input.description,
    input: {
      genesis: "development",
      seed: hex(seedOf(signerName)),
      topic: input.topic,
      topicUtf8: hex(topic),
      ts: String(fields.ts),
      ...toMessageForm(event.message),
      links: fields.links.map(hex),
      seq: String(fields.seq),
      grant: grant ? hex(grant) : null,
    },
    expected: {
      net: hex(fields.net),
      origin: hex(fields.origin),
      class: fields.class,
      size: fields.size,
      messageDigest: hex(fields.msg),
      block: hex(event.block),
      blockDigest: hex(digest),
      cid: eventCid(digest).toString(),
      id: hex(event.id),
      signedBytes: hex(signedBytes(digest)),
      signature: hex(event.signature),
      envelopeDigest: hex(envelopeDigest(topic, event.message, suite)),
      topicKey: hex(key),
      bucket: bucketOf(key),
    },
  };
}

export const eventVectors = () => ({ cases: INPUTS.map(caseOf) });
