import type { Env } from "../durable-objects/env.ts";
import { logError } from "../durable-objects/log.ts";
import { nodeConfig } from "../durable-objects/node-config.ts";
import { outcomeOf } from "../durable-objects/outcome.ts";
import { peerLinkStub } from "../durable-objects/stubs.ts";

/** Each minute, at least once: runs may overlap, which every job here bears. Anti-entropy joins the pull here. */
export async function runScheduled(env: Env): Promise<void> {
  const { peers } = nodeConfig(env);
  const pulls = await Promise.allSettled(
    peers.map(({ url }) => outcomeOf("peer link", peerLinkStub(env, url).pull(url))),
  );
  for (const pull of pulls)
    if (pull.status === "rejected") logError("pull_not_run", { why: String(pull.reason) });
}
