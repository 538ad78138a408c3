import type { Hub } from "./hub/hub.ts";
import type { Limiter } from "./limiter/limiter.ts";
import type { NodeState } from "./node-state/node-state.ts";
import type { PeerLink } from "./peer-link/peer-link.ts";
import type { SpentStamps } from "./spent/spent-stamps.ts";
import type { Sync } from "./sync/sync.ts";
import type { TopicShard } from "./topic-shard/topic-shard.ts";

/** The bindings of a node, as wrangler.toml and the local launcher give them. */
export interface Env {
  readonly TOPIC_SHARD: DurableObjectNamespace<TopicShard>;
  readonly HUB: DurableObjectNamespace<Hub>;
  readonly PEER_LINK: DurableObjectNamespace<PeerLink>;
  readonly SYNC: DurableObjectNamespace<Sync>;
  readonly NODE_STATE: DurableObjectNamespace<NodeState>;
  readonly LIMITER: DurableObjectNamespace<Limiter>;
  readonly SPENT: DurableObjectNamespace<SpentStamps>;
  readonly DB: D1Database;
  readonly BUCKET: R2Bucket;
  /** The genesis document as JSON, or "development". */
  readonly GENESIS?: string;
  /** Comma-separated `KEY@URL`; under the development genesis also bare URLs. */
  readonly PEERS?: string;
  readonly SHARDS?: string;
  /** Hours that events stay in the shards' own storage before they are sealed, 48 by default; "off" for ever. */
  readonly HOT_HOURS?: string;
  /** Comma-separated policies that admit publishes: open, wallet, stamp. By default open on a local node, wallet,stamp elsewhere. */
  readonly ADMISSION?: string;
  /** "off", or JSON: see `RateLimits`. By default off on a local node. */
  readonly RATE_LIMITS?: string;
  /** "true": a wallet's publish needs a proof of its identity key beside the token. */
  readonly REQUIRE_IDENTITY_PROOF?: string;
  /** The name in the challenges of new issuer keys. Without it that of the first key, which is the host under which the node was asked. */
  readonly ISSUER_NAME?: string;
  /** Secret, since keys stand in it: the JSON-RPC endpoint of the chain on which wallets may be contracts. Without it they may not. */
  readonly RPC_URL?: string;
  /** Secret: the Ed25519 seed of the node's key, 64 hex digits. */
  readonly NODE_KEY?: string;
  /** Secret: who sends it may use the admin API; at least 32 characters. Without it that API is off. */
  readonly ADMIN_SECRET?: string;
  /** "true" on a local node only: allows the development genesis, and peers on loopback. */
  readonly LOCAL?: string;
}
