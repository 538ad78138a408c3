import { CID } from "multiformats/cid";
import { type Bytes, compareBytes, concatBytes, equalBytes, fromUtf8, utf8 } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { type CryptoSuite, PUBLIC_KEY_BYTES, type Signer } from "./crypto.ts";
import { invalidArgument, PennypostError } from "./errors.ts";
import {
  digestOfEventCid,
  digestOfId,
  digestOfMessageCid,
  eventCid,
  eventId,
  messageCid,
  seqOfId,
} from "./event-id.ts";
import {
  MAX_BLOCK_BYTES,
  MAX_GRANT_BYTES,
  MAX_LINKS,
  MAX_MESSAGE_BYTES,
  MAX_SEQ,
  MAX_TOPIC_BYTES,
  MAX_UINT64,
} from "./limits.ts";
import { topicKey } from "./topic.ts";

export const EVENT_VERSION = 1;
/** The rule of blocks that only newer nodes can judge: no breach by those who pass them on. */
export const LATER_VERSION = "later-version";

/** The fields of an event's block. Digests are SHA-256, 32 bytes; the block holds them as CIDs. */
export interface EventFields {
  /** Network id, 32 bytes. */
  readonly net: Bytes;
  /** The content topic in UTF-8, at most 300 bytes. */
  readonly topic: Bytes;
  /** The client's timestampNs: any uint64. */
  readonly ts: bigint;
  /** SHA-256 of the message. */
  readonly msg: Bytes;
  /** Bytes of the message. */
  readonly size: number;
  /** Retention class. */
  readonly class: number;
  /** Ids of the parents (40 bytes each), sorted, unique, at most 16. */
  readonly links: readonly Bytes[];
  /** Ed25519 public key of the node that accepted the event. */
  readonly origin: Bytes;
  readonly seq: bigint;
  /** Evidence that peers can verify, as dag-cbor; absent where the policy asks for none. */
  readonly grant?: Bytes;
}

/** An event as it travels: nothing in it has been checked. */
export interface WireEvent {
  readonly block: Bytes;
  readonly signature: Bytes;
  /** Null when it is gone: the sender dropped it, or never had it. */
  readonly message: Bytes | null;
}

/** An event with its message. */
export interface WholeEvent extends WireEvent {
  readonly message: Bytes;
}

export const isWhole = <Event extends WireEvent>(event: Event): event is Event & WholeEvent =>
  event.message !== null;

/** Bytes of what a page has of an event. */
export const bytesOfWire = ({ block, message }: Pick<WireEvent, "block" | "message">): number =>
  block.length + (message?.length ?? 0);

/** The part of an event that travels. */
export const toWire = <Message extends Bytes | null>({
  block,
  signature,
  message,
}: WireEvent & { readonly message: Message }): WireEvent & { readonly message: Message } => ({
  block,
  signature,
  message,
});

/** An event with what was derived from its bytes. */
export interface EncodedEvent extends WireEvent {
  readonly fields: EventFields;
  readonly id: Bytes;
}

/** The refusal of what is no event. `rule` names what it breaks. */
export function brokenEvent(rule: string, why: string) {
  return invalidArgument(`event_${rule}`, `not a valid event: ${why}`, { rule });
}

const integer = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

/** The canonical dag-cbor block of an event. The caller has checked the limits. */
export function encodeBlock(fields: EventFields): Bytes {
  const block: Record<string, unknown> = {
    v: EVENT_VERSION,
    net: fields.net,
    topic: fromUtf8(fields.topic),
    ts: integer(fields.ts),
    msg: messageCid(fields.msg),
    size: fields.size,
    class: fields.class,
    links: fields.links.map((id) => [integer(seqOfId(id)), eventCid(digestOfId(id))]),
    origin: fields.origin,
    seq: integer(fields.seq),
  };
  if (fields.grant) block.grant = decodeCbor(fields.grant, { bytes: MAX_GRANT_BYTES });
  return encodeCbor(block);
}

const REQUIRED = ["v", "net", "topic", "ts", "msg", "size", "class", "links", "origin", "seq"];

/**
 * Decodes a block and checks all that it shows by itself: canonical form, fields, kinds, limits, order of links.
 * @throws PennypostError `event_*` or `cbor_*`; `data.rule` names the rule that is broken.
 */
