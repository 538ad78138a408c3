import type { Clock } from "../clock.ts";
import { suite } from "../platform-suite.ts";
import type { SealedTier } from "../sealed/sealed-tier.ts";
import { MemoryArchive } from "./memory-archive.ts";
import { MemoryCatalogue } from "./memory-catalogue.ts";

export interface MemoryTier extends SealedTier {
  readonly archive: MemoryArchive;
  readonly catalogue: MemoryCatalogue;
}

/** A tier for sealed events in memory, to which nothing comes. */
export const memoryTier = (clock: Clock): MemoryTier => ({
  archive: new MemoryArchive(suite, clock),
  catalogue: new MemoryCatalogue(clock),
  hotMs: null,
});
