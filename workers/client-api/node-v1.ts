import type { Context, Hono } from "hono";
import type { Env } from "../../durable-objects/env.ts";
import { nodeConfig, VERSION } from "../../durable-objects/node-config.ts";
import { toHex } from "../../protocol/bytes.ts";
import { toDidKey } from "../../protocol/did-key.ts";
import * as limits from "../../protocol/limits.ts";
import { checkHealth } from "./health.ts";

/** What a node says of itself. */
export function nodeV1(app: Hono<{ Bindings: Env }>): void {
  app.get("/health", async (c) => {
    const health = await checkHealth(c.env);
    return c.json(health, health.status === "failing" ? 503 : 200);
  });
  app.get("/v1/info", info);
  // Whoever knows the network's id can check it: the id is its hash.
  app.get("/v1/genesis", (c) => c.json(nodeConfig(c.env).network.genesis));
}

function info(c: Context<{ Bindings: Env }>): Response {
  const { signer, network, shardCount, admission, requiresIdentityProof, rpcUrl } = nodeConfig(c.env);
  return c.json({
    version: VERSION,
    node: toDidKey(signer.publicKey),
    key: toHex(signer.publicKey),
    network: network.genesis.name,
    networkId: toHex(network.id),
    shards: shardCount,
    admission: {
      policies: admission,
      identityProof: requiresIdentityProof ? "required" : "optional",
      contractWallets: rpcUrl !== undefined,
    },
    retention: network.genesis.classes.map(({ id, name, durationMs, priority }) => ({
      class: id,
      name,
      durationMs,
      priority,
    })),
    limits: {
      topicBytes: limits.MAX_TOPIC_BYTES,
      messageBytes: limits.MAX_MESSAGE_BYTES,
      publishBytes: limits.MAX_PUBLISH_BYTES,
      envelopesPerPublish: limits.MAX_ENVELOPES_PER_PUBLISH,
      requestsPerBatchQuery: limits.MAX_REQUESTS_PER_BATCH_QUERY,
      topicsPerQuery: limits.MAX_TOPICS_PER_QUERY,
      pageRows: limits.MAX_PAGE_ROWS,
      topicsPerSubscription: limits.MAX_TOPICS_PER_SUBSCRIPTION,
    },
  });
}
