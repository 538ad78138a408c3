import { unavailable } from "../../protocol/errors.ts";

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
