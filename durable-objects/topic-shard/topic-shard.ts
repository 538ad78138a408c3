import { DurableObject } from "cloudflare:workers";
import { type Bytes, compareBytes, equalBytes, fromUtf8, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
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
import type { Env } from "../env.ts";
import { type FedEvent, toFed } from "../hub/feed.ts";
import { type NodeConfig, nodeConfig } from "../node-config.ts";
import { networkMismatch, shardCountMismatch } from "../node-state.ts";
import { attempt, type Outcome, outcomeOf } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import { answerWant } from "./ancestors.ts";
import { headsOf } from "./heads.ts";
import { HubFeed } from "./hub-feed.ts";
import { type IngestSummary, Intake } from "./intake.ts";
import { ParentSeeker } from "./parent-seeker.ts";
import { PushFeed } from "./push-feed.ts";
import { type EnvelopePage, queryEnvelopes, readTimePage, type TimeQuery } from "./queries.ts";
import { bytesMeta, migrateSchema, readMeta, writeMeta } from "./schema.ts";
import { type Envelope, expiryId, ShardCore } from "./shard-core.ts";
import { ECHO, type ShardStore, type StoredEvent } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";
import { EVENT_OVERHEAD_BYTES, WriterLoop } from "./writer-loop.ts";

/** Overdue events that one transaction delivers. */
const MAX_OVERDUE = 256;
const MAX_CATCH_UP_EVENTS = 512;
/** A resuming subscriber that is further behind has to query: what it reads is read for all topics. */
const MAX_RESUME_POSITIONS = 100_000;

export interface CaughtUp {
  readonly generation: Bytes;
  /** The position lies so far back that a query is cheaper. */
  readonly isTooFar: boolean;
  readonly events: readonly FedEvent[];
  /** The position that was read up to: the shard's last when there was nothing to read. */
  readonly position: number;
}

/** Everything that a started shard works with. */
interface Parts {
  readonly config: NodeConfig;
  readonly shard: number;
  readonly generation: Bytes;
  readonly store: ShardStore;
  readonly core: ShardCore;
  readonly writer: WriterLoop;
  readonly hubs: HubFeed;
  readonly pushes: PushFeed;
  readonly parents: ParentSeeker;
  readonly intake: Intake;
}

/**
 * The owner of a share of the topics: stores their events, keeps their heads, answers queries, and hands what is new to
 * subscribers and peers.
 *
 * All writes of events go through one `WriterLoop`; an answer leaves only after the group that it depends on is durable. What is
 * in memory is a cache of the SQLite, except what may be lost: held events, counters of retries, relayed ephemerals.
 * Named `shard-N`.
 */
export class TopicShard extends DurableObject<Env> {
  /** A failure here is one that only the operator can mend; a passing one resets the object. */
  #parts: Outcome<Parts> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    void ctx.blockConcurrencyWhile(async () => {
      migrateSchema(ctx.storage);
      this.#parts = await attempt(() => this.#start());
      if (this.#parts.ok) {
        this.#parts.value.hubs.kick();
        await this.#wakeForOverdue();
      } else if (this.#parts.error.code === "part_unavailable") {
        throw PennypostError.fromRecord(this.#parts.error);
      }
    });
  }

  async #start(): Promise<Parts> {
    const { storage } = this.ctx;
    const config = nodeConfig(this.env);
    const shard = Number((this.ctx.id.name ?? String(readMeta(storage.sql, "name"))).replace("shard-", ""));
    const stored = readMeta(storage.sql, "shard_count");
    if (stored === undefined) {
      const state = this.env.NODE_STATE.get(this.env.NODE_STATE.idFromName("node"));
      await outcomeOf("node state", state.registerShards(config.shardCount));
      storage.transactionSync(() => {
        writeMeta(storage.sql, "name", `shard-${shard}`);
        writeMeta(storage.sql, "shard_count", config.shardCount);
        writeMeta(storage.sql, "network", config.network.id);
        writeMeta(storage.sql, "generation", crypto.getRandomValues(new Uint8Array(8)));
      });
    } else if (stored !== config.shardCount) {
      throw shardCountMismatch(Number(stored), config.shardCount);
    }
    if (!equalBytes(bytesMeta(storage.sql, "network"), config.network.id)) throw networkMismatch();
    const generation = bytesMeta(storage.sql, "generation");
    return this.#assemble(config, shard, generation);
  }

  #assemble(config: NodeConfig, shard: number, generation: Bytes): Parts {
    const { storage } = this.ctx;
    const store = new SqlShardStore(storage);
    const core = new ShardCore(store, { network: config.network, suite, signer: config.signer, shard });
    const hubs = new HubFeed(this.env, storage, store, shard, generation);
    const pushes = new PushFeed(this.env, config, store, core.lastOwn);
    const writer = new WriterLoop({
      transaction: (work) =>
        store.transaction(() => {
          work();
          core.checkpointWhenDue();
        }),
      sync: () => storage.sync(),
      rolledBack: () => core.reload(),
      committed: () => {
        hubs.kick();
        pushes.kick();
      },
    });
    const intake: Intake = new Intake({
      core,
      store,
      writer,
      shardCount: config.shardCount,
      shard,
      relay: (event, hops) => {
        hubs.relay([event]);
        if (hops > 0) pushes.relay(toWire(event), hops - 1);
      },
      stored: async () => {
        parents.seekSoon();
        await this.#wakeForOverdue();
      },
    });
    const parents = new ParentSeeker(this.env, config, store, (events, peer) => intake.ingest(events, peer));
    return { config, shard, generation, store, core, writer, hubs, pushes, parents, intake };
  }

  get #started(): Parts {
    if (!this.#parts) throw new Error("the shard has not started");
    if (!this.#parts.ok) throw PennypostError.fromRecord(this.#parts.error);
    return this.#parts.value;
  }

  /** Stores envelopes, all of this shard's topics, and answers their event ids in order. All or none. */
  async publish(
    envelopes: readonly Envelope[],
  ): Promise<Outcome<{ readonly id: Bytes; readonly isDuplicate: boolean }[]>> {
    return attempt(async () => {
      const { core, writer, intake } = this.#started;
      const bytes = envelopes.reduce((sum, { message }) => sum + message.length + EVENT_OVERHEAD_BYTES, 0);
      const results = await writer.write(bytes, () => {
        const nowMs = Date.now();
        return envelopes.map((envelope) => core.publish(envelope, nowMs));
      });
      for (const { ephemeral } of results) if (ephemeral) intake.relay(ephemeral, EPHEMERAL_HOPS + 1);
      return results.map(({ id, isDuplicate }) => ({ id, isDuplicate }));
    });
  }

  /** Takes events that a peer sent. `previous` are events that would be stored here too. */
  async ingest(
    events: readonly WireEvent[],
    peer: string,
    previous: readonly EventName[],
  ): Promise<Outcome<IngestSummary>> {
    return attempt(() => this.#started.intake.ingest(events, peer, previous));
  }

  /** Ephemeral events from a peer, each of which may be passed on `hops` more times. Others are left out. */
  async relay(events: PushBody["ephemeral"]): Promise<Outcome<null>> {
    return attempt(() => {
      const { core, intake } = this.#started;
      for (const { event, hops } of events) {
        const judged = core.judge(event, Date.now());
        if (judged.kind === "ephemeral") intake.relay(judged.event, Math.min(hops, EPHEMERAL_HOPS));
      }
      return null;
    });
  }

  /** Makes sure that something wakes the shard when a pending event is overdue. */
  async #wakeForOverdue(): Promise<void> {
    if (this.#started.store.firstPendingMs() === undefined) return;
    if ((await this.ctx.storage.getAlarm()) === null)
      await this.ctx.storage.setAlarm(Date.now() + GAP_DELIVERY_MS);
  }

  override async alarm(): Promise<void> {
    const { writer, core, parents } = this.#started;
    const againMs = await writer.write(0, () => core.deliverOverdue(Date.now(), MAX_OVERDUE));
    if (againMs !== undefined) await this.ctx.storage.setAlarm(Math.max(againMs, Date.now() + 100));
    parents.seekSoon();
  }

  async query(query: TimeQuery): Promise<Outcome<EnvelopePage>> {
    return attempt(() =>
      queryEnvelopes(this.#started.store, query, fromUtf8(query.topic), this.#leastId(query.topic)),
    );
  }

  #leastId(topic: Bytes): Bytes {
    return expiryId(this.#started.config.network.classOf(topic), Date.now());
  }

  async eventsByTime(
    query: TimeQuery,
  ): Promise<Outcome<{ readonly events: StoredEvent[]; readonly isFull: boolean }>> {
    return attempt(() => readTimePage(this.#started.store, query, this.#leastId(query.topic)));
  }

  async eventsByCause(
    topic: Bytes,
    topicKey: Bytes,
    afterId: Bytes | null,
    limit: number,
  ): Promise<Outcome<{ readonly events: StoredEvent[]; readonly isFull: boolean }>> {
    return attempt(() => {
      const least = this.#leastId(topic);
      const start = afterId && compareBytes(afterId, least) > 0 ? afterId : least;
      const events = this.#started.store.causalPage(topicKey, start, limit, MAX_PEER_PAGE_BYTES);
      const last = events.at(-1);
      return {
        events,
        isFull: last !== undefined && this.#started.store.causalPage(topicKey, last.id, 1, 0).length > 0,
      };
    });
  }

  async event(blockDigest: Bytes): Promise<Outcome<StoredEvent | null>> {
    return attempt(() => {
      const { store, core } = this.#started;
      const event = store.findByDigest(blockDigest);
      return event && !core.isExpired(event, Date.now()) ? event : null;
    });
  }

  async heads(topic: Bytes, topicKey: Bytes): Promise<Outcome<Bytes[]>> {
    return attempt(() => {
      const least = this.#leastId(topic);
      return headsOf(this.#started.store, topicKey).filter((id) => compareBytes(id, least) >= 0);
    });
  }

  /** The names of events that arrived after a peer's cursor. */
  async pull(cursor: Cursor | null, limit: number): Promise<Outcome<PulledShard>> {
    return attempt(() => {
      const { store, generation, shard } = this.#started;
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
    });
  }

  /** Which of these events are neither stored nor held here. */
  async lacking(names: readonly EventName[]): Promise<Outcome<EventName[]>> {
    const { store, intake } = this.#started;
    return attempt(() =>
      names.filter((name) => store.positionOf(name) === undefined && !intake.isHeld(name.id)),
    );
  }

  async want(want: WantBody, maxBytes: number): Promise<Outcome<EventPage>> {
    return attempt(() => answerWant(this.#started.store, want, maxBytes));
  }

  /** A hub follows this shard from now on: it will hear of all that is delivered after the position answered. */
  async attachHub(name: string): Promise<Outcome<{ readonly generation: Bytes; readonly position: number }>> {
    return attempt(() => {
      const { hubs, generation } = this.#started;
      return { generation, position: hubs.attach(name) };
    });
  }

  /** For a subscriber that resumes: what was delivered after a position in the given topics. */
  async deliveredAfter(position: number, topicKeys: ReadonlySet<string> | null): Promise<Outcome<CaughtUp>> {
    return attempt(() => {
      const { store, core, generation } = this.#started;
      const last = store.lastPosition();
      if (last - position > MAX_RESUME_POSITIONS) return { generation, isTooFar: true, events: [], position };
      const nowMs = Date.now();
      const rows = store.deliveredAfter(position, MAX_CATCH_UP_EVENTS, MAX_PEER_PAGE_BYTES);
      const events = rows
        .filter(({ topicKey }) => topicKeys?.has(toHex(topicKey)) ?? true)
        .filter((event) => (event.flags & ECHO) === 0 && !core.isExpired(event, nowMs))
        .map(toFed);
      return { generation, isTooFar: false, events, position: rows.at(-1)?.position ?? last };
    });
  }

  /** For the health check. @throws like every other method when the shard refuses to work. */
  async checkClock(): Promise<Outcome<null>> {
    return attempt(() => {
      this.#started.core.checkClock(Date.now());
      return null;
    });
  }
}
