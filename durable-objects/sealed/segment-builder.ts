import { type Bytes, compareBytes, concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { messageOfStoredBlock, originOfStoredBlock } from "../../protocol/event.ts";
import { digestOfId, seqOfId } from "../../protocol/event-id.ts";
import { slotOfSeq } from "../../protocol/retention.ts";
import { MAX_INLINE_MESSAGE_BYTES, type SegmentEvent, writeSegment } from "../../protocol/segment-file.ts";
import { ENTRY_BYTES, MAX_SEGMENT_ORIGINS, type Runs } from "../../protocol/segment-runs.ts";
import type { StoredEvent } from "../topic-shard/shard-store.ts";
import type { Segment, SegmentFile } from "./segment.ts";

/** Blocks and messages of one segment together, in bytes; its signatures and runs come on top. */
export const SEGMENT_CONTENT_BYTES = 8 * 1024 * 1024;
const SEGMENT_EVENTS = 32_768;
/** Large messages of one segment together, in bytes: who takes it over reads them all. */
const LARGE_BYTES = 64 * 1024 * 1024;

/** A stored event as a segment takes it. */
export type SealableEvent = Pick<
  StoredEvent,
  "topicKey" | "timeKey" | "id" | "class" | "signature" | "block"
> & {
  /** Null when it was dropped; `apart` when it is an object of its own that is stored already. */
  readonly message: Bytes | null | "apart";
};

/** A message that is an object of its own. */
export interface LargeMessage {
  /** SHA-256 of the message. */
  readonly digest: Bytes;
  readonly bytes: Bytes;
}

/** What a shard keeps of a segment. */
interface SealedSegment {
  readonly segment: Segment;
  readonly runs: Runs;
  /** SHA-256 of its messages that are objects of their own, in order, each once. Other segments may have the same ones. */
  readonly large: readonly Bytes[];
}

/** A segment that is written, and is stored nowhere yet. */
export interface WrittenSegment extends SealedSegment {
  readonly leastSeq: bigint;
  readonly greatestSeq: bigint;
  readonly blocks: Bytes;
  readonly messages: Bytes | null;
}

export type Built =
  | { readonly kind: "large"; readonly message: LargeMessage }
  | { readonly kind: "segment"; readonly written: WrittenSegment };

/** What the segments of one building have in common. */
interface SegmentKind {
  /** Network id, 32 bytes. */
  readonly net: Bytes;
  /** Retention class. */
  readonly class: number;
}

interface SegmentSource extends SegmentKind {
  /** The events, all of that class, in the order of topic and id; how they are cut into pages changes nothing. */
  readonly pages: Iterable<readonly SealableEvent[]>;
}

/** Smaller ones than the platform's are for tests. */
export interface BuilderLimits {
  readonly contentBytes: number;
  readonly events: number;
  readonly largeBytes?: number;
}

const LIMITS: BuilderLimits = { contentBytes: SEGMENT_CONTENT_BYTES, events: SEGMENT_EVENTS };

/** Stands for every large message that is stored, or has been handed out: a segment needs no more of it than that it is large. */
const LARGE = new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1);

/**
 * Cuts events into segments. Each large message comes before the segment that has its event. The same events give the same segments.
 * Only one segment is in memory, if who takes it lets it go; the next page is read when the next one is asked for.
 * @throws PennypostError `event_damaged` (dataLoss) for an event that is not what its id says; `segment_order` or `segment_class` for one that does
 * not belong here.
 */
export function* buildSegments(
  source: SegmentSource,
  suite: CryptoSuite,
  limits?: BuilderLimits,
): Generator<Built, void, void> {
  const builder = new SegmentBuilder(source, suite, limits);
  for (const page of source.pages) yield* builder.add(page);
  yield* builder.end();
}

/** The same for who has to wait for each page. */
export class SegmentBuilder {
  readonly #source: SegmentKind;
  readonly #suite: CryptoSuite;
  readonly #draft: Draft;
  #last: Bytes | undefined;

  constructor(source: SegmentKind, suite: CryptoSuite, limits: BuilderLimits = LIMITS) {
    this.#source = source;
    this.#suite = suite;
    this.#draft = new Draft(source, suite, limits);
  }

