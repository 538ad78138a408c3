import { type Bytes, concatBytes, equalBytes, toHex, utf8 } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import {
  type CryptoSuite,
  isPrimeOrderKey,
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
  type Signer,
} from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import type { Network } from "./genesis.ts";
import { firstSeqOf, MAX_TIME_MS, timeOfSeq } from "./hybrid-clock.ts";
import { MAX_SEQ } from "./limits.ts";
import { ISSUER_KEY_BYTES, modulusOf } from "./privacy-pass.ts";
import { isStampChallenge } from "./stamp.ts";

/**
 * Records: signed, dated facts of the network that every node holds, in force from a seq on. A record is a dag-cbor block with a
 * signature beside it, as an event is, and its id is the block's SHA-256.
 */

const RECORD_VERSION = 1;
/** An issuer's key (342 bytes), a challenge, and the fixed fields, rounded up. */
export const MAX_RECORD_BYTES = 1_024;
/** A key with which stamps are signed lasts no longer. */
export const MAX_ISSUER_KEY_MS = 31 * 86_400_000;
/** And is published no longer before it begins. */
export const MAX_ISSUER_KEY_AHEAD_MS = 62 * 86_400_000;

/** Admits a key to the network from a seq on, or removes it. */
export interface MemberRecord {
  readonly kind: "member";
  readonly member: Bytes;
  readonly admitted: boolean;
  readonly from: bigint;
}

/** A key with which a node signs stamps: see `IssuerKey`. */
export interface IssuerRecord {
  readonly kind: "issuer";
  readonly publicKey: Bytes;
  readonly challenge: Bytes;
  readonly from: bigint;
  /** The first seq behind. */
  readonly to: bigint;
}

export type RecordFact = MemberRecord | IssuerRecord;

/** A record as it travels: nothing in it has been checked. */
export interface WireRecord {
  readonly block: Bytes;
  readonly signature: Bytes;
}

/** A record whose form and signature were checked. */
export interface VerifiedRecord extends WireRecord {
  /** SHA-256 of the block. */
  readonly id: Bytes;
  /** Who signed it: a record key of the network for members, the issuer for its keys. */
  readonly by: Bytes;
  /** When it was signed, in ms since 1970. */
  readonly atMs: number;
  readonly fact: RecordFact;
}

const SIGNATURE_DOMAIN = utf8("pennypost/record/v1\0");
const signedBytes = (id: Uint8Array): Bytes => concatBytes(SIGNATURE_DOMAIN, id);

const broken = (rule: string, why: string) =>
  invalidArgument(`record_${rule}`, `not a valid record: ${why}`, { rule: `record_${rule}` });

const integer = (value: bigint): number | bigint =>
  value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;

function encodeFact(fact: RecordFact): Record<string, unknown> {
  if (fact.kind === "member") {
    const { kind, member, admitted, from } = fact;
    return { kind, member, admitted, from: integer(from) };
  }
  const { kind, publicKey, challenge, from, to } = fact;
  return { kind, publicKey, challenge, from: integer(from), to: integer(to) };
}

/** Builds and signs a record. */
export function createRecord(
  fact: RecordFact,
  atMs: number,
  network: Network,
  signer: Signer,
  suite: CryptoSuite,
): VerifiedRecord {
  const by = signer.publicKey;
  const block = encodeCbor({ v: RECORD_VERSION, net: network.id, by, at: atMs, ...encodeFact(fact) });
  const id = suite.sha256(block);
  return { block, id, by, atMs, fact, signature: signer.sign(signedBytes(id)) };
}

type Fields = Readonly<Record<string, unknown>>;

function bytesOf(fields: Fields, name: string, least: number, most = least): Bytes {
  const value = fields[name];
  if (value instanceof Uint8Array && value.length >= least && value.length <= most)
    return new Uint8Array(value);
  throw broken("form", `${name} is not ${least === most ? least : `${least} to ${most}`} bytes`);
}

function seqOf(fields: Fields, name: string): bigint {
  const value = fields[name];
  const isWhole = typeof value === "bigint" || Number.isSafeInteger(value);
  const seq = isWhole ? BigInt(value as bigint | number) : -1n;
  if (seq < 0n || seq > MAX_SEQ) throw broken("form", `${name} is no seq`);
  return seq;
}

function timeOf(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_TIME_MS)
    return value;
  throw broken("form", `${name} is no time in ms`);
}

