import type { EventName } from "../../protocol/peer-messages.ts";
import type { Clock } from "../clock.ts";
import { logWarning } from "../log.ts";
import type { EvidenceApi } from "../node-state/evidence-api.ts";
import type { Equivocations, SignedEvent } from "./equivocations.ts";

/** The object that keeps proofs is told again after this long when it did not hear. */
const RETRY_MS = 5_000;
/** Proofs of one call: at most 16 KB each. */
const PROOFS_PER_CALL = 32;

export interface ProofReportParts {
  readonly shard: number;
  readonly clock: Clock;
  readonly evidence: Pick<EvidenceApi, "keepProofs">;
  readonly equivocations: Pick<Equivocations, "pending" | "sealedNames" | "proofs" | "handedOver">;
  /** Reads sealed events from their files; those that never can be read are left out. @throws while they cannot be. */
  readSealed(names: readonly EventName[]): Promise<SignedEvent[]>;
  /** Runs `work` in a transaction and resolves when it is durable. @throws when it is not. */
  write(work: () => void): Promise<void>;
}

/** Hands over the proofs that a shard found, at least once each: who keeps them knows what it has. */
export class ProofReport {
  readonly #parts: ProofReportParts;
  #isSending = false;

  constructor(parts: ProofReportParts) {
    this.#parts = parts;
  }

  /** Called after each commit. */
  async send(): Promise<void> {
    const { shard, clock, evidence, equivocations, readSealed } = this.#parts;
    if (this.#isSending || equivocations.pending === 0) return;
    this.#isSending = true;
    try {
      while (equivocations.pending > 0) {
        const count = Math.min(equivocations.pending, PROOFS_PER_CALL);
        const names = equivocations.sealedNames(count);
        const sealed = names.length > 0 ? await readSealed(names) : [];
        await evidence.keepProofs(equivocations.proofs(count, sealed));
        await this.#parts.write(() => equivocations.handedOver(count));
      }
      this.#isSending = false;
    } catch (error) {
      logWarning("proofs_not_handed_over", { shard, why: String(error) });
      clock.after(RETRY_MS, () => {
        this.#isSending = false;
        void this.send();
      });
    }
  }
}
