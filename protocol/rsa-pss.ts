import { sha384 } from "@noble/hashes/sha2.js";
import { type Bytes, concatBytes, equalBytes, fromHex, toHex } from "./bytes.ts";

/**
 * RSASSA-PSS (RFC 8017, 8.1.2) with the parameters of Privacy Pass's token type 2 (RFC 9578, 8.2.2): a modulus of 2,048
 * bits, the exponent 65,537, SHA-384 for the message and for MGF1, a salt of 48 bytes. Only public values are computed with.
 */

export const MODULUS_BYTES = 256;
const PUBLIC_EXPONENT_SQUARINGS = 16;
const HASH_BYTES = 48;
const SALT_BYTES = 48;
/** Zeros between the parts of the data block: emLen − sLen − hLen − 2. */
const PADDING_BYTES = MODULUS_BYTES - SALT_BYTES - HASH_BYTES - 2;
const TRAILER = 0xbc;

const toInteger = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes)}`);
const toModulusBytes = (value: bigint): Bytes => fromHex(value.toString(16).padStart(2 * MODULUS_BYTES, "0"));

/**
 * RSAVP1 (RFC 8017, 5.2.2): input^65537 mod n, 256 bytes; undefined when the input is not below the modulus.
 * About 0.1 ms.
 */
export function applyPublicKey(modulus: Uint8Array, input: Uint8Array): Bytes | undefined {
  const n = toInteger(modulus);
  const base = toInteger(input);
  if (base >= n) return undefined;
  let power = base;
  for (let i = 0; i < PUBLIC_EXPONENT_SQUARINGS; i++) power = (power * power) % n;
  return toModulusBytes((power * base) % n);
}

/** MGF1 (RFC 8017, B.2.1) with SHA-384. */
function mask(seed: Uint8Array, length: number): Bytes {
  const parts: Uint8Array[] = [];
  for (let counter = 0; counter * HASH_BYTES < length; counter++)
    parts.push(sha384(concatBytes(seed, Uint8Array.of(0, 0, 0, counter))));
  return concatBytes(...parts).subarray(0, length);
}

/** Whether the 256 bytes are the encoding (EMSA-PSS, RFC 8017, 9.1.2) of a message. */
function isEncodingOf(encoded: Uint8Array, message: Uint8Array): boolean {
  if (encoded.at(-1) !== TRAILER) return false;
  const dataBytes = MODULUS_BYTES - HASH_BYTES - 1;
  const hash = encoded.subarray(dataBytes, dataBytes + HASH_BYTES);
  const [first = 0] = encoded;
  if (first >= 0x80) return false;
  const data = mask(hash, dataBytes).map((byte, i) => byte ^ (encoded[i] as number));
  data[0] = (data[0] as number) & 0x7f;
  const expectedHead = new Uint8Array(PADDING_BYTES + 1);
  expectedHead[PADDING_BYTES] = 1;
  if (!equalBytes(data.subarray(0, PADDING_BYTES + 1), expectedHead)) return false;
  const salt = data.subarray(PADDING_BYTES + 1);
  return equalBytes(sha384(concatBytes(new Uint8Array(8), sha384(message), salt)), hash);
}

/** Whether `signature` is a message's under the key with this modulus (256 bytes, its first bit set). */
export function verifyPss(modulus: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (modulus.length !== MODULUS_BYTES || signature.length !== MODULUS_BYTES) return false;
  const encoded = applyPublicKey(modulus, signature);
  return encoded !== undefined && isEncodingOf(encoded, message);
}
