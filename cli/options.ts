import { InvalidArgumentError } from "commander";
import { parsePolicyNames } from "../durable-objects/admission-names.ts";
import { parseRateLimits } from "../durable-objects/limiter/limits.ts";
import { parseRpcUrl } from "../durable-objects/rpc-url.ts";
import { toDidKey } from "../protocol/did-key.ts";
import { PennypostError } from "../protocol/errors.ts";
import { parseIssuerName } from "../protocol/issuer-name.ts";
import { MAX_SHARDS } from "../protocol/limits.ts";
import { type PeerAddressRules, parsePeerAddresses } from "../protocol/peer-address.ts";
import { isShardCount } from "../protocol/topic.ts";

/** A local node takes about 150 MB of memory. */
export const MAX_LOCAL_NODES = 32;
export const MAX_PORT = 65_535;
export const DEFAULT_PORT = 8_787;
export const DEFAULT_NODES = 3;
const MAX_INVITATION_DAYS = 90;

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

/** The policies that admit publishes, as the node reads them. */
export function parseAdmission(text: string): string {
  try {
    return parsePolicyNames(text).join();
  } catch (error) {
    if (error instanceof PennypostError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

/** How much wallets and addresses may publish, as the node reads it. */
export function parseLimits(text: string): string {
  try {
    parseRateLimits(text);
    return text;
  } catch (error) {
    if (error instanceof PennypostError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

export const parseDays = (text: string): number => parseWholeNumber(text, 1, MAX_INVITATION_DAYS);

/** Where a local node asks wallets that are contracts. */
export function parseLocalRpcUrl(text: string): string {
  try {
    return parseRpcUrl(text, true);
  } catch (error) {
    if (error instanceof PennypostError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

/** The public host that names a deployed node as an issuer of stamps. */
export function parseDeployedIssuerName(text: string): string {
  try {
    return parseIssuerName(text, { isLocal: false });
  } catch (error) {
    if (error instanceof PennypostError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

/** A path that the operator gave: anything but nothing. */
export function parsePath(text: string): string {
  if (text.trim() === "") throw new InvalidArgumentError("A path is needed.");
  return text;
}

function checkPeers(text: string, rules: PeerAddressRules): string {
  try {
    const peers = parsePeerAddresses(text, rules);
    return peers.map(({ url, key }) => (key ? `${toDidKey(key)}@${url}` : url)).join();
  } catch (error) {
    if (error instanceof PennypostError) throw new InvalidArgumentError(`${error.message}.`);
    throw error;
  }
}

/** Peers of a local node: `KEY@URL` or, under the development genesis, which the node checks, a bare URL. */
export const parseLocalPeers = (text: string): string => checkPeers(text, { isLocal: true, mayBeBare: true });

/** Peers of a deployed node: `KEY@https://HOST` only. An empty text takes all peers away. */
export const parseDeployedPeers = (text: string): string =>
  checkPeers(text, { isLocal: false, mayBeBare: false });
