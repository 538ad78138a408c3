import { type Bytes, equalBytes, fromHex } from "../protocol/bytes.ts";
import type { Signer } from "../protocol/crypto.ts";
import { parsePublicKey } from "../protocol/did-key.ts";
import { PennypostError, unavailable } from "../protocol/errors.ts";
import { DEVELOPMENT_GENESIS, type Genesis, Network, parseGenesis } from "../protocol/genesis.ts";
import { DEFAULT_SHARDS } from "../protocol/limits.ts";
import { isShardCount } from "../protocol/topic.ts";
import type { Env } from "./env.ts";
import { platformSigner, suite } from "./platform-suite.ts";

export const VERSION = "0.1.0";
/** Each peer costs a Durable Object and requests each minute. */
export const MAX_PEERS = 128;

export interface PeerAddress {
  readonly url: string;
  /** Absent for a bare URL, whose key is read once from the peer's `/v1/info` and kept. */
  readonly key?: Bytes;
}

/** A node's configuration, checked. */
export interface NodeConfig {
  readonly signer: Signer;
  readonly network: Network;
  readonly shardCount: number;
  readonly peers: readonly PeerAddress[];
  /** A node on the operator's own machine. */
  readonly isLocal: boolean;
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
  return parseGenesis(json);
}

function readSigner(seed: string | undefined): Signer {
  if (!seed || !/^[0-9a-f]{64}$/i.test(seed.trim())) {
    throw misconfigured(
      "NODE_KEY",
      "a secret of 64 hex digits is needed; make one with `npx pennypost keygen`",
    );
  }
  return platformSigner(fromHex(seed.trim()));
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** IP literals and names that never lead to another operator's public node. */
function isPrivateHost(host: string): boolean {
  return (
    LOOPBACK.test(host) ||
    /^[\d.]+$/.test(host) ||
    host.startsWith("[") ||
    !host.includes(".") ||
    /\.(local|internal|localhost|home\.arpa)$/.test(host)
  );
}

/** Checks a peer's base URL: https on a public name, unless the node is local. */
function readPeerUrl(text: string, isLocal: boolean): string {
  const url = URL.parse(text);
  if (!url || url.username || url.password || url.search || url.hash || url.pathname !== "/") {
    throw misconfigured("PEERS", `${JSON.stringify(text)} is no plain base URL`);
  }
  if (!isLocal && (url.protocol !== "https:" || isPrivateHost(url.hostname))) {
    throw misconfigured("PEERS", `${text}: peers of a deployed node have https URLs with a public name`);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw misconfigured("PEERS", `${text}: not http(s)`);
  return url.origin;
}

function readPeers(
  text: string | undefined,
  isLocal: boolean,
  network: Network,
  ownKey: Bytes,
): PeerAddress[] {
  const peers = new Map<string, PeerAddress>();
  for (const entry of (text ?? "")
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean)) {
    const at = entry.lastIndexOf("@");
    const url = readPeerUrl(entry.slice(at + 1), isLocal);
    if (at < 0 && !network.isOpen) {
      throw misconfigured("PEERS", `${entry}: write KEY@URL; a bare URL is for the development genesis only`);
    }
    const key = at < 0 ? undefined : parsePublicKey(entry.slice(0, at));
    if (key && equalBytes(key, ownKey)) continue;
    const other = key && [...peers.values()].find((peer) => peer.key && equalBytes(peer.key, key));
    if (other && other.url !== url) throw misconfigured("PEERS", `${other.url} and ${url} have one key`);
    peers.set(url, key ? { url, key } : { url });
  }
  if (peers.size > MAX_PEERS) throw misconfigured("PEERS", `more than ${MAX_PEERS} peers`);
  return [...peers.values()];
}

function read(env: Env): NodeConfig {
  const isLocal = env.LOCAL === "true";
  const signer = readSigner(env.NODE_KEY);
  const network = new Network(readGenesis(env.GENESIS, isLocal), suite);
  if (network.genesis.stampPrefixes.length > 0) {
    throw misconfigured("GENESIS", "stampPrefixes: this version cannot check stamps yet");
  }
  const shardCount = Number(env.SHARDS || DEFAULT_SHARDS);
  if (!isShardCount(shardCount)) throw misconfigured("SHARDS", "a power of two from 1 to 1,024 is needed");
  return {
    signer,
    network,
    shardCount,
    isLocal,
    peers: readPeers(env.PEERS, isLocal, network, signer.publicKey),
  };
}

const known = new WeakMap<Env, NodeConfig>();

/** The node's configuration, read once per isolate. @throws PennypostError `misconfigured` (503) naming the setting. */
export function nodeConfig(env: Env): NodeConfig {
  const config = known.get(env);
  if (config) return config;
  try {
    const fresh = read(env);
    known.set(env, fresh);
    return fresh;
  } catch (error) {
    if (error instanceof PennypostError && error.code !== "misconfigured")
      throw misconfigured(error.code, error.message);
    throw error;
  }
}
