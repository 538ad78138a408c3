import { fromUtf8 } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { restrictedTo } from "../../protocol/restricted-topics.ts";
import type { AdmissionPolicy, Decision, OfferedEnvelope, OfferedPublish } from "./policy.ts";
import { refusedBy } from "./policy.ts";
import { restrictedTopic, stampRequired } from "./refusals.ts";
import type { WalletTokens } from "./wallet-tokens.ts";

export interface WalletPolicyParts {
  readonly tokens: Pick<WalletTokens, "verify">;
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

  async decide({ envelopes, header }: OfferedPublish): Promise<Decision> {
    try {
      const { wallet } = await this.#parts.tokens.verify(header("Authorization"));
      const foreign = envelopes
        .map(({ topic }) => fromUtf8(topic))
        .find((topic) => (restrictedTo(topic) ?? wallet) !== wallet);
      if (foreign !== undefined) return refusedBy(restrictedTopic(foreign), true);
      if (!this.mayGrant(envelopes)) return refusedBy(stampRequired(), true);
      return { kind: "granted", admission: { policy: this.name, wallet } };
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      return refusedBy(error, /^Bearer\b/.test(header("Authorization") ?? ""));
    }
  }
}
