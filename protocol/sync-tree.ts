import { type Bytes, concatBytes, joinBytes } from "./bytes.ts";
import type { CryptoSuite } from "./crypto.ts";
import { isInRange, type SlotRange } from "./sync-range.ts";

/**
 * The hash tree of anti-entropy: ids → slot → slot group → root of a bucket and class → bucket group → node root. Each
 * level is SHA-256 over its sorted members with a tag of its own; what is empty is left out, so that every hash is a
 * function of a set of ids alone. Sums and XORs of hashes are forged in seconds, and a forged one hides a difference
 * for ever.
 */

/** Slots of a group: 18.6 hours. */
export const SLOTS_PER_GROUP = 64;
/** The buckets in groups of 64: 64 groups. */
export const BUCKET_GROUPS = 64;
export const BUCKETS_PER_GROUP = 64;
export const HASH_BYTES = 32;

const TAGS = { slot: 0, slotGroup: 1, root: 2, bucketGroup: 3, node: 4, compared: 5 } as const;

export const slotGroupOf = (slot: number): number => Math.floor(slot / SLOTS_PER_GROUP);
export const bucketGroupOf = (bucket: number): number => Math.floor(bucket / BUCKETS_PER_GROUP);

/** A leaf: the ids of one bucket, class and slot. */
export interface SlotLeaf {
  readonly slot: number;
  readonly count: number;
  readonly hash: Bytes;
}

/** The root of a bucket and class. */
export interface BucketRoot {
  readonly bucket: number;
  readonly class: number;
  readonly root: Bytes;
}

const uint32 = (value: number): Bytes => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
};

/** The hash of the members of a level, each in parts. */
const hashOf = (tag: number, parts: readonly Uint8Array[], suite: CryptoSuite): Bytes =>
  suite.sha256(joinBytes([Uint8Array.of(tag), ...parts]));

/** The hash of a leaf. `ids` are sorted and unique. */
export const slotHash = (ids: readonly Uint8Array[], suite: CryptoSuite): Bytes =>
  hashOf(TAGS.slot, ids, suite);

/** The same of ids that stand one behind the other, from the second byte on: the first, which is for the tag, is overwritten. */
export function packedSlotHash(packed: Uint8Array, suite: CryptoSuite): Bytes {
  packed[0] = TAGS.slot;
  return suite.sha256(packed);
}

/** Leaves of one slot group, in order of slots. */
export function slotGroupHash(leaves: readonly SlotLeaf[], suite: CryptoSuite): Bytes {
  const parts = leaves.flatMap(({ slot, hash }) => [uint32(slot), hash]);
  return hashOf(TAGS.slotGroup, parts, suite);
}

export interface SlotGroupHash {
  readonly group: number;
  readonly hash: Bytes;
}

/** The slot groups of those leaves that lie in a range. `leaves` are sorted by slot. */
export function slotGroups(
  leaves: readonly SlotLeaf[],
  range: SlotRange,
  suite: CryptoSuite,
): SlotGroupHash[] {
  const within = leaves.filter(({ slot }) => isInRange(range, slot));
  const groups = Map.groupBy(within, ({ slot }) => slotGroupOf(slot));
  return [...groups].map(([group, members]) => ({ group, hash: slotGroupHash(members, suite) }));
}

/** The root of a bucket and class over a range of slots; undefined when nothing is in it. */
export function rootOf(groups: readonly SlotGroupHash[], suite: CryptoSuite): Bytes | undefined {
  if (groups.length === 0) return undefined;
  const parts = groups.flatMap(({ group, hash }) => [uint32(group), hash]);
  return hashOf(TAGS.root, parts, suite);
}

export const byBucketAndClass = (
  a: Pick<BucketRoot, "bucket" | "class">,
  b: Pick<BucketRoot, "bucket" | "class">,
) => a.bucket - b.bucket || a.class - b.class;

/** One number for a bucket and class: these numbers are in their order. */
export const bucketClassKey = ({ bucket, class: classId }: Pick<BucketRoot, "bucket" | "class">): number =>
  bucket * 256 + classId;

/** The hash of a group of buckets from its roots, in order of bucket and class; 32 zero bytes when there are none. */
export function bucketGroupHash(roots: readonly BucketRoot[], suite: CryptoSuite): Bytes {
  if (roots.length === 0) return new Uint8Array(HASH_BYTES);
  const parts = roots.flatMap(({ bucket, class: id, root }) => [
    Uint8Array.of(bucket >> 8, bucket & 255, id),
    root,
  ]);
  return hashOf(TAGS.bucketGroup, parts, suite);
}

/** The hash of all that a node holds in the compared range. `groups` has 64 hashes, joined. */
export const nodeRoot = (groups: Uint8Array, suite: CryptoSuite): Bytes =>
  suite.sha256(concatBytes(Uint8Array.of(TAGS.node), groups));

/** What two nodes compare first: a node's root and the digest of its records (32 bytes), without which no event is judged. */
export const comparedRoot = (root: Uint8Array, recordsDigest: Uint8Array, suite: CryptoSuite): Bytes =>
  suite.sha256(concatBytes(Uint8Array.of(TAGS.compared), root, recordsDigest));
