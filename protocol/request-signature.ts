import {
  createSignatureSync,
  isSignatureError,
  type RequestDescriptor,
  verifySignature,
} from "http-message-sig";
import { toBase64 } from "./base64.ts";
import { type Bytes, fromHex, toHex } from "./bytes.ts";
import type { CryptoSuite, Signer } from "./crypto.ts";
import { GRPC, PennypostError } from "./errors.ts";

/**
 * Requests between nodes are signed with HTTP Message Signatures (RFC 9421), bound to their body by Content-Digest
 * (RFC 9530) and to one receiver by the header `pennypost-to`, so that no other node can be shown them.
 */

export const RECEIVER_HEADER = "pennypost-to";
const COMPONENTS = ["@method", "@path", "content-digest", RECEIVER_HEADER] as const;
const SIGNED_HEADERS = ["content-digest", RECEIVER_HEADER, "signature", "signature-input"] as const;
const TAG = "pennypost-peer";
const LABEL = "node";
/** How far the clocks of two nodes may be apart, and how long a request may travel. */
export const REQUEST_WINDOW_S = 300;

export interface PeerRequest {
  readonly method: string;
  /** The path of the request's URL, without a query: peer requests have none. */
  readonly path: string;
  readonly body: Uint8Array;
}

const contentDigest = (body: Uint8Array, suite: CryptoSuite) => `sha-256=:${toBase64(suite.sha256(body))}:`;

/** Only method, path and headers are signed: the authority may be rewritten on the way by proxies. */
function descriptor(request: PeerRequest, headers: Readonly<Record<string, string>>): RequestDescriptor {
  return {
    kind: "request",
    method: request.method,
    targetUri: `https://node.invalid${request.path}`,
    fields: Object.entries(headers).map(([name, value]) => ({ name, value })),
  };
}

/** The headers that sign a request from this node to the node with the key `receiver`. */
export function signRequest(
  request: PeerRequest,
  receiver: Uint8Array,
  context: { readonly signer: Signer; readonly suite: CryptoSuite; readonly nowMs: number },
): Record<string, string> {
  const { signer, suite, nowMs } = context;
  const covered = {
    "content-digest": contentDigest(request.body, suite),
    [RECEIVER_HEADER]: toHex(receiver),
  };
  const { signature, signatureInput } = createSignatureSync(descriptor(request, covered), {
    label: LABEL,
    components: COMPONENTS,
    parameters: {
      created: Math.floor(nowMs / 1000),
      keyid: toHex(signer.publicKey),
      alg: "ed25519",
      tag: TAG,
    },
    signer: { algorithm: "ed25519", sign: (data) => signer.sign(data) },
  });
  return { ...covered, signature, "signature-input": signatureInput };
}

function refused(code: string, message: string): PennypostError {
  return new PennypostError(code, GRPC.unauthenticated, message);
}

/** Refuses at once, before a body is read, what is not signed for this node. @throws PennypostError 401. */
export function checkReceiver(header: (name: string) => string | null, receiver: Uint8Array): void {
  for (const name of SIGNED_HEADERS) {
    if (header(name) === null) {
      throw refused("request_unsigned", `a request between nodes needs the header ${name}`);
    }
  }
  if (header(RECEIVER_HEADER) !== toHex(receiver)) {
    throw refused("request_receiver", "the request is signed for another node");
  }
}

/**
 * Checks a signed request and answers its sender's public key.
 * @throws PennypostError `request_*` with 401, saying what does not hold.
 */
export async function verifyRequest(
  request: PeerRequest,
  header: (name: string) => string | null,
  context: { readonly receiver: Uint8Array; readonly suite: CryptoSuite; readonly nowMs: number },
): Promise<Bytes> {
  const { receiver, suite, nowMs } = context;
  checkReceiver(header, receiver);
  const headers = Object.fromEntries(SIGNED_HEADERS.map((name) => [name, header(name) ?? ""]));
  if (headers["content-digest"] !== contentDigest(request.body, suite)) {
    throw refused("request_digest", "Content-Digest does not match the body");
  }
  try {
    const verified = await verifySignature(descriptor(request, headers), {
      label: LABEL,
      policy: {
        algorithms: ["ed25519"],
        requiredComponents: COMPONENTS,
        requiredParameters: ["created", "keyid", "tag"],
        // The library allows the skew on top of the age.
        maxAge: 0,
        clockSkew: REQUEST_WINDOW_S,
        now: Math.floor(nowMs / 1000),
      },
      resolveVerifier: ({ parameters }) => {
        const { keyid, tag } = parameters;
        if (tag !== TAG || !/^[0-9a-f]{64}$/.test(keyid ?? ""))
          throw new Error("a key id or tag of another use");
        const publicKey = fromHex(keyid as string);
        return {
          algorithm: "ed25519",
          publicKey,
          verify: (data: Uint8Array, signature: Uint8Array) => suite.verify(publicKey, data, signature),
        };
      },
    });
    return verified.verifier.publicKey;
  } catch (error) {
    if (!isSignatureError(error)) throw error;
    throw refused("request_signature", `the request's signature does not hold: ${error.code}`);
  }
}
