import type { Bytes } from "../../protocol/bytes.ts";

/**
 * How many distinct wallets bought, without a list of them: linear counting (Whang, Vander-Zanden, Taylor 1990). A wallet marks one of
 * 4,096 places, by a salted hash; the share of places without a mark tells how many there were. About half of the places are marked by
 * chance before the first, so that a mark says no more of a wallet than that it may have bought: a coin would have said so, too. That
 * makes the estimate less exact: off by about the square root of the number.
 */

export const PLACES = 4_096;
export const MARKS_BYTES = PLACES / 8;
/** With fewer places free, there are only "more than". */
const MIN_FREE = 32;

/** About so many, or more than can be told. */
export type BuyerEstimate = { readonly about: number } | { readonly moreThan: number };

/** A wallet's place, by the first 12 bits of a hash. */
export const placeOf = (hash: Uint8Array): number => (((hash[0] as number) << 8) | (hash[1] as number)) >> 4;

/** A copy of the marks with one more. */
export function withMark(marks: Uint8Array, place: number): Bytes {
  if (!Number.isInteger(place) || place < 0 || place >= PLACES) throw new RangeError(`${place} is no place`);
  const marked = new Uint8Array(marks);
  marked[place >> 3] = (marked[place >> 3] as number) | (1 << (place & 7));
  return marked;
}

/** Places without a mark. */
export function freePlaces(marks: Uint8Array): number {
  let free = PLACES;
  for (let byte of marks) for (; byte !== 0; byte &= byte - 1) free--;
  return free;
}

/** How many wallets marked a place since so many were free. Each bought a batch at least: `batches` bounds it. */
export function estimateBuyers(freeAtFirst: number, free: number, batches: number): BuyerEstimate {
  if (free < MIN_FREE && freeAtFirst >= MIN_FREE)
    return { moreThan: Math.floor(PLACES * Math.log(freeAtFirst / MIN_FREE)) };
  const estimate = Math.round(PLACES * Math.log(freeAtFirst / free));
  return { about: Math.min(batches, Math.max(estimate, Math.min(1, batches))) };
}
