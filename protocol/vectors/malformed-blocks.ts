import { type Bytes, concatBytes, fromHex, utf8 } from "../bytes.ts";
import { encodeCbor } from "../cbor.ts";
import { eventCid, messageCid } from "../event-id.ts";
import { MAX_MESSAGE_BYTES } from "../limits.ts";
import {
  developmentNetwork,
  head,
  hex,
  MAJOR,
  patternMessage,
  rawBytes,
  rawList,
  rawMap,
  rawText,
  suite,
} from "./encoding.ts";
import {
  blockOf,
  changed,
  entriesOf,
  GOOD,
  good,
  goodMessageDigest,
  MESSAGE,
  ORDERED_NAMES,
  type Refusal,
  rawCid,
  rawDouble,
  rawLinks,
  rawUint,
  reheaded,
  signer,
  TOPIC,
} from "./good-block.ts";

const indefinite = (major: number, ...items: Bytes[]): Bytes =>
  concatBytes(Uint8Array.of((major << 5) | 31), ...items, Uint8Array.of(0xff));
const nameSwapped = ORDERED_NAMES.with(0, "ts").with(1, "v");
const alphabetical = [...ORDERED_NAMES].sort();
const cidChanged = (description: string, bytes: Bytes): Refusal =>
  changed("form", description, { msg: rawCid(bytes) });

