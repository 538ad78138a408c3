import { unpackRecords } from "../../durable-objects/sync/root-records.ts";
import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import type { HandOver } from "../../durable-objects/topic-shard/sync-tree/shard-tree.ts";
import { type Bytes, compareBytes, concatBytes, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { Sketch } from "../../protocol/sketch.ts";
import { isCompared, slotOf } from "./rules.ts";

/** The hash tree by its definition, from nothing but the stored events. */

const uint32 = (value: number): Bytes => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
};

const bucketOf = ({ topicKey }: StoredEvent): number =>
  ((topicKey[0] as number) << 4) | ((topicKey[1] as number) >> 4);

interface Root {
  readonly bucket: number;
  readonly class: number;
  readonly root: Bytes;
}

function rootOf(events: readonly StoredEvent[], suite: CryptoSuite): Bytes {
  const hash = (tag: number, parts: readonly Bytes[]) =>
    suite.sha256(concatBytes(Uint8Array.of(tag), ...parts));
  const slots = [...Map.groupBy(events, ({ id }) => slotOf(id))].sort(([a], [b]) => a - b);
  const leaves = slots.map(([slot, members]) => ({
    slot,
    hash: hash(0, members.map(({ id }) => id).sort(compareBytes)),
  }));
  const groups = [...Map.groupBy(leaves, ({ slot }) => Math.floor(slot / 64))];
  const hashes = groups.map(([group, members]) => {
    const parts = members.flatMap((leaf) => [uint32(leaf.slot), leaf.hash]);
    return [uint32(group), hash(1, parts)];
  });
  return hash(2, hashes.flat());
}

/** The roots of all buckets and classes as of a slot, in order. */
function rootsOf(events: readonly StoredEvent[], asOf: number, suite: CryptoSuite): Root[] {
  const compared = events.filter((event) => isCompared(event.class, event.id, asOf));
  const groups = Map.groupBy(compared, (event) => bucketOf(event) * 256 + event.class);
  return [...groups]
    .sort(([a], [b]) => a - b)
    .map(([key, members]) => ({
      bucket: Math.floor(key / 256),
      class: key % 256,
      root: rootOf(members, suite),
    }));
}

/** The hash of all that a node holds as of a slot. */
/** What a node compares: a tag, its root, and the hash of a domain tag and the sorted ids of its records. */
export function comparedRootOf(
  events: readonly StoredEvent[],
  asOf: number,
  recordIds: readonly Uint8Array[],
  suite: CryptoSuite,
): string {
  const ids = recordIds.map(toHex).sort().map(fromHex);
  const records = suite.sha256(concatBytes(utf8("pennypost/records/v1\0"), ...ids));
  const root = fromHex(nodeRootOf(events, asOf, suite));
  return toHex(suite.sha256(concatBytes(Uint8Array.of(5), root, records)));
}

function nodeRootOf(events: readonly StoredEvent[], asOf: number, suite: CryptoSuite): string {
  const byGroup = Map.groupBy(rootsOf(events, asOf, suite), ({ bucket }) => Math.floor(bucket / 64));
  const groups = Array.from({ length: 64 }, (_, group) => {
    const roots = byGroup.get(group);
    if (!roots) return new Uint8Array(32);
    const parts = roots.flatMap(({ bucket, class: id, root }) => [
      Uint8Array.of(bucket >> 8, bucket & 255, id),
      root,
    ]);
    return suite.sha256(concatBytes(Uint8Array.of(3), ...parts));
  });
  return toHex(suite.sha256(concatBytes(Uint8Array.of(4), ...groups)));
}

/** What a hand-over says that does not follow from the events; undefined when all does. */
export function wrongInHandOver(
  { asOf, parts, sketches }: Pick<HandOver, "asOf" | "parts" | "sketches">,
  events: readonly StoredEvent[],
  suite: CryptoSuite,
): string | undefined {
  const records = parts.flatMap(({ records: packed }) => unpackRecords(packed));
  for (const [which, when] of [
    ["newest", asOf],
    ["previous", asOf - 1],
  ] as const) {
    const told = records.flatMap((record) => {
      const root = record[which];
      return root ? [`${record.bucket} ${record.class} ${toHex(root)}`] : [];
    });
    const due = rootsOf(events, when, suite).map(
      (each) => `${each.bucket} ${each.class} ${toHex(each.root)}`,
    );
    if (told.sort().join() !== due.sort().join()) return `the ${which} roots as of ${when}`;
    const sketch = new Sketch();
    for (const event of events)
      if (isCompared(event.class, event.id, when)) sketch.toggle(bucketOf(event), event.id);
    if (compareBytes(sketch.prefix(), sketches[which]) !== 0) return `the ${which} sketch as of ${when}`;
  }
  const counted = events.filter((event) => isCompared(event.class, event.id, asOf)).length;
  const count = records.reduce((sum, record) => sum + record.count, 0);
  return counted === count ? undefined : `${count} events where there are ${counted}`;
}
