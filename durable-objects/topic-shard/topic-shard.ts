import { DurableObject } from "cloudflare:workers";
import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
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
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import { nodeConfig } from "../node-config.ts";
import { networkMismatch, shardCountMismatch } from "../node-state/mismatches.ts";
import { attempt, type Outcome, outcomeOf, type RemoteApi } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import type { Adopted, AdoptOptions, ForeignSegment } from "../sealed/adopting.ts";
import { D1Catalogue } from "../sealed/d1-catalogue.ts";
import type { Maintained } from "../sealed/maintenance.ts";
import { R2Archive } from "../sealed/r2-archive.ts";
import type { EventSpan } from "../sealed/segment-sharing.ts";
import type { FoundEvent } from "../sealed/tiered-reads.ts";
import { linksOf, nodeStateOf, peersOf, syncOf } from "../stubs.ts";
import type { HubPorts } from "./hub-feed.ts";
import type { EnvelopePage, TimeQuery } from "./queries.ts";
import { bytesMeta, migrateSchema, readMeta, writeMeta } from "./schema.ts";
import type { ScrubReport } from "./scrub/shard-scrub.ts";
import { Shard } from "./shard.ts";
import type {
  CaughtUp,
  EventList,
  HotNames,
  IngestSummary,
  Receipt,
  ShardApi,
  ShardPosition,
} from "./shard-api.ts";
import type { Envelope } from "./shard-core.ts";
import { SqlHubNames } from "./sql-hub-names.ts";
import { SqlShardStore } from "./sql-shard-store.ts";
import type { IdsOfSlot, NameSpan } from "./sync-tree/list-slots.ts";
import type { DifferingSlots, ListingForm, NamePage, SlotHash } from "./sync-tree/listings.ts";
import type { HandOver } from "./sync-tree/shard-tree.ts";

