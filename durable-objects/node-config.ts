import { type Bytes, equalBytes, fromHex } from "../protocol/bytes.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { DEVELOPMENT_GENESIS, type Genesis, Network, parseGenesis } from "../protocol/genesis.ts";
import { parseIssuerName } from "../protocol/issuer-name.ts";
import { DEFAULT_SHARDS, MIN_ADMIN_SECRET_CHARACTERS } from "../protocol/limits.ts";
import { type PeerAddress, parsePeerAddresses } from "../protocol/peer-address.ts";
import { isShardCount } from "../protocol/topic.ts";
import { type PolicyName, parsePolicyNames } from "./admission-names.ts";
import type { Env } from "./env.ts";
import { parseRateLimits, type RateLimits } from "./limiter/limits.ts";
import type { NodeIdentity } from "./node-identity.ts";
import { perEnv } from "./per-env.ts";
import { platformSigner, suite } from "./platform-suite.ts";
import { parseRpcUrl } from "./rpc-url.ts";

/** Who may publish where the operator names nothing. */
const LOCAL_ADMISSION = "open";
const DEPLOYED_ADMISSION = "wallet,stamp";

const HOUR_MS = 3_600_000;
const DEFAULT_HOT_HOURS = 48;
/** 30 days: what is hot is 13 times as dear as what is sealed. */
const MAX_HOT_HOURS = 720;

export const VERSION = "0.1.0";
/** A node's configuration, checked. */
export interface NodeConfig extends NodeIdentity {
  /** The peers that the configuration names; others join. */
  readonly peers: readonly PeerAddress[];
  /** A node on the operator's own machine. */
  readonly isLocal: boolean;
  /** Who may publish: the policies in the order in which they are asked. */
  readonly admission: readonly PolicyName[];
  /** How long events stay in the shards' own storage after they have come, in ms; null for ever. */
  readonly hotMs: number | null;
  /** How much a wallet and an address may publish; undefined for no limits. */
  readonly rateLimits: RateLimits | undefined;
  /** Whether a wallet's publish needs a proof of its identity key. */
  readonly requiresIdentityProof: boolean;
  /** The name under which new issuer keys are made, where the operator fixes it. */
  readonly issuerName?: string;
  /** Where wallets that are contracts are asked; never shown or logged. */
  readonly rpcUrl?: string;
  /** Opens the admin API, which is off without it. */
  readonly adminSecret?: string;
}

const misconfigured = (name: string, why: string) =>
  unavailable("misconfigured", `this node is not configured: ${name}: ${why}`, { name });

function readGenesis(text: string | undefined, isLocal: boolean): Genesis {
  if (text === undefined || text === "" || text === "development") {
    if (isLocal) return DEVELOPMENT_GENESIS;
    throw misconfigured(
      "GENESIS",
      "a deployed node does not take the development genesis; make one with `npx pennypost keygen`",
    );
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw misconfigured("GENESIS", "not JSON");
  }
  const genesis = settingOf("GENESIS", () => parseGenesis(json));
  if (genesis.members === "any" && !isLocal)
    throw misconfigured("GENESIS", "members: a deployed node takes no network that anyone may join");
  return genesis;
}

/** Reads a setting. @throws PennypostError `misconfigured`, naming it and saying what is wrong. */
function settingOf<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof PennypostError) throw misconfigured(name, error.message);
    throw error;
  }
}

/**
 * The seed of the node's key, from which other secrets are derived, too.
 * @throws PennypostError `misconfigured` (503).
 */
export function nodeSecret({ NODE_KEY }: Pick<Env, "NODE_KEY">): Bytes {
  if (NODE_KEY && /^[0-9a-f]{64}$/i.test(NODE_KEY.trim())) return fromHex(NODE_KEY.trim());
  throw misconfigured(
    "NODE_KEY",
    "a secret of 64 hex digits is needed; make one with `npx pennypost keygen`",
  );
}

function readAdminSecret(text: string | undefined): Pick<NodeConfig, "adminSecret"> {
  const adminSecret = text?.trim();
  if (!adminSecret) return {};
  if (adminSecret.length >= MIN_ADMIN_SECRET_CHARACTERS) return { adminSecret };
  throw misconfigured(
    "ADMIN_SECRET",
    `a secret of at least ${MIN_ADMIN_SECRET_CHARACTERS} characters is needed; \`npx pennypost keygen\` makes one`,
  );
}

function readRpcUrl(text: string | undefined, isLocal: boolean): Pick<NodeConfig, "rpcUrl"> {
  const url = text?.trim();
  return url ? { rpcUrl: settingOf("RPC_URL", () => parseRpcUrl(url, isLocal)) } : {};
}

function readIssuerName(text: string | undefined, isLocal: boolean): Pick<NodeConfig, "issuerName"> {
  const name = text?.trim();
  return name ? { issuerName: settingOf("ISSUER_NAME", () => parseIssuerName(name, { isLocal })) } : {};
}

function readSwitch(name: string, text: string | undefined): boolean {
  const value = text?.trim() || "false";
  if (value !== "true" && value !== "false") throw misconfigured(name, '"true" or "false" is needed');
  return value === "true";
}

function readHotMs(text: string | undefined): number | null {
  const value = text?.trim() || String(DEFAULT_HOT_HOURS);
  if (value === "off" || value === "0") return null;
  const hours = Number(value);
  if (Number.isInteger(hours) && hours >= 1 && hours <= MAX_HOT_HOURS) return hours * HOUR_MS;
  throw misconfigured("HOT_HOURS", `a number of hours from 1 to ${MAX_HOT_HOURS} is needed, or "off"`);
}

function readPeers(text: string, isLocal: boolean, network: Network, ownKey: Bytes): PeerAddress[] {
  const rules = { isLocal, mayBeBare: network.isOpen };
  const peers = settingOf("PEERS", () => parsePeerAddresses(text, rules));
  return peers.filter(({ key }) => !key || !equalBytes(key, ownKey));
}

function read(env: Env): NodeConfig {
  const isLocal = env.LOCAL === "true";
  const signer = platformSigner(nodeSecret(env));
  const network = new Network(readGenesis(env.GENESIS, isLocal), suite);
  const admission = settingOf("ADMISSION", () =>
    parsePolicyNames(env.ADMISSION?.trim() || (isLocal ? LOCAL_ADMISSION : DEPLOYED_ADMISSION)),
  );
  const limits = env.RATE_LIMITS?.trim() || (isLocal ? "off" : "{}");
  const rateLimits = settingOf("RATE_LIMITS", () => parseRateLimits(limits));
  const shardCount = Number(env.SHARDS || DEFAULT_SHARDS);
  if (!isShardCount(shardCount)) throw misconfigured("SHARDS", "a power of two from 1 to 1,024 is needed");
  return {
    signer,
    network,
    shardCount,
    isLocal,
    admission,
    rateLimits,
    hotMs: readHotMs(env.HOT_HOURS),
    requiresIdentityProof: readSwitch("REQUIRE_IDENTITY_PROOF", env.REQUIRE_IDENTITY_PROOF),
    ...readIssuerName(env.ISSUER_NAME, isLocal),
    ...readRpcUrl(env.RPC_URL, isLocal),
    ...readAdminSecret(env.ADMIN_SECRET),
    peers: readPeers(env.PEERS ?? "", isLocal, network, signer.publicKey),
  };
}

/** The node's configuration, read once per isolate. @throws PennypostError `misconfigured` (503) naming the setting. */
export const nodeConfig: (env: Env) => NodeConfig = perEnv(read);