export function decodeBlock(block: Uint8Array): EventFields {
  if (block.length > MAX_BLOCK_BYTES) throw brokenEvent("block_size", `a block of ${block.length} bytes`);
  const value = decodeCbor(block, { bytes: MAX_BLOCK_BYTES, items: 4_096 });
  if (!isMap(value)) throw brokenEvent("form", "the block is no map");
  if (typeof value.v === "number" && value.v > EVENT_VERSION)
    throw brokenEvent(LATER_VERSION, `version ${value.v}`);
  const names = Object.keys(value).filter((name) => name !== "grant");
  if (names.length !== REQUIRED.length || !REQUIRED.every((name) => name in value)) {
    throw brokenEvent("form", "fields are missing or unknown");
  }
  if (value.v !== EVENT_VERSION) throw brokenEvent("version", "no such version");
  const fields: EventFields = {
    net: bytesOf(value.net, 32, "net"),
    topic: topicOf(value.topic, block),
    ts: uintOf(value.ts, MAX_UINT64, "ts"),
    msg: cidOf(value.msg, digestOfMessageCid, "msg"),
    size: Number(uintOf(value.size, BigInt(MAX_MESSAGE_BYTES), "size")),
    class: Number(uintOf(value.class, 255n, "class")),
    links: linksOf(value.links),
    origin: bytesOf(value.origin, PUBLIC_KEY_BYTES, "origin"),
    seq: uintOf(value.seq, MAX_SEQ, "seq"),
    ...("grant" in value ? { grant: grantOf(value.grant) } : {}),
  };
  if (!equalBytes(encodeBlock(fields), block))
    throw brokenEvent("canonical", "the block is not canonical dag-cbor");
  return fields;
}

function isMap(value: unknown): value is Record<string, unknown> {
  const isObject = typeof value === "object" && value !== null;
  return isObject && !Array.isArray(value) && !(value instanceof Uint8Array) && !(value instanceof CID);
}

function bytesOf(value: unknown, length: number, name: string): Bytes {
  if (!(value instanceof Uint8Array) || value.length !== length)
    throw brokenEvent("form", `${name} is not ${length} bytes`);
  return new Uint8Array(value);
}

function uintOf(value: unknown, limit: bigint, name: string): bigint {
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  const whole = isWhole ? BigInt(value as bigint | number) : -1n;
  if (whole < 0n || whole > limit) throw brokenEvent("form", `${name} is no integer from 0 to ${limit}`);
  return whole;
}

const BYTE_ORDER_MARK = utf8("\uFEFF");
/** What follows the topic in a canonical block: the name of `origin`, the head of its bytes, and these. */
const AFTER_TOPIC_BYTES = 7 + 2 + PUBLIC_KEY_BYTES;

/** The CBOR library drops a leading U+FEFF, which is part of the topic: whether there was one is seen in the block. */
function topicOf(value: unknown, block: Uint8Array): Bytes {
  const text = typeof value === "string" ? utf8(value) : undefined;
  const start = block.length - AFTER_TOPIC_BYTES - (text?.length ?? 0);
  const isMarked = equalBytes(block.subarray(start - BYTE_ORDER_MARK.length, start), BYTE_ORDER_MARK);
  const bytes = text && isMarked ? concatBytes(BYTE_ORDER_MARK, text) : text;
  if (!bytes || bytes.length === 0 || bytes.length > MAX_TOPIC_BYTES) {
    throw brokenEvent("topic", `the topic is not 1 to ${MAX_TOPIC_BYTES} bytes of UTF-8`);
  }
  return bytes;
}

function cidOf(value: unknown, digestOf: (cid: CID) => Bytes | undefined, name: string): Bytes {
  // Not `CID.asCID`: it takes a map with the fields "/" and "bytes" for a CID, and fails on what that map lacks.
  const digest = value instanceof CID ? digestOf(value) : undefined;
  if (!digest) throw brokenEvent("form", `${name} is no CID of the expected kind`);
  return digest;
}

function linksOf(value: unknown): Bytes[] {
  if (!Array.isArray(value) || value.length > MAX_LINKS)
    throw brokenEvent("links", `not a list of at most ${MAX_LINKS}`);
  const ids = value.map((link: unknown) => {
    if (!Array.isArray(link) || link.length !== 2)
      throw brokenEvent("links", "a link is no pair of seq and CID");
    return eventId(uintOf(link[0], MAX_SEQ, "a link's seq"), cidOf(link[1], digestOfEventCid, "a link"));
  });
  for (let i = 1; i < ids.length; i++) {
    if (compareBytes(ids[i - 1] as Bytes, ids[i] as Bytes) >= 0)
      throw brokenEvent("links", "not sorted or not unique");
  }
  return ids;
}

