import { DurableObject } from "cloudflare:workers";
import { Evidence } from "../../durable-objects/node-state/evidence.ts";
import type { Links } from "../../durable-objects/peer-link/link-api.ts";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { D1Catalogue } from "../../durable-objects/sealed/d1-catalogue.ts";
import type { Maintained } from "../../durable-objects/sealed/maintenance.ts";
import { R2Archive } from "../../durable-objects/sealed/r2-archive.ts";
import { SqlSyncStore } from "../../durable-objects/sync/sql-sync-store.ts";
import { SyncRoots } from "../../durable-objects/sync/sync-roots.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryEvidenceStore } from "../../durable-objects/testing/memory-evidence-store.ts";
import { migrateSchema, readMeta, writeMeta } from "../../durable-objects/topic-shard/schema.ts";
import type { ScrubReport } from "../../durable-objects/topic-shard/scrub/shard-scrub.ts";
import { Shard } from "../../durable-objects/topic-shard/shard.ts";
import type { Envelope } from "../../durable-objects/topic-shard/shard-core.ts";
import { SqlHubNames } from "../../durable-objects/topic-shard/sql-hub-names.ts";
import { SqlShardStore } from "../../durable-objects/topic-shard/sql-shard-store.ts";
import type { HandOver } from "../../durable-objects/topic-shard/sync-tree/shard-tree.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { SHARDS } from "../life/life-plan.ts";
import { countRows, discardRows, settleRows } from "./counted-rows.ts";
import { countedBucket, countedDatabase } from "./counted-services.ts";
import { LIFE_ROUTES } from "./life-routes.ts";

/** A node whose shards and sync object run by a clock that the benchmark moves: with each call it says what time it is. */

export interface LifeEnv {
  readonly SHARD: DurableObjectNamespace<LivingShard>;
  readonly SYNC: DurableObjectNamespace<LivingSync>;
  readonly DB: D1Database;
  readonly BUCKET: R2Bucket;
}

/** Calls to objects, each of which is billed as a request. */
export const calls = { publish: 0, handOver: 0, changed: 0, scrub: 0, maintain: 0, alarm: 0 };
/** Alarms that were set: a row each. */
export const alarms = { set: 0 };

const HOT_MS = 48 * 3_600_000;
const signer = platformSigner(new Uint8Array(32).fill(1));
const network = new Network(DEVELOPMENT_GENESIS, suite);
const GENERATION = new Uint8Array(8).fill(7);

/** Envelopes that one client sent at once to this shard. */
export interface PublishedGroup {
  readonly atMs: number;
  readonly envelopes: readonly Envelope[];
}

export interface ShardState {
  /** Of the whole SQLite, and of what of it is the index of sealed events. */
  readonly bytes: number;
  readonly indexBytes: number;
  readonly segments: number;
  readonly hotEvents: number;
}

export class LivingShard extends DurableObject<LifeEnv> {
  readonly #clock = new ManualClock(0);
  #shard: Shard | undefined;
  #alarmMs: number | undefined;

  /** The shard, after all that was to be done until then. */
  async #at(nowMs: number): Promise<Shard> {
    while (this.#clock.step(Math.max(nowMs, this.#clock.nowMs())));
    this.#shard ??= await this.#start();
    if (this.#alarmMs !== undefined && this.#alarmMs <= nowMs) {
      this.#alarmMs = undefined;
      calls.alarm++;
      await this.#shard.wake();
    }
    return this.#shard;
  }

