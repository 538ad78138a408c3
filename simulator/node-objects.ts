import { Conduct } from "../durable-objects/node-state/conduct.ts";
import type { ConductApi, ConductPort } from "../durable-objects/node-state/conduct-api.ts";
import type { ConductStore } from "../durable-objects/node-state/conduct-store.ts";
import { Evidence } from "../durable-objects/node-state/evidence.ts";
import type { EvidenceApi } from "../durable-objects/node-state/evidence-api.ts";
import type { EvidenceStore } from "../durable-objects/node-state/evidence-store.ts";
import {
  type RecordListener,
  RecordTeller,
  type UntoldStore,
} from "../durable-objects/node-state/record-teller.ts";
import { Records } from "../durable-objects/node-state/records.ts";
import { RememberedConduct } from "../durable-objects/node-state/remembered-conduct.ts";
import type { CursorStore } from "../durable-objects/peer-link/cursor-store.ts";
import { Link } from "../durable-objects/peer-link/link.ts";
import type { LinkApi } from "../durable-objects/peer-link/link-api.ts";
import type { HistoryStore } from "../durable-objects/peer-link/link-history.ts";
import { fixedPeers } from "../durable-objects/peers/peer-source.ts";
import type { RecordApi } from "../durable-objects/records/record-api.ts";
import type { RecordStore } from "../durable-objects/records/record-store.ts";
import { RememberedRecords } from "../durable-objects/records/remembered-records.ts";
import type { SyncApi } from "../durable-objects/sync/sync-api.ts";
import { SyncRoots } from "../durable-objects/sync/sync-roots.ts";
import type { SyncStore } from "../durable-objects/sync/sync-store.ts";
import type { MemorySyncStore } from "../durable-objects/testing/memory-sync-store.ts";
import { Shard } from "../durable-objects/topic-shard/shard.ts";
import type { ShardApi, Shards } from "../durable-objects/topic-shard/shard-api.ts";
import type { Bytes } from "../protocol/bytes.ts";
import type { PeerPath } from "../protocol/peer-messages.ts";
import type { WireRecord } from "../protocol/record.ts";
import { shardOf } from "../protocol/topic.ts";
import { PeerService } from "../workers/peer-api/peer-service.ts";
import { LinkTeller } from "../workers/peer-api/tell-links.ts";
import type { Disk } from "./disk.ts";
import {
  type LinkContents,
  type NodeStateContents,
  type ShardContents,
  shardStorage,
} from "./disk-contents.ts";
import { GuardedStore, type StorageGuard, type Write } from "./guarded-store.ts";
import { type Life, never } from "./life.ts";
import type { Random } from "./random.ts";
import type { SimArchive } from "./sim-archive.ts";
import { type Listener, SimHub } from "./sim-hub.ts";
import type { NodeSettings, NodeWorld } from "./sim-node.ts";
import type { Opened, SimObject } from "./sim-object.ts";
import {
  CONDUCT_METHODS,
  CURSOR_METHODS,
  EVIDENCE_METHODS,
  HISTORY_METHODS,
  RECORD_METHODS,
  SYNC_METHODS,
  UNTOLD_METHODS,
} from "./store-methods.ts";

export type ShardObject = ShardApi & { wake(): Promise<void> };
export type StateApi = ConductApi & EvidenceApi & RecordApi & { tellRecords(): Promise<null> };

/** What a Worker's isolate holds: requests come in here. */
export interface WorkerApi {
  handle(path: PeerPath, body: Bytes, peer: Bytes): Promise<Bytes>;
}

/** The objects of a node, as its others call them. */
export interface NodeObjects {
  readonly shards: readonly SimObject<ShardObject>[];
  readonly sync: SimObject<SyncApi>;
  readonly state: SimObject<StateApi>;
  readonly hub: SimObject<SimHub>;
  readonly sockets: Set<Listener>;
  link(url: string): SimObject<LinkApi>;
}

/** Who calls: a life of an object, or of the worker, which has no disk. */
export interface Caller {
  readonly life: Life;
  readonly object: SimObject<object> | undefined;
}

export interface OpenParts {
  readonly settings: NodeSettings;
  readonly world: NodeWorld;
  readonly random: Random;
  readonly objects: NodeObjects;
  offsetMs(): number;
  guard(life: Life, committed?: (writes: readonly Write[]) => void): StorageGuard;
  durable(life: Life, disk: Disk<unknown>): Promise<void>;
  readonly archive: SimArchive;
  wakeAt(shard: number, timeMs: number, setAlarm: (timeMs: number) => void): void;
  send(caller: Caller, to: string, path: PeerPath, body: Bytes): Promise<Bytes>;
}

