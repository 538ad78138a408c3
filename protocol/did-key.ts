import { base58btc } from "multiformats/bases/base58";
import { type Bytes, concatBytes, fromHex } from "./bytes.ts";
import { isPrimeOrderKey, PUBLIC_KEY_BYTES } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";

/** The did:key method for Ed25519 (https://w3c-ccg.github.io/did-key-spec/): multicodec 0xed as a varint, then the key. */
const PREFIX = "did:key:";
const ED25519_PUB = Uint8Array.of(0xed, 0x01);

/** An Ed25519 public key as people see it: `did:key:z6Mk…`. */
export const toDidKey = (publicKey: Uint8Array): string =>
  PREFIX + base58btc.encode(concatBytes(ED25519_PUB, publicKey));

function decodeDidKey(text: string): Bytes | undefined {
  try {
    const bytes = base58btc.decode(text.slice(PREFIX.length));
    const isEd25519 = bytes[0] === ED25519_PUB[0] && bytes[1] === ED25519_PUB[1];
    return isEd25519 ? new Uint8Array(bytes.subarray(ED25519_PUB.length)) : undefined;
  } catch {
    return undefined;
  }
}

/** Reads a did:key or 64 hex digits. @throws PennypostError `key_invalid` for anything but a key of prime order. */
export function parsePublicKey(text: string): Bytes {
  const isHex = text.length === 2 * PUBLIC_KEY_BYTES && /^[0-9a-f]+$/i.test(text);
  const key = isHex ? fromHex(text) : text.startsWith(PREFIX) ? decodeDidKey(text) : undefined;
  if (!key || !isPrimeOrderKey(key)) {
    throw invalidArgument("key_invalid", "not an Ed25519 public key (did:key or 64 hex digits)", {
      key: text.slice(0, 80),
    });
  }
  return key;
}
