import { type Bytes, concatBytes, equalBytes, fromHex, utf8 } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import { MODULUS_BYTES } from "./rsa-pss.ts";

/** Privacy Pass (RFC 9576 to 9578) as far as stamps need it: token type 2, Blind RSA with 2,048 bits, and its bytes. */

export const TOKEN_TYPE = 2;
const NONCE_BYTES = 32;
export const AUTHENTICATOR_BYTES = MODULUS_BYTES;
/** type (2) ‖ nonce ‖ SHA-256 of the challenge ‖ key id (32) ‖ authenticator: RFC 9577, 2.2. */
export const TOKEN_BYTES = 2 + NONCE_BYTES + 32 + 32 + AUTHENTICATOR_BYTES;

const TYPE = Uint8Array.of(0, TOKEN_TYPE);

/** What stands before the modulus in the DER of a SubjectPublicKeyInfo for id-RSASSA-PSS with these parameters (RFC 9578, 8.2.2). */
const SPKI_HEAD = fromHex(
  "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a301806092a864886f70d010108300b" +
    "0609608648016503040202a2030201300382010f003082010a0282010100",
);
/** What stands behind it: the exponent 65,537. */
const SPKI_TAIL = fromHex("0203010001");
export const ISSUER_KEY_BYTES = SPKI_HEAD.length + MODULUS_BYTES + SPKI_TAIL.length;

/**
 * The modulus of an issuer's public key: there is one form of it, so that two keys with one modulus are one.
 * @throws PennypostError `issuer_key_invalid` (400) for anything but an odd modulus of 2,048 bits in this form.
 */
export function modulusOf(publicKey: Uint8Array): Bytes {
  const end = SPKI_HEAD.length + MODULUS_BYTES;
  const modulus = new Uint8Array(publicKey.subarray(SPKI_HEAD.length, end));
  const isFramed =
    publicKey.length === ISSUER_KEY_BYTES &&
    equalBytes(publicKey.subarray(0, SPKI_HEAD.length), SPKI_HEAD) &&
    equalBytes(publicKey.subarray(end), SPKI_TAIL);
  if (isFramed && (modulus[0] as number) >= 0x80 && (modulus.at(-1) as number) % 2 === 1) return modulus;
  throw invalidArgument("issuer_key_invalid", "not an RSASSA-PSS key of 2,048 bits in the form of RFC 9578");
}

/** An issuer's public key from its modulus (256 bytes). */
export const issuerKeyOf = (modulus: Uint8Array): Bytes => concatBytes(SPKI_HEAD, modulus, SPKI_TAIL);

/** The token_key_id: SHA-256 of the public key (RFC 9578, 6.5). */
export const keyIdOf = (publicKey: Uint8Array, suite: CryptoSuite): Bytes => suite.sha256(publicKey);

const withLength16 = (bytes: Uint8Array): Bytes =>
  concatBytes(Uint8Array.of(bytes.length >> 8, bytes.length & 255), bytes);

/** The TokenChallenge (RFC 9577, 2.1.1) of an issuer, without origin_info: tokens for it can be had ahead of any use. */
export const challengeOf = (issuerName: string, redemptionContext: Uint8Array): Bytes =>
  concatBytes(
    TYPE,
    withLength16(utf8(issuerName)),
    Uint8Array.of(redemptionContext.length),
    redemptionContext,
    Uint8Array.of(0, 0),
  );

/** The parts of a token, and of what an issuer signs for it. */
export interface Token {
  readonly nonce: Bytes;
  readonly challengeDigest: Bytes;
  readonly keyId: Bytes;
  readonly authenticator: Bytes;
}

/** What the authenticator signs: all of a token before it (RFC 9577, 2.2). */
export const authenticatedPart = (token: Omit<Token, "authenticator">): Bytes =>
  concatBytes(TYPE, token.nonce, token.challengeDigest, token.keyId);

export const encodeToken = (token: Token): Bytes =>
  concatBytes(authenticatedPart(token), token.authenticator);

/** @throws PennypostError `stamp_malformed` (400) for another type or length. */
export function decodeToken(bytes: Uint8Array): Token {
  if (bytes.length !== TOKEN_BYTES) {
    throw invalidArgument(
      "stamp_malformed",
      `a stamp's token has ${TOKEN_BYTES} bytes, not ${bytes.length}`,
      {
        rule: "length",
      },
    );
  }
  if (!equalBytes(bytes.subarray(0, 2), TYPE)) {
    throw invalidArgument("stamp_malformed", `a stamp's token is of type ${TOKEN_TYPE}`, { rule: "type" });
  }
  const part = (from: number, length: number): Bytes => new Uint8Array(bytes.subarray(from, from + length));
  return {
    nonce: part(2, NONCE_BYTES),
    challengeDigest: part(34, 32),
    keyId: part(66, 32),
    authenticator: part(98, AUTHENTICATOR_BYTES),
  };
}
