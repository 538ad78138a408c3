import { utf8 } from "../protocol/bytes.ts";
import type { WireRecord } from "../protocol/record.ts";
import { platformClock } from "./clock.ts";
import type { Env } from "./env.ts";
import type { IssuerApi } from "./issuer/issuer-key-store.ts";
import type { LimiterApi, Subject } from "./limiter/limiter-api.ts";
import { nodeConfig } from "./node-config.ts";
import type { ConductApi } from "./node-state/conduct-api.ts";
import type { EvidenceApi } from "./node-state/evidence-api.ts";
import type { RecordListener } from "./node-state/record-teller.ts";
import { RememberedConduct } from "./node-state/remembered-conduct.ts";
import { outcomeOf } from "./outcome.ts";
import type { LinkApi } from "./peer-link/link-api.ts";
import { PeerBook } from "./peers/peer-book.ts";
import type { PeerListApi } from "./peers/peer-list-api.ts";
import { perEnv } from "./per-env.ts";
import { suite } from "./platform-suite.ts";
import type { RecordApi } from "./records/record-api.ts";
import { RememberedRecords } from "./records/remembered-records.ts";
import type { SpentApi } from "./spent/spent-api.ts";
import type { SyncApi } from "./sync/sync-api.ts";
import type { ShardApi, Shards } from "./topic-shard/shard-api.ts";

/** Hubs of a node; a subscription is put into one of them at random. */
export const HUBS = 4;
/** Objects among which budgets are shared out. */
const LIMITERS = 8;

export const shardStub = (env: Env, shard: number) =>
  env.TOPIC_SHARD.get(env.TOPIC_SHARD.idFromName(`shard-${shard}`));
export const hubStub = (env: Env, hub: number) => env.HUB.get(env.HUB.idFromName(`hub-${hub}`));
export const syncStub = (env: Env) => env.SYNC.get(env.SYNC.idFromName("sync"));
const limiterStub = (env: Env, limiter: number) =>
  env.LIMITER.get(env.LIMITER.idFromName(`limiter-${limiter}`));
export const nodeStateStub = (env: Env) => env.NODE_STATE.get(env.NODE_STATE.idFromName("node"));
const peerLinkStub = (env: Env, url: string) => env.PEER_LINK.get(env.PEER_LINK.idFromName(url));

/** The node's shards, each behind its Durable Object. @throws PennypostError `misconfigured`. */
export function shardsOf(env: Env): Shards {
  return { count: nodeConfig(env).shardCount, at: (shard) => shardAt(env, shard) };
}

