import { type Bytes, concatBytes, uint64Bytes } from "../../../protocol/bytes.ts";
import { DIGEST_BYTES, EVENT_ID_BYTES, seqOfId } from "../../../protocol/event-id.ts";
import { MAX_TIME_MS } from "../../../protocol/hybrid-clock.ts";
import { SLOT_MS, slotOfSeq } from "../../../protocol/retention.ts";
import { firstSeqOfSlot, type SlotRange } from "../../../protocol/sync-range.ts";

/** That a seq can be in. */
export const SLOTS = (MAX_TIME_MS + 1) / SLOT_MS;

/** Above every id. */
export const END_OF_IDS: Bytes = new Uint8Array(EVENT_ID_BYTES).fill(255);

/** An id that is below every event with this seq, and above those with lesser ones. */
export const firstIdOfSeq = (seq: bigint): Bytes =>
  concatBytes(uint64Bytes(seq), new Uint8Array(DIGEST_BYTES));

/** An id that is below every event of a slot and above those of the slots before; behind the last slot, above all. */
export const firstIdOfSlot = (slot: number): Bytes =>
  slot < SLOTS ? firstIdOfSeq(firstSeqOfSlot(slot)) : END_OF_IDS.slice();

export const slotOfId = (id: Bytes): number => slotOfSeq(seqOfId(id));

/** Ids from one on, which no event has, and below another. */
export interface IdSpan {
  readonly from: Bytes;
  readonly to: Bytes;
}

export const spanOfSlots = ({ from, to }: SlotRange): IdSpan => ({
  from: firstIdOfSlot(from),
  to: firstIdOfSlot(to),
});

/** Ranges that have these slots, which are in order, and no others. */
export function rangesOf(slots: Iterable<number>): SlotRange[] {
  const ranges: { from: number; to: number }[] = [];
  for (const slot of slots) {
    const last = ranges.at(-1);
    if (last?.to === slot) last.to++;
    else ranges.push({ from: slot, to: slot + 1 });
  }
  return ranges;
}

/** What of some ranges, which are in order, lies from a slot on. */
export const rangesFrom = (ranges: readonly SlotRange[], slot: number): SlotRange[] =>
  ranges.filter(({ to }) => to > slot).map(({ from, to }) => ({ from: Math.max(from, slot), to }));
