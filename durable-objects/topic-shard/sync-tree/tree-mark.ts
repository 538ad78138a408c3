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
}

export const EMPTY_MARK: TreeMark = {
  epoch: 0,
  position: 0,
  asOf: 0,
  open: new Map(),
  dirty: new Set(),
  isUntold: false,
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

export function encodeMark({ epoch, position, asOf, open, dirty, isUntold }: TreeMark): Bytes {
  const slots = [...open].sort(([a], [b]) => a - b).map(([slot, buckets]) => [slot, packBuckets(buckets)]);
  return encodeCbor([epoch, position, asOf, slots, packBuckets(dirty), isUntold]);
}

export function decodeMark(bytes: Bytes): TreeMark {
  const [epoch, position, asOf, slots, dirty, isUntold = false] = decodeCbor(bytes, LIMITS) as [
    number,
    number,
    number,
    [number, Uint8Array][],
    Uint8Array,
    // Not there in marks of the first version.
    boolean?,
  ];
  const open = new Map(slots.map(([slot, buckets]) => [slot, unpackBuckets(buckets)]));
  return { epoch, position, asOf, open, dirty: unpackBuckets(dirty), isUntold };
}
