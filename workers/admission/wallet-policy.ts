import type { Clock } from "../../durable-objects/clock.ts";
import { isOfScheme, readCredentials } from "../../protocol/authorization.ts";
import { type Bytes, fromUtf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { checkProof, PROOF_HEADER, readProof } from "../../protocol/identity-proof.ts";
import { restrictedTo } from "../../protocol/restricted-topics.ts";
import { clientAddress } from "./client-address.ts";
import type { AdmissionPolicy, Decision, OfferedEnvelope, OfferedPublish } from "./policy.ts";
import { refusedBy } from "./policy.ts";
import { restrictedTopic, stampRequired } from "./refusals.ts";
import type { WalletTokens } from "./wallet-tokens.ts";

export interface WalletPolicyParts {
  readonly tokens: Pick<WalletTokens, "verify">;
  /** This node's key: a proof is for it alone. */
  readonly node: Bytes;
  /** Whether a token alone does not do. */
  readonly requiresProof: boolean;
  readonly clock: Clock;
  readonly suite: CryptoSuite;
  asksForStamp(topic: Uint8Array): boolean;
}

/** Admits who shows the bearer token of the XMTP message API, by that API's rules of topics. */
export class WalletPolicy implements AdmissionPolicy {
  readonly name = "wallet";
  readonly #parts: WalletPolicyParts;

  constructor(parts: WalletPolicyParts) {
    this.#parts = parts;
  }

  mayGrant(envelopes: readonly OfferedEnvelope[]): boolean {
    return !envelopes.some(({ topic }) => this.#parts.asksForStamp(topic));
  }

  async challenge(): Promise<string> {
    return "Bearer";
  }

  async decide(publish: OfferedPublish): Promise<Decision> {
    const { envelopes, header } = publish;
    try {
      const { wallet, identityKey } = await this.#parts.tokens.verify(header("Authorization"), {
        address: clientAddress(header("CF-Connecting-IP")),
        charge: publish.charge,
      });
      this.#checkProof(publish, identityKey);
      const foreign = envelopes
        .map(({ topic }) => fromUtf8(topic))
        .find((topic) => (restrictedTo(topic) ?? wallet) !== wallet);
      if (foreign !== undefined) return refusedBy(restrictedTopic(foreign), true);
      if (!this.mayGrant(envelopes)) return refusedBy(stampRequired(), true);
      return { kind: "granted", admission: { policy: this.name, wallet } };
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      return refusedBy(error, isOfScheme(readCredentials(header("Authorization")), "Bearer"));
    }
  }

  /**
   * One that is there is checked also where none is needed. Its nonce is not kept: the same publish again, within the proof's five minutes,
   * makes no second event.
   * @throws PennypostError `proof_missing`, `proof_invalid` (401).
   */
  #checkProof({ header, request }: OfferedPublish, identityKey: Uint8Array): void {
    const { requiresProof, node, clock, suite } = this.#parts;
    const given = header(PROOF_HEADER);
    if (given || requiresProof)
      checkProof(readProof(given), { ...request, node }, identityKey, clock.nowMs(), suite);
  }
}
