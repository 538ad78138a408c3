import { platformClock } from "../../durable-objects/clock.ts";
import type { Env } from "../../durable-objects/env.ts";
import { type ConductRecord, UNTIL_LIFTED } from "../../durable-objects/node-state/conduct-api.ts";
import type { LinkState } from "../../durable-objects/peer-link/link-api.ts";
import { NO_HISTORY } from "../../durable-objects/peer-link/link-history.ts";
import { linksOf, nodeStateOf, peersOf, recordsOf } from "../../durable-objects/stubs.ts";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { parsePublicKey, toDidKey } from "../../protocol/did-key.ts";
import { GRPC, invalidArgument, PennypostError } from "../../protocol/errors.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { Standing } from "../../protocol/record-set.ts";

/** Peers that an error names; a node takes 128. */
const MAX_NAMED = 32;

export interface KeyView {
  readonly key: string;
  readonly did: string;
}

export const keyView = (key: Bytes): KeyView => ({ key: toHex(key), did: toDidKey(key) });

/** A configured peer, with its key where that is known by now. */
export interface KnownPeer {
  readonly url: string;
  readonly key: Bytes | null;
}

export const peerView = ({ url, key }: KnownPeer) => ({ url, ...(key ? keyView(key) : {}) });

/** A key as people write it; undefined for anything else. */
function keyOf(text: string): Bytes | undefined {
  try {
    return parsePublicKey(text);
  } catch (error) {
    if (error instanceof PennypostError) return undefined;
    throw error;
  }
}

async function withKey(env: Env, { url, key }: PeerAddress): Promise<KnownPeer> {
  return { url, key: key ?? (await stateOf(env, url)).key };
}

/**
 * The configured peer with this key or URL.
 * @throws PennypostError `peer_required` (400), or `peer_unknown` (404), which names the peers there are.
 */
export async function findPeer(env: Env, text: string | undefined): Promise<KnownPeer> {
  if (!text) throw invalidArgument("peer_required", "name a peer: ?peer=KEY, or its URL");
  const known = await Promise.all((await peersOf(env).current()).map((peer) => withKey(env, peer)));
  const key = keyOf(text);
  const origin = URL.parse(text)?.origin;
  const found = known.find((peer) => (key ? peer.key && equalBytes(peer.key, key) : peer.url === origin));
  if (found) return found;
  throw peerUnknown(known);
}

function peerUnknown(known: readonly KnownPeer[]): PennypostError {
  const names = known.slice(0, MAX_NAMED).map(({ url, key }) => (key ? `${toDidKey(key)}@${url}` : url));
  const rest = known.length > MAX_NAMED ? ` and ${known.length - MAX_NAMED} more` : "";
  const there = names.length > 0 ? `there are ${names.join(", ")}${rest}` : "it has none";
  return new PennypostError("peer_unknown", GRPC.notFound, `no such peer of this node: ${there}`);
}

const NOT_KNOWN: LinkState = { key: null, pausedUntilMs: null, ...NO_HISTORY };

/** How the link to a peer stands; nothing is known of one that does not answer, as when D1, which has the keys, is away. */
async function stateOf(env: Env, url: string): Promise<LinkState> {
  try {
    return await linksOf(env).of(url).state();
  } catch (error) {
    if (error instanceof PennypostError) return NOT_KNOWN;
    throw error;
  }
}

/** How keys stand in the network now, as far as this node knows. */
export async function standings(env: Env): Promise<(key: Bytes) => Standing> {
  const set = await recordsOf(env).current();
  const seq = firstSeqOf(platformClock.nowMs());
  return (key) => set.standingAt(key, seq);
}

function conductView({ strikes, lastBreachMs, suspendedUntilMs, breaches }: ConductRecord) {
  return {
    strikes,
    lastBreachMs,
    suspended: suspendedUntilMs > 0,
    suspendedUntilMs: suspendedUntilMs > 0 && suspendedUntilMs !== UNTIL_LIFTED ? suspendedUntilMs : null,
    breaches: Object.fromEntries(breaches),
  };
}

/** All that the node knows of its peers: those it is configured with, and others that broke a rule. */
export async function peerList(env: Env) {
  const peers = await peersOf(env).current();
  const [records, standingOf, states] = await Promise.all([
    nodeStateOf(env).conductRecords(),
    standings(env),
    Promise.all(peers.map(async ({ url, key }) => ({ url, configured: key, ...(await stateOf(env, url)) }))),
  ]);
  const byKey = new Map(records.map((record) => [toHex(record.peer), record]));
  const views = states.map(({ url, configured, key: learnt, ...link }) => {
    const key = configured ?? learnt;
    const record = key ? byKey.get(toHex(key)) : undefined;
    if (record) byKey.delete(toHex(record.peer));
    const standing = key ? standingOf(key) : null;
    return { ...peerView({ url, key }), standing, ...link, conduct: record ? conductView(record) : null };
  });
  const others = [...byKey.values()].map((record) => ({
    ...keyView(record.peer),
    standing: standingOf(record.peer),
    conduct: conductView(record),
  }));
  return { peers: views, others };
}
