import type { Env } from "../durable-objects/env.ts";
import { logError } from "../durable-objects/log.ts";
import { nodeConfig } from "../durable-objects/node-config.ts";
import { linksOf, syncOf } from "../durable-objects/stubs.ts";

/** Each minute, at least once: runs may overlap, which every job here bears. */
export async function runScheduled(env: Env): Promise<void> {
  const { peers } = nodeConfig(env);
  const links = linksOf(env);
  // With or without peers: shards note what changes until they are asked.
  await attempt("roots_not_read", () => syncOf(env).state());
  const rounds = await Promise.allSettled(peers.map(({ url }) => links.of(url).round()));
  for (const round of rounds)
    if (round.status === "rejected") logError("round_not_run", { why: String(round.reason) });
  await attempt("scrub_not_run", () => syncOf(env).scrubNext());
}

/** Runs a job that must not keep the others from running. */
async function attempt(failure: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    logError(failure, { why: String(error) });
  }
}
