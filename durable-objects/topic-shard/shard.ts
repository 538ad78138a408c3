import { type Bytes, compareBytes, equalBytes, fromUtf8, toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { toWire, type WireEvent } from "../../protocol/event.ts";
import { EPHEMERAL_HOPS, GAP_DELIVERY_MS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import type {
  Cursor,
  EventName,
  EventPage,
  PulledShard,
  PushBody,
  WantBody,
} from "../../protocol/peer-messages.ts";
import { symbolOf } from "../../protocol/sketch-symbol.ts";
import type {
  AskedSlots,
  BucketClass,
  BucketListing,
  RangeAnswer,
  RangeQuestion,
  TopicIds,
} from "../../protocol/sync-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { bucketOf } from "../../protocol/topic.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import type { Clock } from "../clock.ts";
import { toFed } from "../feed.ts";
import { logWarning } from "../log.ts";
import type { NodeIdentity } from "../node-identity.ts";
import type { EvidenceApi } from "../node-state/evidence-api.ts";
import type { Links } from "../peer-link/link-api.ts";
import type { SyncApi } from "../sync/sync-api.ts";
import { answerWant } from "./ancestors.ts";
import { headsOf } from "./heads.ts";
import { HubFeed, type HubPorts } from "./hub-feed.ts";
import { Intake } from "./intake.ts";
import { ParentSeeker } from "./parent-seeker.ts";
import { ProofReport } from "./proof-report.ts";
import { PushFeed } from "./push-feed.ts";
import { type EnvelopePage, queryEnvelopes, readTimePage, type TimeQuery } from "./queries.ts";
import type { ScrubReport } from "./scrub/shard-scrub.ts";
import type { CaughtUp, EventList, IngestSummary, Receipt, ShardApi, ShardPosition } from "./shard-api.ts";
import { type Envelope, expiryId, ShardCore } from "./shard-core.ts";
import { ECHO, type ShardStore, type StoredEvent } from "./shard-store.ts";
import type { DifferingSlots, ListingForm, NamePage, NameSpan, SlotHash } from "./sync-tree/listings.ts";
import { RootsReport } from "./sync-tree/roots-report.ts";
import type { HandOver } from "./sync-tree/shard-tree.ts";
import { EVENT_OVERHEAD_BYTES, WriterLoop } from "./writer-loop.ts";

/** Overdue events that one transaction delivers. */
const MAX_OVERDUE = 256;
/** Between two transactions that deliver what is overdue. */
const MIN_WAKE_PAUSE_MS = 100;
const GENERATION_BYTES = 8;
const MAX_CATCH_UP_EVENTS = 512;
/** A resuming subscriber that is further behind has to query: what it reads is read for all topics. */
const MAX_RESUME_POSITIONS = 100_000;

/** All that a shard needs of the world around it. */
export interface ShardPorts {
  readonly config: NodeIdentity;
  readonly shard: number;
  readonly store: ShardStore;
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly links: Links;
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

/**
 * The owner of a share of the topics: stores their events, keeps their heads, answers queries, and hands what is new to
 * subscribers and peers.
 *
 * All writes of events go through one `WriterLoop`; an answer leaves only after the group that it depends on is durable. What is
 * in memory is a cache of the store, except what may be lost: held events, counters of retries, relayed ephemerals.
 */
export class Shard implements ShardApi {
  readonly #ports: ShardPorts;
  readonly #core: ShardCore;
  readonly #writer: WriterLoop;
  readonly #hubs: HubFeed;
  readonly #pushes: PushFeed;
  readonly #parents: ParentSeeker;
  readonly #intake: Intake;
  readonly #rootsReport: RootsReport;
  readonly #proofReport: ProofReport;
  #isCatchingUp = false;
  #scrubbing: Promise<ScrubReport> | undefined;

  /** Reads what the store has. `start` is to follow. */
  constructor(ports: ShardPorts) {
    const { config, shard, store, suite, clock, links, hubs } = ports;
    const { shardCount, peers } = config;
    this.#ports = ports;
    const { network, signer } = config;
    this.#core = new ShardCore(store, {
      network,
      suite,
      signer,
      shard,
      shardCount,
      newGeneration: () => ports.random(GENERATION_BYTES),
      ...(ports.smallBucketEvents === undefined ? {} : { smallBucketEvents: ports.smallBucketEvents }),
    });
    this.#rootsReport = new RootsReport({
      shard,
      clock,
      roots: ports.roots,
      dueAsOf: () => this.#core.dueAsOf,
    });
    this.#proofReport = new ProofReport({
      shard,
      clock,
      evidence: ports.evidence,
      equivocations: this.#core.equivocations,
      write: (work) => this.#writer.write(0, work),
    });
    this.#hubs = new HubFeed({ hubs, clock, store, shard, generation: () => this.generation });
    this.#pushes = new PushFeed({ peers, links, clock, store }, this.#core.lastOwn);
    this.#writer = this.#startWriter();
    this.#intake = new Intake({
      core: this.#core,
      store,
      writer: this.#writer,
      clock,
      suite,
      shardCount,
      shard,
      relay: (event, hops) => this.#relay(event, hops),
      stored: () => this.#stored(),
    });
    const ingest = (events: readonly WireEvent[], peer: string) => this.#intake.ingest(events, peer);
    this.#parents = new ParentSeeker({ peers, links, clock, store, ingest });
  }

  #startWriter(): WriterLoop {
    const { store } = this.#ports;
    return new WriterLoop({
      transaction: (work) =>
        store.transaction(() => {
          work();
          this.#core.checkpointWhenDue();
        }),
      sync: () => this.#ports.sync(),
      rolledBack: () => this.#core.reload(),
      committed: () => {
        this.#hubs.kick();
        this.#pushes.kick();
        if (this.#core.isTreeBehind && !this.#isCatchingUp) void this.#catchUpTree();
        void this.#rootsReport.send();
        void this.#proofReport.send();
      },
    });
  }

  #relay(event: VerifiedEvent, hops: number): void {
    this.#hubs.relay([event]);
    if (hops > 0) this.#pushes.relay(toWire(event), hops - 1);
  }

  async #stored(): Promise<void> {
    this.#parents.seekSoon();
    await Promise.all([this.#wakeForOverdue(), this.#rootsReport.send()]);
  }

  /** The store's present life: another one when a peer shows that the store was rolled back. */
  get generation(): Bytes {
    return this.#core.generation;
  }

  get #nowMs(): number {
    return this.#ports.clock.nowMs();
  }

  /** Takes up what the shard's last life left undone. */
  async start(): Promise<void> {
    this.#hubs.kick();
    if (this.#core.isTreeBehind) await this.#catchUpTree();
    void this.#rootsReport.send();
    void this.#proofReport.send();
    await this.#wakeForOverdue();
  }

  /** The sync object asks each slot; a shard that it does not reach must not note ever more. */
  async #catchUpTree(): Promise<void> {
    this.#isCatchingUp = true;
    try {
      const asOf = newestAsOf(this.#nowMs);
      await this.#writer.write(0, () => this.#core.handOver(asOf));
    } catch (error) {
      logWarning("tree_behind", { shard: this.#ports.shard, why: String(error) });
    } finally {
      this.#isCatchingUp = false;
    }
  }

  /** Makes sure that something wakes the shard when a pending event is overdue. */
  async #wakeForOverdue(): Promise<void> {
    if (this.#ports.store.firstPendingMs() === undefined) return;
    await this.#ports.wakeAt(this.#nowMs + GAP_DELIVERY_MS);
  }

  /** Delivers what is overdue. @throws PennypostError when the store cannot: to be called again. */
  async wake(): Promise<void> {
    const againMs = await this.#writer.write(0, () => this.#core.deliverOverdue(this.#nowMs, MAX_OVERDUE));
    if (againMs !== undefined) await this.#ports.wakeAt(Math.max(againMs, this.#nowMs + MIN_WAKE_PAUSE_MS));
    this.#parents.seekSoon();
  }

  async publish(envelopes: readonly Envelope[]): Promise<Receipt[]> {
    const bytes = envelopes.reduce((sum, { message }) => sum + message.length + EVENT_OVERHEAD_BYTES, 0);
    const results = await this.#writer.write(bytes, () => {
      const nowMs = this.#nowMs;
      return envelopes.map((envelope) => this.#core.publish(envelope, nowMs));
    });
    for (const { ephemeral } of results) if (ephemeral) this.#intake.relay(ephemeral, EPHEMERAL_HOPS + 1);
    return results.map(({ id, isDuplicate }) => ({ id, isDuplicate }));
  }

  async ingest(
    events: readonly WireEvent[],
    peer: string,
    previous: readonly EventName[],
  ): Promise<IngestSummary> {
    return this.#intake.ingest(events, peer, previous);
  }

  async relay(events: PushBody["ephemeral"]): Promise<string[]> {
    const refused: string[] = [];
    for (const { event, hops } of events) {
      const judged = this.#core.judge(event, this.#nowMs);
      if (judged.kind === "ephemeral") this.#intake.relay(judged.event, Math.min(hops, EPHEMERAL_HOPS));
      else if (judged.kind === "refused") refused.push(judged.rule);
    }
    return refused;
  }

  async query(query: TimeQuery): Promise<EnvelopePage> {
    return queryEnvelopes(this.#ports.store, query, fromUtf8(query.topic), this.#leastId(query.topic));
  }

  #leastId(topic: Bytes): Bytes {
    return expiryId(this.#ports.config.network.classOf(topic), this.#nowMs);
  }

  async eventsByTime(query: TimeQuery): Promise<EventList> {
    return readTimePage(this.#ports.store, query, this.#leastId(query.topic));
  }

  async eventsByCause(
    topic: Bytes,
    topicKey: Bytes,
    afterId: Bytes | null,
    limit: number,
  ): Promise<EventList> {
    const { store } = this.#ports;
    const least = this.#leastId(topic);
    const start = afterId && compareBytes(afterId, least) > 0 ? afterId : least;
    const events = store.causalPage(topicKey, start, limit, MAX_PEER_PAGE_BYTES);
    const last = events.at(-1);
    return {
      events,
      isFull: last !== undefined && store.causalPage(topicKey, last.id, 1, 0).length > 0,
    };
  }

  async event(blockDigest: Bytes): Promise<StoredEvent | null> {
    const event = this.#ports.store.findByDigest(blockDigest);
    return event && !this.#core.isExpired(event, this.#nowMs) ? event : null;
  }

  async heads(topic: Bytes, topicKey: Bytes): Promise<Bytes[]> {
    const least = this.#leastId(topic);
    return headsOf(this.#ports.store, topicKey).filter((id) => compareBytes(id, least) >= 0);
  }

  async pull(cursor: Cursor | null, limit: number): Promise<PulledShard> {
    const { store, shard } = this.#ports;
    const { generation } = this;
    const isSame = cursor !== null && equalBytes(cursor.generation, generation);
    // A cursor beyond the end is of a life of this store that was rolled back: the reader begins anew.
    const isWithin = isSame && cursor.position <= store.lastPosition();
    const start = isWithin ? cursor.position : 0;
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
    const { store } = this.#ports;
    return names.filter((name) => store.positionOf(name) === undefined && !this.#intake.isHeld(name.id));
  }

  async want(want: WantBody, maxBytes: number): Promise<EventPage> {
    return answerWant(this.#ports.store, want, maxBytes);
  }

  async attachHub(name: string): Promise<ShardPosition> {
    return { generation: this.generation, position: this.#hubs.attach(name) };
  }

  async deliveredAfter(position: number, topicKeys: ReadonlySet<string> | null): Promise<CaughtUp> {
    const { store } = this.#ports;
    const { generation } = this;
    const last = store.lastPosition();
    if (last - position > MAX_RESUME_POSITIONS) return { generation, isTooFar: true, events: [], position };
    const nowMs = this.#nowMs;
    const rows = store.deliveredAfter(position, MAX_CATCH_UP_EVENTS, MAX_PEER_PAGE_BYTES);
    const events = rows
      .filter(({ topicKey }) => topicKeys?.has(toHex(topicKey)) ?? true)
      .filter((event) => (event.flags & ECHO) === 0 && !this.#core.isExpired(event, nowMs))
      .map(toFed);
    return { generation, isTooFar: false, events, position: rows.at(-1)?.position ?? last };
  }

  async checkClock(): Promise<null> {
    this.#core.checkClock(this.#nowMs);
    return null;
  }

  async newestOf(origin: Bytes): Promise<EventName[]> {
    return this.#core.newestOf(origin);
  }

  async handOver(asOf: number): Promise<HandOver> {
    const handOver = await this.#writer.write(0, () => this.#core.handOver(asOf));
    this.#rootsReport.handedOver(handOver.dueAsOf);
    return handOver;
  }

  /** One pass at a time; its steps take turns with other writes. */
  scrub(): Promise<ScrubReport> {
    this.#scrubbing ??= this.#scrub().finally(() => {
      this.#scrubbing = undefined;
    });
    return this.#scrubbing;
  }

  async #scrub(): Promise<ScrubReport> {
    const scrub = this.#core.beginScrub();
    const step = () => this.#writer.write(0, () => this.#core.stepScrub(scrub, this.#nowMs));
    while (await step());
    const { report } = scrub;
    if (report.roots + report.heads + report.wants > 0)
      logWarning("scrub_mended", {
        shard: this.#ports.shard,
        roots: report.roots,
        heads: report.heads,
        wants: report.wants,
      });
    if (report.wants > 0) this.#parents.seekSoon();
    return report;
  }

  async listBuckets(
    targets: readonly BucketClass[],
    asOf: number,
    form: ListingForm,
  ): Promise<BucketListing[]> {
    return targets.map((target) => this.#core.listings.bucket(target, asOf, form));
  }

  async listSlotHashes(target: BucketClass, groups: readonly number[], asOf: number): Promise<SlotHash[]> {
    return this.#core.listings.slots(target, new Set(groups), asOf);
  }

  async listDifferingSlots(part: AskedSlots, asOf: number, limit: number): Promise<DifferingSlots> {
    return this.#core.listings.differingSlots(part, asOf, limit);
  }

  async listIdsOfSlot(target: BucketClass, slot: number, span: NameSpan): Promise<TopicIds[]> {
    return this.#core.listings.idsOfSlot(target, slot, span, Number.POSITIVE_INFINITY).topics;
  }

  async listNames(target: BucketClass, asOf: number, after: EventName | null): Promise<NamePage> {
    return this.#core.listings.names(target, asOf, after);
  }

  async listRange(question: RangeQuestion): Promise<RangeAnswer> {
    return this.#core.listings.range(question);
  }

  async bySymbols(symbols: readonly Bytes[]): Promise<EventName[]> {
    const wanted = new Set(symbols.map(toHex));
    const held = this.#intake
      .heldNames()
      .filter(({ topicKey, id }) => wanted.has(toHex(symbolOf(bucketOf(topicKey), id))));
    return [...this.#core.listings.bySymbols(symbols), ...held];
  }
}
