import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { type Bytes, concatBytes, fromHex, toHex } from "../protocol/bytes.ts";
import {
  type CryptoSuite,
  hasCanonicalScalar,
  hasNeutralR,
  mayBeFreshKey,
  PrimeOrderKeys,
  SEED_BYTES,
  type Signer,
} from "../protocol/crypto.ts";

/** ASN.1 heads of an Ed25519 key (RFC 8410, section 7 and 4). */
const PKCS8_HEAD = fromHex("302e020100300506032b657004220420");
const SPKI_HEAD = fromHex("302a300506032b6570032100");

const MAX_KEYS_IN_MEMORY = 1_024;

const importKey = (publicKey: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.from(concatBytes(SPKI_HEAD, publicKey)), format: "der", type: "spki" });

/** Whether a signature is of a key; false where the bytes name no point. */
function verifyOnce(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  try {
    return verify(null, message, importKey(publicKey), signature);
  } catch {
    return false;
  }
}

/**
 * The suite on the platform's own code: synchronous, so that nothing interleaves with a commit. BoringSSL verifies
 * without the cofactor and compares R byte for byte; canonical s and keys of prime order are checked before.
 */
function platformSuite(): CryptoSuite {
  const primeOrder = new PrimeOrderKeys();
  const imported = new Map<string, KeyObject>();
  const keyOf = (publicKey: Uint8Array): KeyObject => {
    const name = toHex(publicKey);
    const known = imported.get(name);
    if (known) return known;
    const key = importKey(publicKey);
    if (imported.size >= MAX_KEYS_IN_MEMORY) imported.clear();
    imported.set(name, key);
    return key;
  };
  return {
    sha256: (data) => new Uint8Array(createHash("sha256").update(data).digest()),
    verify: (publicKey, message, signature) =>
      hasCanonicalScalar(signature) &&
      !hasNeutralR(signature) &&
      primeOrder.has(publicKey) &&
      verify(null, message, keyOf(publicKey), signature),
    verifyFresh: (publicKey, message, signature) =>
      hasCanonicalScalar(signature) &&
      !hasNeutralR(signature) &&
      mayBeFreshKey(publicKey) &&
      verifyOnce(publicKey, message, signature),
  };
}

export const suite: CryptoSuite = platformSuite();

/** A signer from a 32-byte seed. @throws RangeError for a seed of another length. */
export function platformSigner(seed: Uint8Array): Signer {
  if (seed.length !== SEED_BYTES) throw new RangeError(`a seed has ${SEED_BYTES} bytes, not ${seed.length}`);
  const der = Buffer.from(concatBytes(PKCS8_HEAD, seed));
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  const publicKey: Bytes = new Uint8Array(spki.subarray(SPKI_HEAD.length));
  return { publicKey, sign: (message) => new Uint8Array(sign(null, message, key)) };
}