/** Forms that are CBOR of some kind, but not the one canonical dag-cbor of the same values. */
export const NOT_CANONICAL: readonly Refusal[] = [
  {
    description: "Two names of the map in the wrong order.",
    rule: "canonical",
    block: blockOf({}, nameSwapped),
  },
  {
    description: "The names of the map in plain alphabetical order, not by length first.",
    rule: "canonical",
    block: blockOf({}, alphabetical),
  },
  changed("cbor_malformed", "The version 1 with an argument of one byte.", { v: head(0, 1, 1) }),
  changed("cbor_malformed", "The size with an argument of two bytes.", { size: head(0, MESSAGE.length, 2) }),
  changed("cbor_malformed", "The class with an argument of four bytes.", { class: head(0, 2, 4) }),
  changed("cbor_malformed", "A timestampNs of 5 with an argument of eight bytes.", { ts: head(0, 5, 8) }),
  changed("cbor_malformed", "The length of the topic in two bytes.", {
    topic: concatBytes(head(3, TOPIC.length, 2), utf8(TOPIC)),
  }),
  changed("cbor_malformed", "The length of the origin in four bytes.", {
    origin: concatBytes(head(2, 32, 4), signer.publicKey),
  }),
  changed("cbor_malformed", "The number of links in one byte.", { links: head(4, 0, 1) }),
  {
    description: "The number of fields in one byte.",
    rule: "cbor_malformed",
    block: reheaded(head(5, 10, 1)),
  },
  changed("cbor_malformed", "The tag 42 in two bytes.", {
    msg: concatBytes(head(6, 42, 2), GOOD.msg.subarray(2)),
  }),
  {
    description: "A map of indefinite length.",
    rule: "cbor_malformed",
    block: indefinite(5, ...entriesOf({}).flat()),
  },
  changed("cbor_malformed", "A list of indefinite length.", { links: indefinite(4) }),
  changed("cbor_malformed", "A text of indefinite length.", { topic: indefinite(3, rawText(TOPIC)) }),
  changed("cbor_malformed", "Bytes of indefinite length.", {
    origin: indefinite(2, rawBytes(signer.publicKey)),
  }),
  changed("canonical", "The version as the double 1.0.", { v: rawDouble(1) }),
  changed("canonical", "The size as a double.", { size: rawDouble(MESSAGE.length) }),
  changed("canonical", "The size as a half-precision number.", { size: fromHex("f94500") }),
  changed("canonical", "A timestampNs of -0.0.", { ts: rawDouble(-0) }),
  {
    description: "The version twice.",
    rule: "cbor_malformed",
    block: concatBytes(head(5, 11), rawText("v"), rawUint(1), ...entriesOf({}).flat()),
  },
  {
    description: "A byte follows the block.",
    rule: "cbor_malformed",
    block: concatBytes(good, Uint8Array.of(0xf6)),
  },
  { description: "The last byte is missing.", rule: "cbor_malformed", block: good.slice(0, -1) },
  { description: "No bytes at all.", rule: "cbor_malformed", block: new Uint8Array() },
  {
    description: "A map of 2^32 fields in five bytes.",
    rule: "cbor_malformed",
    block: head(5, 2n ** 32n - 1n),
  },
  {
    description: "The map says that it has one field more.",
    rule: "cbor_malformed",
    block: reheaded(head(5, 11)),
  },
  {
    description: "The map says that it has one field less.",
    rule: "cbor_malformed",
    block: reheaded(head(5, 9)),
  },
  changed("cbor_malformed", "A message CID with the unknown tag 43.", {
    msg: concatBytes(head(6, 43), GOOD.msg.subarray(2)),
  }),
  changed("cbor_malformed", "A message CID without the zero byte before it.", {
    msg: concatBytes(head(6, 42), rawBytes(messageCid(goodMessageDigest).bytes)),
  }),
  changed("cbor_malformed", "A message CID with a byte too many.", {
    msg: rawCid(concatBytes(messageCid(goodMessageDigest).bytes, Uint8Array.of(0))),
  }),
  changed("cbor_malformed", "A message CID whose version is a varint of two bytes.", {
    msg: rawCid(concatBytes(fromHex("8100551220"), goodMessageDigest)),
  }),
  changed("canonical", "A topic with a byte that is not UTF-8.", {
    topic: concatBytes(head(3, 2), fromHex("61ff")),
  }),
  changed("canonical", "A topic with a lone surrogate.", {
    topic: concatBytes(head(3, 4), fromHex("61eda080")),
  }),
  changed("canonical", "A topic with an overlong form of a letter.", {
    topic: concatBytes(head(3, 3), fromHex("61c1a1")),
  }),
  {
    description: "A name of the map that is a number.",
    rule: "cbor_malformed",
    block: concatBytes(head(5, 11), rawUint(1), rawUint(1), ...entriesOf({}).flat()),
  },
  changed("cbor_malformed", "The timestampNs as a bignum.", {
    ts: concatBytes(head(6, 2), rawBytes(fromHex("05"))),
  }),
  changed("canonical", "The value undefined in a grant.", {
    grant: rawMap([rawText("a"), fromHex("f7")]),
  }),
  changed("cbor_malformed", "The value NaN in a grant.", {
    grant: rawMap([rawText("a"), rawDouble(Number.NaN)]),
  }),
  changed("canonical", "A whole number as a double in a grant.", {
    grant: rawMap([rawText("a"), rawDouble(1)]),
  }),
  changed("canonical", "A single-precision number in a grant.", {
    grant: rawMap([rawText("a"), fromHex("fa3fc00000")]),
  }),
  changed("canonical", "The names in a grant out of order.", {
    grant: rawMap([rawText("b"), rawUint(1)], [rawText("a"), rawUint(1)]),
  }),
  changed("canonical", "A text in a grant that begins with U+FEFF.", {
    grant: rawMap([rawText("a"), rawText("\uFEFFb")]),
  }),
  changed("cbor_malformed", "Containers in a grant nested to a depth of 9 in the block.", {
    grant: rawMap([rawText("a"), concatBytes(...Array.from({ length: 7 }, () => head(4, 1)), rawUint(1))]),
  }),
  changed("cbor_malformed", "A grant of 4,084 bytes with more than 4,096 items in the block.", {
    links: rawLinks([]),
    grant: rawMap([rawText("a"), rawList(...Array.from({ length: 4_078 }, () => rawUint(0)))]),
  }),
];