function factOf(fields: Fields): RecordFact | undefined {
  if (fields.kind === "member") {
    if (typeof fields.admitted !== "boolean") throw broken("form", "admitted is neither true nor false");
    const member = bytesOf(fields, "member", PUBLIC_KEY_BYTES);
    return { kind: "member", member, admitted: fields.admitted, from: seqOf(fields, "from") };
  }
  if (fields.kind !== "issuer") return undefined;
  return {
    kind: "issuer",
    publicKey: bytesOf(fields, "publicKey", ISSUER_KEY_BYTES),
    challenge: bytesOf(fields, "challenge", 1, 512),
    from: seqOf(fields, "from"),
    to: seqOf(fields, "to"),
  };
}

function checkFact(fact: RecordFact, by: Bytes, network: Network, suite: CryptoSuite): void {
  if (fact.kind === "member") {
    if (!network.genesis.recordKeys.includes(toHex(by)))
      throw broken("signer", "it is not signed by a record key of the network");
    if (!isPrimeOrderKey(fact.member)) throw broken("member", "the member's key is not of prime order");
    return;
  }
  modulusOf(fact.publicKey);
  if (!isStampChallenge(fact.challenge, network.id, suite))
    throw broken("challenge", "the challenge is none of a host in this network");
  const lastsMs = timeOfSeq(fact.to) - timeOfSeq(fact.from);
  if (fact.from >= fact.to || lastsMs > MAX_ISSUER_KEY_MS)
    throw broken("interval", "an issuer's key lasts at most 31 days");
  if (fact.from < firstSeqOf(network.genesis.createdMs))
    throw broken("interval", "the key is older than the genesis");
}

/** A record of this node's own store, which was checked before it was stored. */
export function readStoredRecord(wire: WireRecord, suite: CryptoSuite): VerifiedRecord {
  const { block, signature } = wire;
  const fields = decodeCbor(block, { bytes: MAX_RECORD_BYTES }) as Fields;
  const fact = factOf(fields);
  if (!fact) throw broken("version", "it is of a newer node's kind");
  const by = bytesOf(fields, "by", PUBLIC_KEY_BYTES);
  return { block, signature, id: suite.sha256(block), by, atMs: timeOf(fields, "at"), fact };
}

/** The fields of a record that came from outside; undefined for a version that only newer nodes know. */
function outerFieldsOf(block: Bytes): Fields | undefined {
  const fields = decodeCbor(block, { bytes: MAX_RECORD_BYTES, items: 64, depth: 2 }) as Fields;
  if (typeof fields !== "object" || fields === null || Array.isArray(fields) || fields instanceof Uint8Array)
    throw broken("form", "it is no map");
  if (typeof fields.v === "number" && fields.v > RECORD_VERSION) return undefined;
  if (fields.v !== RECORD_VERSION) throw broken("version", "no such version");
  return fields;
}

/** What a record says of itself. */
export type RecordClaim = Pick<VerifiedRecord, "id" | "by" | "atMs" | "fact">;

/**
 * What a record from outside says, of which nothing is checked yet: to pass over what is of no use without verifying its signature.
 * @returns undefined for a version or kind that only newer nodes know.
 * @throws PennypostError `record_form`, `record_version` or `cbor_*` (400).
 */
export function readClaim(block: Bytes, suite: CryptoSuite): RecordClaim | undefined {
  const fields = outerFieldsOf(block);
  const fact = fields && factOf(fields);
  if (!fact) return undefined;
  const by = bytesOf(fields, "by", PUBLIC_KEY_BYTES);
  return { id: suite.sha256(block), by, atMs: timeOf(fields, "at"), fact };
}

/**
 * Reads a record that came from outside, and checks all that it shows by itself.
 * @returns undefined for a version or kind that only newer nodes know: no breach by who passes it on.
 * @throws PennypostError `record_*` or `cbor_*` (400); `data.rule` names the rule that is broken.
 */
export function readRecord(
  wire: WireRecord,
  network: Network,
  suite: CryptoSuite,
): VerifiedRecord | undefined {
  const { block, signature } = wire;
  const fields = outerFieldsOf(block);
  if (!fields) return undefined;
  if (!equalBytes(bytesOf(fields, "net", 32), network.id))
    throw broken("network", "it is of another network");
  const by = bytesOf(fields, "by", PUBLIC_KEY_BYTES);
  const atMs = timeOf(fields, "at");
  const id = suite.sha256(block);
  if (signature.length !== SIGNATURE_BYTES || !suite.verify(by, signedBytes(id), signature))
    throw broken("signature", "the signature is not that of the key it names");
  const fact = factOf(fields);
  if (!fact) return undefined;
  const canonical = encodeCbor({ v: RECORD_VERSION, net: network.id, by, at: atMs, ...encodeFact(fact) });
  if (!equalBytes(canonical, block)) throw broken("canonical", "it is not canonical, or has unknown fields");
  checkFact(fact, by, network, suite);
  return { block, signature, id, by, atMs, fact };
}
