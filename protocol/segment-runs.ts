import { type Bytes, compareBytes, readUint64 } from "./bytes.ts";
import { EVENT_ID_BYTES } from "./event-id.ts";

/**
 * What a segment says of its events, packed: three runs of entries of one length each, cut into parts of `PART_ENTRIES`. All of it follows
 * from the events. A shard keeps the parts as rows, and a segment's file has them as blocks, so that both are read by the same code.
 *
 * - `topics`: where a topic's events are in the other two, by topic key.
 * - `ids`: an entry an event, in the order of topic and id.
 * - `times`: the same events in the order of topic, time key and id, each by its number in `ids`.
 */
export const RUN_KINDS = ["topics", "ids", "times"] as const;
export type RunKind = (typeof RUN_KINDS)[number];

/** A part of `ids`, the largest, is 48 KB. */
export const PART_ENTRIES = 512;

/** timestampNs ‖ SHA-256 of topic and message: the order of queries. */
export const TIME_KEY_BYTES = 40;
const TOPIC_KEY_BYTES = 32;

/** The events of one topic in a segment: `count` entries of `ids` and of `times`, from the entry `first` on. */
export interface TopicRun {
  /** SHA-256 of the topic. */
  readonly topicKey: Bytes;
  readonly first: number;
  readonly count: number;
  /** timestampNs. */
  readonly leastTs: bigint;
  readonly greatestTs: bigint;
}

/** One event of a segment. Offsets are those of a block's bytes in its file. */
export interface SealedEntry {
  readonly id: Bytes;
  readonly timeKey: Bytes;
  /** In the file of blocks. */
  readonly blockAt: number;
  readonly blockLength: number;
  /** In the file of messages; 0 for a message that is an object of its own. */
  readonly messageAt: number;
  readonly messageLength: number;
  /** The number of its origin among the segment's. */
  readonly origin: number;
}

export const ENTRY_BYTES: Readonly<Record<RunKind, number>> = {
  topics: TOPIC_KEY_BYTES + 4 + 4 + 8 + 8,
  ids: EVENT_ID_BYTES + TIME_KEY_BYTES + 4 + 2 + 4 + 3 + 1,
  times: TIME_KEY_BYTES + 4,
};

/** Origins of one segment, and the greatest offset in a file: what an entry can say. */
export const MAX_SEGMENT_ORIGINS = 256;
export const MAX_SEGMENT_BYTES = 2 ** 32 - 1;

export const partsOf = (count: number): number => Math.ceil(count / PART_ENTRIES);

const viewOf = (bytes: Uint8Array, at: number, length: number): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset + at, length);

function writeTopic(part: Bytes, at: number, run: TopicRun): void {
  part.set(run.topicKey, at);
  const view = viewOf(part, at + TOPIC_KEY_BYTES, 24);
  view.setUint32(0, run.first);
  view.setUint32(4, run.count);
  view.setBigUint64(8, run.leastTs);
  view.setBigUint64(16, run.greatestTs);
}

function writeId(part: Bytes, at: number, entry: SealedEntry): void {
  part.set(entry.id, at);
  part.set(entry.timeKey, at + EVENT_ID_BYTES);
  const view = viewOf(part, at + EVENT_ID_BYTES + TIME_KEY_BYTES, 14);
  view.setUint32(0, entry.blockAt);
  view.setUint16(4, entry.blockLength);
  view.setUint32(6, entry.messageAt);
  view.setUint8(10, entry.messageLength >> 16);
  view.setUint16(11, entry.messageLength & 0xffff);
  view.setUint8(13, entry.origin);
}

function writeTime(part: Bytes, at: number, { timeKey, number }: TimedNumber): void {
  part.set(timeKey, at);
  viewOf(part, at + TIME_KEY_BYTES, 4).setUint32(0, number);
}

interface TimedNumber {
  readonly timeKey: Bytes;
  readonly number: number;
}

function pack<Entry>(
  kind: RunKind,
  entries: readonly Entry[],
  write: (part: Bytes, at: number, entry: Entry) => void,
): Bytes[] {
  const bytesEach = ENTRY_BYTES[kind];
  return Array.from({ length: partsOf(entries.length) }, (_, part) => {
    const own = entries.slice(part * PART_ENTRIES, (part + 1) * PART_ENTRIES);
    const packed = new Uint8Array(own.length * bytesEach);
    for (const [i, entry] of own.entries()) write(packed, i * bytesEach, entry);
    return packed;
  });
}

/** An event to be packed. */
export interface PackedEvent extends SealedEntry {
  readonly topicKey: Bytes;
}

export type Runs = Readonly<Record<RunKind, readonly Bytes[]>>;

/** Packs events, which are in the order of topic and id. */
export function packRuns(events: readonly PackedEvent[]): Runs {
  const topics: TopicRun[] = [];
  const times: TimedNumber[] = [];
  for (let first = 0; first < events.length; ) {
    const { topicKey } = events[first] as PackedEvent;
    let end = first + 1;
    while (end < events.length && compareBytes((events[end] as PackedEvent).topicKey, topicKey) === 0) end++;
    const own = events.slice(first, end).map(({ timeKey }, i) => ({ timeKey, number: first + i }));
    own.sort((a, b) => compareBytes(a.timeKey, b.timeKey) || a.number - b.number);
    times.push(...own);
    const [least, greatest] = [own[0], own.at(-1)] as [TimedNumber, TimedNumber];
    topics.push({
      topicKey,
      first,
      count: own.length,
      leastTs: readUint64(least.timeKey),
      greatestTs: readUint64(greatest.timeKey),
    });
    first = end;
  }
  return {
    topics: pack("topics", topics, writeTopic),
    ids: pack("ids", events, writeId),
    times: pack("times", times, writeTime),
  };
}

const sliceOf = (bytes: Uint8Array, at: number, length: number): Bytes =>
  new Uint8Array(bytes.subarray(at, at + length));

export function readTopicRun(part: Uint8Array, index: number): TopicRun {
  const at = index * ENTRY_BYTES.topics;
  const view = viewOf(part, at + TOPIC_KEY_BYTES, 24);
  return {
    topicKey: sliceOf(part, at, TOPIC_KEY_BYTES),
    first: view.getUint32(0),
    count: view.getUint32(4),
    leastTs: view.getBigUint64(8),
    greatestTs: view.getBigUint64(16),
  };
}

export function readSealedEntry(part: Uint8Array, index: number): SealedEntry {
  const at = index * ENTRY_BYTES.ids;
  const view = viewOf(part, at + EVENT_ID_BYTES + TIME_KEY_BYTES, 14);
  return {
    id: sliceOf(part, at, EVENT_ID_BYTES),
    timeKey: sliceOf(part, at + EVENT_ID_BYTES, TIME_KEY_BYTES),
    blockAt: view.getUint32(0),
    blockLength: view.getUint16(4),
    messageAt: view.getUint32(6),
    messageLength: view.getUint8(10) * 2 ** 16 + view.getUint16(11),
    origin: view.getUint8(13),
  };
}

export function readTimedNumber(part: Uint8Array, index: number): TimedNumber {
  const at = index * ENTRY_BYTES.times;
  return {
    timeKey: sliceOf(part, at, TIME_KEY_BYTES),
    number: viewOf(part, at + TIME_KEY_BYTES, 4).getUint32(0),
  };
}
