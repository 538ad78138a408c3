import type { ByteRange } from "../../protocol/segment-places.ts";

/**
 * Bytes that may lie between two wanted ranges for them to be read at once. A read costs $0.36 per million, and some tens of
 * milliseconds until its first byte; bytes cost nothing but their time, which for 32 KiB is a millisecond at 32 MB/s. By these
 * alone the gap could be megabytes. It is 32 KiB so that what is read in vain stays bounded: 3 MiB for a page of 100.
 */
export const MAX_GAP_BYTES = 32 * 1024;
/** Of one read. */
export const MAX_READ_BYTES = 4 * 1024 * 1024;
/** Where ranges are too scattered for so many reads, the gap grows: a file of 8 MiB has come as a whole by then. */
export const MAX_READS_PER_PLAN = 32;

/** One read of a file. */
export interface RangeRead extends ByteRange {
  /** Which of the wanted ranges lie in it, in the order of the file. */
  readonly wanted: readonly number[];
}

const endOf = ({ at, length }: ByteRange): number => at + length;

function joinRanges(wanted: readonly ByteRange[], order: readonly number[], gap: number): RangeRead[] {
  const reads: { at: number; length: number; wanted: number[] }[] = [];
  for (const number of order) {
    const range = wanted[number] as ByteRange;
    const last = reads.at(-1);
    const length = last && Math.max(endOf(last), endOf(range)) - last.at;
    if (last && length !== undefined && range.at - endOf(last) <= gap && length <= MAX_READ_BYTES) {
      last.length = length;
      last.wanted.push(number);
    } else reads.push({ ...range, wanted: [number] });
  }
  return reads;
}

/**
 * The reads that bring all wanted ranges of one file, which may overlap and be in any order. A range of no bytes is in none.
 * @throws RangeError for a range that is longer than a read, or for ranges that lie too far apart for `MAX_READS_PER_PLAN`.
 */
export function planReads(wanted: readonly ByteRange[]): RangeRead[] {
  for (const { at, length } of wanted)
    if (!(at >= 0 && length >= 0 && length <= MAX_READ_BYTES))
      throw new RangeError(`${length} bytes at ${at} are none that can be read at once`);
  const order = [...wanted.keys()]
    .filter((number) => (wanted[number] as ByteRange).length > 0)
    .sort((a, b) => (wanted[a] as ByteRange).at - (wanted[b] as ByteRange).at);
  for (let gap = MAX_GAP_BYTES; gap <= MAX_READ_BYTES; gap *= 2) {
    const reads = joinRanges(wanted, order, gap);
    if (reads.length <= MAX_READS_PER_PLAN) return reads;
  }
  throw new RangeError(`${order.length} ranges lie too far apart for ${MAX_READS_PER_PLAN} reads`);
}
