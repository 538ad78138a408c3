import { type Bytes, concatBytes, utf8 } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { issuerKeyOf } from "../../protocol/privacy-pass.ts";

/** Issuer keys are kept encrypted under the node's secret, which is in no storage: AES-256-GCM under a key derived by HKDF (RFC 5869). */

const INFO = utf8("pennypost/issuer-key/v1");
const IV_BYTES = 12;
const RSA = { modulusLength: 2_048, publicExponent: Uint8Array.of(1, 0, 1), hash: "SHA-384" };

/** A new key pair: the public key in the form of RFC 9578, the private one sealed. */
export interface MadeKey {
  readonly publicKey: Bytes;
  readonly sealed: Bytes;
}

async function sealingKey(secret: Bytes): Promise<CryptoKey> {
  const material = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(32), info: INFO },
    material,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}

/** Makes a key pair of an issuer; takes some tenths of a second. */
export async function makeIssuerKey(secret: Bytes): Promise<MadeKey> {
  const pair = (await crypto.subtle.generateKey({ name: "RSA-PSS", ...RSA }, true, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  const { n } = (await crypto.subtle.exportKey("jwk", pair.publicKey)) as JsonWebKey;
  const pkcs8 = new Uint8Array((await crypto.subtle.exportKey("pkcs8", pair.privateKey)) as ArrayBuffer);
  return {
    publicKey: issuerKeyOf(Uint8Array.from(Buffer.from(String(n), "base64url"))),
    sealed: await seal(pkcs8, secret),
  };
}

/** iv ‖ ciphertext with its tag. */
export async function seal(data: Bytes, secret: Bytes): Promise<Bytes> {
  const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await sealingKey(secret), data);
  return concatBytes(iv, new Uint8Array(sealed));
}

async function unseal(sealed: Bytes, secret: Bytes): Promise<ArrayBuffer> {
  const iv = sealed.slice(0, IV_BYTES);
  const key = await sealingKey(secret);
  try {
    return await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, sealed.slice(IV_BYTES));
  } catch {
    const why = "NODE_KEY: another secret sealed its issuer keys, or they were changed";
    throw unavailable("misconfigured", `this node is not configured: ${why}`, { name: "NODE_KEY" });
  }
}

/**
 * A private key that signs as it is, without padding: what a blind signature is.
 * @throws PennypostError `misconfigured` (503) where the node's secret is another, or the sealed key was changed.
 */
export async function openIssuerKey(sealed: Bytes, secret: Bytes): Promise<CryptoKey> {
  const pkcs8 = await unseal(sealed, secret);
  // The name that workerd has for it; it is none of Web Crypto's.
  const algorithm = { name: "RSA-RAW", hash: "SHA-384" };
  return crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
}