  async #start(): Promise<Shard> {
    const { storage, id } = this.ctx;
    countRows(storage);
    migrateSchema(storage);
    if (readMeta(storage.sql, "generation") === undefined) writeMeta(storage.sql, "generation", GENERATION);
    const number = Number(id.name?.replace("shard-", ""));
    const shard = new Shard({
      config: { signer, network, shardCount: SHARDS },
      shard: number,
      random: (bytes) => new Uint8Array(bytes).fill(2),
      store: new SqlShardStore(storage),
      tier: {
        archive: new R2Archive(countedBucket(this.env.BUCKET), suite, this.#clock),
        catalogue: new D1Catalogue(countedDatabase(this.env.DB), this.#clock),
        hotMs: HOT_MS,
      },
      suite,
      clock: this.#clock,
      peers: { known: () => [], current: async () => [] },
      links: NO_LINKS,
      hubs: {
        names: new SqlHubNames(storage),
        feed: async (_, { to }) => ({ position: to, isListening: true }),
      },
      roots: { changed: (_, dueAsOf) => this.#changed(number, dueAsOf) },
      evidence: new Evidence(new MemoryEvidenceStore()),
      // What is committed has been counted; that it is on a disk is of no matter here.
      sync: async () => {},
      wakeAt: async (timeMs) => this.#wakeAt(timeMs),
    });
    await shard.start();
    return shard;
  }

  async #changed(shard: number, dueAsOf: number): Promise<null> {
    calls.changed++;
    await syncOf(this.env).changed(this.#clock.nowMs(), shard, dueAsOf);
    return null;
  }

  /** As the object of a node does with its alarm. */
  #wakeAt(timeMs: number): void {
    if (this.#alarmMs !== undefined && this.#alarmMs <= timeMs) return;
    this.#alarmMs = timeMs;
    alarms.set++;
  }

  async publish(groups: readonly PublishedGroup[]): Promise<null> {
    for (const { atMs, envelopes } of groups) {
      calls.publish++;
      await (await this.#at(atMs)).publish(envelopes);
    }
    settleRows();
    return null;
  }

  async handOver(nowMs: number, asOf: number): Promise<HandOver> {
    calls.handOver++;
    const handOver = await (await this.#at(nowMs)).handOver(asOf);
    settleRows();
    return handOver;
  }

  async scrub(nowMs: number): Promise<ScrubReport> {
    calls.scrub++;
    const report = await (await this.#at(nowMs)).scrub();
    settleRows();
    return report;
  }

  async maintain(nowMs: number): Promise<Maintained> {
    calls.maintain++;
    const maintained = await (await this.#at(nowMs)).maintain();
    settleRows();
    return maintained;
  }

  async state(): Promise<ShardState> {
    const { sql } = this.ctx.storage;
    if (!this.#shard) return { bytes: sql.databaseSize, indexBytes: 0, segments: 0, hotEvents: 0 };
    settleRows();
    const numberOf = (query: string) => sql.exec<{ n: number }>(query).one().n;
    const fields = numberOf("SELECT coalesce(sum(length(fields)), 0) AS n FROM segments");
    const state = {
      bytes: sql.databaseSize,
      indexBytes: fields + numberOf("SELECT coalesce(sum(length(bytes)), 0) AS n FROM segment_parts"),
      segments: numberOf("SELECT count(*) AS n FROM segments"),
      hotEvents: numberOf("SELECT count(*) AS n FROM events"),
    };
    discardRows();
    return state;
  }
}

/** It has no peers. */
const NO_LINKS: Links = {
  of: () => {
    throw new Error("the node has no peers");
  },
};

export class LivingSync extends DurableObject<LifeEnv> {
  readonly #clock = new ManualClock(0);
  #roots: SyncRoots | undefined;

  #at(nowMs: number): SyncRoots {
    while (this.#clock.step(Math.max(nowMs, this.#clock.nowMs())));
    this.#roots ??= this.#start();
    return this.#roots;
  }

  #start(): SyncRoots {
    const { storage } = this.ctx;
    countRows(storage);
    const shardAt = (shard: number) => shardOf(this.env, shard);
    return new SyncRoots({
      suite,
      clock: this.#clock,
      store: new SqlSyncStore(storage),
      shardCount: SHARDS,
      handOver: (shard, asOf) => shardAt(shard).handOver(this.#clock.nowMs(), asOf),
      scrub: (shard) => shardAt(shard).scrub(this.#clock.nowMs()),
    });
  }

  async changed(nowMs: number, shard: number, dueAsOf: number): Promise<null> {
    await this.#at(nowMs).changed(shard, dueAsOf);
    settleRows();
    return null;
  }

  async state(nowMs: number): Promise<null> {
    await this.#at(nowMs).state();
    settleRows();
    return null;
  }

  /** Answers whether a shard was due. */
  async scrubNext(nowMs: number): Promise<boolean> {
    const scrubbed = await this.#at(nowMs).scrubNext();
    settleRows();
    return scrubbed !== null;
  }

  async bytes(): Promise<number> {
    return this.ctx.storage.sql.databaseSize;
  }
}

export const shardOf = ({ SHARD }: LifeEnv, shard: number) => SHARD.get(SHARD.idFromName(`shard-${shard}`));
export const syncOf = ({ SYNC }: LifeEnv) => SYNC.get(SYNC.idFromName("sync"));

export default {
  async fetch(request, env): Promise<Response> {
    const route = LIFE_ROUTES[new URL(request.url).pathname];
    try {
      if (!route) throw new Error("no such path");
      return Response.json(await route(env, await request.json()));
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 });
    }
  },
} satisfies ExportedHandler<LifeEnv>;
