import { type Bytes, concatBytes, equalBytes, uint64Bytes, utf8 } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { type CryptoSuite, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "./crypto.ts";
import { denied, invalidArgument, type PennypostError } from "./errors.ts";
import { MAX_ISSUER_NAME_BYTES } from "./issuer-name.ts";
import { MAX_GRANT_BYTES } from "./limits.ts";
import {
  AUTHENTICATOR_BYTES,
  authenticatedPart,
  challengeOf,
  decodeToken,
  encodeToken,
  keyIdOf,
  modulusOf,
  TOKEN_BYTES,
  type Token,
} from "./privacy-pass.ts";
import { verifyPss } from "./rsa-pss.ts";

/**
 * Stamps: Privacy Pass tokens, each good for one envelope. A token's nonce is the hash of a fresh Ed25519 key, and that key signs the
 * envelope and the node it is handed to: who copies a stamp cannot put it on anything else, and need not be kept from seeing it.
 */

/** Where a node names its issuer keys (RFC 9578, 4), and where it signs: the path stands in the proof of who buys. */
export const ISSUER_DIRECTORY_PATH = "/.well-known/private-token-issuer-directory";
export const STAMPS_PATH = "/v1/stamps";
/** Stamps are bought in batches of this size alone, so that the size tells nobody apart. */
export const STAMPS_PER_BATCH = 100;

const CONTEXT_DOMAIN = utf8("pennypost/stamp-context/v1\0");
const NONCE_DOMAIN = utf8("pennypost/stamp-key/v1\0");
const ENVELOPE_DOMAIN = utf8("pennypost/stamped-envelope/v1\0");

/** The first bytes of a token key id, by which a grant names its issuer's key. */
const SHORT_KEY_ID_BYTES = 8;

/** A key with which a node signs stamps, as its record says. */
export interface IssuerKey {
  /** The node whose events the stamps are valid in. */
  readonly origin: Bytes;
  /** RSASSA-PSS public key, 342 bytes: see `modulusOf`. */
  readonly publicKey: Bytes;
  /** The TokenChallenge that tokens answer. */
  readonly challenge: Bytes;
  /** The first seq of an event that a stamp of this key is valid in. */
  readonly from: bigint;
  /** The first seq behind. */
  readonly to: bigint;
}

/** What a stamp is bound to. */
export interface StampedEnvelope {
  /** Network id, 32 bytes. */
  readonly net: Bytes;
  /** The node that the envelope is handed to. */
  readonly origin: Bytes;
  /** UTF-8. */
  readonly topic: Bytes;
  readonly ts: bigint;
  /** SHA-256 of the message. */
  readonly msg: Bytes;
}

/** A stamp as a client sends it. */
export interface Stamp {
  readonly token: Token;
  /** The fresh Ed25519 key. */
  readonly publicKey: Bytes;
  readonly signature: Bytes;
}

/** What an event keeps of a stamp: the rest of its token follows from these and the issuer's record. */
export interface StampGrant {
  /** 8 bytes of the token key id. */
  readonly key: Bytes;
  readonly publicKey: Bytes;
  readonly signature: Bytes;
  readonly authenticator: Bytes;
}

/** The challenge of an issuer's key: of its host at the key's creation and the network, so that stamps can be bought ahead. */
export const stampChallenge = (host: string, networkId: Uint8Array, suite: CryptoSuite): Bytes =>
  challengeOf(host, suite.sha256(concatBytes(CONTEXT_DOMAIN, networkId)));

/** Whether a challenge is one that `stampChallenge` makes for a network, of any host of 1 to 253 characters. */
export function isStampChallenge(challenge: Uint8Array, networkId: Uint8Array, suite: CryptoSuite): boolean {
  const hostBytes = (challenge[2] ?? 0) * 256 + (challenge[3] ?? 0);
  if (hostBytes < 1 || hostBytes > MAX_ISSUER_NAME_BYTES) return false;
  const host = String.fromCharCode(...challenge.subarray(4, 4 + hostBytes));
  return /^[\x21-\x7e]+$/.test(host) && equalBytes(stampChallenge(host, networkId, suite), challenge);
}

/** The nonce that commits a token to a fresh key. */
export const stampNonce = (publicKey: Uint8Array, suite: CryptoSuite): Bytes =>
  suite.sha256(concatBytes(NONCE_DOMAIN, publicKey));

/** What the fresh key signs. The topic stands last: all else has a fixed length. */
export const stampedBytes = ({ net, origin, ts, msg, topic }: StampedEnvelope): Bytes =>
  concatBytes(ENVELOPE_DOMAIN, net, origin, uint64Bytes(ts), msg, topic);

export const shortKeyId = (publicKey: Uint8Array, suite: CryptoSuite): Bytes =>
  keyIdOf(publicKey, suite).subarray(0, SHORT_KEY_ID_BYTES);

/** The part of a token that follows from its issuer's record and the fresh key. */
export const tokenInputOf = (issuer: IssuerKey, publicKey: Uint8Array, suite: CryptoSuite) => ({
  nonce: stampNonce(publicKey, suite),
  challengeDigest: suite.sha256(issuer.challenge),
  keyId: keyIdOf(issuer.publicKey, suite),
});

/** A stamp as a client sends it beside its envelope: token (354) ‖ one-time key (32) ‖ signature (64). */
const STAMP_BYTES = TOKEN_BYTES + PUBLIC_KEY_BYTES + SIGNATURE_BYTES;

export const encodeStamp = ({ token, publicKey, signature }: Stamp): Bytes =>
  concatBytes(encodeToken(token), publicKey, signature);

/** @throws PennypostError `stamp_malformed` (400), whose `rule` is `length` or `type`. */
export function decodeStamp(bytes: Uint8Array): Stamp {
  if (bytes.length !== STAMP_BYTES) {
    const why = `a stamp has ${STAMP_BYTES} bytes, not ${bytes.length}`;
    throw invalidArgument("stamp_malformed", why, { rule: "length" });
  }
  const end = TOKEN_BYTES + PUBLIC_KEY_BYTES;
  return {
    token: decodeToken(bytes.subarray(0, TOKEN_BYTES)),
    publicKey: new Uint8Array(bytes.subarray(TOKEN_BYTES, end)),
    signature: new Uint8Array(bytes.subarray(end)),
  };
}

/** A stamp as an event's `grant`, in dag-cbor. */
export const encodeGrant = ({ token, publicKey, signature }: Stamp): Bytes =>
  encodeCbor({
    key: token.keyId.subarray(0, SHORT_KEY_ID_BYTES),
    pub: publicKey,
    sig: signature,
    auth: token.authenticator,
  });

const GRANT_FIELDS = {
  key: SHORT_KEY_ID_BYTES,
  pub: PUBLIC_KEY_BYTES,
  sig: SIGNATURE_BYTES,
  auth: AUTHENTICATOR_BYTES,
};

/** @throws PennypostError `stamp_malformed` (400), or `cbor_*`, for anything but a map of these four fields. */
export function decodeGrant(grant: Uint8Array): StampGrant {
  const value = decodeCbor(grant, { bytes: MAX_GRANT_BYTES, items: 16 }) as Record<string, unknown>;
  const names = Object.keys(GRANT_FIELDS) as (keyof typeof GRANT_FIELDS)[];
  const isWhole = names.every((name) => {
    const field = value?.[name];
    return field instanceof Uint8Array && field.length === GRANT_FIELDS[name];
  });
  if (!isWhole || Object.keys(value).length !== names.length)
    throw invalidArgument("stamp_malformed", "the grant is no stamp", { rule: "grant" });
  const part = (name: keyof typeof GRANT_FIELDS): Bytes => new Uint8Array(value[name] as Uint8Array);
  return { key: part("key"), publicKey: part("pub"), signature: part("sig"), authenticator: part("auth") };
}

const refused = (rule: string, message: string) => denied("stamp_invalid", message, { rule });

/** Whether the one-time key signed this envelope: nothing else that may become known can mend it. */
export const isBoundTo = (
  stamp: Pick<Stamp, "publicKey" | "signature">,
  envelope: StampedEnvelope,
  suite: CryptoSuite,
): boolean => suite.verifyFresh(stamp.publicKey, stampedBytes(envelope), stamp.signature);

/**
 * Checks a grant that is bound to its envelope by a record of its issuer.
 * @returns a PennypostError `stamp_invalid` (403) whose `data.rule` names what is broken: `stamp_key`, `stamp_interval` or
 * `stamp_token`; undefined when all holds. Another record of the same origin may still say otherwise.
 */
export function brokenGrantRule(
  grant: StampGrant,
  seq: bigint,
  issuer: IssuerKey,
  suite: CryptoSuite,
): PennypostError | undefined {
  if (!equalBytes(shortKeyId(issuer.publicKey, suite), grant.key))
    return refused("stamp_key", "the stamp is of another key");
  if (seq < issuer.from || seq >= issuer.to)
    return refused("stamp_interval", "the stamp's key was not in force at the event's seq");
  const signed = authenticatedPart(tokenInputOf(issuer, grant.publicKey, suite));
  if (!verifyPss(modulusOf(issuer.publicKey), signed, grant.authenticator))
    return refused("stamp_token", "the stamp's token is not its issuer's");
  return undefined;
}

/**
 * Whether a whole token is one of this key: the parts that a grant does not carry.
 * @returns a PennypostError `stamp_invalid` (403) with `data.rule`: `stamp_key`, `stamp_challenge` or `stamp_nonce`.
 */
export function brokenTokenRule(
  stamp: Stamp,
  issuer: IssuerKey,
  suite: CryptoSuite,
): PennypostError | undefined {
  const expected = tokenInputOf(issuer, stamp.publicKey, suite);
  if (!equalBytes(stamp.token.keyId, expected.keyId))
    return refused("stamp_key", "the stamp is of another key");
  if (!equalBytes(stamp.token.challengeDigest, expected.challengeDigest))
    return refused("stamp_challenge", "the stamp answers another challenge: of another node or network");
  if (!equalBytes(stamp.token.nonce, expected.nonce))
    return refused("stamp_nonce", "the stamp's token was made for another one-time key");
  return undefined;
}
