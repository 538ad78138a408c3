import type { Archive } from "./archive.ts";
import type { Catalogue } from "./catalogue.ts";

/** Where sealed events go, and when. */
export interface SealedTier {
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  /** How long an event stays hot after it has come, in ms; null for ever. */
  readonly hotMs: number | null;
}
