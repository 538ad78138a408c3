import type { Envelope } from "../../durable-objects/topic-shard/shard-core.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import type { PennypostError } from "../../protocol/errors.ts";
import type { ProvenRequest } from "../../protocol/identity-proof.ts";

/** An envelope that asks to be admitted, with the stamp beside it, as it was sent. */
export type OfferedEnvelope = Pick<Envelope, "topic" | "ts" | "message"> & { readonly stamp?: Bytes };

/** A publish, as far as policies look at it. */
export interface OfferedPublish {
  readonly envelopes: readonly OfferedEnvelope[];
  /** The name under which the node was asked. */
  readonly host: string;
  /** As it was sent: what a proof of the identity key is about. */
  readonly request: Omit<ProvenRequest, "node">;
  header(name: string): string | null;
  /** Takes units for dear work out of the budget of the address that it came from. @throws PennypostError `rate_limited` (429). */
  charge(units: number): Promise<unknown>;
}

/** That a publish may go on. */
export interface Admission {
  /** The policy that granted it. */
  readonly policy: string;
  /** Whose budget it counts against besides the address that it came from: a wallet, or nobody who is known. */
  readonly wallet: string | null;
  /** What the events carry as evidence for peers, by the envelope's place; where there is none, nothing. */
  readonly grants?: ReadonlyMap<number, Bytes>;
  /** Places of envelopes that are stored already: nothing is to be done for them. */
  readonly stored?: ReadonlySet<number>;
  /** Told which events the others became, by the envelope's place. */
  settle?(eventIds: ReadonlyMap<number, Bytes>): Promise<void>;
}

/** What a policy makes of a publish. It knows nothing of other policies. */
export type Decision =
  | { readonly kind: "granted"; readonly admission: Admission }
  | {
      readonly kind: "refused";
      readonly error: PennypostError;
      /** Whether the request brought what this policy asks for: then its refusal is the one that the client has to hear. */
      readonly isAddressed: boolean;
    };

/** A way to be admitted. Later ones (vouchers, rules on chain) are added beside these. */
export interface AdmissionPolicy {
  readonly name: string;
  /** Whether it could grant these topics to anybody. */
  mayGrant(envelopes: readonly OfferedEnvelope[]): boolean;
  decide(publish: OfferedPublish): Promise<Decision>;
  /** What a refusal with 401 says that could be brought: a challenge of `WWW-Authenticate` (RFC 9110, 11.6.1). Never throws. */
  challenge?(host: string): Promise<string>;
}

export const refusedBy = (error: PennypostError, isAddressed: boolean): Decision => ({
  kind: "refused",
  error,
  isAddressed,
});
