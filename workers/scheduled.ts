import type { Env } from "../durable-objects/env.ts";
import { logError } from "../durable-objects/log.ts";
import { nodeConfig } from "../durable-objects/node-config.ts";
import { linksOf, syncOf } from "../durable-objects/stubs.ts";

/** Each minute, at least once: runs may overlap, which every job here bears. */
export async function runScheduled(env: Env): Promise<void> {
  const { peers } = nodeConfig(env);
  const links = linksOf(env);
  const rounds = await Promise.allSettled(peers.map(({ url }) => links.of(url).round()));
  for (const round of rounds)
    if (round.status === "rejected") logError("round_not_run", { why: String(round.reason) });
  try {
    await syncOf(env).scrubNext();
  } catch (error) {
    logError("scrub_not_run", { why: String(error) });
  }
}
