import type { AdmissionPolicy, OfferedEnvelope } from "./policy.ts";
import { refusedBy } from "./policy.ts";
import { stampRequired } from "./refusals.ts";

/** Takes everything from everybody: for development. Where the network asks for stamps it cannot grant. */
export class OpenPolicy implements AdmissionPolicy {
  readonly name = "open";
  readonly #asksForStamp: (topic: Uint8Array) => boolean;

  constructor(asksForStamp: (topic: Uint8Array) => boolean) {
    this.#asksForStamp = asksForStamp;
  }

  mayGrant(envelopes: readonly OfferedEnvelope[]): boolean {
    return !envelopes.some(({ topic }) => this.#asksForStamp(topic));
  }

  async decide({ envelopes }: { readonly envelopes: readonly OfferedEnvelope[] }) {
    if (!this.mayGrant(envelopes)) return refusedBy(stampRequired(), false);
    return { kind: "granted" as const, admission: { policy: this.name, wallet: null } };
  }
}
