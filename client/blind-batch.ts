import { RSABSSA } from "@cloudflare/blindrsa-ts";
import { toBase64Url } from "../protocol/base64.ts";
import { type Bytes, concatBytes } from "../protocol/bytes.ts";
import { type CryptoSuite, portableSigner } from "../protocol/crypto.ts";
import { unavailable } from "../protocol/errors.ts";
import { authenticatedPart, keyIdOf, modulusOf, TOKEN_TYPE, type Token } from "../protocol/privacy-pass.ts";
import { MODULUS_BYTES } from "../protocol/rsa-pss.ts";
import {
  type IssuerKey,
  STAMPS_PER_BATCH,
  type Stamp,
  type StampedEnvelope,
  stampedBytes,
  tokenInputOf,
} from "../protocol/stamp.ts";

const SEED_BYTES = 32;

/** A stamp that is on no envelope yet: whoever has its seed can put it on one. */
export interface BlankStamp {
  /** Of the one-time Ed25519 key. */
  readonly seed: Bytes;
  readonly token: Token;
}

/** A batch on its way: the request's body, and how to make stamps of the answer. */
export interface BlindBatch {
  readonly body: Bytes;
  /** @throws PennypostError `stamps_not_signed` when the node signed anything else, or with another key. */
  finish(answer: Bytes): Promise<BlankStamp[]>;
}

const blindRsa = RSABSSA.SHA384.PSS.Deterministic();

/** The platform's form of an issuer's key; the library reads its modulus from there. */
function importKey(issuer: IssuerKey): Promise<CryptoKey> {
  const n = toBase64Url(modulusOf(issuer.publicKey));
  const jwk = { kty: "RSA", alg: "PS384", n, e: "AQAB", ext: true };
  return crypto.subtle.importKey("jwk", jwk, { name: "RSA-PSS", hash: "SHA-384" }, true, ["verify"]);
}

/** Makes fresh keys, and blinds what is to be signed for them (RFC 9474, 4.2), so that the node cannot know its tokens again. */
export async function blindBatch(issuer: IssuerKey, suite: CryptoSuite): Promise<BlindBatch> {
  const key = await importKey(issuer);
  const head = Uint8Array.of(0, TOKEN_TYPE, keyIdOf(issuer.publicKey, suite).at(-1) as number);
  const blindOne = async () => {
    const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
    const input = tokenInputOf(issuer, portableSigner(seed).publicKey, suite);
    const message = authenticatedPart(input);
    return { seed, input, message, ...(await blindRsa.blind(key, message)) };
  };
  const made = await Promise.all(Array.from({ length: STAMPS_PER_BATCH }, blindOne));
  const body = concatBytes(...made.flatMap(({ blindedMsg }) => [head, blindedMsg]));
  const finish = async (answer: Bytes): Promise<BlankStamp[]> => {
    if (answer.length !== STAMPS_PER_BATCH * MODULUS_BYTES) throw notSigned("it has another length");
    return Promise.all(
      made.map(async ({ seed, input, message, inv }, i) => {
        const signed = answer.slice(i * MODULUS_BYTES, (i + 1) * MODULUS_BYTES);
        const authenticator = await blindRsa.finalize(key, message, signed, inv).catch(() => {
          throw notSigned("a signature does not verify");
        });
        return { seed, token: { ...input, authenticator: new Uint8Array(authenticator) } };
      }),
    );
  };
  return { body, finish };
}

const notSigned = (why: string) =>
  unavailable("stamps_not_signed", `the node's answer holds no stamps: ${why}`);

/** Puts a blank stamp on an envelope: it is good for no other. */
export function stampEnvelope({ seed, token }: BlankStamp, envelope: StampedEnvelope): Stamp {
  const signer = portableSigner(seed);
  return { token, publicKey: signer.publicKey, signature: signer.sign(stampedBytes(envelope)) };
}
