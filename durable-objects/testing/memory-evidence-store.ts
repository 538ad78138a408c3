import { type Bytes, compareBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { Equivocation, EvidencePlace } from "../node-state/evidence-api.ts";
import type { EvidenceStore } from "../node-state/evidence-store.ts";

const byPlace = (a: EvidencePlace, b: EvidencePlace) =>
  compareBytes(a.origin, b.origin) || compareBytes(a.seq, b.seq);

/** What `SqlEvidenceStore` must agree with. */
export class MemoryEvidenceStore implements EvidenceStore {
  readonly #proofs: Equivocation[] = [];

  counts(): Map<string, number> {
    const groups = Map.groupBy(this.#proofs, ({ origin }) => toHex(origin));
    return new Map([...groups].map(([origin, { length }]) => [origin, length]));
  }

  has(place: EvidencePlace): boolean {
    return this.#proofs.some((proof) => byPlace(proof, place) === 0);
  }

  add(proof: Equivocation): void {
    this.#proofs.push(proof);
    this.#proofs.sort(byPlace);
  }

  page(origin: Bytes | null, after: EvidencePlace | null, limit: number): Equivocation[] {
    const isAsked = (proof: Equivocation) =>
      (!origin || equalBytes(proof.origin, origin)) && (!after || byPlace(proof, after) > 0);
    return this.#proofs.filter(isAsked).slice(0, limit);
  }
}
