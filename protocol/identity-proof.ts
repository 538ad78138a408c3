import { secp256k1 } from "@noble/curves/secp256k1.js";
import { type Bytes, concatBytes, fromHex, toHex, uint64Bytes, utf8 } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { unauthenticated } from "./errors.ts";

/**
 * What binds a request to a node, a content and a moment: a signature by the identity key of the wallet's token, which by itself names
 * none of these. In the header `Pennypost-Proof: t=SECONDS, n=NONCE, s=SIGNATURE` (decimal, 32 and 128 hex digits). A client may add
 * `, for=NODE METHOD PATH BODY KEY` (node key, SHA-256 of the body, identity key, in hex): what it signed. Nothing is granted by that; a
 * proof that fails is told by it what differs.
 */

/** A proof signs the path, so both sides name it alike. */
export const PUBLISH_PATH = "/message/v1/publish";
export const PROOF_HEADER = "Pennypost-Proof";
/** A proof is good for so long before and after the time that it names. */
const PROOF_WINDOW_S = 300;
export const PROOF_NONCE_BYTES = 16;

const DOMAIN = utf8("pennypost/identity-proof/v1\0");
const CLAIM = /[0-9a-f]{64} [A-Z]{1,16} \/\S{0,255} [0-9a-f]{64} [0-9a-f]{130}/;
const FORM = new RegExp(`^t=(\\d{1,12}), n=([0-9a-f]{32}), s=([0-9a-f]{128})(?:, for=(${CLAIM.source}))?$`);

/** What is asked of the node, and of which. */
export interface ProvenRequest {
  /** The node's Ed25519 key. */
  readonly node: Bytes;
  /** Upper case. */
  readonly method: string;
  /** From the root, without a query. */
  readonly path: string;
  readonly body: Uint8Array;
}

export interface IdentityProof {
  readonly createdS: number;
  readonly nonce: Bytes;
  /** r ‖ s. */
  readonly signature: Bytes;
  /** What the client says that it signed. */
  readonly claim?: string;
}

/** SHA-256 of all that the identity key signs. */
export function proofDigest(
  { node, method, path, body }: ProvenRequest,
  { createdS, nonce }: Pick<IdentityProof, "createdS" | "nonce">,
  suite: CryptoSuite,
): Bytes {
  const head = concatBytes(DOMAIN, node, suite.sha256(body), nonce, uint64Bytes(BigInt(createdS)));
  return suite.sha256(concatBytes(head, utf8(`${method} ${path}`)));
}

export const formatProof = ({ createdS, nonce, signature, claim }: IdentityProof): string =>
  `t=${createdS}, n=${toHex(nonce)}, s=${toHex(signature)}${claim === undefined ? "" : `, for=${claim}`}`;

/** What a proof is for, as it is told beside it. */
export function claimOf(request: ProvenRequest, identityKey: Uint8Array, suite: CryptoSuite): string {
  const { node, method, path, body } = request;
  return [toHex(node), method, path, toHex(suite.sha256(body)), toHex(identityKey)].join(" ");
}

/** The parts of a claim in their order, with what is told where one differs. */
const DIFFERENCES = [
  ["node", "it is for another node"],
  ["method", "it is for another method"],
  ["path", "it is for another path"],
  ["body", "it is over another body"],
  ["identity_key", "it is by another identity key than the token's"],
] as const;

const invalid = (rule: string, why: string) =>
  unauthenticated("proof_invalid", `the proof of the identity key: ${why}`, { rule });

/** @throws PennypostError `proof_missing` or `proof_invalid` (401). */
export function readProof(header: string | null): IdentityProof {
  if (!header) throw unauthenticated("proof_missing", `the header ${PROOF_HEADER} is needed`);
  const [, createdS, nonce, signature, claim] = FORM.exec(header) ?? [];
  if (!createdS || !nonce || !signature) throw invalid("form", "it is not t=SECONDS, n=NONCE, s=SIGNATURE");
  const proof = { createdS: Number(createdS), nonce: fromHex(nonce), signature: fromHex(signature) };
  return claim === undefined ? proof : { ...proof, claim };
}

/**
 * Checks a proof but for its nonce, which may be used once.
 * @throws PennypostError `proof_invalid` (401), whose `rule` is `time`, `signature`, or what differs by the client's own claim: `node`,
 * `method`, `path`, `body`, `identity_key`.
 */
export function checkProof(
  proof: IdentityProof,
  request: ProvenRequest,
  identityKey: Uint8Array,
  nowMs: number,
  suite: CryptoSuite,
): void {
  if (Math.abs(nowMs / 1_000 - proof.createdS) > PROOF_WINDOW_S)
    throw invalid("time", `its time is more than ${PROOF_WINDOW_S} s away from this node's clock`);
  const digest = proofDigest(request, proof, suite);
  if (isSignedBy(proof.signature, digest, identityKey)) return;
  const claimed = proof.claim?.split(" ");
  const seen = claimOf(request, identityKey, suite).split(" ");
  const different = claimed && DIFFERENCES.find((_, i) => claimed[i] !== seen[i]);
  if (different) throw invalid(different[0], different[1]);
  throw invalid("signature", "it is not signed by the identity key for this request to this node");
}

function isSignedBy(signature: Uint8Array, digest: Uint8Array, key: Uint8Array): boolean {
  try {
    return secp256k1.verify(signature, digest, key, { prehash: false, lowS: true });
  } catch {
    return false;
  }
}

/** Signs a request with the secret of an identity key (32 bytes), and says what for. `nonce` are 16 random bytes. */
export function signProof(
  request: ProvenRequest,
  secret: Uint8Array,
  { createdS, nonce }: Pick<IdentityProof, "createdS" | "nonce">,
  suite: CryptoSuite,
): IdentityProof {
  const digest = proofDigest(request, { createdS, nonce }, suite);
  const signature = new Uint8Array(secp256k1.sign(digest, secret, { prehash: false, lowS: true }));
  const claim = claimOf(request, secp256k1.getPublicKey(secret, false), suite);
  return { createdS, nonce, signature, claim };
}
