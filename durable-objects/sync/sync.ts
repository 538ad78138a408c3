import { DurableObject } from "cloudflare:workers";
import type { Bytes } from "../../protocol/bytes.ts";
import type {
  CellsQuestion,
  CompareAnswer,
  CompareQuestion,
  RootsQuestion,
} from "../../protocol/sync-messages.ts";
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import { nodeConfig } from "../node-config.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import { suite } from "../platform-suite.ts";
import { shardsOf } from "../stubs.ts";
import type { DifferingRoots } from "./differing-roots.ts";
import { SqlSyncStore } from "./sql-sync-store.ts";
import type { CountedRoot, RangeSummary } from "./summary.ts";
import type { ComparedState, ShardScrubbed, SyncApi } from "./sync-api.ts";
import { SyncRoots } from "./sync-roots.ts";

/** `SyncRoots` in the node's one sync object. */
export class Sync extends DurableObject<Env> implements RemoteApi<SyncApi> {
  readonly #store: SqlSyncStore;
  #roots: SyncRoots | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new SqlSyncStore(ctx.storage);
  }

  /** @throws PennypostError `misconfigured`: at each call, since the object itself can start. */
  get #started(): SyncRoots {
    const shards = shardsOf(this.env);
    this.#roots ??= new SyncRoots({
      suite,
      clock: platformClock,
      store: this.#store,
      shardCount: nodeConfig(this.env).shardCount,
      handOver: (shard, asOf) => shards.at(shard).handOver(asOf),
      scrub: (shard) => shards.at(shard).scrub(),
    });
    return this.#roots;
  }

  async changed(shard: number, dueAsOf: number): Promise<Outcome<null>> {
    return attempt(() => this.#started.changed(shard, dueAsOf));
  }

  async recordsChanged(digest: Bytes): Promise<Outcome<null>> {
    return attempt(() => this.#started.recordsChanged(digest));
  }

  async state(): Promise<Outcome<ComparedState>> {
    return attempt(() => this.#started.state());
  }

  async compare(question: CompareQuestion): Promise<Outcome<CompareAnswer>> {
    return attempt(() => this.#started.compare(question));
  }

  async cells(question: CellsQuestion): Promise<Outcome<Bytes>> {
    return attempt(() => this.#started.cells(question));
  }

  async differing(question: RootsQuestion): Promise<Outcome<DifferingRoots>> {
    return attempt(() => this.#started.differing(question));
  }

  async range(asOf: number): Promise<Outcome<RangeSummary>> {
    return attempt(() => this.#started.range(asOf));
  }

  async scrubNext(): Promise<Outcome<ShardScrubbed | null>> {
    return attempt(() => this.#started.scrubNext());
  }

  async roots(asOf: number): Promise<Outcome<CountedRoot[]>> {
    return attempt(() => this.#started.roots(asOf));
  }
}
