import { keccak_256 } from "@noble/hashes/sha3.js";
import { type BlankStamp, blindBatch } from "../client/blind-batch.ts";
import { fromHex, utf8 } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { formatProof, signProof } from "../protocol/identity-proof.ts";
import { STAMPS_PATH } from "../protocol/stamp.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { readIssuer } from "../test/support/issuer.ts";
import type { TestNode } from "../test/support/network.ts";

const suite = portableSuite();
const MAX_TRIES = 3;

/** A wallet with its identity key. */
export class BenchWallet {
  readonly token: string;
  readonly #secret: Uint8Array;

  constructor(name: string) {
    this.#secret = keccak_256(utf8(`${name} identity`));
    const [wallet, identity] = [new TestKey(name), new TestKey(`${name} identity`)];
    this.token = bearer(tokenBytes(tokenParts(Date.now(), { wallet, identity })));
  }

  /** Buys at least so many stamps. */
  async buy(node: TestNode, count: number, progress: (bought: number) => void): Promise<BlankStamp[]> {
    const issuer = await readIssuer(node);
    const stamps: BlankStamp[] = [];
    while (stamps.length < count) {
      const { body, finish } = await blindBatch(issuer, suite);
      stamps.push(...(await finish(await this.#order(node, body))));
      progress(stamps.length);
    }
    return stamps;
  }

  /** Blinding takes seconds, after which a connection that was kept may close just as it is used again. */
  async #order(node: TestNode, body: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    for (let tries = 1; ; tries++) {
      const asked = { node: fromHex(node.key), method: "POST", path: STAMPS_PATH, body };
      const nonce = crypto.getRandomValues(new Uint8Array(16));
      const createdS = Math.floor(Date.now() / 1_000);
      const proof = formatProof(signProof(asked, this.#secret, { createdS, nonce }, suite));
      const headers = { Authorization: this.token, "Pennypost-Proof": proof };
      try {
        const response = await node.request(STAMPS_PATH, { method: "POST", body, headers });
        const answer = new Uint8Array(await response.arrayBuffer());
        if (response.status === 200) return answer;
        throw new Error(`no stamps: ${response.status} ${Buffer.from(answer).toString()}`);
      } catch (error) {
        if (!(error instanceof TypeError) || tries === MAX_TRIES) throw error;
      }
    }
  }
}

/**
 * Made-up tokens, each to be verified to its last step: the identity key is signed by a wallet that is not the one that they name.
 * `count` of them take some ms each to make.
 */
export function madeUpTokens(count: number): string[] {
  const [wallet, identity, named] = ["made-up wallet", "made-up identity", "named wallet"].map(
    (name) => new TestKey(name),
  ) as [TestKey, TestKey, TestKey];
  const nowMs = Date.now();
  return Array.from({ length: count }, (_, i) => {
    const createdNs = BigInt(nowMs) * 1_000_000n - BigInt(i);
    return bearer(tokenBytes(tokenParts(nowMs, { wallet, identity, address: named.address, createdNs })));
  });
}

/** Bytes that are no token, as long as one. */
export const garbageTokens = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => {
    const bytes = Uint8Array.from({ length: 400 }, (__, at) => (at * 7 + i * 13 + (i >> 8)) % 256);
    return bearer(bytes);
  });
