import { invalidArgument } from "./errors.ts";

/**
 * Sequence numbers: a hybrid logical clock (Kulkarni et al., 2014) in 63 bits,
 * milliseconds since 1970 (42) ‖ counter (11) ‖ shard (10). Unique per node, growing per shard.
 */

const SHARD_BITS = 10n;
const COUNTER_BITS = 11n;
const TIME_SHIFT = SHARD_BITS + COUNTER_BITS;
const SHARD_MASK = (1n << SHARD_BITS) - 1n;
/** 2^42 − 1 ms: the year 2109. */
export const MAX_TIME_MS = 2 ** 42 - 1;

/** The least seq of a millisecond. @throws PennypostError `time_out_of_range` outside 0 … 2^42 − 1. */
export function firstSeqOf(timeMs: number): bigint {
  if (!Number.isInteger(timeMs) || timeMs < 0 || timeMs > MAX_TIME_MS) {
    throw invalidArgument("time_out_of_range", `a time of ${timeMs} ms does not fit a seq`, { timeMs });
  }
  return BigInt(timeMs) << TIME_SHIFT;
}

/** The milliseconds since 1970 that a seq stands for. */
export const timeOfSeq = (seq: bigint): number => Number(seq >> TIME_SHIFT);

/** The shard that issued a seq, at its origin. */
export const shardOfSeq = (seq: bigint): number => Number(seq & SHARD_MASK);

export interface NextSeqInput {
  readonly nowMs: number;
  /** The greatest seq among the parents, or 0. */
  readonly greatestParent: bigint;
  /** The last seq that this shard issued, or 0. */
  readonly last: bigint;
  readonly shard: number;
}

/** The least seq with the shard's bits that is not before now and above every parent and the shard's last. */
export function nextSeq({ nowMs, greatestParent, last, shard }: NextSeqInput): bigint {
  const now = firstSeqOf(nowMs);
  const above = (greatestParent > last ? greatestParent : last) + 1n;
  const floor = now > above ? now : above;
  const candidate = (floor & ~SHARD_MASK) | BigInt(shard);
  return candidate >= floor ? candidate : candidate + (1n << SHARD_BITS);
}
