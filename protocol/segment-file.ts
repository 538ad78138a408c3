import { CarBufferReader } from "@ipld/car/buffer-reader";
import * as carBuffer from "@ipld/car/buffer-writer";
import type { CID } from "multiformats/cid";
import { type Bytes, equalBytes, joinBytes, toHex } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { type CryptoSuite, PUBLIC_KEY_BYTES, SIGNATURE_BYTES } from "./crypto.ts";
import { invalidArgument } from "./errors.ts";
import { digestOfEventCid, digestOfMessageCid, eventCid, messageCid } from "./event-id.ts";
import { MAX_BLOCK_BYTES } from "./limits.ts";
import {
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_ORIGINS,
  PART_ENTRIES,
  type PackedEvent,
  packRuns,
  RUN_KINDS,
  type RunKind,
  type Runs,
} from "./segment-runs.ts";

/**
 * A segment is two CAR files (version 1, https://ipld.io/specs/transport/car/carv1/) of one root block. `blocks` has the events' blocks in
 * the order of topic and id, then their signatures and the runs of `segment-runs.ts`, all dag-cbor; `messages` has the messages, raw, in
 * the same order. So messages can be dropped by deleting one file, and what stays is read as before.
 */
const SEGMENT_VERSION = 1;
/** A message of more bytes is in no segment's file, but an object of its own. */
export const MAX_INLINE_MESSAGE_BYTES = 65_536;
/** Events of one segment, so that its root block stays below 64 KB. */
const MAX_SEGMENT_EVENTS = 131_072;
const MAX_ROOT_BYTES = 131_072;

/** In place of the offset of a message: it was dropped, or is an object of its own. No block begins there. */
export const MESSAGE_GONE = 0;
export const MESSAGE_APART = 1;

/** What all events of a segment have in common. */
export interface SegmentFacts {
  /** Network id, 32 bytes. */
  readonly net: Bytes;
  /** Retention class. */
  readonly class: number;
  /** The events' slots: from one (inclusive) to another (exclusive). */
  readonly from: number;
  readonly to: number;
}

/** An event to be sealed; its parts were checked when it was stored. */
export interface SegmentEvent {
  readonly topicKey: Bytes;
  readonly id: Bytes;
  /** timestampNs ‖ SHA-256 of topic and message. */
  readonly timeKey: Bytes;
  readonly origin: Bytes;
  /** SHA-256 of the message. */
  readonly msg: Bytes;
  /** Bytes of the message, also where it is not there. */
  readonly size: number;
  readonly signature: Bytes;
  readonly block: Bytes;
  /** Null when it was dropped. */
  readonly message: Bytes | null;
}

export interface SegmentFiles {
  /** SHA-256 of the root block. */
  readonly root: Bytes;
  readonly blocks: Bytes;
  /** Null when no message is in a file. */
  readonly messages: Bytes | null;
  /** Public keys, in the order of the entries' numbers. */
  readonly origins: readonly Bytes[];
  readonly runs: Runs;
}

interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

const malformed = (why: string) => invalidArgument("segment_malformed", `no segment: ${why}`);

const cborBlock = (value: unknown, suite: CryptoSuite): Block => {
  const bytes = encodeCbor(value);
  return { cid: eventCid(suite.sha256(bytes)), bytes };
};

/** Where the bytes of blocks begin in a file that has one root, in the order of the blocks; and the end of the last. */
function offsetsOf(blocks: readonly Block[]): { readonly offsets: number[]; readonly end: number } {
  let end = carBuffer.estimateHeaderLength(1);
  const offsets = blocks.map((block) => {
    end += carBuffer.blockLength(block);
    return end - block.bytes.length;
  });
  return { offsets, end };
}

/** @throws PennypostError `segment_too_large`. */
function fileOf(blocks: readonly Block[], root: Block): Bytes {
  const all = [...blocks, root];
  const { end } = offsetsOf(all);
  if (end > MAX_SEGMENT_BYTES)
    throw invalidArgument("segment_too_large", `${end} bytes are too many for a segment`, { bytes: end });
  const writer = carBuffer.createWriter(new ArrayBuffer(end), { roots: [root.cid] });
  for (const block of all) writer.write(block);
  return writer.close() as Bytes;
}

/**
 * Writes a segment of events in the order of topic and id. The same events give the same bytes.
 * @throws PennypostError `segment_too_large`, also for too many events or origins.
 */
