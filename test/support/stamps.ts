import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { type BlankStamp, blindBatch, stampEnvelope } from "../../client/blind-batch.ts";
import { type Bytes, equalBytes, fromHex, utf8 } from "../../protocol/bytes.ts";
import type { Network } from "../../protocol/genesis.ts";
import { formatProof, signProof } from "../../protocol/identity-proof.ts";
import { encodeStamp, type StampedEnvelope } from "../../protocol/stamp.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../../protocol/testing/wallet.ts";
import { readIssuer } from "./issuer.ts";
import type { TestNode } from "./network.ts";
import type { Envelope } from "./node-client.ts";
import { suite } from "./peer.ts";

/** Whom stamps are bought of. */
export type IssuingNode = Pick<TestNode, "key" | "request">;

/** A wallet with its identity key, whose secret the tests know. */
export class Buyer {
  readonly wallet: TestKey;
  readonly identity: TestKey;
  /** What a request of this wallet has as `Authorization`. */
  readonly token: string;
  readonly tokenBytes: Uint8Array;
  readonly #secret: Uint8Array;

  constructor(name: string) {
    this.wallet = new TestKey(name);
    this.identity = new TestKey(`${name} identity`);
    this.#secret = keccak_256(utf8(`${name} identity`));
    if (!equalBytes(this.identity.publicKey, secp256k1.getPublicKey(this.#secret, false)))
      throw new Error("a test key's secret is the hash of its name");
    this.tokenBytes = tokenBytes(tokenParts(Date.now(), { wallet: this.wallet, identity: this.identity }));
    this.token = bearer(this.tokenBytes);
  }

  /** The identity key's word for a purchase of one node. */
  proof(body: Bytes, of: IssuingNode, nonce = crypto.getRandomValues(new Uint8Array(16))): string {
    const request = { node: fromHex(of.key), method: "POST", path: "/v1/stamps", body };
    const createdS = Math.floor(Date.now() / 1_000);
    return formatProof(signProof(request, this.#secret, { createdS, nonce }, suite));
  }

  /** Posts a batch; `headers` stand in place of the good ones. */
  buy(body: Bytes, of: IssuingNode, headers: Record<string, string> = {}): Promise<Response> {
    const given = { Authorization: this.token, "Pennypost-Proof": this.proof(body, of), ...headers };
    return of.request("/v1/stamps", { method: "POST", body, headers: given });
  }

  /** A hundred stamps of the node's newest key. @throws Error when the node does not sell them. */
  async stamps(of: IssuingNode, headers: Record<string, string> = {}): Promise<BlankStamp[]> {
    const batch = await blindBatch(await readIssuer(of), suite);
    const response = await this.buy(batch.body, of, headers);
    if (response.status !== 200) throw new Error(`/v1/stamps: ${response.status} ${await response.text()}`);
    return batch.finish(new Uint8Array(await response.arrayBuffer()));
  }
}

/** What a stamp on an envelope is bound to at a node. */
export const boundTo = (rules: Network, of: Pick<TestNode, "key">, envelope: Envelope): StampedEnvelope => ({
  net: rules.id,
  origin: fromHex(of.key),
  topic: utf8(envelope.contentTopic),
  ts: BigInt(envelope.timestampNs),
  msg: suite.sha256(Buffer.from(envelope.message, "base64")),
});

/** An envelope as it is published, perhaps with a stamp beside it. */
export interface Offered extends Envelope {
  /** Base64. */
  readonly stamp?: string;
}

/** Puts a blank stamp on an envelope for a node. */
export function stamped(
  rules: Network,
  of: Pick<TestNode, "key">,
  stamp: BlankStamp,
  envelope: Envelope,
): Offered & { readonly stamp: string } {
  const bytes = encodeStamp(stampEnvelope(stamp, boundTo(rules, of, envelope)));
  return { ...envelope, stamp: Buffer.from(bytes).toString("base64") };
}

/** Publishes, and answers the status and the error's code. */
export async function publishAt(
  node: Pick<TestNode, "request">,
  envelopes: readonly Offered[],
  headers: Record<string, string> = {},
): Promise<readonly [number, string | null]> {
  const body = JSON.stringify({ envelopes });
  const response = await node.request("/message/v1/publish", { method: "POST", body, headers });
  await response.body?.cancel();
  return [response.status, response.headers.get("pennypost-error")];
}
