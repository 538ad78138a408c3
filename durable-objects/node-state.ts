import { DurableObject } from "cloudflare:workers";
import { unavailable } from "../protocol/errors.ts";
import type { Env } from "./env.ts";
import { attempt, type Outcome } from "./outcome.ts";

/** The one object of a node in which what all shards must agree on is decided. */
export class NodeState extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    );
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
}

/** The configuration names another shard count than the data was laid out for. */
export function shardCountMismatch(stored: number, configured: number) {
  return unavailable(
    "shard_count_mismatch",
    `this node's data has ${stored} shards, its configuration ${configured}: set SHARDS back to ${stored}`,
    { stored, configured },
  );
}

/** The configuration names another genesis document than the data belongs to. */
export function networkMismatch() {
  return unavailable(
    "network_mismatch",
    "this node's data is of another network than GENESIS names: set GENESIS back, or begin with empty storage",
  );
}
