import { GRPC, PennypostError } from "../../protocol/errors.ts";
import type { Admission, AdmissionPolicy, Decision, OfferedPublish } from "./policy.ts";

type Refusal = Extract<Decision, { kind: "refused" }>;

/** The policies of a node, in the order in which its operator names them: the first that grants wins. */
export class AdmissionList {
  readonly #policies: readonly AdmissionPolicy[];

  constructor(policies: readonly AdmissionPolicy[]) {
    this.#policies = policies;
  }

  /**
   * @throws PennypostError the refusal of the first policy that was addressed, else of the first; its `data.wouldGrant` names those that
   * could have granted, and with 401 `data.challenges` is what `WWW-Authenticate` says.
   */
  async admit(publish: OfferedPublish): Promise<Admission> {
    const refusals: Refusal[] = [];
    for (const policy of this.#policies) {
      const decision = await policy.decide(publish);
      if (decision.kind === "granted") return decision.admission;
      refusals.push(decision);
    }
    const told = refusals.find(({ isAddressed }) => isAddressed) ?? refusals[0];
    const error = this.#withAlternatives(told?.error ?? nobody(), publish);
    throw error.grpc === GRPC.unauthenticated ? await this.#withChallenges(error, publish) : error;
  }

  /** What each policy asks for, whichever was addressed: all of them can be tried. */
  async #withChallenges(
    { code, grpc, message, data }: PennypostError,
    { host }: OfferedPublish,
  ): Promise<PennypostError> {
    const each = await Promise.all(this.#policies.map((policy) => policy.challenge?.(host)));
    const challenges = each.filter((challenge) => challenge !== undefined).join(", ");
    return new PennypostError(code, grpc, message, challenges ? { ...data, challenges } : data);
  }

  #withAlternatives(
    { code, grpc, message, data }: PennypostError,
    { envelopes }: OfferedPublish,
  ): PennypostError {
    const names = this.#policies.filter((policy) => policy.mayGrant(envelopes)).map(({ name }) => name);
    return new PennypostError(code, grpc, message, { ...data, wouldGrant: names.join(", ") });
  }
}

const nobody = () =>
  new PennypostError("admission_closed", GRPC.permissionDenied, "this node takes no publishes");
