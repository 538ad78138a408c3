import {
  blocksKey,
  largeKey,
  messagesKey,
  type ShardPlace,
} from "../../durable-objects/sealed/archive-keys.ts";
import type { HeldSegment } from "../../durable-objects/sealed/sealed-store.ts";
import type { MemoryObject } from "../../durable-objects/testing/memory-archive.ts";
import type { StoredEvent } from "../../durable-objects/topic-shard/shard-store.ts";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { MAX_INLINE_MESSAGE_BYTES, readMessages, readSegment } from "../../protocol/segment-file.ts";
import type { SimNode } from "../sim-node.ts";
import type { Simulation } from "../simulation.ts";
import { readBlock, timeKeyOf } from "./rules.ts";

/** What sealed events are by their files, of which every block is one of the file's own. */

const filesRead = new WeakMap<MemoryObject, readonly StoredEvent[]>();

const placeOf = (node: SimNode, shard: number): ShardPlace => ({ shardCount: node.shards.length, shard });

/** The events of a shard's segments that are read, as their files have them. */
export function sealedEventsOf(node: SimNode, shard: number): StoredEvent[] {
  const { sealed } = node.disks[shard]?.state.store ?? {};
  if (!sealed) return [];
  return sealed
    .segments()
    .filter(({ sealing, merging, doomedMs }) => sealing === null && merging === null && doomedMs === null)
    .flatMap((segment) => {
      const events = eventsOfFile(node, placeOf(node, shard), segment);
      if (segment.outCount === 0) return [...events];
      const out = sealed.part(segment.number, "out", 0);
      return events.filter((_, i) => (((out[i >> 3] as number) >> (i & 7)) & 1) === 0);
    });
}

function eventsOfFile(node: SimNode, place: ShardPlace, segment: HeldSegment): readonly StoredEvent[] {
  const file = objectOf(node, blocksKey(place, segment.root));
  const known = filesRead.get(file);
  if (known) return known;
  const { suite } = node.world;
  const { events } = readSegment(file.bytes, suite);
  const messages = segment.messages
    ? readMessages(objectOf(node, messagesKey(place, segment.root)).bytes, suite)
    : new Map<string, Bytes>();
  const read = events.map(({ block, signature }) => {
    const { msg, size } = readBlock(block);
    const { digest } = msg.multihash;
    const apart = () => objectOf(node, largeKey(place, digest)).bytes;
    // Who has sealed an event without its message has none in the file.
    const other = Number(size) > MAX_INLINE_MESSAGE_BYTES ? apart() : null;
    return storedEventOf(block, signature, messages.get(toHex(digest)) ?? other, suite);
  });
  filesRead.set(file, read);
  return read;
}

/** @throws Error when a file is not there that a shard reads. */
function objectOf(node: SimNode, key: string): MemoryObject {
  const found = node.archive.objects.get(key);
  if (!found) throw new Error(`${node.name} lacks the file ${key}`);
  return found;
}

function storedEventOf(
  block: Bytes,
  signature: Bytes,
  message: Bytes | null,
  suite: CryptoSuite,
): StoredEvent {
  const fields = readBlock(block);
  const id = new Uint8Array(40);
  new DataView(id.buffer).setBigUint64(0, BigInt(fields.seq));
  id.set(suite.sha256(block), 8);
  return {
    position: 0,
    topicKey: suite.sha256(utf8(fields.topic)),
    timeKey: timeKeyOf(fields, message, suite),
    id,
    class: fields.class,
    flags: 0,
    storedMs: 0,
    signature,
    block,
    message,
  };
}

/** The keys in R2 and the entries in D1 that none of the node's shards knows of. */
function orphansOf(node: SimNode): string[] {
  const keys = new Set<string>();
  const roots = new Set<string>();
  for (const [shard, { state }] of node.disks.entries()) {
    const place = placeOf(node, shard);
    const { sealed } = state.store;
    for (const { root, number, largeCount } of sealed.segments()) {
      keys.add(blocksKey(place, root)).add(messagesKey(place, root));
      roots.add(`${place.shardCount}/${shard}/${toHex(root)}`);
      const large = largeCount > 0 ? sealed.part(number, "large", 0) : new Uint8Array();
      for (let at = 0; at < large.length; at += 32) keys.add(largeKey(place, large.slice(at, at + 32)));
    }
  }
  return [
    ...[...node.archive.objects.keys()].filter((key) => !keys.has(key)),
    ...[...node.archive.entries.keys()].filter((name) => !roots.has(name)),
  ];
}

/** What expired is deleted, and nothing lies in R2 and D1 that no shard knows of, where no shard was restored. */
export function checkArchive(simulation: Simulation, node: SimNode): void {
  const orphans = orphansOf(node);
  for (const _ of orphans) simulation.struck("orphan");
  if (orphans.length > 0 && !simulation.rolledBack.has(node))
    simulation.violated("sealed files", `${node.name} has what no shard knows of: ${orphans[0]}`);
  for (const { state } of node.disks) {
    const [left] = state.store.sealed.segments().filter(({ doomedMs }) => doomedMs !== null);
    if (left) simulation.violated("sealed files", `${node.name} keeps a segment that is to be deleted`);
  }
}