/** A stub for each call: one that met an exception of the platform is broken for good. */
function shardAt(env: Env, shard: number): ShardApi {
  const stub = () => shardStub(env, shard);
  return {
    publish: (envelopes) => outcomeOf("shard", stub().publish(envelopes)),
    ingest: (events, peer, previous) => outcomeOf("shard", stub().ingest(events, peer, previous)),
    relay: (events) => outcomeOf("shard", stub().relay(events)),
    query: (query) => outcomeOf("shard", stub().query(query)),
    eventsByTime: (query) => outcomeOf("shard", stub().eventsByTime(query)),
    eventsByCause: (topic, topicKey, afterId, limit) =>
      outcomeOf("shard", stub().eventsByCause(topic, topicKey, afterId, limit)),
    event: (blockDigest) => outcomeOf("shard", stub().event(blockDigest)),
    heads: (topic, topicKey) => outcomeOf("shard", stub().heads(topic, topicKey)),
    pull: (cursor, limit) => outcomeOf("shard", stub().pull(cursor, limit)),
    lacking: (names) => outcomeOf("shard", stub().lacking(names)),
    want: (want, maxBytes) => outcomeOf("shard", stub().want(want, maxBytes)),
    attachHub: (name) => outcomeOf("shard", stub().attachHub(name)),
    deliveredAfter: (position, topicKeys) => outcomeOf("shard", stub().deliveredAfter(position, topicKeys)),
    checkClock: () => outcomeOf("shard", stub().checkClock()),
    addRecords: (records) => outcomeOf("shard", stub().addRecords(records)),
    newestOf: (origin) => outcomeOf("shard", stub().newestOf(origin)),
    maintain: () => outcomeOf("shard", stub().maintain()),
    adopt: (foreign, options) => outcomeOf("shard", stub().adopt(foreign, options)),
    listSegments: (after, limit) => outcomeOf("shard", stub().listSegments(after, limit)),
    readSegmentFile: (question) => outcomeOf("shard", stub().readSegmentFile(question)),
    listHot: (after, limit) => outcomeOf("shard", stub().listHot(after, limit)),
    countWithin: (span, limit) => outcomeOf("shard", stub().countWithin(span, limit)),
    keepLarge: (message) => outcomeOf("shard", stub().keepLarge(message)),
    handOver: (asOf) => outcomeOf("shard", stub().handOver(asOf)),
    scrub: () => outcomeOf("shard", stub().scrub()),
    listBuckets: (targets, asOf, form) => outcomeOf("shard", stub().listBuckets(targets, asOf, form)),
    listSlotHashes: (target, groups, asOf) => outcomeOf("shard", stub().listSlotHashes(target, groups, asOf)),
    listDifferingSlots: (part, asOf, limit) =>
      outcomeOf("shard", stub().listDifferingSlots(part, asOf, limit)),
    listIdsOfSlot: (target, slot, span) => outcomeOf("shard", stub().listIdsOfSlot(target, slot, span)),
    listNames: (target, asOf, after) => outcomeOf("shard", stub().listNames(target, asOf, after)),
    listRange: (question) => outcomeOf("shard", stub().listRange(question)),
    bySymbols: (symbols) => outcomeOf("shard", stub().bySymbols(symbols)),
  };
}

/** The node's links, each behind its Durable Object. */
export function linksOf(env: Env): { of(url: string): LinkApi } {
  return {
    of(url) {
      const stub = () => peerLinkStub(env, url);
      return {
        push: (run, ephemeral) => outcomeOf("peer link", stub().push(url, run, ephemeral)),
        want: (want) => outcomeOf("peer link", stub().want(url, want)),
        refused: (rules) => outcomeOf("peer link", stub().refused(url, rules)),
        pull: () => outcomeOf("peer link", stub().pull(url)),
        sync: () => outcomeOf("peer link", stub().sync(url)),
        round: () => outcomeOf("peer link", stub().round(url)),
        heard: (key, hasNews) => outcomeOf("peer link", stub().heard(url, key, hasNews)),
        state: () => outcomeOf("peer link", stub().state(url)),
      };
    },
  };
}

/** The node's roots, in their Durable Object. */
export function syncOf(env: Env): SyncApi {
  const stub = () => syncStub(env);
  return {
    changed: (shard, dueAsOf) => outcomeOf("sync", stub().changed(shard, dueAsOf)),
    recordsChanged: (digest) => outcomeOf("sync", stub().recordsChanged(digest)),
    state: () => outcomeOf("sync", stub().state()),
    compare: (question) => outcomeOf("sync", stub().compare(question)),
    cells: (question) => outcomeOf("sync", stub().cells(question)),
    differing: (question) => outcomeOf("sync", stub().differing(question)),
    range: (asOf) => outcomeOf("sync", stub().range(asOf)),
    roots: (asOf) => outcomeOf("sync", stub().roots(asOf)),
    scrubNext: () => outcomeOf("sync", stub().scrubNext()),
  };
}

