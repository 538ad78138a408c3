import { toBase64 } from "../protocol/base64.ts";
import { equalBytes, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { denied, PennypostError, unavailable } from "../protocol/errors.ts";
import type { Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { PROOF_HEADER } from "../protocol/identity-proof.ts";
import { encodeToken } from "../protocol/privacy-pass.ts";
import { RecordSet } from "../protocol/record-set.ts";
import { MODULUS_BYTES } from "../protocol/rsa-pss.ts";
import { type IssuerKey, STAMPS_PATH, STAMPS_PER_BATCH } from "../protocol/stamp.ts";
import { blindBatch } from "./blind-batch.ts";
import type { Identity } from "./identity.ts";
import { chooseKey, type IssuerKeyRecord, issuerKeysOf, readDirectory } from "./issuer-directory.ts";
import { NodeFacts, type NodeInfo } from "./node-facts.ts";
import { isTransient, type NodeHttp } from "./node-http.ts";
import type { Now } from "./platform.ts";
import { readRecords } from "./records.ts";
import type { KeptStamp } from "./stamp-store.ts";

export interface StampShopParts {
  /** The node over the connection on which stamps are bought, and who it is there. */
  readonly http: NodeHttp;
  readonly facts: NodeFacts;
  readonly identity: Identity;
  /** Other nodes of the network; none where the application does without. */
  readonly witnesses: readonly NodeHttp[];
  readonly isUnwitnessed: boolean;
  readonly suite: CryptoSuite;
  readonly now: Now;
}

/** Buys stamps of one node, with a key that others know, too. */
export class StampShop {
  readonly #parts: StampShopParts;

  /** @throws PennypostError `witness_missing` for a shop without witnesses that does not say so. */
  constructor(parts: StampShopParts) {
    if (parts.witnesses.length === 0 && !parts.isUnwitnessed)
      throw denied(
        "witness_missing",
        "name other nodes as witnesses of this node's keys, or say unwitnessed: true",
      );
    this.#parts = parts;
  }

  /**
   * A batch of 100.
   * @param expected the node at which they are used, where it is known: over another connection another may answer.
   * @throws PennypostError as `chooseKey`, `witness_*`, `stamps_not_signed`, `node_unexpected`, or as the node refuses.
   */
  async buy(expected?: NodeInfo): Promise<KeptStamp[]> {
    const { http, facts, identity, suite, now } = this.#parts;
    const [info, network] = await Promise.all([facts.info(), facts.network()]);
    if (expected && !(equalBytes(expected.key, info.key) && equalBytes(expected.networkId, info.networkId)))
      throw denied(
        "node_unexpected",
        "where stamps are bought another node answers than where they are used",
        {
          key: toHex(info.key),
        },
      );
    const issuer = await this.#issuer(info, network);
    const batch = await blindBatch(issuer, suite);
    const { body } = batch;
    const request = { node: info.key, method: "POST", path: STAMPS_PATH, body };
    // The same blinded requests get the same signatures: repeating costs budget, and gives nothing away.
    const headers = () => ({
      Authorization: identity.authorization(now()),
      [PROOF_HEADER]: identity.proof(request, now(), suite),
    });
    const maxBytes = STAMPS_PER_BATCH * MODULUS_BYTES;
    const answer = await http.bytes({ path: STAMPS_PATH, method: "POST", body, headers, maxBytes });
    const blanks = await batch.finish(answer);
    return blanks.map(({ seed, token }) => ({
      id: toHex(token.nonce),
      node: toHex(info.key),
      network: toHex(info.networkId),
      key: toHex(token.keyId),
      from: String(issuer.from),
      to: String(issuer.to),
      seed: toHex(seed),
      token: toBase64(encodeToken(token)),
    }));
  }

  async #issuer({ key }: NodeInfo, network: Network): Promise<IssuerKey> {
    const { http, suite, now } = this.#parts;
    const [directory, witnessed] = await Promise.all([
      readDirectory(http, key, network, suite),
      this.#witnessed(key, network),
    ]);
    return chooseKey(directory, witnessed, now());
  }

  /** What each witness has of the node. Those that cannot be reached are passed over, but for the last. */
  async #witnessed(node: Uint8Array<ArrayBuffer>, network: Network): Promise<IssuerKeyRecord[][]> {
    const { witnesses } = this.#parts;
    const answers = await Promise.allSettled(witnesses.map((each) => this.#ask(each, node, network)));
    const failed = answers.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
    for (const error of failed) if (!isTransient(error)) throw error;
    const good = answers.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    if (good.length > 0 || witnesses.length === 0) return good;
    const [why] = failed as PennypostError[];
    throw unavailable("witness_unavailable", `no witness answers: ${why?.message}`);
  }

  /** @throws PennypostError `witness_unfit` for an answer that no other node of the network gives; or why it does not answer. */
  async #ask(witness: NodeHttp, node: Uint8Array<ArrayBuffer>, network: Network): Promise<IssuerKeyRecord[]> {
    const { suite, now } = this.#parts;
    try {
      const { key } = await new NodeFacts(witness, { networkId: toHex(network.id) }, suite).info();
      if (equalBytes(key, node)) throw denied("witness_unfit", "it is the node itself");
      const records = new RecordSet(network, suite);
      const nowMs = now();
      const atSeq = firstSeqOf(Math.floor(nowMs));
      const query = { kind: "issuer", by: node, firstAt: atSeq, lastAt: atSeq, nowMs } as const;
      await readRecords(witness, query, { network, suite, records });
      return issuerKeysOf(records.list(), node);
    } catch (error) {
      const isAway: boolean = isTransient(error);
      if (!(error instanceof PennypostError) || isAway) throw error;
      throw denied("witness_unfit", `${witness.url} is no witness: ${error.message}`, {
        url: witness.url,
        cause: error.code,
      });
    }
  }
}
