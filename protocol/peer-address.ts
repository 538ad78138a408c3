import { type Bytes, equalBytes } from "./bytes.ts";
import { parsePublicKey } from "./did-key.ts";
import { invalidArgument, PennypostError } from "./errors.ts";

/** Each peer costs a node a Durable Object, and requests each minute. */
export const MAX_PEERS = 128;

/** A node to replicate with, as the operator names it. */
export interface PeerAddress {
  /** The origin of its URL, without a path. */
  readonly url: string;
  /** Absent for a bare URL, whose key is read once from the peer's `/v1/info` and kept. */
  readonly key?: Bytes;
}

export interface PeerAddressRules {
  /** Whether plain http and private or own addresses are allowed. */
  readonly isLocal: boolean;
  /** Whether a key may be left out. */
  readonly mayBeBare: boolean;
}

const malformed = (why: string) => invalidArgument("peer_address_invalid", why);

/**
 * IP literals, names with a dot at the end, which would be a second URL of one node, and names that never lead to another operator's
 * public node.
 */
export function isPrivateHost(name: string): boolean {
  return (
    name.endsWith(".") ||
    /^[\d.]+$/.test(name) ||
    name.startsWith("[") ||
    !name.includes(".") ||
    /\.(local|internal|localhost|home\.arpa)$/.test(name)
  );
}

function parseUrl(text: string, { isLocal }: PeerAddressRules): string {
  const url = URL.parse(text);
  if (!url || url.username || url.password || url.search || url.hash || url.pathname !== "/") {
    throw malformed(`${JSON.stringify(text)} is no base URL (https://HOST[:PORT])`);
  }
  const isWeb = url.protocol === "https:" || (isLocal && url.protocol === "http:");
  if (!isWeb) throw malformed(`${text} is no base URL (${isLocal ? "http or " : ""}https://HOST[:PORT])`);
  if (!isLocal && isPrivateHost(url.hostname))
    throw malformed(`${text}: a peer of a deployed node has a public name`);
  return url.origin;
}

function parseKey(text: string): Bytes {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    const how = "did:key:z6Mk… or 64 hex digits; the peer's `npx pennypost keygen` or its /v1/info shows it";
    throw malformed(`${JSON.stringify(text.slice(0, 80))} is no public key (${how})`);
  }
}

function parseAddress(entry: string, rules: PeerAddressRules): PeerAddress {
  const at = entry.lastIndexOf("@");
  const url = parseUrl(entry.slice(at + 1), rules);
  if (at >= 0) return { url, key: parseKey(entry.slice(0, at)) };
  if (rules.mayBeBare) return { url };
  throw malformed(
    `${JSON.stringify(entry)} has no key: write KEY@URL, which the other node prints when it starts (its /v1/info has the key, too)`,
  );
}

/**
 * Reads `KEY@URL` entries that commas separate; of two for one URL the last one counts.
 * @throws PennypostError `peer_address_invalid`, naming the entry.
 */
export function parsePeerAddresses(text: string, rules: PeerAddressRules): PeerAddress[] {
  const peers = new Map<string, PeerAddress>();
  const entries = text.split(",").map((entry) => entry.trim());
  for (const entry of entries.filter(Boolean)) {
    const peer = parseAddress(entry, rules);
    peers.set(peer.url, peer);
  }
  if (peers.size > MAX_PEERS) throw malformed(`more than ${MAX_PEERS} peers`);
  const keyed = [...peers.values()].filter(({ key }) => key);
  for (const [i, { url, key }] of keyed.entries()) {
    const twin = keyed.slice(0, i).find((other) => key && other.key && equalBytes(other.key, key));
    if (twin) throw malformed(`${twin.url} and ${url} have one key`);
  }
  return [...peers.values()];
}
