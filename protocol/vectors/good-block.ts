import { type Bytes, concatBytes, utf8 } from "../bytes.ts";
import { signedBytes } from "../event.ts";
import { eventCid, eventId, messageCid } from "../event-id.ts";
import { firstSeqOf } from "../hybrid-clock.ts";
import {
  developmentNetwork,
  head,
  hex,
  MAJOR,
  rawBytes,
  rawList,
  rawMap,
  rawText,
  signerOf,
  suite,
} from "./encoding.ts";

/** One event that no rule refuses, put together by hand, so that each part of it can be another. */

export const NOW_MS = Date.UTC(2026, 2, 1);
export const SEQ = firstSeqOf(NOW_MS - 1_000) | 5n;
export const TOPIC = "/xmtp/0/m-refused/proto";
export const MESSAGE = utf8("hello");
export const signer = signerOf("origin");

export const digest = (name: string): Bytes => suite.sha256(utf8(name));
export const parents = Array.from({ length: 17 }, (_, i) =>
  eventId(SEQ - 1_024n * BigInt(17 - i), digest(`parent ${i}`)),
);

/** A CID in dag-cbor: tag 42, and bytes that begin with a zero. */
export const rawCid = (bytes: Uint8Array): Bytes =>
  concatBytes(head(MAJOR.tag, 42), rawBytes(concatBytes(Uint8Array.of(0), bytes)));
const rawLink = (id: Uint8Array): Bytes =>
  rawList(head(MAJOR.unsigned, seqOf(id)), rawCid(eventCid(id.subarray(8)).bytes));
const seqOf = (id: Uint8Array): bigint => BigInt(`0x${hex(id.subarray(0, 8))}`);
export const rawLinks = (ids: readonly Uint8Array[]): Bytes => rawList(...ids.map(rawLink));
export const rawUint = (value: number | bigint): Bytes => head(MAJOR.unsigned, value);
export const rawDouble = (value: number): Bytes => {
  const bytes = new Uint8Array(9);
  bytes[0] = 0xfb;
  new DataView(bytes.buffer).setFloat64(1, value);
  return bytes;
};

const TS = BigInt(NOW_MS) * 1_000_000n;
export const ORDERED_NAMES = [
  "v",
  "ts",
  "msg",
  "net",
  "seq",
  "size",
  "class",
  "grant",
  "links",
  "topic",
  "origin",
];
export type Values = Record<string, Bytes | undefined>;

/** The values of a block that no rule refuses, each encoded. */
export const GOOD = {
  v: rawUint(1),
  ts: rawUint(TS),
  msg: rawCid(messageCid(suite.sha256(MESSAGE)).bytes),
  net: rawBytes(developmentNetwork.id),
  seq: rawUint(SEQ),
  size: rawUint(MESSAGE.length),
  class: rawUint(developmentNetwork.classOf(utf8(TOPIC)).id),
  links: rawLinks(parents.slice(15)),
  topic: rawText(TOPIC),
  origin: rawBytes(signer.publicKey),
};

export const entriesOf = (changes: Values, names = ORDERED_NAMES): (readonly [Bytes, Bytes])[] => {
  const values: Values = { ...GOOD, ...changes };
  return names.flatMap((name) => {
    const value = values[name];
    return value ? [[rawText(name), value] as const] : [];
  });
};
export const blockOf = (changes: Values, names = ORDERED_NAMES): Bytes =>
  rawMap(...entriesOf(changes, names));
/** A good block with its map's head replaced, and something behind it. */
export const reheaded = (mapHead: Bytes, ...behind: Bytes[]): Bytes =>
  concatBytes(mapHead, ...entriesOf({}).flat(), ...behind);

export interface Refusal {
  readonly description: string;
  readonly rule: string;
  readonly block: Bytes;
  readonly message?: Bytes;
  readonly signature?: Bytes;
}

export const signatureOf = (block: Uint8Array, name = "origin"): Bytes =>
  signerOf(name).sign(signedBytes(suite.sha256(block)));
export const changed = (rule: string, description: string, changes: Values): Refusal => ({
  description,
  rule,
  block: blockOf(changes),
});

export const good = blockOf({});
export const goodMessageDigest = suite.sha256(MESSAGE);