/** What peers did that broke rules, and the proofs against origins, in the node's Durable Object. */
export function nodeStateOf(env: Env): ConductApi & EvidenceApi & RecordApi & IssuerApi & PeerListApi {
  const stub = () => nodeStateStub(env);
  return {
    breach: (peer, rules) => outcomeOf("node state", stub().breach(peer, rules)),
    suspendedUntil: (peer) => outcomeOf("node state", stub().suspendedUntil(peer)),
    conductRecords: () => outcomeOf("node state", stub().conductRecords()),
    suspend: (peer) => outcomeOf("node state", stub().suspend(peer)),
    resume: (peer) => outcomeOf("node state", stub().resume(peer)),
    keepProofs: (proofs) => outcomeOf("node state", stub().keepProofs(proofs)),
    stampKeys: (host) => outcomeOf("node state", stub().stampKeys(host)),
    prepareStampKey: (host) => outcomeOf("node state", stub().prepareStampKey(host)),
    batchSold: (keyId, wallet) => outcomeOf("node state", stub().batchSold(keyId, wallet)),
    sales: () => outcomeOf("node state", stub().sales()),
    recordsUnlike: (digest) => outcomeOf("node state", stub().recordsUnlike(digest)),
    takeRecords: (records) => outcomeOf("node state", stub().takeRecords(records)),
    compareRecords: (question) => outcomeOf("node state", stub().compareRecords(question)),
    joinedPeers: () => outcomeOf("node state", stub().joinedPeers()),
    addPeer: (url, key) => outcomeOf("node state", stub().addPeer(url, key)),
    succeedPeer: (old, next) => outcomeOf("node state", stub().succeedPeer(old, next)),
    forgetPeer: (key) => outcomeOf("node state", stub().forgetPeer(key)),
    invite: (digest, expiresMs) => outcomeOf("node state", stub().invite(digest, expiresMs)),
    revokeInvitations: () => outcomeOf("node state", stub().revokeInvitations()),
    checkInvitation: (digest, key) => outcomeOf("node state", stub().checkInvitation(digest, key)),
    claimInvitation: (digest, key) => outcomeOf("node state", stub().claimInvitation(digest, key)),
    proofs: (origin, after, limit) => outcomeOf("node state", stub().proofs(origin, after, limit)),
  };
}

/** The object that has a subject's budget, and what the operator's lists say of it. */
export function limiterOf(env: Env, { kind, id }: Subject): LimiterApi {
  const [first = 0] = suite.sha256(utf8(`${kind} ${id}`));
  const stub = () => limiterStub(env, first % LIMITERS);
  return {
    lease: (subject, wanted, returned) => outcomeOf("limiter", stub().lease(subject, wanted, returned)),
    setStanding: (wallet, standing) => outcomeOf("limiter", stub().setStanding(wallet, standing)),
    standingOf: (wallet) => outcomeOf("limiter", stub().standingOf(wallet)),
  };
}

/** The object that knows whether stamps of a share are spent: see `shareOf`. */
export function spentOf(env: Env, share: string): SpentApi {
  const stub = () => env.SPENT.get(env.SPENT.idFromName(`spent-${share}`));
  return {
    spend: (stamps, endMs) => outcomeOf("spent stamps", stub().spend(stamps, endMs)),
    stored: (stamps) => outcomeOf("spent stamps", stub().stored(stamps)),
  };
}

/** Who judges by records or compares them. */
export function recordListenersOf(env: Env): RecordListener[] {
  const { count, at } = shardsOf(env);
  const shards = Array.from({ length: count }, (_, shard) => ({
    name: `shard-${shard}`,
    tell: (records: readonly WireRecord[]) => at(shard).addRecords(records),
  }));
  return [{ name: "sync", tell: (_, digest) => syncOf(env).recordsChanged(digest) }, ...shards];
}

/** The network's records, a few seconds old at most. @throws PennypostError `misconfigured`. */
export const recordsOf = perEnv((env) => {
  const { network } = nodeConfig(env);
  return new RememberedRecords({ records: nodeStateOf(env), network, suite, clock: platformClock });
});

/** Remembers who the node's peers are. @throws PennypostError `misconfigured`. */
export const peersOf = perEnv((env) => {
  const { peers: configured } = nodeConfig(env);
  return new PeerBook({ configured, list: nodeStateOf(env), clock: platformClock });
});

/** Remembers who is suspended. */
export const conductOf = perEnv((env) => new RememberedConduct(nodeStateOf(env), platformClock));
