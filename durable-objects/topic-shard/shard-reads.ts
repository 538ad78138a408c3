import { type Bytes, compareBytes, equalBytes, fromUtf8, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { isWhole } from "../../protocol/event.ts";
import { MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import type { Cursor, EventName, EventPage, PulledShard, WantBody } from "../../protocol/peer-messages.ts";
import type { FilePartQuestion, SegmentSummary } from "../../protocol/segment-messages.ts";
import { symbolOf } from "../../protocol/sketch-symbol.ts";
import {
  type AskedSlots,
  type BucketClass,
  type BucketListing,
  MAX_LISTED_IDS,
  type RangeAnswer,
  type RangeQuestion,
} from "../../protocol/sync-messages.ts";
import { bucketOf } from "../../protocol/topic.ts";
import type { Clock } from "../clock.ts";
import { toFed } from "../feed.ts";
import { logWarning } from "../log.ts";
import type { NodeIdentity } from "../node-identity.ts";
import type { EvidenceApi } from "../node-state/evidence-api.ts";
import type { Links } from "../peer-link/link-api.ts";
import type { PeerSource } from "../peers/peer-source.ts";
import { filesIn } from "../sealed/archive.ts";
import { BodyReader } from "../sealed/body-reader.ts";
import { DamageNotes } from "../sealed/damage-notes.ts";
import type { SealedFile } from "../sealed/range-reader.ts";
import type { HeldSegment } from "../sealed/sealed-store.ts";
import type { SealedTier } from "../sealed/sealed-tier.ts";
import { type EventSpan, SegmentSharing } from "../sealed/segment-sharing.ts";
import { type FoundEvent, TieredReads } from "../sealed/tiered-reads.ts";
import { type HotShardStore, TieredShardStore } from "../sealed/tiered-shard-store.ts";
import type { SyncApi } from "../sync/sync-api.ts";
import { answerWant, answerWantOfTiers } from "./ancestors.ts";
import { headsOf } from "./heads.ts";
import { readableFrom } from "./hot-partitions.ts";
import type { HubPorts } from "./hub-feed.ts";
import type { Intake } from "./intake.ts";
import {
  type EnvelopePage,
  goneInTimePage,
  queryEnvelopes,
  queryEnvelopesOfTiers,
  readTimePage,
  type TimeQuery,
  timeRangeOf,
} from "./queries.ts";
import type { CaughtUp, EventList, HotNames } from "./shard-api.ts";
import { expiryId, ShardCore } from "./shard-core.ts";
import { ECHO } from "./shard-store.ts";
import type { IdsOfSlot, NameSpan } from "./sync-tree/list-slots.ts";
import type { DifferingSlots, ListingForm, NamePage, SlotHash } from "./sync-tree/listings.ts";
import { END_OF_IDS } from "./sync-tree/slot-spans.ts";

const GENERATION_BYTES = 8;
const MAX_CATCH_UP_EVENTS = 512;
/** A resuming subscriber that is further behind has to query: what it reads is read for all topics. */
const MAX_RESUME_POSITIONS = 100_000;

/** All that a shard needs of the world around it. */
export interface ShardPorts {
  readonly config: NodeIdentity;
  readonly shard: number;
  readonly store: HotShardStore;
  readonly tier: SealedTier;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly links: Links;
  readonly peers: PeerSource;
  readonly hubs: HubPorts;
  readonly roots: Pick<SyncApi, "changed">;
  readonly evidence: Pick<EvidenceApi, "keepProofs">;
  /** Buckets with more events are listed by slots; `SMALL_BUCKET_EVENTS` by default. */
  readonly smallBucketEvents?: number;
  /** So many random bytes. */
  random(bytes: number): Bytes;
  /** Resolves once all that the store has committed is durable. */
  sync(): Promise<void>;
  /** Has `wake` called at this time or before, also when this life of the shard is over by then. */
  wakeAt(timeMs: number): Promise<void>;
}

/** What a shard answers from its store without writing. */
export abstract class ShardReads {
  protected readonly ports: ShardPorts;
  /** Hot and sealed. */
  protected readonly store: TieredShardStore;
  protected readonly bodies: BodyReader;
  protected readonly reads: TieredReads;
  protected readonly core: ShardCore;
  protected readonly damage = new DamageNotes();
  readonly #sharing: SegmentSharing;
  protected abstract readonly intake: Intake;

  constructor(ports: ShardPorts) {
    const { config, shard, suite } = ports;
    const { network, signer, shardCount } = config;
    this.ports = ports;
    this.store = new TieredShardStore(ports.store);
    const { index } = this.store;
    this.bodies = new BodyReader({
      source: filesIn(ports.tier.archive),
      suite,
      prefix: { shardCount, shard },
      blocksEnd: (segment) => index.blocksEnd(segment as HeldSegment),
      damaged: (segment, file) => this.damaged(segment as HeldSegment, file),
    });
    this.reads = new TieredReads(this.store, this.bodies);
    const place = { shardCount, shard };
    this.#sharing = new SegmentSharing({ place, store: this.store, archive: ports.tier.archive });
    this.core = new ShardCore(this.store, {
      network,
      suite,
      signer,
      shard,
      shardCount,
      newGeneration: () => ports.random(GENERATION_BYTES),
      ...(ports.smallBucketEvents === undefined ? {} : { smallBucketEvents: ports.smallBucketEvents }),
    });
  }

  /** A file of a segment has other bytes than it should. */
  protected damaged(segment: HeldSegment, file: SealedFile): void {
    if (this.damage.note(segment, file))
      logWarning("segment_damaged", { shard: this.ports.shard, root: toHex(segment.root), file });
  }

  /** The store's present life: another one when a peer shows that the store was rolled back. */
  get generation(): Bytes {
    return this.core.generation;
  }

  /** The digest of the records that the shard judges by. */
  get recordsDigest(): Bytes {
    return this.core.records.set.digest;
  }

  protected get nowMs(): number {
    return this.ports.clock.nowMs();
  }

  async query(query: TimeQuery): Promise<EnvelopePage> {
    const leastId = this.#leastId(query.topic);
    if (!this.reads.isSealed(query.topicKey))
      return queryEnvelopes(this.store, query, fromUtf8(query.topic), leastId);
    return queryEnvelopesOfTiers(this.reads, query, fromUtf8(query.topic), leastId);
  }

  #leastId(topic: Bytes): Bytes {
    return expiryId(this.ports.config.network.classOf(topic), this.nowMs);
  }

  async eventsByTime(query: TimeQuery): Promise<EventList> {
    const leastId = this.#leastId(query.topic);
    const range = timeRangeOf(query, leastId);
    if (!range) return { events: [], gone: 0, isFull: false };
    const page = this.reads.isSealed(query.topicKey)
      ? await this.reads.timePage(range, query.limit, query.maxBytes)
      : readTimePage(this.store, query, leastId);
    return { ...page, gone: goneInTimePage(this.store, range, page) };
  }

  async eventsByCause(
    topic: Bytes,
    topicKey: Bytes,
    afterId: Bytes | null,
    limit: number,
  ): Promise<EventList> {
    const { store } = this;
    const least = this.#leastId(topic);
    const start = afterId && compareBytes(afterId, least) > 0 ? afterId : least;
    const page = this.reads.isSealed(topicKey)
      ? await this.reads.causalPage(topicKey, start, limit, MAX_PEER_PAGE_BYTES)
      : this.#hotCausalPage(topicKey, start, limit);
    const last = page.isFull ? page.events.at(-1) : undefined;
    return { ...page, gone: store.goneInIds(topicKey, start, last?.id ?? END_OF_IDS) };
  }

  #hotCausalPage(topicKey: Bytes, start: Bytes, limit: number): Omit<EventList, "gone"> {
    const { store } = this;
    const events = store.causalPage(topicKey, start, limit, MAX_PEER_PAGE_BYTES);
    const last = events.at(-1);
    return {
      events,
      isFull: last !== undefined && store.causalPage(topicKey, last.id, 1, 0).length > 0,
    };
  }

  async event(blockDigest: Bytes): Promise<FoundEvent | null> {
    const event = await this.reads.findByDigest(blockDigest);
    return event && !this.core.isExpired(event, this.nowMs) ? event : null;
  }

  async heads(topic: Bytes, topicKey: Bytes): Promise<Bytes[]> {
    const least = this.#leastId(topic);
    return headsOf(this.store, topicKey).filter((id) => compareBytes(id, least) >= 0);
  }

  async pull(cursor: Cursor | null, limit: number): Promise<PulledShard> {
    const { store } = this;
    const { shard } = this.ports;
    const { generation } = this;
    const isSame = cursor !== null && equalBytes(cursor.generation, generation);
    const first = readableFrom(store.partitions.all());
    // A cursor beyond the end is of a life of this store that was rolled back; something behind one before the first position was
    // dropped: the reader begins anew, and anti-entropy brings the rest.
    const isWithin = isSame && cursor.position >= first && cursor.position <= this.core.position;
    const start = isWithin ? cursor.position : first;
    const names = store.namesAfter(start, limit + 1);
    const page = names.slice(0, limit);
    return {
      cursor: { shard, generation, position: page.at(-1)?.position ?? start },
      names: page.map(({ topicKey, id }) => ({ topicKey, id })),
      more: names.length > limit,
      restart: cursor !== null && !isWithin,
    };
  }

  async lacking(names: readonly EventName[]): Promise<EventName[]> {
    const { store } = this;
    const isKnown = (name: EventName) =>
      store.positionOf(name) === undefined ? this.intake.isHeld(name.id) : !store.isWithoutMessage(name);
    return names.filter((name) => !isKnown(name));
  }

  async want(want: WantBody, maxBytes: number): Promise<EventPage> {
    if (this.store.index.segments.length === 0) return answerWant(this.store, want, maxBytes);
    return answerWantOfTiers(this.reads, want, maxBytes);
  }

  async deliveredAfter(position: number, topicKeys: ReadonlySet<string> | null): Promise<CaughtUp> {
    const { store } = this;
    const { generation } = this;
    const last = store.lastPosition();
    const isTooFar =
      last - position > MAX_RESUME_POSITIONS || position < readableFrom(store.partitions.all());
    if (isTooFar) return { generation, isTooFar, events: [], position };
    const nowMs = this.nowMs;
    const rows = store.deliveredAfter(position, MAX_CATCH_UP_EVENTS, MAX_PEER_PAGE_BYTES);
    const events = rows
      .filter(({ topicKey }) => topicKeys?.has(toHex(topicKey)) ?? true)
      .filter(isWhole)
      .filter((event) => (event.flags & ECHO) === 0 && !this.core.isExpired(event, nowMs))
      .map(toFed);
    return { generation, isTooFar: false, events, position: rows.at(-1)?.position ?? last };
  }

  async checkClock(): Promise<null> {
    this.core.own.checkClock(this.nowMs);
    return null;
  }

  async newestOf(origin: Bytes): Promise<EventName[]> {
    return this.core.newestOf(origin);
  }

  async listBuckets(
    targets: readonly BucketClass[],
    asOf: number,
    form: ListingForm,
  ): Promise<BucketListing[]> {
    return targets.map((target) => this.core.listings.bucket(target, asOf, form));
  }

  async listSlotHashes(target: BucketClass, groups: readonly number[], asOf: number): Promise<SlotHash[]> {
    return this.core.listings.slots(target, new Set(groups), asOf);
  }

  async listDifferingSlots(part: AskedSlots, asOf: number, limit: number): Promise<DifferingSlots> {
    return this.core.listings.differingSlots(part, asOf, limit);
  }

  async listIdsOfSlot(target: BucketClass, slot: number, span: NameSpan): Promise<IdsOfSlot> {
    return this.core.listings.idsOfSlot(target, slot, span, MAX_LISTED_IDS);
  }

  async listNames(target: BucketClass, asOf: number, after: EventName | null): Promise<NamePage> {
    return this.core.listings.names(target, asOf, after);
  }

  async listRange(question: RangeQuestion): Promise<RangeAnswer> {
    const { listings } = this.core;
    if (this.store.index.segments.length === 0) return listings.range(question);
    return this.reads.range(question, (classId, id) => listings.isAsked(question, classId, id));
  }

  async listSegments(after: number, limit: number): Promise<SegmentSummary[]> {
    return this.#sharing.list(after, limit);
  }

  async readSegmentFile(question: FilePartQuestion): Promise<Bytes | null> {
    return this.#sharing.read(question);
  }

  async countWithin(span: EventSpan, limit: number): Promise<number> {
    return this.#sharing.countWithin(span, limit);
  }

  async listHot(after: Cursor | null, limit: number): Promise<HotNames> {
    const { store, generation } = this;
    const isSame =
      after !== null && equalBytes(after.generation, generation) && after.position <= this.core.position;
    const oldest = Math.min(...store.partitions.all().map((partition) => partition.after));
    const start = isSame ? Math.max(after.position, oldest) : oldest;
    const names = store.namesAfter(start, limit + 1);
    const page = names.slice(0, limit);
    return {
      cursor: { shard: this.ports.shard, generation, position: page.at(-1)?.position ?? start },
      names: page.map(({ topicKey, id }) => ({ topicKey, id })),
      more: names.length > limit,
      restart: after !== null && !isSame,
      oldest,
    };
  }

  async bySymbols(symbols: readonly Bytes[]): Promise<EventName[]> {
    const wanted = new Set(symbols.map(toHex));
    const held = this.intake
      .heldNames()
      .filter(({ topicKey, id }) => wanted.has(toHex(symbolOf(bucketOf(topicKey), id))));
    return [...this.core.listings.bySymbols(symbols), ...held];
  }
}
