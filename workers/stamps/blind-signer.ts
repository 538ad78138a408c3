import { type Bytes, compareBytes, concatBytes, equalBytes } from "../../protocol/bytes.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { TOKEN_TYPE } from "../../protocol/privacy-pass.ts";
import { applyPublicKey, MODULUS_BYTES } from "../../protocol/rsa-pss.ts";
import { STAMPS_PER_BATCH } from "../../protocol/stamp.ts";

/** A TokenRequest of RFC 9578, 6.1: type (2) ‖ last byte of the key id ‖ blinded message. */
const REQUEST_BYTES = 3 + MODULUS_BYTES;
export const BATCH_BYTES = STAMPS_PER_BATCH * REQUEST_BYTES;

const invalid = (rule: string, why: string) =>
  invalidArgument("stamp_request_invalid", `the request for stamps: ${why}`, { rule });

export interface SigningKey {
  readonly keyId: Uint8Array;
  readonly modulus: Uint8Array;
  /** s = input^d mod n. */
  sign(input: Bytes): Promise<Bytes>;
}

/** The blinded messages of a batch. @throws PennypostError `stamp_request_invalid` (400). */
export function readBatch(body: Uint8Array, keyOf: (lastByte: number) => SigningKey | undefined) {
  if (body.length !== BATCH_BYTES)
    throw invalid("length", `${STAMPS_PER_BATCH} requests of ${REQUEST_BYTES} bytes are needed`);
  const lastByte = body[2] as number;
  const key = keyOf(lastByte);
  if (!key) throw invalid("key", "it names no key of this node that is in force");
  const blinded: Bytes[] = [];
  for (let at = 0; at < body.length; at += REQUEST_BYTES) {
    const type = ((body[at] as number) << 8) | (body[at + 1] as number);
    if (type !== TOKEN_TYPE || body[at + 2] !== lastByte)
      throw invalid("type", "all are to be of type 2 and of one key");
    const message = new Uint8Array(body.subarray(at + 3, at + REQUEST_BYTES));
    if (compareBytes(message, key.modulus) >= 0)
      throw invalid("range", "a blinded message is not below the modulus");
    blinded.push(message);
  }
  return { key, blinded };
}

/**
 * Signs blinded messages, all or none: each result is checked before any leaves, since one wrong result of a CRT computation gives the
 * key away (Boneh, DeMillo, Lipton 1997).
 * @throws PennypostError `signing_failed` (500).
 */
export async function signBatch(key: SigningKey, blinded: readonly Bytes[]): Promise<Bytes> {
  const signed: Bytes[] = [];
  for (const message of blinded) {
    const result = await key.sign(message);
    const again = result.length === MODULUS_BYTES ? applyPublicKey(key.modulus, result) : undefined;
    if (!again || !equalBytes(again, message))
      throw new PennypostError("signing_failed", GRPC.internal, "stamps could not be signed");
    signed.push(result);
  }
  return concatBytes(...signed);
}
