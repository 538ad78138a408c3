import type { Bytes } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import type {
  Cursor,
  EventName,
  EventPage,
  PulledShard,
  PushBody,
  WantBody,
} from "../../protocol/peer-messages.ts";
import type { WireRecord } from "../../protocol/record.ts";
import type { FilePartQuestion, SegmentSummary } from "../../protocol/segment-messages.ts";
import type {
  AskedSlots,
  BucketClass,
  BucketListing,
  RangeAnswer,
  RangeQuestion,
} from "../../protocol/sync-messages.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { FedEvent } from "../feed.ts";
import type { Adopted, AdoptOptions, ForeignSegment } from "../sealed/adopting.ts";
import type { Maintained } from "../sealed/maintenance.ts";
import type { EventSpan } from "../sealed/segment-sharing.ts";
import type { FoundEvent } from "../sealed/tiered-reads.ts";
import type { EnvelopePage, TimeQuery } from "./queries.ts";
import type { ScrubReport } from "./scrub/shard-scrub.ts";
import type { Envelope } from "./shard-core.ts";
import type { ShownEvent } from "./shard-store.ts";
import type { IdsOfSlot, NameSpan } from "./sync-tree/list-slots.ts";
import type { DifferingSlots, ListingForm, NamePage, SlotHash } from "./sync-tree/listings.ts";
import type { HandOver } from "./sync-tree/shard-tree.ts";

/** What became of a published envelope. */
export interface Receipt {
  readonly id: Bytes;
  /** Whether the envelope was there already, so that nothing was stored. */
  readonly isDuplicate: boolean;
}

/** What became of events that a peer sent. */
export interface IngestSummary {
  readonly stored: number;
  readonly known: number;
  readonly held: number;
  readonly dropped: number;
  /** The rules that refused events broke. */
  readonly refused: readonly string[];
  /** Whether all events named as previous are stored here. */
  readonly hasPrevious: boolean;
}

export interface EventList {
  readonly events: ShownEvent[];
  /** How many events of the stretch that was read have no message, and are not in the page. */
  readonly gone: number;
  /** Whether the page ended at a limit, so that there may be more. */
  readonly isFull: boolean;
}

/** A place in one life of a shard's store. */
export interface ShardPosition {
  readonly generation: Bytes;
  readonly position: number;
}

export interface CaughtUp extends ShardPosition {
  /** The position lies so far back that a query is cheaper. */
  readonly isTooFar: boolean;
  /** Those delivered up to `position`, which is the shard's last when there was nothing to read. */
  readonly events: readonly FedEvent[];
}

/** Names of events in the hot tier, in the order of their arrival. */
export interface HotNames {
  /** Where to go on reading. */
  readonly cursor: Cursor;
  readonly names: readonly EventName[];
  readonly more: boolean;
  /** The cursor asked for is of another life of the store: this was read from the beginning. */
  readonly restart: boolean;
  /** What arrived up to this position is not hot any more. */
  readonly oldest: number;
}

/** What other parts of a node ask of one shard. All @throws PennypostError, also when the shard does not answer. */
export interface ShardApi {
  /** Stores envelopes, all of this shard's topics, and answers their event ids in order. All or none. */
  publish(envelopes: readonly Envelope[]): Promise<Receipt[]>;
  /** Takes events that a peer sent. `previous` are events that would be stored here too. */
  ingest(events: readonly WireEvent[], peer: string, previous: readonly EventName[]): Promise<IngestSummary>;
  /**
   * Ephemeral events from a peer, each of which may be passed on `hops` more times; others are left out. Answers the rules that
   * refused ones broke.
   */
  relay(events: PushBody["ephemeral"]): Promise<string[]>;

  query(query: TimeQuery): Promise<EnvelopePage>;
  eventsByTime(query: TimeQuery): Promise<EventList>;
  eventsByCause(topic: Bytes, topicKey: Bytes, afterId: Bytes | null, limit: number): Promise<EventList>;
  event(blockDigest: Bytes): Promise<FoundEvent | null>;
  heads(topic: Bytes, topicKey: Bytes): Promise<Bytes[]>;

  /** The names of events that arrived after a peer's cursor. */
  pull(cursor: Cursor | null, limit: number): Promise<PulledShard>;
  /** Which of these events are neither stored nor held here. */
  lacking(names: readonly EventName[]): Promise<EventName[]>;
  want(want: WantBody, maxBytes: number): Promise<EventPage>;

  /** A hub follows this shard from now on: it will hear of all that is delivered after the position answered. */
  attachHub(name: string): Promise<ShardPosition>;
  /** For a subscriber that resumes: what was delivered after a position in the given topics. */
  deliveredAfter(position: number, topicKeys: ReadonlySet<string> | null): Promise<CaughtUp>;
  /** For the health check. @throws like every other method when the shard refuses to work. */
  checkClock(): Promise<null>;

  /** Records of the network, which the node's own object has checked: from now on the shard judges by them, too. */
  addRecords(records: readonly WireRecord[]): Promise<null>;
  /** The newest events of an origin here, one for each of its shards. */
  newestOf(origin: Bytes): Promise<EventName[]>;
  /** The shard's share of the hash tree as of a slot. */
  handOver(asOf: number): Promise<HandOver>;
  /** Rebuilds what derives from the events and mends what differs. */
  scrub(): Promise<ScrubReport>;
  /** Does what is due of sealing: old events move into files. */
  maintain(): Promise<Maintained>;
  /** Takes the events of a segment that another node or shard has. */
  adopt(foreign: ForeignSegment, options: AdoptOptions): Promise<Adopted>;
  /** Keeps a large message for a segment that is to be adopted. */
  keepLarge(message: Bytes): Promise<null>;
  /** The shard's segments by their numbers, after one. */
  listSegments(after: number, limit: number): Promise<SegmentSummary[]>;
  /** A part of a segment's file, unverified; null when it is not here. */
  readSegmentFile(question: FilePartQuestion): Promise<Bytes | null>;
  /**
   * The names of hot events behind a cursor. Unlike `pull` it never begins anew for what was sealed or adopted meanwhile: that is in the
   * list of segments.
   */
  listHot(after: Cursor | null, limit: number): Promise<HotNames>;
  /** How many events are here of a span, at most `limit`. */
  countWithin(span: EventSpan, limit: number): Promise<number>;
  /** What some buckets and classes hold of the compared range. */
  listBuckets(targets: readonly BucketClass[], asOf: number, form: ListingForm): Promise<BucketListing[]>;
  listSlotHashes(target: BucketClass, groups: readonly number[], asOf: number): Promise<SlotHash[]>;
  listDifferingSlots(part: AskedSlots, asOf: number, limit: number): Promise<DifferingSlots>;
  /** The ids of a slot in pages: the next one goes on after `next`. */
  listIdsOfSlot(target: BucketClass, slot: number, span: NameSpan): Promise<IdsOfSlot>;
  listNames(target: BucketClass, asOf: number, after: EventName | null): Promise<NamePage>;
  /** A page of events of this shard's buckets. */
  listRange(question: RangeQuestion): Promise<RangeAnswer>;
  /** The events here, stored or held, that the symbols of a sketch stand for. */
  bySymbols(symbols: readonly Bytes[]): Promise<EventName[]>;
}

/** The shards of a node. */
export interface Shards {
  readonly count: number;
  at(shard: number): ShardApi;
}

/** Items grouped by the shard that owns their topic. */
export function groupByShard<T extends { readonly topicKey: Bytes }>(
  items: readonly T[],
  shardCount: number,
): Map<number, T[]> {
  return Map.groupBy(items, ({ topicKey }) => shardOf(topicKey, shardCount));
}
