import { z } from "zod";
import { fromBase64, toBase64Url } from "./base64.ts";
import { type Bytes, concatBytes, utf8 } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { type CryptoSuite, isPrimeOrderKey, PUBLIC_KEY_BYTES } from "./crypto.ts";
import { invalidArgument, PennypostError } from "./errors.ts";
import { DIGEST_BYTES } from "./event-id.ts";
import { sized } from "./peer-messages.ts";

/**
 * An invitation as one operator sends it to another: `pennypost-invitation:` and, in base64url, a CBOR list of 1, the URL, the key and
 * the network id of the node that invites, and the secret.
 */

const PREFIX = "pennypost-invitation:";
const VERSION = 1;
export const INVITATION_SECRET_BYTES = 32;
export const MAX_URL_CHARACTERS = 256;
const MAX_TEXT_CHARACTERS = 1_024;
const DIGEST_TAG = utf8("pennypost/invitation/v1\0");

export interface InvitationText {
  /** The origin of the inviting node's URL. */
  readonly url: string;
  /** The inviting node's public key. */
  readonly key: Bytes;
  readonly networkId: Bytes;
  /** Random; the node keeps its digest alone. */
  readonly secret: Bytes;
}

const schema = z.tuple([
  z.literal(VERSION),
  z.string().max(MAX_URL_CHARACTERS),
  sized(PUBLIC_KEY_BYTES),
  sized(DIGEST_BYTES),
  sized(INVITATION_SECRET_BYTES),
]);

export function formatInvitation({ url, key, networkId, secret }: InvitationText): string {
  return PREFIX + toBase64Url(encodeCbor([VERSION, url, key, networkId, secret]));
}

/** @throws PennypostError `invitation_malformed` (400). */
export function parseInvitation(text: string): InvitationText {
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX) || trimmed.length > MAX_TEXT_CHARACTERS)
    throw malformed(`an invitation begins with ${PREFIX}`);
  const found = schema.safeParse(readCbor(trimmed.slice(PREFIX.length)));
  if (!found.success) throw malformed("it was cut or changed on its way: ask for it again");
  const [, url, key, networkId, secret] = found.data;
  if (!isPrimeOrderKey(key)) throw malformed("it names no node's key");
  return { url, key, networkId, secret };
}

function readCbor(text: string): unknown {
  const bytes = fromBase64(text);
  if (!bytes) return undefined;
  try {
    return decodeCbor(bytes, { bytes: MAX_TEXT_CHARACTERS, items: 16, depth: 1 });
  } catch (error) {
    if (error instanceof PennypostError) return undefined;
    throw error;
  }
}

const malformed = (why: string) => invalidArgument("invitation_malformed", `no invitation: ${why}`);

/** What the inviting node keeps of a secret. */
export const digestOfSecret = (secret: Bytes, suite: CryptoSuite): Bytes =>
  suite.sha256(concatBytes(DIGEST_TAG, secret));