/** A shard that is told so at each push leaves the peer alone for so long. */
const PUSH_PAUSE_MS = 5_000;

const clockOf = (parts: OpenParts, life: Life) => life.clock(() => parts.offsetMs());

function shardsSeenBy({ objects }: OpenParts, caller: Caller): Shards {
  const seen = objects.shards.map((shard) => shard.seenBy(caller));
  return { count: seen.length, at: (shard) => seen[shard] as ShardApi };
}

/** No honest node breaks a rule: a breach by one is a fault of one of the two. */
function conductOf(parts: OpenParts, caller: Caller): ConductPort {
  const { world, objects, settings } = parts;
  const remembered = new RememberedConduct(objects.state.seenBy(caller), clockOf(parts, caller.life));
  return {
    suspendedUntil: (peer) => remembered.suspendedUntil(peer),
    breach: (peer, rules) => {
      if (rules.length > 0) world.breached(settings.index, peer, rules);
      return remembered.breach(peer, rules);
    },
  };
}

export function openShard(
  parts: OpenParts,
  shard: number,
  disk: Disk<ShardContents>,
  life: Life,
): Opened<ShardObject> {
  const { settings, world, objects } = parts;
  const guard = parts.guard(life, (writes) => world.committed(settings.index, shard, writes));
  const { store, names, setAlarm } = shardStorage(disk, guard);
  const here = { life, object: objects.shards[shard] };
  const random = parts.random.fork(`random ${shard} ${world.scheduler.steps}`);
  const api = new Shard({
    config: settings.config,
    shard,
    store,
    tier: parts.archive.tier(
      { life, offsetMs: () => parts.offsetMs(), gateMs: () => disk.durableMs },
      settings.hotMs,
    ),
    suite: world.suite,
    clock: clockOf(parts, life),
    random: (bytes) => random.bytes(bytes),
    links: { of: (url) => linkForShard(parts, url, here) },
    peers: fixedPeers(settings.peers),
    hubs: { names, feed: (_, batch) => objects.hub.seenBy(here).feed(batch) },
    roots: objects.sync.seenBy(here),
    evidence: objects.state.seenBy(here),
    sync: () => parts.durable(life, disk),
    wakeAt: async (timeMs) => {
      life.check();
      parts.wakeAt(shard, timeMs, setAlarm);
    },
  });
  return { api, start: () => api.start() };
}

/** Where pushes are not to work, a shard is told at each that the peer is left alone for a while. */
function linkForShard({ objects, world, offsetMs }: OpenParts, url: string, here: Caller): LinkApi {
  const link = objects.link(url).seenBy(here);
  if (world.hasPush()) return link;
  const push = async () => world.scheduler.nowMs + offsetMs() + PUSH_PAUSE_MS;
  return new Proxy(link, { get: (target, name) => (name === "push" ? push : Reflect.get(target, name)) });
}

export function openSync(parts: OpenParts, disk: Disk<MemorySyncStore>, life: Life): Opened<SyncApi> {
  const shards = shardsSeenBy(parts, { life, object: parts.objects.sync });
  const store = new GuardedStore(disk, parts.guard(life)).view<SyncStore>((state) => state, SYNC_METHODS);
  const api = new SyncRoots({
    suite: parts.world.suite,
    clock: clockOf(parts, life),
    store,
    shardCount: shards.count,
    handOver: (shard, asOf) => shards.at(shard).handOver(asOf),
    scrub: (shard) => shards.at(shard).scrub(),
  });
  return { api };
}

export function openLink(
  parts: OpenParts,
  url: string,
  disk: Disk<LinkContents>,
  life: Life,
): Opened<LinkApi> {
  const { settings, world, objects } = parts;
  const here = { life, object: objects.link(url) };
  const key = settings.peers.find((peer) => peer.url === url)?.key as Bytes;
  const guarded = new GuardedStore(disk, parts.guard(life));
  const api = new Link({
    url,
    clock: clockOf(parts, life),
    suite: world.suite,
    shards: shardsSeenBy(parts, here),
    sync: objects.sync.seenBy(here),
    records: objects.state.seenBy(here),
    cursors: guarded.view<CursorStore>((state) => state.cursors, CURSOR_METHODS),
    history: guarded.view<HistoryStore>((state) => state.history, HISTORY_METHODS),
    conduct: conductOf(parts, here),
    knownKey: async () => key,
    resolve: async () => ({ url, key }),
    call: (peer, path, body) => (life.isOver ? never() : parts.send(here, peer.url, path, body)),
  });
  return { api };
}

