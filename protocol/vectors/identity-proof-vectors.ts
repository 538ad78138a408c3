import { secp256k1 } from "@noble/curves/secp256k1.js";
import { type Bytes, concatBytes, toHex, uint64Bytes, utf8 } from "../bytes.ts";
import { formatProof, type IdentityProof, type ProvenRequest, signProof } from "../identity-proof.ts";
import { hex, seedOf, signerOf, suite } from "./encoding.ts";

/** Proofs that bind a request to a node, a content and a moment: the header `Pennypost-Proof`. */

const SECRET = seedOf("identity key");
const KEY = Uint8Array.from(secp256k1.getPublicKey(SECRET, false));
const CREATED_S = 1_782_950_400;
const NONCE: Bytes = seedOf("proof nonce").slice(0, 16);
const REQUEST: ProvenRequest = {
  node: signerOf("origin").publicKey,
  method: "POST",
  path: "/v1/stamps",
  body: utf8("a batch of requests"),
};

/** What is hashed, and then signed, written out once more: the code has it in `proofDigest`. */
const signedBytes = (
  { node, method, path, body }: ProvenRequest,
  { createdS, nonce }: Pick<IdentityProof, "createdS" | "nonce">,
): Bytes =>
  concatBytes(
    utf8("pennypost/identity-proof/v1\0"),
    node,
    suite.sha256(body),
    nonce,
    uint64Bytes(BigInt(createdS)),
    utf8(`${method} ${path}`),
  );

const requestForm = ({ node, method, path, body }: ProvenRequest) => ({
  node: hex(node),
  method,
  path,
  body: hex(body),
});

const CASES: readonly (readonly [string, Partial<ProvenRequest>, number])[] = [
  ["A proof of a purchase.", {}, CREATED_S],
  ["An empty body.", { body: new Uint8Array() }, CREATED_S],
  ["Another method and path.", { method: "GET", path: "/" }, CREATED_S],
  ["The time 0.", {}, 0],
  ["The greatest time that the header can have.", {}, 999_999_999_999],
];

/** The same signature with the other s: n − s. */
function highS({ signature, ...proof }: IdentityProof): IdentityProof {
  const s = BigInt(`0x${toHex(signature.slice(32))}`);
  const high = (secp256k1.Point.Fn.ORDER - s).toString(16).padStart(64, "0");
  return { ...proof, signature: Uint8Array.from([...signature.slice(0, 32), ...Buffer.from(high, "hex")]) };
}

type Judged = readonly [
  description: string,
  rule: string | null,
  header: string,
  changes?: Partial<ProvenRequest>,
  nowS?: number,
];

function judged(): readonly Judged[] {
  const proof = signProof(REQUEST, SECRET, { createdS: CREATED_S, nonce: NONCE }, suite);
  const header = formatProof(proof);
  const by = (name: string) => formatProof(signProof(REQUEST, seedOf(name), proof, suite));
  return [
    ["The control: nothing is wrong.", null, header],
    ["Three hundred seconds after.", null, header, {}, CREATED_S + 300],
    ["Three hundred seconds before.", null, header, {}, CREATED_S - 300],
    ["Too late.", "time", header, {}, CREATED_S + 301],
    ["Too early.", "time", header, {}, CREATED_S - 301],
    ["For another node.", "signature", bare(header), { node: signerOf("second origin").publicKey }],
    ["For another method.", "signature", bare(header), { method: "PUT" }],
    ["For another path.", "signature", bare(header), { path: "/v1/stamps/" }],
    ["For another body.", "signature", bare(header), { body: utf8("another batch of requests") }],
    ["By another identity key.", "signature", bare(by("another identity key"))],
    ["For another node, as it says.", "node", header, { node: signerOf("second origin").publicKey }],
    ["For another method, as it says.", "method", header, { method: "PUT" }],
    ["For another path, as it says.", "path", header, { path: "/v1/stamps/" }],
    ["For another body, as it says.", "body", header, { body: utf8("another batch of requests") }],
    ["By another identity key, as it says.", "identity_key", by("another identity key")],
    ["Of another nonce.", "signature", formatProof({ ...proof, nonce: NONCE.map((byte) => byte ^ 1) })],
    ["Of another time.", "signature", formatProof({ ...proof, createdS: CREATED_S + 1 })],
    ["The greater of the two values of s.", "signature", formatProof(highS(proof))],
    ["A signature of zeros.", "signature", formatProof({ ...proof, signature: new Uint8Array(64) })],
    ["Upper-case digits.", "form", header.replace(/s=.*/, (part) => `s=${part.slice(2).toUpperCase()}`)],
    ["No blank behind the comma.", "form", header.replaceAll(", ", ",")],
    ["A blank behind it.", "form", `${header} `],
    ["In another order.", "form", header.split(", ").reverse().join(", ")],
    ["A digit less.", "form", header.slice(0, -1)],
    ["A time of thirteen digits.", "form", header.replace("t=", "t=0000")],
  ];
}

export function identityProofVectors() {
  return {
    secret: hex(SECRET),
    identityKey: hex(KEY),
    cases: CASES.map(([description, changes, createdS]) => {
      const request = { ...REQUEST, ...changes };
      const proof = signProof(request, SECRET, { createdS, nonce: NONCE }, suite);
      const bytes = signedBytes(request, proof);
      return {
        description,
        input: { ...requestForm(request), createdS, nonce: hex(NONCE) },
        expected: {
          signedBytes: hex(bytes),
          digest: hex(suite.sha256(bytes)),
          signature: hex(proof.signature),
          header: formatProof(proof),
        },
      };
    }),
    judged: judged().map(([description, rule, header, changes = {}, nowS = CREATED_S]) => ({
      description,
      rule,
      header,
      nowMs: nowS * 1_000,
      request: requestForm({ ...REQUEST, ...changes }),
    })),
  };
}

/** A proof that does not say what it is for. */
const bare = (header: string): string => header.replace(/, for=.*/, "");
