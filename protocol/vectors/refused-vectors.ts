import { type Bytes, concatBytes, fromHex, utf8 } from "../bytes.ts";
import { signedBytes } from "../event.ts";
import { eventCid, eventId, messageCid } from "../event-id.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import {
  developmentNetwork,
  hex,
  patternMessage,
  rawBytes,
  rawList,
  rawMap,
  rawText,
  suite,
  toMessageForm,
} from "./encoding.ts";
import {
  blockOf,
  changed,
  digest,
  GOOD,
  good,
  MESSAGE,
  NOW_MS,
  parents,
  type Refusal,
  rawCid,
  rawLinks,
  rawUint,
  SEQ,
  signatureOf,
  signer,
} from "./good-block.ts";
import { KINDS, NOT_CANONICAL } from "./malformed-blocks.ts";
import { encodedSmallOrderPoint, ORDER, scalarBytes, torsionedKey } from "./signature-vectors.ts";

const LINKS: readonly Refusal[] = [
  changed("links", "Seventeen links.", { links: rawLinks(parents) }),
  changed("links", "Links out of order.", { links: rawLinks([parents[16] as Bytes, parents[15] as Bytes]) }),
  changed("links", "One link twice.", { links: rawLinks([parents[16] as Bytes, parents[16] as Bytes]) }),
  changed("links", "Links with one seq, out of the order of their digests.", {
    links: rawLinks(
      ["a", "b"].map((name) => eventId(SEQ - 1n, digest(name))).sort((a, b) => (hex(a) < hex(b) ? 1 : -1)),
    ),
  }),
  changed("links", "The links are a map.", { links: rawMap() }),
  changed("links", "A link is a CID alone.", { links: rawList(rawCid(eventCid(digest("parent")).bytes)) }),
  changed("links", "A link of three parts.", {
    links: rawList(rawList(rawUint(1), rawCid(eventCid(digest("parent")).bytes), rawUint(1))),
  }),
  changed("form", "A link with a seq of 2^63.", { links: rawLinks([eventId(2n ** 63n, digest("parent"))]) }),
  changed("form", "A link to a raw block.", {
    links: rawList(rawList(rawUint(1), rawCid(messageCid(digest("parent")).bytes))),
  }),
  changed("seq", "A link with the event's own seq.", { links: rawLinks([eventId(SEQ, digest("parent"))]) }),
  changed("seq", "The second link is above the event.", {
    links: rawLinks([parents[16] as Bytes, eventId(SEQ + 1n, digest("parent"))]),
  }),
  changed("links", "An event of the ephemeral class with a link.", {
    topic: rawText("/xmtp/0/mE-refused/proto"),
    class: rawUint(0),
  }),
];

const GRANTS: readonly Refusal[] = [
  changed("grant", "A grant of 4,097 bytes.", {
    grant: rawMap([rawText("a"), rawBytes(patternMessage(4_091))]),
  }),
  changed("grant", "A grant that is a list.", { grant: rawList() }),
  changed("grant", "A grant that is null.", { grant: fromHex("f6") }),
  changed("grant", "A grant that is bytes.", { grant: rawBytes(MESSAGE) }),
  changed("grant", "A grant that is a CID.", { grant: GOOD.msg }),
  changed("grant", 'A grant with equal fields "/" and "bytes", which libraries cannot encode.', {
    grant: rawMap([rawText("/"), rawText("a")], [rawText("bytes"), rawText("a")]),
  }),
];

const beforeGenesis = firstSeqOf(developmentNetwork.genesis.createdMs) - 1n;
const CONTENT: readonly Refusal[] = [
  changed("network", "The event is of another network.", { net: rawBytes(digest("another network")) }),
  {
    ...changed("size", "The message is a byte longer than the block says.", {
      size: rawUint(MESSAGE.length - 1),
    }),
  },
  {
    ...changed("size", "The message is a byte shorter than the block says.", {
      size: rawUint(MESSAGE.length + 1),
    }),
  },
  {
    description: "The message is another one of the same size.",
    rule: "message",
    block: good,
    message: utf8("hallo"),
  },
  changed("class", "The class of all other topics on a conversation.", { class: rawUint(1) }),
  changed("class", "A class that the network does not have.", { class: rawUint(255) }),
  changed("genesis", "The greatest seq before the genesis.", {
    seq: rawUint(beforeGenesis),
    links: rawLinks([]),
  }),
];

const signature = signatureOf(good);
const flipped = (at: number): Bytes => signature.map((byte, i) => (i === at ? byte ^ 1 : byte));
const torsioned = torsionedKey("torsioned origin");
/** The base point (RFC 8032, 5.1). */
const ONE_B = fromHex(`58${"66".repeat(31)}`);
const withOrigin = (key: Bytes): Bytes => blockOf({ origin: rawBytes(key) });
const signed = (description: string, made: Bytes, block: Bytes = good): Refusal => ({
  description,
  rule: "signature",
  block,
  signature: made,
});
const overScalar = (): Bytes => {
  const s = BigInt(`0x${hex(signature.slice(32).reverse())}`);
  return concatBytes(signature.subarray(0, 32), scalarBytes(s + ORDER));
};

const SIGNATURES: readonly Refusal[] = [
  signed("The signature of another key.", signatureOf(good, "second origin")),
  signed("One bit of R is another.", flipped(0)),
  signed("One bit of s is another.", flipped(32)),
  signed("s + L in place of s.", overScalar()),
  signed("A signature of 63 bytes.", signature.slice(0, 63)),
  signed("A signature of 65 bytes.", concatBytes(signature, Uint8Array.of(0))),
  signed("No signature.", new Uint8Array()),
  signed("The signature of another block.", signatureOf(blockOf({ ts: rawUint(0) }))),
  signed("The CID is signed without the domain tag.", signer.sign(eventCid(suite.sha256(good)).bytes)),
  signed("The block is signed, not its CID.", signer.sign(good)),
  signed(
    "The origin is the neutral point, for which R = s·B holds with any block.",
    concatBytes(ONE_B, scalarBytes(1n)),
    withOrigin(encodedSmallOrderPoint(0)),
  ),
  signed("The origin is a point of order 8.", signature, withOrigin(encodedSmallOrderPoint(1))),
  signed(
    "The origin is a point of mixed order; the equation with the cofactor holds.",
    torsioned.sign(signedBytes(suite.sha256(withOrigin(torsioned.publicKey)))),
    withOrigin(torsioned.publicKey),
  ),
  signed(
    "The origin is no point of the curve.",
    signature,
    withOrigin(concatBytes(Uint8Array.of(2), new Uint8Array(31))),
  ),
];

function written(refusal: Pick<Refusal, "block" | "message" | "signature">) {
  return {
    block: hex(refusal.block),
    signature: hex(refusal.signature ?? signatureOf(refusal.block)),
    ...toMessageForm(refusal.message ?? MESSAGE),
  };
}

export const refusedVectors = () => ({
  genesis: "development",
  nowMs: NOW_MS,
  control: {
    description: "The event that all cases are made from: no rule refuses it.",
    ...written({ block: good }),
  },
  cases: [...NOT_CANONICAL, ...KINDS, ...LINKS, ...GRANTS, ...CONTENT, ...SIGNATURES].map((refusal) => ({
    description: refusal.description,
    rule: refusal.rule,
    ...written(refusal),
  })),
});
