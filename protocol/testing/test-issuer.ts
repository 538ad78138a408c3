import { type Bytes, fromHex } from "../bytes.ts";
import { type CryptoSuite, portableSigner, type Signer } from "../crypto.ts";
import { authenticatedPart } from "../privacy-pass.ts";
import {
  type IssuerKey,
  type Stamp,
  type StampedEnvelope,
  stampChallenge,
  stampedBytes,
  tokenInputOf,
} from "../stamp.ts";
import issuerKeys from "./issuer-keys.json" with { type: "json" };
import { pssSigner } from "./pss-signer.ts";

/** No test waits for a new one. */
function keyAt(index: number) {
  const key = issuerKeys.keys[index];
  if (!key) throw new RangeError(`there are ${issuerKeys.keys.length} keys`);
  return key;
}

/** An issuer that signs without blinding: what its client would have unblinded is the same. */
export class TestIssuer {
  readonly key: IssuerKey;
  readonly #sign: (message: Uint8Array) => Bytes;
  readonly #suite: CryptoSuite;

  constructor(
    origin: Bytes,
    net: Bytes,
    suite: CryptoSuite,
    parts: Partial<IssuerKey> & { readonly index?: number } = {},
  ) {
    const { index = 0, ...rest } = parts;
    const { privateKey, publicKey } = keyAt(index);
    this.#sign = pssSigner(privateKey);
    this.#suite = suite;
    this.key = {
      origin,
      publicKey: new Uint8Array(fromHex(publicKey)),
      challenge: stampChallenge("node.test", net, suite),
      from: 0n,
      to: 2n ** 63n - 1n,
      ...rest,
    };
  }

  /** A stamp for an envelope, by a one-time key made of a number. */
  stamp(envelope: StampedEnvelope, nonce: number): Stamp {
    const signer = freshSigner(nonce);
    const input = tokenInputOf(this.key, signer.publicKey, this.#suite);
    return {
      token: { ...input, authenticator: this.signMessage(authenticatedPart(input)) },
      publicKey: signer.publicKey,
      signature: signer.sign(stampedBytes(envelope)),
    };
  }

  signMessage(message: Uint8Array): Bytes {
    return this.#sign(message);
  }
}

export function freshSigner(number: number): Signer {
  const seed = new Uint8Array(32).fill(0xa5);
  new DataView(seed.buffer).setUint32(0, number);
  return portableSigner(seed);
}
