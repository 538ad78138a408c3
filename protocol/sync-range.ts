import type { RetentionClass } from "./genesis.ts";
import { firstSeqOf } from "./hybrid-clock.ts";
import { SLOT_MS } from "./retention.ts";

/**
 * What anti-entropy compares: the slots of each class that have settled and do not expire soon. A time is named `asOf`,
 * the first slot that is not compared.
 */

/** A slot has settled this long after its end: by then what was published in it has been pushed. */
export const SETTLE_MS = 120_000;
/** The range begins so many slots above the expiry line, so that nothing in it expires while it is compared. */
const MARGIN_SLOTS = 3;
/** Roots are kept for a clock that steps back by so much (2.3 h); one that does by more was wrong, and they are computed anew. */
export const MAX_BACK_SLOTS = 8;

/** The newest `asOf` of a clock: every slot below it has settled. */
export const newestAsOf = (nowMs: number): number => Math.max(0, Math.floor((nowMs - SETTLE_MS) / SLOT_MS));

/** The slots from `from` on and below `to`; none when `from` is not below `to`. */
export interface SlotRange {
  readonly from: number;
  readonly to: number;
}

const slotsOf = (retention: RetentionClass): number | null =>
  retention.durationMs === null ? null : Math.ceil(retention.durationMs / SLOT_MS);

/** The slots of a class that are compared as of a time. */
export function comparedRange(retention: RetentionClass, asOf: number): SlotRange {
  const slots = slotsOf(retention);
  return { from: slots === null ? 0 : Math.max(0, asOf - slots + MARGIN_SLOTS), to: asOf };
}

/** The least `asOf` at which a slot of a class is no longer compared; null when it always will be. */
export function leavesAt(retention: RetentionClass, slot: number): number | null {
  const slots = slotsOf(retention);
  return slots === null ? null : slot + slots - MARGIN_SLOTS + 1;
}

export const isInRange = ({ from, to }: SlotRange, slot: number): boolean => slot >= from && slot < to;

/** The least seq of a slot. */
export const firstSeqOfSlot = (slot: number): bigint => firstSeqOf(slot * SLOT_MS);