  /** Takes the next events; a page that is not taken to its end is to be given again, to another builder. @throws as `buildSegments`. */
  *add(page: readonly SealableEvent[]): Generator<Built, void, void> {
    for (const stored of page) {
      this.#check(stored);
      const event = segmentEventOf(stored, this.#suite);
      if (!this.#draft.hasRoomFor(event)) yield { kind: "segment", written: this.#draft.write() };
      const large = this.#draft.add(event);
      if (large) yield { kind: "large", message: large };
    }
  }

  #check({ topicKey, id, class: retention }: SealableEvent): void {
    const name = concatBytes(topicKey, id);
    if (this.#last && compareBytes(this.#last, name) >= 0)
      throw invalidArgument("segment_order", "events are sealed in the order of topic and id, each once");
    this.#last = name;
    if (retention !== this.#source.class)
      throw invalidArgument("segment_class", `an event of class ${retention} among others`, {
        class: retention,
      });
  }

  /** What is left when all events were taken. */
  *end(): Generator<Built, void, void> {
    if (!this.#draft.isEmpty) yield { kind: "segment", written: this.#draft.write() };
  }
}

/** @throws PennypostError `event_damaged`: else one damaged row would make a whole file unreadable. */
function segmentEventOf(stored: SealableEvent, suite: CryptoSuite): SegmentEvent {
  const { topicKey, id, timeKey, signature, block, message } = stored;
  if (!equalBytes(suite.sha256(block), digestOfId(id))) throw damaged(id, "block");
  const { msg, size } = messageOfStoredBlock(block);
  const isRight =
    message === "apart"
      ? size > MAX_INLINE_MESSAGE_BYTES
      : message === null || equalBytes(suite.sha256(message), msg);
  if (!isRight) throw damaged(id, "message");
  return {
    topicKey,
    id,
    timeKey,
    origin: originOfStoredBlock(block),
    msg,
    size,
    signature,
    block,
    message: message === "apart" ? LARGE : message,
  };
}

const damaged = (id: Bytes, part: string) =>
  new PennypostError("event_damaged", GRPC.dataLoss, `the stored event's ${part} is not that of its id`, {
    id: toHex(id),
    part,
  });

const isLarge = ({ message }: SegmentEvent): boolean =>
  message !== null && message.length > MAX_INLINE_MESSAGE_BYTES;

const contentBytesOf = (event: SegmentEvent): number =>
  event.block.length + (isLarge(event) ? 0 : (event.message?.length ?? 0));

const largeBytesOf = (event: SegmentEvent): number => (isLarge(event) ? event.size : 0);

/** The events of the next segment. */
class Draft {
  readonly #source: SegmentKind;
  readonly #suite: CryptoSuite;
  readonly #limits: BuilderLimits;
  #events: SegmentEvent[] = [];
  #bytes = 0;
  #largeBytes = 0;
  #origins = new Set<string>();
  #large = new Map<string, Bytes>();

  constructor(source: SegmentKind, suite: CryptoSuite, limits: BuilderLimits) {
    this.#source = source;
    this.#suite = suite;
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  /** An event always fits an empty segment. */
  hasRoomFor(event: SegmentEvent): boolean {
    if (this.isEmpty) return true;
    return (
      this.#events.length < this.#limits.events &&
      this.#bytes + contentBytesOf(event) <= this.#limits.contentBytes &&
      this.#largeBytes + largeBytesOf(event) <= (this.#limits.largeBytes ?? LARGE_BYTES) &&
      (this.#origins.size < MAX_SEGMENT_ORIGINS || this.#origins.has(toHex(event.origin)))
    );
  }

  /** Answers the event's message when it is large, and neither stored already nor handed out for this segment. */
  add(event: SegmentEvent): LargeMessage | undefined {
    this.#bytes += contentBytesOf(event);
    this.#largeBytes += largeBytesOf(event);
    this.#origins.add(toHex(event.origin));
    const { msg, message } = event;
    if (!message || !isLarge(event)) {
      this.#events.push(event);
      return undefined;
    }
    this.#events.push({ ...event, message: LARGE });
    if (this.#large.has(toHex(msg))) return undefined;
    this.#large.set(toHex(msg), msg);
    return message === LARGE ? undefined : { digest: msg, bytes: message };
  }

  /** Writes the segment and begins the next. */
  write(): WrittenSegment {
    const events = this.#events;
    const large = [...this.#large.values()];
    this.#events = [];
    this.#bytes = 0;
    this.#largeBytes = 0;
    this.#origins = new Set();
    this.#large = new Map();
    return { ...written(this.#source, events, this.#suite), large };
  }
}

const fileOf = (bytes: Bytes, suite: CryptoSuite): SegmentFile => ({
  bytes: bytes.length,
  digest: suite.sha256(bytes),
});

function written(
  { net, class: retention }: SegmentKind,
  events: readonly SegmentEvent[],
  suite: CryptoSuite,
): Omit<WrittenSegment, "large"> {
  let [least, greatest] = [seqOfId(firstOf(events).id), seqOfId(firstOf(events).id)];
  for (const { id } of events) {
    const seq = seqOfId(id);
    if (seq < least) least = seq;
    if (seq > greatest) greatest = seq;
  }
  const [from, to] = [slotOfSeq(least), slotOfSeq(greatest) + 1];
  const { root, blocks, messages, origins, runs } = writeSegment(
    { net, class: retention, from, to },
    events,
    suite,
  );
  const nameOf = ({ topicKey, id }: SegmentEvent): Bytes => concatBytes(topicKey, id);
  const segment: Segment = {
    root,
    class: retention,
    from,
    to,
    count: events.length,
    topics: runs.topics.reduce((sum, part) => sum + part.length / ENTRY_BYTES.topics, 0),
    firstName: nameOf(firstOf(events)),
    lastName: nameOf(events.at(-1) ?? firstOf(events)),
    origins,
    blocks: fileOf(blocks, suite),
    messages: messages && fileOf(messages, suite),
  };
  return { segment, runs, leastSeq: least, greatestSeq: greatest, blocks, messages };
}

const firstOf = (events: readonly SegmentEvent[]): SegmentEvent => events[0] as SegmentEvent;
