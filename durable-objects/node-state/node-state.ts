import { DurableObject } from "cloudflare:workers";
import type { Bytes } from "../../protocol/bytes.ts";
import { platformClock } from "../clock.ts";
import type { Env } from "../env.ts";
import { attempt, type Outcome, type RemoteApi } from "../outcome.ts";
import { Conduct } from "./conduct.ts";
import type { ConductApi, ConductRecord } from "./conduct-api.ts";
import { Evidence } from "./evidence.ts";
import type { Equivocation, EvidenceApi, EvidencePage, EvidencePlace } from "./evidence-api.ts";
import { shardCountMismatch } from "./mismatches.ts";
import { SqlConductStore } from "./sql-conduct-store.ts";
import { SqlEvidenceStore } from "./sql-evidence-store.ts";

/** The one object of a node in which what concerns all its parts is decided and kept: its shard count, its peers' conduct. */
export class NodeState extends DurableObject<Env> implements RemoteApi<ConductApi & EvidenceApi> {
  readonly #conduct: Conduct;
  readonly #evidence: Evidence;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    );
    this.#conduct = new Conduct({ clock: platformClock, store: new SqlConductStore(ctx.storage) });
    this.#evidence = new Evidence(new SqlEvidenceStore(ctx.storage));
  }

  /** Called by each shard at its first start: the first count named is the node's for good. */
  async registerShards(count: number): Promise<Outcome<number>> {
    return attempt(() => {
      const { sql } = this.ctx.storage;
      sql.exec("INSERT OR IGNORE INTO settings (name, value) VALUES ('shards', ?)", count);
      const { value } = sql.exec<{ value: number }>("SELECT value FROM settings WHERE name = 'shards'").one();
      if (value !== count) throw shardCountMismatch(value, count);
      return value;
    });
  }

  async breach(peer: Bytes, rules: readonly string[]): Promise<Outcome<number>> {
    return attempt(() => this.#conduct.breach(peer, rules));
  }

  async suspendedUntil(peer: Bytes): Promise<Outcome<number>> {
    return attempt(() => this.#conduct.suspendedUntil(peer));
  }

  async conductRecords(): Promise<Outcome<ConductRecord[]>> {
    return attempt(() => this.#conduct.conductRecords());
  }

  async resume(peer: Bytes): Promise<Outcome<boolean | null>> {
    return attempt(() => this.#conduct.resume(peer));
  }

  async keepProofs(proofs: readonly Equivocation[]): Promise<Outcome<number>> {
    return attempt(() => this.#evidence.keepProofs(proofs));
  }

  async proofs(
    origin: Bytes | null,
    after: EvidencePlace | null,
    limit: number,
  ): Promise<Outcome<EvidencePage>> {
    return attempt(() => this.#evidence.proofs(origin, after, limit));
  }
}