/** A `Shard` in a Durable Object: its storage, its alarm, its first start. Named `shard-N`. */
export class TopicShard extends DurableObject<Env> implements RemoteApi<ShardApi> {
  /** A failure here is one that only the operator can mend; a passing one resets the object. */
  #shard: Outcome<Shard> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      migrateSchema(ctx.storage);
      this.#shard = await attempt(() => this.#open());
      if (this.#shard.ok) {
        await this.#shard.value.start();
      } else if (this.#shard.error.code === "part_unavailable") {
        throw PennypostError.fromRecord(this.#shard.error);
      }
    });
  }

  async #open(): Promise<Shard> {
    const { storage } = this.ctx;
    const config = nodeConfig(this.env);
    const shard = Number((this.ctx.id.name ?? String(readMeta(storage.sql, "name"))).replace("shard-", ""));
    const stored = readMeta(storage.sql, "shard_count");
    if (stored === undefined) {
      const state = this.env.NODE_STATE.get(this.env.NODE_STATE.idFromName("node"));
      await outcomeOf("node state", state.registerShards(config.shardCount));
      const known = await outcomeOf("node state", state.recordsUnlike(new Uint8Array(32)));
      storage.transactionSync(() => {
        writeMeta(storage.sql, "name", `shard-${shard}`);
        writeMeta(storage.sql, "shard_count", config.shardCount);
        writeMeta(storage.sql, "network", config.network.id);
        writeMeta(storage.sql, "generation", crypto.getRandomValues(new Uint8Array(8)));
        const { records } = new SqlShardStore(storage);
        for (const record of known ?? []) records.save({ ...record, id: suite.sha256(record.block) });
      });
    } else if (stored !== config.shardCount) {
      throw shardCountMismatch(Number(stored), config.shardCount);
    }
    if (!equalBytes(bytesMeta(storage.sql, "network"), config.network.id)) throw networkMismatch();
    return new Shard({
      config,
      shard,
      store: new SqlShardStore(storage),
      suite,
      clock: platformClock,
      links: linksOf(this.env),
      peers: peersOf(this.env),
      hubs: this.#hubs(),
      roots: syncOf(this.env),
      evidence: nodeStateOf(this.env),
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
      tier: {
        archive: new R2Archive(this.env.BUCKET, suite, platformClock),
        catalogue: new D1Catalogue(this.env.DB, platformClock),
        hotMs: config.hotMs,
      },
      sync: () => storage.sync(),
      wakeAt: (timeMs) => this.#wakeAt(timeMs),
    });
  }

  #hubs(): HubPorts {
    const { HUB } = this.env;
    return {
      names: new SqlHubNames(this.ctx.storage),
      feed: (name, batch) => outcomeOf("hub", HUB.get(HUB.idFromName(name)).feed(batch)),
    };
  }

  /** The object has one alarm: the earliest that was asked for. While it rings it counts as not set. */
  async #wakeAt(timeMs: number): Promise<void> {
    const { storage } = this.ctx;
    const setMs = await storage.getAlarm();
    if (setMs === null || timeMs < setMs) await storage.setAlarm(timeMs);
  }

  get #started(): Shard {
    if (!this.#shard) throw new Error("the shard has not started");
    if (!this.#shard.ok) throw PennypostError.fromRecord(this.#shard.error);
    return this.#shard.value;
  }

  override async alarm(): Promise<void> {
    await this.#started.wake();
  }

  async publish(envelopes: readonly Envelope[]): Promise<Outcome<Receipt[]>> {
    return attempt(() => this.#started.publish(envelopes));
  }

  async ingest(
    events: readonly WireEvent[],
    peer: string,
    previous: readonly EventName[],
  ): Promise<Outcome<IngestSummary>> {
    return attempt(() => this.#started.ingest(events, peer, previous));
  }

  async relay(events: PushBody["ephemeral"]): Promise<Outcome<string[]>> {
    return attempt(() => this.#started.relay(events));
  }

  async query(query: TimeQuery): Promise<Outcome<EnvelopePage>> {
    return attempt(() => this.#started.query(query));
  }

  async eventsByTime(query: TimeQuery): Promise<Outcome<EventList>> {
    return attempt(() => this.#started.eventsByTime(query));
  }

  async eventsByCause(
    topic: Bytes,
    topicKey: Bytes,
    afterId: Bytes | null,
    limit: number,
  ): Promise<Outcome<EventList>> {
    return attempt(() => this.#started.eventsByCause(topic, topicKey, afterId, limit));
  }

  async event(blockDigest: Bytes): Promise<Outcome<FoundEvent | null>> {
    return attempt(() => this.#started.event(blockDigest));
  }

  async heads(topic: Bytes, topicKey: Bytes): Promise<Outcome<Bytes[]>> {
    return attempt(() => this.#started.heads(topic, topicKey));
  }

  async pull(cursor: Cursor | null, limit: number): Promise<Outcome<PulledShard>> {
    return attempt(() => this.#started.pull(cursor, limit));
  }

  async lacking(names: readonly EventName[]): Promise<Outcome<EventName[]>> {
    return attempt(() => this.#started.lacking(names));
  }

  async want(want: WantBody, maxBytes: number): Promise<Outcome<EventPage>> {
    return attempt(() => this.#started.want(want, maxBytes));
  }

  async attachHub(name: string): Promise<Outcome<ShardPosition>> {
    return attempt(() => this.#started.attachHub(name));
  }

  async deliveredAfter(position: number, topicKeys: ReadonlySet<string> | null): Promise<Outcome<CaughtUp>> {
    return attempt(() => this.#started.deliveredAfter(position, topicKeys));
  }

  async checkClock(): Promise<Outcome<null>> {
    return attempt(() => this.#started.checkClock());
  }

  async addRecords(records: readonly WireRecord[]): Promise<Outcome<null>> {
    return attempt(() => this.#started.addRecords(records));
  }

  async newestOf(origin: Bytes): Promise<Outcome<EventName[]>> {
    return attempt(() => this.#started.newestOf(origin));
  }

  async handOver(asOf: number): Promise<Outcome<HandOver>> {
    return attempt(() => this.#started.handOver(asOf));
  }

  async scrub(): Promise<Outcome<ScrubReport>> {
    return attempt(() => this.#started.scrub());
  }

  async listSegments(after: number, limit: number): Promise<Outcome<SegmentSummary[]>> {
    return attempt(() => this.#started.listSegments(after, limit));
  }

  async readSegmentFile(question: FilePartQuestion): Promise<Outcome<Bytes | null>> {
    return attempt(() => this.#started.readSegmentFile(question));
  }

  async listHot(after: Cursor | null, limit: number): Promise<Outcome<HotNames>> {
    return attempt(() => this.#started.listHot(after, limit));
  }

  async countWithin(span: EventSpan, limit: number): Promise<Outcome<number>> {
    return attempt(() => this.#started.countWithin(span, limit));
  }

  async adopt(foreign: ForeignSegment, options: AdoptOptions): Promise<Outcome<Adopted>> {
    return attempt(() => this.#started.adopt(foreign, options));
  }

  async keepLarge(message: Bytes): Promise<Outcome<null>> {
    return attempt(() => this.#started.keepLarge(message));
  }

  async maintain(): Promise<Outcome<Maintained>> {
    return attempt(() => this.#started.maintain());
  }

  async listBuckets(
    targets: readonly BucketClass[],
    asOf: number,
    form: ListingForm,
  ): Promise<Outcome<BucketListing[]>> {
    return attempt(() => this.#started.listBuckets(targets, asOf, form));
  }

  async listSlotHashes(
    target: BucketClass,
    groups: readonly number[],
    asOf: number,
  ): Promise<Outcome<SlotHash[]>> {
    return attempt(() => this.#started.listSlotHashes(target, groups, asOf));
  }

  async listDifferingSlots(part: AskedSlots, asOf: number, limit: number): Promise<Outcome<DifferingSlots>> {
    return attempt(() => this.#started.listDifferingSlots(part, asOf, limit));
  }

  async listIdsOfSlot(target: BucketClass, slot: number, span: NameSpan): Promise<Outcome<IdsOfSlot>> {
    return attempt(() => this.#started.listIdsOfSlot(target, slot, span));
  }

  async listNames(target: BucketClass, asOf: number, after: EventName | null): Promise<Outcome<NamePage>> {
    return attempt(() => this.#started.listNames(target, asOf, after));
  }

  async listRange(question: RangeQuestion): Promise<Outcome<RangeAnswer>> {
    return attempt(() => this.#started.listRange(question));
  }

  async bySymbols(symbols: readonly Bytes[]): Promise<Outcome<EventName[]>> {
    return attempt(() => this.#started.bySymbols(symbols));
  }
}
