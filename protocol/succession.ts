import { z } from "zod";
import { type Bytes, concatBytes, equalBytes, uint64Bytes, utf8 } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { type CryptoSuite, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, type Signer } from "./crypto.ts";
import { denied } from "./errors.ts";
import { MAX_TIME_MS } from "./hybrid-clock.ts";
import { decodeBody, sized } from "./peer-messages.ts";

/**
 * A node's word, signed with the key that it had, that it has another one now: `POST /peer/v1/successor`, signed with the new key. Its
 * peers then call it by that; it makes nobody a member.
 */

export const SUCCESSOR_PATH = "/peer/v1/successor";
export const MAX_SUCCESSION_BYTES = 256;
/** So long it is good: who comes by it later cannot lead peers away again. */
export const SUCCESSION_MS = 3_600_000;
const TAG = utf8("pennypost/succession/v1\0");

export interface Succession {
  readonly old: Bytes;
  /** When it was signed, in ms since 1970. */
  readonly atMs: number;
  /** By the old key, over tag ‖ network id ‖ old key ‖ new key ‖ time (8 bytes). */
  readonly signature: Bytes;
}

const schema = z
  .tuple([sized(PUBLIC_KEY_BYTES), z.int().min(0).max(MAX_TIME_MS), sized(SIGNATURE_BYTES)])
  .transform(([old, atMs, signature]): Succession => ({ old, atMs, signature }));

export const encodeSuccession = ({ old, atMs, signature }: Succession): Bytes =>
  encodeCbor([old, atMs, signature]);

/** @throws PennypostError `cbor_malformed`, `cbor_too_large` or `peer_body_invalid`. */
export const decodeSuccession = (bytes: Uint8Array): Succession => decodeBody(schema, bytes);

function signedBytes(old: Bytes, next: Bytes, atMs: number, networkId: Bytes): Bytes {
  return concatBytes(TAG, networkId, old, next, uint64Bytes(BigInt(atMs)));
}

export function createSuccession(old: Signer, next: Bytes, atMs: number, networkId: Bytes): Succession {
  const signature = old.sign(signedBytes(old.publicKey, next, atMs, networkId));
  return { old: old.publicKey, atMs, signature };
}

export interface SuccessionContext {
  readonly networkId: Bytes;
  readonly suite: CryptoSuite;
  readonly nowMs: number;
}

/** @throws PennypostError `succession_invalid` (403). */
export function checkSuccession(
  { old, atMs, signature }: Succession,
  next: Bytes,
  context: SuccessionContext,
): void {
  const { networkId, suite, nowMs } = context;
  if (equalBytes(old, next)) throw denied("succession_invalid", "a key does not follow itself");
  if (Math.abs(nowMs - atMs) > SUCCESSION_MS)
    throw denied("succession_invalid", "the change of keys was signed too long ago: sign it again");
  if (!suite.verify(old, signedBytes(old, next, atMs, networkId), signature))
    throw denied("succession_invalid", "the change of keys is not signed with the old key");
}
