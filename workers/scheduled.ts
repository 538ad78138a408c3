import { platformClock } from "../durable-objects/clock.ts";
import type { Env } from "../durable-objects/env.ts";
import { logError } from "../durable-objects/log.ts";
import { nodeConfig } from "../durable-objects/node-config.ts";
import { outcomeOf } from "../durable-objects/outcome.ts";
import { linksOf, nodeStateStub, peersOf, shardsOf, syncOf } from "../durable-objects/stubs.ts";
import { prepareKey } from "./stamps/early-key.ts";

/** Each minute, at least once: runs may overlap, which every job here bears. */
export async function runScheduled(env: Env): Promise<void> {
  const links = linksOf(env);
  // With or without peers: shards note what changes until they are asked.
  await attempt("roots_not_read", () => syncOf(env).state());
  await attempt("issuer_key_not_made", () => prepareKey(env, null));
  await attempt("records_not_told", () => outcomeOf("node state", nodeStateStub(env).tellRecords()));
  // Side by side: what one peer makes of its round keeps nothing else from being done.
  const peers = await peersOf(env).current();
  const shards = shardsOf(env);
  // Where nothing is sealed no shard is woken for it.
  const isSealing = nodeConfig(env).hotMs !== null;
  const turn = isSealing ? shardsOfMinute(shards.count, platformClock.nowMs()) : [];
  const maintained = turn.map((shard) => attempt("shard_not_maintained", () => shards.at(shard).maintain()));
  const rounds = peers.map(({ url }) => attempt("round_not_run", () => links.of(url).round()));
  await Promise.all([...rounds, ...maintained, attempt("scrub_not_run", () => syncOf(env).scrubNext())]);
}

/** Each shard seals what is due once in so many minutes. */
const MAINTENANCE_MINUTES = 16;

/** The shards whose turn it is, so that not all of them store their segments at once. */
export function shardsOfMinute(count: number, nowMs: number): number[] {
  const turn = Math.floor(nowMs / 60_000) % MAINTENANCE_MINUTES;
  return Array.from({ length: count }, (_, shard) => shard).filter(
    (shard) => shard % MAINTENANCE_MINUTES === turn,
  );
}

/** Runs a job that must not keep the others from running. */
async function attempt(failure: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    logError(failure, { why: String(error) });
  }
}
