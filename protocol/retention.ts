import type { RetentionClass } from "./genesis.ts";
import { firstSeqOf, timeOfSeq } from "./hybrid-clock.ts";

/** A slot is 2^20 ms (17.5 min) of seq time: the unit of expiry and the leaf of anti-entropy. */
export const SLOT_MS = 2 ** 20;

export const slotOfSeq = (seq: bigint): number => Math.floor(timeOfSeq(seq) / SLOT_MS);

/** The first millisecond after a slot. */
export const endOfSlotMs = (slot: number): number => (slot + 1) * SLOT_MS;

/** When an event expires: its slot's end + the class's duration; null for never. */
export function expiresAtMs(retention: RetentionClass, seq: bigint): number | null {
  return retention.durationMs === null ? null : endOfSlotMs(slotOfSeq(seq)) + retention.durationMs;
}

/** The expiry line of a class: every seq below it has expired at `nowMs`, none from it on has. */
export function expiryLine(retention: RetentionClass, nowMs: number): bigint {
  if (retention.durationMs === null || nowMs <= retention.durationMs) return 0n;
  return firstSeqOf(Math.floor((nowMs - retention.durationMs) / SLOT_MS) * SLOT_MS);
}

/** Events of this class are relayed to subscribers and peers, and never stored. */
export const isEphemeral = (retention: RetentionClass): boolean => retention.durationMs === 0;