export function writeSegment(
  facts: SegmentFacts,
  events: readonly SegmentEvent[],
  suite: CryptoSuite,
): SegmentFiles {
  const origins = distinctOrigins(events);
  if (events.length > MAX_SEGMENT_EVENTS || origins.length > MAX_SEGMENT_ORIGINS)
    throw invalidArgument("segment_too_large", "too many events or origins for a segment");
  const [blocks, messages] = [blocksIn(events), messagesIn(events)];
  const runs = packRuns(
    packedEvents(events, origins, offsetsOf(blocks).offsets, offsetsOf(messages).offsets),
  );
  return restoreSegment(facts, { origins, runs }, events, suite);
}

/** What a shard keeps of a segment, from which its files follow with the events' own bytes. */
type KeptOfSegment = Pick<SegmentFiles, "origins" | "runs">;
type EventBytes = Pick<SegmentEvent, "id" | "msg" | "signature" | "block" | "message">;

const blocksIn = (events: readonly EventBytes[]): Block[] =>
  events.map(({ id, block }) => ({ cid: eventCid(new Uint8Array(id.subarray(8))), bytes: block }));
const messagesIn = (events: readonly EventBytes[]): Block[] =>
  events.filter(isInFile).map(({ msg, message }) => ({ cid: messageCid(msg), bytes: message }));

/**
 * Writes a segment's files again, all of its events given in their order; where the messages are not given, the file of blocks alone.
 * @throws PennypostError `segment_too_large`.
 */
export function restoreSegment(
  facts: SegmentFacts,
  { origins, runs }: KeptOfSegment,
  events: readonly EventBytes[],
  suite: CryptoSuite,
): SegmentFiles {
  const [blocks, messages] = [blocksIn(events), messagesIn(events)];
  const signatures = partsOfSignatures(events).map((each) => cborBlock(each, suite));
  const packed = RUN_KINDS.map((kind) => runs[kind].map((part) => cborBlock(part, suite)));
  const [topics, ids, times] = packed.map((parts) => parts.map(({ cid }) => cid));
  const root = cborBlock(
    {
      v: SEGMENT_VERSION,
      ...facts,
      count: events.length,
      origins,
      signatures: signatures.map(({ cid }) => cid),
      topics,
      ids,
      times,
    },
    suite,
  );
  return {
    root: digestOfEventCid(root.cid) as Bytes,
    blocks: fileOf([...blocks, ...signatures, ...packed.flat()], root),
    messages: messages.length > 0 ? fileOf(messages, root) : null,
    origins,
    runs,
  };
}

const isInFile = <Event extends EventBytes>(event: Event): event is Event & { readonly message: Bytes } =>
  event.message !== null && event.message.length <= MAX_INLINE_MESSAGE_BYTES;

function distinctOrigins(events: readonly SegmentEvent[]): Bytes[] {
  const byKey = new Map(events.map(({ origin }) => [toHex(origin), origin]));
  return [...byKey.keys()].sort().map((key) => byKey.get(key) as Bytes);
}

function packedEvents(
  events: readonly SegmentEvent[],
  origins: readonly Bytes[],
  blockOffsets: readonly number[],
  messageOffsets: readonly number[],
): PackedEvent[] {
  const numbers = new Map(origins.map((origin, number) => [toHex(origin), number]));
  let inFile = 0;
  return events.map((event, i) => ({
    topicKey: event.topicKey,
    id: event.id,
    timeKey: event.timeKey,
    blockAt: blockOffsets[i] as number,
    blockLength: event.block.length,
    messageAt: isInFile(event)
      ? (messageOffsets[inFile++] as number)
      : event.message === null
        ? MESSAGE_GONE
        : MESSAGE_APART,
    messageLength: event.size,
    origin: numbers.get(toHex(event.origin)) as number,
  }));
}

function partsOfSignatures(events: readonly EventBytes[]): Bytes[] {
  const parts: Bytes[] = [];
  for (let first = 0; first < events.length; first += PART_ENTRIES)
    parts.push(joinBytes(events.slice(first, first + PART_ENTRIES).map(({ signature }) => signature)));
  return parts;
}

/** What a segment's file of blocks says, with nothing of its events checked but that each block is what its CID names. */
interface SegmentContent {
  readonly root: Bytes;
  readonly facts: SegmentFacts;
  readonly origins: readonly Bytes[];
  readonly runs: Runs;
  /** In the order of topic and id, if its writer kept to that. */
  readonly events: readonly { readonly block: Bytes; readonly signature: Bytes }[];
}