export function openState(parts: OpenParts, disk: Disk<NodeStateContents>, life: Life): Opened<StateApi> {
  const guarded = new GuardedStore(disk, parts.guard(life));
  const conduct = new Conduct({
    clock: clockOf(parts, life),
    store: guarded.view<ConductStore>((state) => state.conduct, CONDUCT_METHODS),
  });
  const evidence = new Evidence(guarded.view<EvidenceStore>((state) => state.evidence, EVIDENCE_METHODS));
  const { records, teller } = openRecords(parts, guarded, life);
  const api: StateApi = {
    breach: (peer, rules) => conduct.breach(peer, rules),
    suspendedUntil: (peer) => conduct.suspendedUntil(peer),
    conductRecords: () => conduct.conductRecords(),
    suspend: (peer) => conduct.suspend(peer),
    resume: (peer) => conduct.resume(peer),
    keepProofs: (proofs) => evidence.keepProofs(proofs),
    proofs: (origin, after, limit) => evidence.proofs(origin, after, limit),
    recordsUnlike: (digest) => records.recordsUnlike(digest),
    takeRecords: (taken) => records.takeRecords(taken),
    compareRecords: (question) => records.compareRecords(question),
    tellRecords: async () => {
      await teller.tellUntold();
      return null;
    },
  };
  return { api };
}

function openRecords(parts: OpenParts, guarded: GuardedStore<NodeStateContents>, life: Life) {
  const { settings, world } = parts;
  const whole = guarded.view<{ transaction<T>(work: () => T): T }>((state) => state, {
    reads: [],
    writes: {},
  });
  const teller = new RecordTeller({
    store: guarded.view<UntoldStore>((state) => state.untold, UNTOLD_METHODS),
    clock: clockOf(parts, life),
    listeners: () => recordListeners(parts, { life, object: parts.objects.state }),
    records: () => records.set,
  });
  const records: Records = new Records({
    store: guarded.view<RecordStore>((state) => state.records, RECORD_METHODS),
    network: settings.config.network,
    suite: world.suite,
    clock: clockOf(parts, life),
    transaction: (work) => whole.transaction(work),
    changed: () => teller.changed(),
    committed: () => void teller.tellUntold(),
  });
  return { records, teller };
}

function recordListeners({ objects }: OpenParts, here: Caller): RecordListener[] {
  const shards = objects.shards.map((shard, number) => ({
    name: `shard-${number}`,
    tell: (records: readonly WireRecord[]) => shard.seenBy(here).addRecords(records),
  }));
  return [{ name: "sync", tell: (_, digest) => objects.sync.seenBy(here).recordsChanged(digest) }, ...shards];
}

export function openHub(parts: OpenParts, life: Life): Opened<SimHub> {
  const { shardCount } = parts.settings.config;
  const shards = shardsSeenBy(parts, { life, object: undefined });
  const api = new SimHub({
    shards,
    random: parts.random.fork("hub"),
    sockets: parts.objects.sockets,
    shardOf: (topicKey) => shardOf(topicKey, shardCount),
  });
  return { api };
}

export function openWorker(parts: OpenParts, life: Life): Opened<WorkerApi> {
  const { settings, world, objects } = parts;
  const here = { life, object: undefined };
  const links = { of: (url: string) => objects.link(url).seenBy(here) };
  const teller = new LinkTeller({ peers: fixedPeers(settings.peers), clock: clockOf(parts, life), links });
  const api = new PeerService({
    config: settings.config,
    shards: shardsSeenBy(parts, here),
    sync: objects.sync.seenBy(here),
    suite: world.suite,
    conduct: conductOf(parts, here),
    records: objects.state.seenBy(here),
    members: new RememberedRecords({
      records: objects.state.seenBy(here),
      network: settings.config.network,
      suite: world.suite,
      clock: clockOf(parts, life),
    }),
    heard: (peer, hasNews) => void teller.heard(peer, hasNews),
  });
  return { api };
}
