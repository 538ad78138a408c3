import { type Bytes, compareBytes } from "../../protocol/bytes.ts";
import { type BucketClass, MAX_LISTED_IDS, type RootsQuestion } from "../../protocol/sync-messages.ts";
import { bucketClassKey, bucketGroupOf, byBucketAndClass, slotGroupOf } from "../../protocol/sync-tree.ts";
import { SMALL_BUCKET_EVENTS } from "../topic-shard/sync-tree/bucket-leaves.ts";
import type { CountedRoot } from "./summary.ts";

/** What the list of slot groups of a large bucket counts as at least: a month has 40 of them. */
const LARGE_BUCKET_COST = 64;

/** The buckets and classes that differ, in order, up to what one answer lists. */
export interface DifferingRoots {
  readonly targets: readonly BucketClass[];
  readonly next: BucketClass | null;
}

/** Where a peer's roots differ from this node's own, both in order: as much as one answer lists. */
export function differingRoots(
  own: readonly CountedRoot[],
  { asOf, groups, from, to, roots }: RootsQuestion,
): DifferingRoots {
  const asked = new Set(groups);
  const isAsked = (each: BucketClass) =>
    asked.has(bucketGroupOf(each.bucket)) &&
    byBucketAndClass(each, from) >= 0 &&
    (to === null || byBucketAndClass(each, to) < 0);
  // A root that is asked twice would be answered twice, as often as the question has room for.
  const theirs = [...new Map(roots.filter(isAsked).map((each) => [bucketClassKey(each), each])).values()];
  const targets: BucketClass[] = [];
  let cost = 0;
  for (const { bucket, class: id, mine } of differences(own.filter(isAsked), theirs.sort(byBucketAndClass))) {
    cost += 1 + (mine ? costOf(mine, asOf) : 0);
    if (targets.length > 0 && cost > MAX_LISTED_IDS) return { targets, next: { bucket, class: id } };
    targets.push({ bucket, class: id });
  }
  return { targets, next: null };
}

/** Of listing a bucket and class, in ids; a hash of a slot group takes the room of one. */
function costOf({ count, oldest }: CountedRoot, asOf: number): number {
  if (count <= SMALL_BUCKET_EVENTS) return count;
  const groups = Math.max(0, slotGroupOf(asOf) - slotGroupOf(oldest)) + 1;
  return Math.max(LARGE_BUCKET_COST, Math.min(count, groups));
}

/** Merges two sorted lists of roots: what is in one only, or differs. */
function* differences(
  mine: readonly CountedRoot[],
  theirs: readonly (BucketClass & { readonly root: Bytes })[],
): Iterable<BucketClass & { readonly mine: CountedRoot | undefined }> {
  let [i, j] = [0, 0];
  while (i < mine.length || j < theirs.length) {
    const [a, b] = [mine[i], theirs[j]];
    const order = !a ? 1 : !b ? -1 : byBucketAndClass(a, b);
    if (a && order < 0) yield { ...a, mine: a };
    else if (b && order > 0) yield { ...b, mine: undefined };
    else if (a && b && compareBytes(a.root, b.root) !== 0) yield { ...a, mine: a };
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
}
