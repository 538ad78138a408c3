import type { Bytes } from "../../protocol/bytes.ts";

/** One of the two events of a proof, as its origin signed it. The message proves nothing and is not kept. */
export interface SignedBlock {
  readonly block: Bytes;
  readonly signature: Bytes;
}

/** Two different events that one origin signed under one seq. */
export interface Equivocation {
  /** Public key, 32 bytes. */
  readonly origin: Bytes;
  /** 8 bytes, big-endian. */
  readonly seq: Bytes;
  readonly first: SignedBlock;
  readonly second: SignedBlock;
}

/** A place in the list of proofs, which is in the order of origin and seq. */
export type EvidencePlace = Pick<Equivocation, "origin" | "seq">;

export interface EvidencePage {
  readonly proofs: readonly Equivocation[];
  /** Whether there are more behind the last. */
  readonly more: boolean;
}

/** What a node asks of the object that keeps proofs. All @throws PennypostError when it does not answer. */
export interface EvidenceApi {
  /** Keeps what is not there yet and finds room; answers how many that were. */
  keepProofs(proofs: readonly Equivocation[]): Promise<number>;
  /** Proofs against one origin, or against all. */
  proofs(origin: Bytes | null, after: EvidencePlace | null, limit: number): Promise<EvidencePage>;
}
