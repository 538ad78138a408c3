import { ed25519 } from "@noble/curves/ed25519.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { type Bytes, concatBytes, equalBytes, toHex } from "./bytes.ts";

/**
 * The two primitives that the rules need. They are handed in, because each platform has faster ones and the
 * simulator replaces signatures by a keyed hash. All implementations must agree on every input: see
 * `vectors/signatures.json`.
 */
export interface CryptoSuite {
  /** SHA-256 (FIPS 180-4), 32 bytes. */
  sha256(data: Uint8Array): Bytes;
  /**
   * Ed25519 by one strict rule (RFC 8032, 5.1.7, without the cofactor): the key is canonical, of prime order;
   * s < L; R is not the neutral point; the encoding of s·B − k·A equals R byte for byte, so that a non-canonical or
   * torsioned R fails.
   */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /**
   * The same rule for a key that is used once: canonical and not of small order, but whether it is of prime order is not asked, since
   * that takes a millisecond for each. Without the cofactor all implementations agree on such keys, too.
   */
  verifyFresh(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
}

export interface Signer {
  /** Ed25519 public key, 32 bytes. */
  readonly publicKey: Bytes;
  /** 64 bytes, deterministic. */
  sign(message: Uint8Array): Bytes;
}

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const SEED_BYTES = 32;

/** The order of the prime-order subgroup (RFC 8032, 5.1), little-endian in signatures. */
const GROUP_ORDER = ed25519.Point.Fn.ORDER;

/** Whether the bytes are the canonical encoding of a point of prime order: the only keys that may be members. */
export function isPrimeOrderKey(publicKey: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES) return false;
  try {
    const point = ed25519.Point.fromBytes(publicKey, false);
    return !point.is0() && point.isTorsionFree();
  } catch {
    return false;
  }
}

const FIELD_ORDER = ed25519.Point.Fp.ORDER;
const SIGN_BIT = 1n << 255n;
/** A point of order 8: RFC 8032's curve has eight points of small order, with five values of y. */
const EIGHTH_Y = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  FIELD_ORDER - 1n,
  EIGHTH_Y,
  FIELD_ORDER - EIGHTH_Y,
]);

/** Whether the bytes are canonical and name no point of small order; whether they name one at all is seen when verifying. */
export function mayBeFreshKey(publicKey: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES) return false;
  const y = littleEndian(publicKey) & (SIGN_BIT - 1n);
  return y < FIELD_ORDER && !SMALL_ORDER_Y.has(y);
}

/** Whether s, the second half of the signature, is below the group order (RFC 8032, 5.1.7 step 1). */
export function hasCanonicalScalar(signature: Uint8Array): boolean {
  return signature.length === SIGNATURE_BYTES && littleEndian(signature.subarray(32)) < GROUP_ORDER;
}

const NEUTRAL_POINT = ed25519.Point.ZERO.toBytes();

/**
 * Whether R, the first half of the signature, is the neutral point, the only one of small order that can satisfy the
 * equation. To be asked on every platform: Node's own verification refuses it since 2026, BoringSSL's does not.
 */
export function hasNeutralR(signature: Uint8Array): boolean {
  return equalBytes(signature.subarray(0, 32), NEUTRAL_POINT);
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);
}

/** Answers `isPrimeOrderKey` from memory for keys seen before; a miss costs about a millisecond. */
export class PrimeOrderKeys {
  static readonly MAX_REMEMBERED = 1_024;
  readonly #known = new Map<string, boolean>();

  has(publicKey: Uint8Array): boolean {
    const name = toHex(publicKey);
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const answer = isPrimeOrderKey(publicKey);
    if (this.#known.size >= PrimeOrderKeys.MAX_REMEMBERED) this.#known.clear();
    this.#known.set(name, answer);
    return answer;
  }
}

function verifyStrictly(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { Point } = ed25519;
  const encodedR = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  const k = Point.Fn.create(littleEndian(sha512(concatBytes(encodedR, publicKey, message))));
  const a = Point.fromBytes(publicKey, false);
  const expected = Point.BASE.multiplyUnsafe(s).subtract(a.multiplyUnsafe(k));
  return equalBytes(expected.toBytes(), encodedR);
}

/** The suite in plain JavaScript, for any platform. */
export function portableSuite(): CryptoSuite {
  const keys = new PrimeOrderKeys();
  return {
    sha256: (data) => sha256(data),
    verify: (publicKey, message, signature) =>
      hasCanonicalScalar(signature) &&
      !hasNeutralR(signature) &&
      keys.has(publicKey) &&
      verifyStrictly(publicKey, message, signature),
    verifyFresh: (publicKey, message, signature) =>
      hasCanonicalScalar(signature) &&
      !hasNeutralR(signature) &&
      mayBeFreshKey(publicKey) &&
      isPoint(publicKey) &&
      verifyStrictly(publicKey, message, signature),
  };
}

function isPoint(publicKey: Uint8Array): boolean {
  try {
    ed25519.Point.fromBytes(publicKey, false);
    return true;
  } catch {
    return false;
  }
}

/** A signer in plain JavaScript from a 32-byte seed. @throws RangeError for a seed of another length. */
export function portableSigner(seed: Uint8Array): Signer {
  if (seed.length !== SEED_BYTES) throw new RangeError(`a seed has ${SEED_BYTES} bytes, not ${seed.length}`);
  const publicKey = ed25519.getPublicKey(seed);
  return { publicKey, sign: (message) => ed25519.sign(message, seed) };
}