/** Reads a file block by block. @throws PennypostError `segment_malformed` for what is no CAR, or has a block that is not its CID's. */
function blocksOf(
  file: Bytes,
  suite: CryptoSuite,
): { readonly root: CID; readonly blocks: readonly Block[] } {
  const reader = readCar(file);
  const [root, ...more] = reader.getRoots();
  if (!root || more.length > 0) throw malformed("a segment's file has one root");
  const blocks = reader.blocks();
  for (const { cid, bytes } of blocks) {
    const digest = digestOfEventCid(cid) ?? digestOfMessageCid(cid);
    if (!digest || !equalBytes(digest, suite.sha256(bytes)))
      throw malformed(`a block is not that of its CID ${cid}`);
  }
  return { root, blocks };
}

function readCar(file: Bytes): CarBufferReader {
  try {
    return CarBufferReader.fromBytes(file);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message.slice(0, 200) : "it cannot be read");
  }
}

type Fields = Readonly<Record<string, unknown>>;

function numberOf(fields: Fields, name: string, limit: number): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || Number(value) < 0 || Number(value) > limit)
    throw malformed(`${name} is no integer from 0 to ${limit}`);
  return Number(value);
}

function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name];
  if (!Array.isArray(value)) throw malformed(`${name} is no list`);
  return value;
}

function bytesOf(value: unknown, length: number): Bytes {
  if (!(value instanceof Uint8Array) || value.length !== length) throw malformed(`not ${length} bytes`);
  return new Uint8Array(value);
}

/**
 * Reads a segment's file of blocks. What it says of its events is to be judged by the rules of events, and its runs are to be made anew from
 * them, where the file is another node's.
 * @throws PennypostError `segment_malformed`, or `cbor_…`.
 */
export function readSegment(file: Bytes, suite: CryptoSuite): SegmentContent {
  const { root, blocks } = blocksOf(file, suite);
  const byCid = new Map(blocks.map(({ cid, bytes }) => [cid.toString(), bytes]));
  const bytesAt = (cid: CID): Bytes => {
    const bytes = byCid.get(cid.toString());
    if (!bytes) throw malformed(`it lacks the block ${cid}`);
    return new Uint8Array(bytes);
  };
  const fields = decodeCbor(bytesAt(root), { bytes: MAX_ROOT_BYTES }) as Fields;
  const count = numberOf(fields, "count", MAX_SEGMENT_EVENTS);
  const packed = (name: string): Bytes[] =>
    listOf(fields, name).map(
      (cid) => decodeCbor(bytesAt(cid as CID), { bytes: MAX_INLINE_MESSAGE_BYTES }) as Bytes,
    );
  const signatures = joinBytes(packed("signatures"));
  if (numberOf(fields, "v", 255) !== SEGMENT_VERSION) throw malformed("no such version");
  if (signatures.length !== count * SIGNATURE_BYTES || blocks.length < count)
    throw malformed("its events and their signatures are not as many as it says");
  return {
    root: digestOfEventCid(root) as Bytes,
    facts: {
      net: bytesOf(fields.net, 32),
      class: numberOf(fields, "class", 255),
      from: numberOf(fields, "from", 2 ** 32),
      to: numberOf(fields, "to", 2 ** 32),
    },
    origins: listOf(fields, "origins").map((key) => bytesOf(key, PUBLIC_KEY_BYTES)),
    runs: Object.fromEntries(RUN_KINDS.map((kind) => [kind, packed(kind)])) as Record<RunKind, Bytes[]>,
    events: blocks.slice(0, count).map(({ bytes }, i) => ({
      block: new Uint8Array(bytes.subarray(0, MAX_BLOCK_BYTES + 1)),
      signature: new Uint8Array(signatures.subarray(i * SIGNATURE_BYTES, (i + 1) * SIGNATURE_BYTES)),
    })),
  };
}

/** The messages in a segment's file of messages, by their SHA-256 as hex digits. @throws PennypostError `segment_malformed`. */
export function readMessages(file: Bytes, suite: CryptoSuite): Map<string, Bytes> {
  const { root, blocks } = blocksOf(file, suite);
  const messages = blocks.filter(({ cid }) => !cid.equals(root));
  // The root comes last: without it the file is cut.
  if (messages.length === blocks.length) throw malformed("it ends before its root");
  return new Map(
    messages.map(({ cid, bytes }) => [
      toHex(digestOfMessageCid(cid) ?? cid.multihash.digest),
      new Uint8Array(bytes),
    ]),
  );
}
