import { type Bytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { decodeBlock, type EncodedEvent, envelopeDigest } from "../../protocol/event.ts";
import {
  type SegmentEvent,
  type SegmentFacts,
  type SegmentFiles,
  writeSegment,
} from "../../protocol/segment-file.ts";
import { ENTRY_BYTES } from "../../protocol/segment-runs.ts";
import { byTopicAndId } from "../../protocol/testing/sealed-events.ts";
import { topicKey } from "../../protocol/topic.ts";
import { suite } from "../platform-suite.ts";
import type { AdoptOptions } from "../sealed/adopting.ts";
import { type NewSegment, ofGroups } from "../sealed/segment-list.ts";
import type { TieredShardStore } from "../sealed/tiered-shard-store.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import { slotOfId } from "../topic-shard/sync-tree/slot-spans.ts";

/** Makes segments of events, as a shard would seal them. */

export interface WrittenSegment extends NewSegment {
  readonly files: SegmentFiles;
}

/** Events of one class, in any order and at least one. */
export function segmentOf(events: readonly SegmentEvent[]): WrittenSegment {
  const sorted = events.toSorted(byTopicAndId);
  const [first, last] = [sorted[0], sorted.at(-1)] as [SegmentEvent, SegmentEvent];
  const slots = sorted.map(({ id }) => slotOfId(id));
  const { net, class: classId } = decodeBlock(first.block);
  const facts: SegmentFacts = { net, class: classId, from: Math.min(...slots), to: Math.max(...slots) + 1 };
  const files = writeSegment(facts, sorted, suite);
  const fileOf = (bytes: Bytes) => ({ bytes: bytes.length, digest: suite.sha256(bytes) });
  const nameOf = ({ topicKey, id }: SegmentEvent) => concatBytes(topicKey, id);
  return {
    files,
    runs: files.runs,
    segment: {
      root: files.root,
      class: classId,
      from: facts.from,
      to: facts.to,
      count: sorted.length,
      topics: files.runs.topics.reduce((sum, part) => sum + part.length / ENTRY_BYTES.topics, 0),
      firstName: nameOf(first),
      lastName: nameOf(last),
      origins: files.origins,
      blocks: fileOf(files.blocks),
      messages: files.messages && fileOf(files.messages),
    },
  };
}

/** A stored event as one to be sealed. */
export function sealedFrom({ topicKey, id, timeKey, signature, block, message }: StoredEvent): SegmentEvent {
  const { origin, msg, size } = decodeBlock(block);
  return { topicKey, id, timeKey, origin, msg, size, signature, block, message };
}

/** Moves delivered events up to a position from the hot tier into one segment of each class, in one transaction that `seal` may have a share in. */
export function sealUpTo(
  store: TieredShardStore,
  position: number,
  seal = (move: () => void) => move(),
): WrittenSegment[] {
  const stored = store.hot
    .namesAfter(0, MAX_SEALED)
    .filter((name) => name.position <= position)
    .flatMap((name) => store.hot.get(name) ?? []);
  const byClass = Map.groupBy(stored, (event) => event.class);
  const written = [...byClass.values()].map((events) => segmentOf(events.map(sealedFrom)));
  const known = sealedEvents.get(store) ?? new Map<string, SegmentEvent>();
  for (const each of stored) known.set(toHex(each.id), sealedFrom(each));
  sealedEvents.set(store, known);
  const move = () => {
    for (const each of written) store.index.addGroup([each]);
    for (const each of stored) store.hot.remove(each.position);
  };
  store.transaction(() => seal(move));
  return written;
}

const MAX_SEALED = 100_000;
/** What `sealUpTo` has sealed of a store, by its id: what its files would have. */
const sealedEvents = new WeakMap<TieredShardStore, Map<string, SegmentEvent>>();

/** Begins a merge of all groups of a class that has several, or ends the one under way. */
export function mergeOn(store: TieredShardStore, which: number): void {
  const { index } = store;
  const { merge } = index;
  if (merge) store.transaction(() => index.merged(merge.class, merge.groups, 0));
  else store.transaction(() => beginMerge(store, which));
}

function beginMerge(store: TieredShardStore, which: number): void {
  const { index } = store;
  const classes = [...Map.groupBy(index.segments, (each) => each.class)];
  const [classId, segments] = classes[which % Math.max(1, classes.length)] ?? [0, []];
  const groups = [...new Set(segments.map(({ group }) => group))];
  if (groups.length < 2) return;
  const places = [...index.inGroupOrder(Map.groupBy(segments, (each) => each.group).values(), null)];
  const events = places.flatMap(({ entry }) => sealedEvents.get(store)?.get(toHex(entry.id)) ?? []);
  if (events.length > 0) index.hold(ofGroups({ groups, segments: segments.length }), segmentOf(events));
  else index.merged(classId, groups, 0);
}

/** An event as one to be sealed. */
export function toSegmentEvent({ id, fields, signature, block, message }: EncodedEvent): SegmentEvent {
  const { topic, ts, origin, msg, size } = fields;
  const digest = message ? envelopeDigest(topic, message, suite) : msg;
  const timeKey = concatBytes(uint64Bytes(ts), digest);
  return { topicKey: topicKey(topic, suite), id, timeKey, origin, msg, size, signature, block, message };
}

/** How a peer's segments are adopted at first, and when large messages that were asked for did not come. */
export const ASK: AdoptOptions = { asksForLarge: true, storesGone: false };
export const LEAVE: AdoptOptions = { asksForLarge: false, storesGone: false };
