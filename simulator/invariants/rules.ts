import * as dagCbor from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, compareBytes, concatBytes, equalBytes, readUint64, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { CLASSES, GENESIS_MS } from "../genesis.ts";
import type { Members } from "./members.ts";

/**
 * The rules of the design once more, written from its text and not from the production code: what a bug there changes, it does
 * not change here.
 */

export const SLOT_MS = 1_048_576;
const SETTLE_MS = 120_000;
const MARGIN_SLOTS = 3;

/** 42 bits of milliseconds lead a seq of 63. */
export const timeOf = (id: Uint8Array): number => Number(readUint64(id) >> 21n);
export const slotOf = (id: Uint8Array): number => Math.floor(timeOf(id) / SLOT_MS);
export const shardBitsOf = (id: Uint8Array): number => Number(readUint64(id) & 1023n);

const durationOf = (classId: number): number | null => {
  const found = CLASSES.find(({ id }) => id === classId);
  if (!found) throw new RangeError(`no class ${classId}`);
  return found.durationMs;
};

/** Whether an event has expired: at its slot's end and the class's duration. */
export function isExpired(classId: number, id: Uint8Array, nowMs: number): boolean {
  const duration = durationOf(classId);
  return duration !== null && nowMs >= (slotOf(id) + 1) * SLOT_MS + duration;
}

export const newestAsOf = (nowMs: number): number => Math.floor((nowMs - SETTLE_MS) / SLOT_MS);

/** Whether an event is in the range that is compared as of a slot. */
export function isCompared(classId: number, id: Uint8Array, asOf: number): boolean {
  const duration = durationOf(classId);
  const from = duration === null ? 0 : asOf - Math.ceil(duration / SLOT_MS) + MARGIN_SLOTS;
  return slotOf(id) >= from && slotOf(id) < asOf;
}

/** What a topic's first letters make of it. */
export function classOfTopic(topic: string): number {
  if (topic.startsWith("now-")) return 0;
  if (topic.startsWith("middle-")) return 2;
  return topic.startsWith("kept-") ? 7 : 1;
}

export interface Block {
  readonly net: Uint8Array;
  readonly topic: string;
  readonly ts: number | bigint;
  readonly msg: CID;
  readonly size: number;
  readonly class: number;
  readonly links: readonly (readonly [number | bigint, CID])[];
  readonly origin: Uint8Array;
  readonly seq: number | bigint;
}

const blocks = new WeakMap<Uint8Array, Block>();

/** Read once, since checks come back to the same events. */
export function readBlock(block: Uint8Array): Block {
  const known = blocks.get(block) ?? dagCbor.decode<Block>(block);
  blocks.set(block, known);
  return known;
}

export function linkIds({ links }: Block): Bytes[] {
  return links.map(([seq, cid]) => {
    const id = new Uint8Array(40);
    new DataView(id.buffer).setBigUint64(0, BigInt(seq));
    id.set(cid.multihash.digest, 8);
    return id;
  });
}

export interface Judgement {
  readonly networkId: Uint8Array;
  readonly members: Members;
  readonly suite: CryptoSuite;
}

/** The rule that a stored event breaks, if any. */
export function brokenRule(event: StoredEvent, { networkId, members, suite }: Judgement): string | undefined {
  const { block, message, id, signature, topicKey } = event;
  const fields = readBlock(block);
  const links = linkIds(fields);
  const digest = suite.sha256(block);
  const checks: readonly (readonly [string, boolean])[] = [
    ["canonical", equalBytes(new Uint8Array(dagCbor.encode(fields)), block)],
    ["block size", block.length <= 8_192],
    ["network", equalBytes(fields.net, networkId)],
    ["id", equalBytes(id.subarray(8), digest) && readUint64(id) === BigInt(fields.seq)],
    ["topic key", equalBytes(topicKey, suite.sha256(utf8(fields.topic)))],
    ["topic size", utf8(fields.topic).length <= 300 && fields.topic.length > 0],
    ["msg", fields.msg instanceof CID],
    ["message", message === null || equalBytes(fields.msg.multihash.digest, suite.sha256(message))],
    ["size", fields.size === (message?.length ?? fields.size) && fields.size <= 1_048_214],
    ["class", fields.class === classOfTopic(fields.topic) && fields.class === event.class],
    ["stored class", fields.class !== 0],
    [
      "links",
      links.length <= 16 &&
        links.every((link, i) => i === 0 || compareBytes(links[i - 1] as Bytes, link) < 0),
    ],
    ["seq", links.every((link) => readUint64(link) < BigInt(fields.seq))],
    ["genesis", timeOf(id) >= GENESIS_MS],
    ["member", members.isMember(fields.origin, BigInt(fields.seq))],
    ["signature", suite.verify(fields.origin, signedBytes(digest), signature)],
    ["envelope", equalBytes(event.timeKey, timeKeyOf(fields, message, suite))],
  ];
  return checks.find(([, holds]) => !holds)?.[0];
}

/** A domain tag, and the CID: version 1, dag-cbor, sha2-256, 32 bytes. */
const signedBytes = (digest: Uint8Array): Bytes =>
  concatBytes(utf8("pennypost/event/v1\0"), Uint8Array.of(1, 0x71, 0x12, 32), digest);

/** timestampNs, and the digest of topic and message. Without a message, the block's word for it stands in the envelope's place. */
export function timeKeyOf(fields: Block, message: Uint8Array | null, suite: CryptoSuite): Bytes {
  const ts = new Uint8Array(8);
  new DataView(ts.buffer).setBigUint64(0, BigInt(fields.ts));
  const digest = message
    ? suite.sha256(concatBytes(utf8(fields.topic), message))
    : fields.msg.multihash.digest;
  return concatBytes(ts, digest);
}
