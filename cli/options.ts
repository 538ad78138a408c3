import { InvalidArgumentError } from "commander";
import { parsePublicKey } from "../protocol/did-key.ts";
import { MAX_SHARDS } from "../protocol/limits.ts";
import { isShardCount } from "../protocol/topic.ts";

/** A local node takes about 150 MB of memory. */
export const MAX_LOCAL_NODES = 32;
export const MAX_PORT = 65_535;
export const DEFAULT_PORT = 8_787;
export const DEFAULT_NODES = 3;

function parseWholeNumber(text: string, least: number, greatest: number): number {
  const value = Number(text);
  if (!/^\d{1,9}$/.test(text) || value < least || value > greatest) {
    throw new InvalidArgumentError(`A whole number from ${least} to ${greatest} is needed.`);
  }
  return value;
}

export const parsePort = (text: string): number => parseWholeNumber(text, 1, MAX_PORT);
export const parseNodes = (text: string): number => parseWholeNumber(text, 1, MAX_LOCAL_NODES);

export function parseShards(text: string): number {
  const count = parseWholeNumber(text, 1, MAX_SHARDS);
  if (!isShardCount(count))
    throw new InvalidArgumentError(`A power of two from 1 to ${MAX_SHARDS} is needed.`);
  return count;
}

/** A path that the operator gave: anything but nothing. */
export function parsePath(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("A path is needed.");
  return text;
}

function checkPeerUrl(text: string, protocols: readonly string[]): void {
  const url = URL.parse(text);
  const isPlain = url && !url.username && !url.password && !url.search && !url.hash && url.pathname === "/";
  if (!isPlain || !protocols.includes(url.protocol)) {
    const wanted = protocols.map((protocol) => `${protocol}//HOST[:PORT]`).join(" or ");
    throw new InvalidArgumentError(`${JSON.stringify(text)} is no base URL (${wanted}).`);
  }
}

function splitPeer(entry: string): { readonly key: string | undefined; readonly url: string } {
  const at = entry.lastIndexOf("@");
  return at < 0 ? { key: undefined, url: entry } : { key: entry.slice(0, at), url: entry.slice(at + 1) };
}

function checkKey(key: string): void {
  try {
    parsePublicKey(key);
  } catch {
    throw new InvalidArgumentError(
      `${JSON.stringify(key)} is no public key (did:key:z6Mk… or 64 hex digits; the peer's \`npx pennypost keygen\` or its /v1/info shows it).`,
    );
  }
}

const entriesOf = (text: string): string[] =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter(Boolean);

/** Peers of a local node: `KEY@URL` or, under the development genesis, which the node checks, a bare URL. */
export function parseLocalPeers(text: string): string {
  const entries = entriesOf(text);
  for (const entry of entries) {
    const { key, url } = splitPeer(entry);
    checkPeerUrl(url, ["http:", "https:"]);
    if (key !== undefined) checkKey(key);
  }
  return entries.join(",");
}

/** Peers of a deployed node: `KEY@https://HOST` only. An empty text takes all peers away. */
export function parseDeployedPeers(text: string): string {
  const entries = entriesOf(text);
  for (const entry of entries) {
    const { key, url } = splitPeer(entry);
    checkPeerUrl(url, ["https:"]);
    if (key === undefined)
      throw new InvalidArgumentError(`${JSON.stringify(entry)} has no key: write KEY@URL.`);
    checkKey(key);
  }
  return entries.join(",");
}
