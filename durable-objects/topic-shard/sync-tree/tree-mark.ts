import { type Bytes, concatBytes } from "../../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../../protocol/cbor.ts";

/** What a shard's tree wrote down last: the events that came later are found by position and epoch. */
export interface TreeMark {
  /** Grows with each mark: events carry the epoch in which they were stored, modulo 65,536. */
  readonly epoch: number;
  /** Delivered events up to here were stored before the mark. */
  readonly position: number;
  readonly asOf: number;
  /** Slots from `asOf` on, with the buckets that have events in them. */
  readonly open: ReadonlyMap<number, ReadonlySet<number>>;
  /** Buckets whose roots are to be computed anew. */
  readonly dirty: ReadonlySet<number>;
  /** Whether the tree went ahead by itself since it was handed over last. */
  readonly isUntold: boolean;
  /** What the tree's sketches are as of the mark; null in marks of before, when they had rows of their own. */
  readonly sketches: MarkedSketches | null;
}

/** The cells of two sketches: of the range as of `asOf`, and as of the slot before. */
export interface MarkedSketches {
  readonly newest: Bytes;
  readonly previous: Bytes;
}

export const EMPTY_MARK: TreeMark = {
  epoch: 0,
  position: 0,
  asOf: 0,
  open: new Map(),
  dirty: new Set(),
  isUntold: false,
  sketches: null,
};

/** It is our own: the limits are those of a row. */
const LIMITS = { bytes: 2 * 1024 * 1024, items: 262_144 };

function packBuckets(buckets: ReadonlySet<number>): Bytes {
  const sorted = [...buckets].sort((a, b) => a - b);
  return concatBytes(...sorted.map((bucket) => Uint8Array.of(bucket >> 8, bucket & 255)));
}

function unpackBuckets(bytes: Uint8Array): Set<number> {
  const buckets = new Set<number>();
  for (let at = 0; at < bytes.length; at += 2)
    buckets.add(((bytes[at] as number) << 8) | (bytes[at + 1] as number));
  return buckets;
}

/** One row has it all: a row is billed, whatever its bytes, and each hand-over writes the mark anyway. */
export function encodeMark({ epoch, position, asOf, open, dirty, isUntold, sketches }: TreeMark): Bytes {
  const slots = [...open].sort(([a], [b]) => a - b).map(([slot, buckets]) => [slot, packBuckets(buckets)]);
  const last = sketches ? [sketches.newest, sketches.previous] : [];
  return encodeCbor([epoch, position, asOf, slots, packBuckets(dirty), isUntold, ...last]);
}

export function decodeMark(bytes: Bytes): TreeMark {
  const [epoch, position, asOf, slots, dirty, isUntold = false, newest, previous] = decodeCbor(
    bytes,
    LIMITS,
  ) as [
    number,
    number,
    number,
    [number, Uint8Array][],
    Uint8Array,
    // Not there in marks of the first version.
    boolean?,
    // Nor these in marks of the second.
    Uint8Array?,
    Uint8Array?,
  ];
  const open = new Map(slots.map(([slot, buckets]) => [slot, unpackBuckets(buckets)]));
  const sketches =
    newest && previous ? { newest: new Uint8Array(newest), previous: new Uint8Array(previous) } : null;
  return { epoch, position, asOf, open, dirty: unpackBuckets(dirty), isUntold, sketches };
}
