import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { Sketch } from "../../protocol/sketch.ts";
import { GROUP_TAG_BYTES } from "../../protocol/sync-messages.ts";
import {
  BUCKET_GROUPS,
  type BucketRoot,
  bucketGroupHash,
  bucketGroupOf,
  byBucketAndClass,
  HASH_BYTES,
  nodeRoot,
} from "../../protocol/sync-tree.ts";
import { unpackRecords } from "./root-records.ts";
import type { StoredHandOver, SyncStore } from "./sync-store.ts";

/** What a node holds in the compared range, as of one slot. */
export interface RangeSummary {
  readonly root: Bytes;
  /** The hashes of the 64 bucket groups, joined. */
  readonly groups: Bytes;
  /** Events in the range. */
  readonly count: number;
  /** The cells of the sketch. */
  readonly sketch: Bytes;
}

export interface Summary {
  readonly asOf: number;
  readonly newest: RangeSummary;
  /** As of the slot before. */
  readonly previous: RangeSummary;
}

/** A root with the number of events under it, and the oldest slot of the newest range. */
export interface CountedRoot extends BucketRoot {
  readonly count: number;
  readonly oldest: number;
}

type Side = "newest" | "previous";

/**
 * Which side of a hand-over is that of the summary's `asOf`, or of the slot before. Of a shard that handed over before nothing has
 * changed since: as of the slot before it is what it was then.
 */
const sideOf = (handOver: StoredHandOver, newestAsOf: number, which: Side): Side =>
  which === "previous" && handOver.asOf === newestAsOf ? "previous" : "newest";

function* rootsOf({ parts }: StoredHandOver, side: Side): Iterable<CountedRoot> {
  for (const { records } of parts) {
    for (const record of unpackRecords(records)) {
      const root = record[side];
      const { bucket, class: id, oldest } = record;
      const count = side === "newest" ? record.count : record.previousCount;
      if (root) yield { bucket, class: id, count, oldest, root };
    }
  }
}

/** What the shards handed over, as of the summary's `asOf` or the slot before, in order of bucket and class. */
export function rootsAsOf(
  handOvers: Iterable<StoredHandOver>,
  newestAsOf: number,
  which: Side,
): CountedRoot[] {
  const roots: CountedRoot[] = [];
  for (const each of handOvers)
    for (const root of rootsOf(each, sideOf(each, newestAsOf, which))) roots.push(root);
  return roots.sort(byBucketAndClass);
}

function summarizeRange(
  handOvers: Iterable<StoredHandOver>,
  newestAsOf: number,
  which: Side,
  suite: CryptoSuite,
): RangeSummary {
  const roots: CountedRoot[] = [];
  const sketch = new Sketch();
  for (const each of handOvers) {
    const side = sideOf(each, newestAsOf, which);
    for (const root of rootsOf(each, side)) roots.push(root);
    sketch.merge(Sketch.fromBytes(each.sketches[side]));
  }
  const byGroup = Map.groupBy(roots.sort(byBucketAndClass), ({ bucket }) => bucketGroupOf(bucket));
  const groups = concatBytes(
    ...Array.from({ length: BUCKET_GROUPS }, (_, group) => bucketGroupHash(byGroup.get(group) ?? [], suite)),
  );
  const count = roots.reduce((sum, root) => sum + root.count, 0);
  return { root: nodeRoot(groups, suite), groups, count, sketch: sketch.prefix() };
}

/** Reads what the shards handed over from a store, which must have nothing newer than `asOf`. */
export function summarize(store: Pick<SyncStore, "handOvers">, asOf: number, suite: CryptoSuite): Summary {
  return {
    asOf,
    newest: summarizeRange(store.handOvers(), asOf, "newest", suite),
    previous: summarizeRange(store.handOvers(), asOf, "previous", suite),
  };
}

const rangeTuple = ({ root, groups, count, sketch }: RangeSummary) => [root, groups, count, sketch];
type RangeTuple = [Uint8Array, Uint8Array, number, Uint8Array];
const rangeOf = ([root, groups, count, sketch]: RangeTuple): RangeSummary => ({
  root: new Uint8Array(root),
  groups: new Uint8Array(groups),
  count,
  sketch: new Uint8Array(sketch),
});

export const encodeSummary = ({ asOf, newest, previous }: Summary): Bytes =>
  encodeCbor([asOf, rangeTuple(newest), rangeTuple(previous)]);

/** It is our own: the limit is that of a row. */
export function decodeSummary(bytes: Bytes): Summary {
  const [asOf, newest, previous] = decodeCbor(bytes, { bytes: 2 * 1024 * 1024 }) as [
    number,
    RangeTuple,
    RangeTuple,
  ];
  return { asOf, newest: rangeOf(newest), previous: rangeOf(previous) };
}

/** The first bytes of each bucket group's hash, joined. */
export function groupTags(groups: Bytes): Bytes {
  const tags = new Uint8Array(BUCKET_GROUPS * GROUP_TAG_BYTES);
  for (let group = 0; group < BUCKET_GROUPS; group++) {
    const at = group * HASH_BYTES;
    tags.set(groups.subarray(at, at + GROUP_TAG_BYTES), group * GROUP_TAG_BYTES);
  }
  return tags;
}
