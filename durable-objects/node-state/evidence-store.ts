import type { Bytes } from "../../protocol/bytes.ts";
import type { Equivocation, EvidencePlace } from "./evidence-api.ts";

/** Where proofs are kept, one for an origin and seq. Every method is synchronous. */
export interface EvidenceStore {
  /** How many there are against each origin, by its key in hex. */
  counts(): Map<string, number>;
  has(place: EvidencePlace): boolean;
  add(proof: Equivocation): void;
  /** In the order of origin and seq, after a place. */
  page(origin: Bytes | null, after: EvidencePlace | null, limit: number): Equivocation[];
}
