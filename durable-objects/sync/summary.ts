import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { Sketch } from "../../protocol/sketch.ts";
import {
  BUCKET_GROUPS,
  type BucketRoot,
  bucketGroupHash,
  bucketGroupOf,
  byBucketAndClass,
  nodeRoot,
} from "../../protocol/sync-tree.ts";
import { unpackRecords } from "./root-records.ts";
import type { StoredHandOver } from "./sync-store.ts";

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

/** A root with the number of events under it; the number is that of the newest range. */
export interface CountedRoot extends BucketRoot {
  readonly count: number;
}

/** What the shards handed over, as of the summary's `asOf` or the slot before, in order of bucket and class. */
export function rootsAsOf(
  handOvers: readonly StoredHandOver[],
  newestAsOf: number,
  which: "newest" | "previous",
): CountedRoot[] {
  const roots = handOvers.flatMap(({ asOf, parts }) => {
    // Nothing of a shard changed since it handed over: as of the slot before it is what it was then.
    const side = which === "previous" && asOf === newestAsOf ? "previous" : "newest";
    return parts.flatMap(({ records }) =>
      unpackRecords(records).flatMap((record) => {
        const root = record[side];
        return root ? [{ bucket: record.bucket, class: record.class, count: record.count, root }] : [];
      }),
    );
  });
  return roots.sort(byBucketAndClass);
}

function summarizeRange(
  handOvers: readonly StoredHandOver[],
  newestAsOf: number,
  which: "newest" | "previous",
  suite: CryptoSuite,
): RangeSummary {
  const roots = rootsAsOf(handOvers, newestAsOf, which);
  const byGroup = Map.groupBy(roots, ({ bucket }) => bucketGroupOf(bucket));
  const groups = concatBytes(
    ...Array.from({ length: BUCKET_GROUPS }, (_, group) => bucketGroupHash(byGroup.get(group) ?? [], suite)),
  );
  const sketch = new Sketch();
  for (const { asOf, sketches } of handOvers) {
    const side = which === "previous" && asOf === newestAsOf ? sketches.previous : sketches.newest;
    sketch.merge(Sketch.fromBytes(side));
  }
  const count = roots.reduce((sum, root) => sum + root.count, 0);
  return { root: nodeRoot(groups, suite), groups, count, sketch: sketch.prefix() };
}

export function summarize(handOvers: readonly StoredHandOver[], asOf: number, suite: CryptoSuite): Summary {
  return {
    asOf,
    newest: summarizeRange(handOvers, asOf, "newest", suite),
    previous: summarizeRange(handOvers, asOf, "previous", suite),
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