function grantOf(value: unknown): Bytes {
  if (!isMap(value)) throw brokenEvent("grant", "the grant is no map");
  const bytes = encodedGrant(value);
  if (bytes.length > MAX_GRANT_BYTES) throw brokenEvent("grant", `a grant of ${bytes.length} bytes`);
  return bytes;
}

/** The encoder takes a map with equal fields "/" and "bytes" for a CID and fails on it: such a grant is refused. */
function encodedGrant(grant: Record<string, unknown>): Bytes {
  try {
    return encodeCbor(grant);
  } catch {
    throw brokenEvent("grant", "the grant cannot be encoded again");
  }
}

/** The links of a block that was checked before it was stored: a fifth of the time of `decodeBlock`. */
export function linksOfStoredBlock(block: Uint8Array): Bytes[] {
  const { links } = decodeCbor(block, { bytes: MAX_BLOCK_BYTES }) as { readonly links: unknown };
  return linksOf(links);
}

/** The message of a block that was checked before it was stored: its SHA-256, and its length in bytes. */
export const messageOfStoredBlock = (block: Uint8Array): Pick<EventFields, "msg" | "size"> =>
  messageIn(fieldsIn(block));

/** The same with the topic. */
export function envelopeOfStoredBlock(block: Uint8Array): Pick<EventFields, "topic" | "msg" | "size"> {
  const fields = fieldsIn(block);
  return { topic: utf8(String(fields.topic)), ...messageIn(fields) };
}

type ReadFields = Readonly<Record<string, unknown>>;
const fieldsIn = (block: Uint8Array) => decodeCbor(block, { bytes: MAX_BLOCK_BYTES }) as ReadFields;

const messageIn = ({ msg, size }: ReadFields): Pick<EventFields, "msg" | "size"> => ({
  msg: cidOf(msg, digestOfMessageCid, "msg"),
  size: Number(uintOf(size, BigInt(MAX_MESSAGE_BYTES), "size")),
});

/** The origin of a block that was checked before it was stored: what a canonical block ends with. */
export const originOfStoredBlock = (block: Uint8Array): Bytes =>
  new Uint8Array(block.subarray(-PUBLIC_KEY_BYTES));

/** The name of an event, as its block says; undefined when the block is unreadable and would be refused. */
export function nameOfWire(
  { block }: WireEvent,
  suite: CryptoSuite,
): { readonly topicKey: Bytes; readonly id: Bytes } | undefined {
  try {
    const { topic, seq } = decodeBlock(block);
    return { topicKey: topicKey(topic, suite), id: eventId(seq, suite.sha256(block)) };
  } catch (error) {
    if (error instanceof PennypostError) return undefined;
    throw error;
  }
}

const SIGNATURE_DOMAIN = utf8("pennypost/event/v1\0");

/** What an origin signs: a domain tag and the event's CID in its binary form (36 bytes). */
export const signedBytes = (blockDigest: Uint8Array): Bytes =>
  concatBytes(SIGNATURE_DOMAIN, eventCid(blockDigest).bytes);

/** SHA-256(topic ‖ message): the tie-break of the time order, and with ts the identity of an envelope in its topic. */
export const envelopeDigest = (topic: Uint8Array, message: Uint8Array, suite: CryptoSuite): Bytes =>
  suite.sha256(concatBytes(topic, message));

export type NewEvent = Omit<EventFields, "msg" | "size" | "origin"> & { readonly message: Bytes };

/** Builds and signs an event of this node. */
export function createEvent(input: NewEvent, signer: Signer, suite: CryptoSuite): EncodedEvent & WholeEvent {
  const { message, ...rest } = input;
  const fields = { ...rest, msg: suite.sha256(message), size: message.length, origin: signer.publicKey };
  const block = encodeBlock(fields);
  const blockDigest = suite.sha256(block);
  return {
    fields,
    block,
    message,
    id: eventId(fields.seq, blockDigest),
    signature: signer.sign(signedBytes(blockDigest)),
  };
}