export const KINDS: readonly Refusal[] = [
  ...Object.keys(GOOD).map((name) => changed("form", `The field ${name} is missing.`, { [name]: undefined })),
  {
    description: "The topic under another name.",
    rule: "form",
    block: rawMap(
      ...entriesOf({ topic: undefined, origin: undefined }),
      [rawText("topik"), GOOD.topic],
      [rawText("origin"), GOOD.origin],
    ),
  },
  {
    description: "A field that is not known.",
    rule: "form",
    block: rawMap(...entriesOf({}), [rawText("unknown"), rawUint(1)]),
  },
  {
    description: "A field __proto__.",
    rule: "form",
    block: rawMap(...entriesOf({}), [rawText("__proto__"), rawMap()]),
  },
  {
    description: "The block is a list.",
    rule: "form",
    block: rawList(...entriesOf({}).map(([, value]) => value)),
  },
  { description: "The block is a CID.", rule: "form", block: GOOD.msg },
  { description: "The block is null.", rule: "form", block: fromHex("f6") },
  { description: "The block is a map with the fields of a CID.", rule: "form", block: fakeCid() },
  {
    description: "A block of 8,193 bytes.",
    rule: "block_size",
    block: rawMap([rawText("a"), rawBytes(patternMessage(8_187))]),
  },
  changed("version", "The version 0.", { v: rawUint(0) }),
  changed("version", "The version as a text.", { v: rawText("1") }),
  changed("form", "A network id of 31 bytes.", { net: rawBytes(developmentNetwork.id.subarray(1)) }),
  changed("form", "A network id in hex.", { net: rawText(hex(developmentNetwork.id)) }),
  changed("topic", "An empty topic.", { topic: rawText("") }),
  changed("topic", "A topic of 301 bytes.", { topic: rawText("/".repeat(301)) }),
  changed("topic", "A topic of 299 characters in 301 bytes.", { topic: rawText(`${"/".repeat(297)}éé`) }),
  changed("topic", "A topic of 301 bytes that begins with U+FEFF.", {
    topic: rawText(`\uFEFF${"/".repeat(298)}`),
  }),
  changed("topic", "A topic as bytes.", { topic: rawBytes(utf8(TOPIC)) }),
  changed("form", "A timestampNs of -1.", { ts: head(MAJOR.negative, 0) }),
  changed("form", "A timestampNs of 0.5.", { ts: rawDouble(0.5) }),
  changed("form", "A timestampNs as a text.", { ts: rawText("5") }),
  changed("form", "A size of -1.", { size: head(MAJOR.negative, 0) }),
  {
    ...changed("form", "A message of 1,048,215 bytes.", {
      size: rawUint(MAX_MESSAGE_BYTES + 1),
      msg: rawCid(messageCid(suite.sha256(patternMessage(MAX_MESSAGE_BYTES + 1))).bytes),
    }),
    message: patternMessage(MAX_MESSAGE_BYTES + 1),
  },
  changed("form", "The class 256.", { class: rawUint(256) }),
  changed("form", "The class as a text.", { class: rawText("2") }),
  changed("form", "An origin of 33 bytes.", {
    origin: rawBytes(concatBytes(signer.publicKey, Uint8Array.of(0))),
  }),
  changed("form", "A seq of 2^63.", { seq: rawUint(2n ** 63n) }),
  changed("form", "A seq of null.", { seq: fromHex("f6") }),
  cidChanged("The message's CID says dag-cbor.", eventCid(goodMessageDigest).bytes),
  cidChanged("The message's CID says sha2-512/256.", concatBytes(fromHex("0155952020"), goodMessageDigest)),
  cidChanged("The message's CID holds the message itself.", concatBytes(fromHex("01550005"), MESSAGE)),
  cidChanged(
    "The message's CID holds 31 bytes of the digest.",
    concatBytes(fromHex("0155121f"), goodMessageDigest.subarray(1)),
  ),
  cidChanged("The message's CID is of version 0.", concatBytes(fromHex("1220"), goodMessageDigest)),
  changed("form", "The message's digest as bytes.", { msg: rawBytes(goodMessageDigest) }),
  changed("form", "A map with the fields of a CID in place of the message's.", { msg: fakeCid() }),
];

/** A map that some libraries take for a CID: its fields "/" and "bytes" are equal. */
function fakeCid(): Bytes {
  return encodeCbor(
    new Map<string, unknown>([
      ["/", "a"],
      ["code", 0x55],
      ["bytes", "a"],
      ["version", 1],
    ]),
  );
}
