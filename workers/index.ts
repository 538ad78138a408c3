import type { Env } from "../durable-objects/env.ts";
import { handleRequest } from "./app.ts";
import { runScheduled } from "./scheduled.ts";

export { Hub } from "../durable-objects/hub/hub.ts";
export { Limiter } from "../durable-objects/limiter/limiter.ts";
export { NodeState } from "../durable-objects/node-state/node-state.ts";
export { PeerLink } from "../durable-objects/peer-link/peer-link.ts";
export { SpentStamps } from "../durable-objects/spent/spent-stamps.ts";
export { Sync } from "../durable-objects/sync/sync.ts";
export { TopicShard } from "../durable-objects/topic-shard/topic-shard.ts";

export default {
  fetch: handleRequest,
  async scheduled(_controller, env): Promise<void> {
    await runScheduled(env);
  },
} satisfies ExportedHandler<Env>;
