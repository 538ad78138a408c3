import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { logWarning } from "../log.ts";
import type { Equivocation, EvidenceApi, EvidencePage, EvidencePlace } from "./evidence-api.ts";
import type { EvidenceStore } from "./evidence-store.ts";

/** Proofs against one origin: the first ones. One is enough to show that it happened. */
export const MAX_PROOFS_PER_ORIGIN = 100;
/** Only members sign valid events, so that a closed network has fewer. New ones find no room; what is kept stays. */
export const MAX_ORIGINS = 1_024;

/** Proofs that origins gave two events one seq. Kept for people to judge: a node that was restored can do it in honesty. */
export class Evidence implements EvidenceApi {
  readonly #store: EvidenceStore;
  #counts: Map<string, number> | undefined;

  constructor(store: EvidenceStore) {
    this.#store = store;
  }

  async keepProofs(proofs: readonly Equivocation[]): Promise<number> {
    this.#counts ??= this.#store.counts();
    let kept = 0;
    for (const proof of proofs) {
      const origin = toHex(proof.origin);
      const count = this.#counts.get(origin) ?? 0;
      const isFull = count >= MAX_PROOFS_PER_ORIGIN || (count === 0 && this.#counts.size >= MAX_ORIGINS);
      if (isFull || this.#store.has(proof)) continue;
      this.#store.add(proof);
      this.#counts.set(origin, count + 1);
      kept++;
      if (count === 0) logWarning("equivocation_found", { origin });
    }
    return kept;
  }

  async proofs(origin: Bytes | null, after: EvidencePlace | null, limit: number): Promise<EvidencePage> {
    const proofs = this.#store.page(origin, after, limit + 1);
    return { proofs: proofs.slice(0, limit), more: proofs.length > limit };
  }
}
