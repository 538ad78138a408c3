import { hash } from "node:crypto";
import { platformSigner, suite as platformSuite } from "../durable-objects/platform-suite.ts";
import { type Bytes, concatBytes, equalBytes, utf8 } from "../protocol/bytes.ts";
import type { CryptoSuite, Signer } from "../protocol/crypto.ts";

const sha256 = (data: Uint8Array): Bytes => new Uint8Array(hash("sha256", data, "buffer"));

/** What only the signers below know: who has no signer cannot sign. */
const SECRET = utf8("the signatures of a simulation");

const keyedHash = (publicKey: Uint8Array, message: Uint8Array): Bytes =>
  new Uint8Array(hash("sha512", concatBytes(SECRET, publicKey, message), "buffer"));

const isKeyedHash: CryptoSuite["verify"] = (publicKey, message, signature) =>
  equalBytes(signature, keyedHash(publicKey, message));

const keyedSuite: CryptoSuite = { sha256, verify: isKeyedHash, verifyFresh: isKeyedHash };

const keyedSigner = (seed: Bytes): Signer => {
  // Records and the genesis name members by keys of prime order.
  const { publicKey } = platformSigner(seed);
  return { publicKey, sign: (message) => keyedHash(publicKey, message) };
};

export interface SimCrypto {
  readonly suite: CryptoSuite;
  signer(seed: Bytes): Signer;
}

/** Signatures are a keyed hash, which costs a hundredth, unless real ones are asked for. */
export const cryptoOf = (isReal: boolean): SimCrypto =>
  isReal
    ? { suite: { ...platformSuite, sha256 }, signer: platformSigner }
    : { suite: keyedSuite, signer: keyedSigner };
