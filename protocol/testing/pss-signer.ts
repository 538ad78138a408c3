import { sha384 } from "@noble/hashes/sha2.js";
import { type Bytes, concatBytes, fromHex, toHex, utf8 } from "../bytes.ts";
import { MODULUS_BYTES } from "../rsa-pss.ts";

/**
 * RSASSA-PSS (RFC 8017, 8.1.1) as `verifyPss` reads it, in plain arithmetic: the same on every platform, and the same each time, since
 * the salt is made of the message. For tests and vectors alone: its time tells the key.
 */

const HASH_BYTES = 48;
const DATA_BYTES = MODULUS_BYTES - HASH_BYTES - 1;

interface PrivateKey {
  readonly p: bigint;
  readonly q: bigint;
  readonly dp: bigint;
  readonly dq: bigint;
  readonly qInverse: bigint;
}

const integerOf = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes)}`);

/** The contents of the items of a DER sequence's content. */
function items(der: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let at = 0; at < der.length; ) {
    const first = der[at + 1] as number;
    const lengthBytes = first < 0x80 ? 0 : first - 0x80;
    const start = at + 2 + lengthBytes;
    const length = lengthBytes === 0 ? first : Number(integerOf(der.subarray(at + 2, start)));
    found.push(der.subarray(start, start + length));
    at = start + length;
  }
  return found;
}

/** Reads a key of two primes in PKCS #8 (RFC 5958, and RFC 8017, A.1.2), as PEM. */
function readKey(pem: string): PrivateKey {
  const base64 = pem.replace(/-----[^-]+-----|\s/g, "");
  const der = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const content = (bytes: Uint8Array | undefined) => items(bytes ?? new Uint8Array())[0];
  const [, , inner] = items(content(der) ?? new Uint8Array());
  const numbers = items(content(inner) ?? new Uint8Array()).map(integerOf);
  const at = (index: number): bigint => numbers[index] as bigint;
  return { p: at(4), q: at(5), dp: at(6), dq: at(7), qInverse: at(8) };
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  let square = base % modulus;
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

/** MGF1 (RFC 8017, B.2.1). */
const mask = (seed: Uint8Array): Bytes =>
  concatBytes(
    ...[0, 1, 2, 3, 4].map((counter) => sha384(concatBytes(seed, Uint8Array.of(0, 0, 0, counter)))),
  ).subarray(0, DATA_BYTES);

/** EMSA-PSS (RFC 8017, 9.1.1) with a salt of 48 bytes. */
function encode(message: Uint8Array): Bytes {
  const salt = sha384(concatBytes(utf8("pennypost tests: salt"), message));
  const hash = sha384(concatBytes(new Uint8Array(8), sha384(message), salt));
  const data = new Uint8Array(DATA_BYTES);
  data[DATA_BYTES - salt.length - 1] = 1;
  data.set(salt, DATA_BYTES - salt.length);
  const masked = mask(hash).map((byte, i) => byte ^ (data[i] as number));
  masked[0] = (masked[0] as number) & 0x7f;
  return concatBytes(masked, hash, Uint8Array.of(0xbc));
}

/** Signs messages with a key in PEM. */
export function pssSigner(pem: string): (message: Uint8Array) => Bytes {
  const { p, q, dp, dq, qInverse } = readKey(pem);
  return (message) => {
    const input = integerOf(encode(message));
    const ofQ = power(input, dq, q);
    const difference = (((power(input, dp, p) - ofQ) % p) + p) % p;
    const signature = ofQ + q * ((qInverse * difference) % p);
    return fromHex(signature.toString(16).padStart(2 * MODULUS_BYTES, "0"));
  };
}
