import type { Clock } from "../../durable-objects/clock.ts";
import { Conduct } from "../../durable-objects/node-state/conduct.ts";
import { Evidence } from "../../durable-objects/node-state/evidence.ts";
import { type RecordListener, RecordTeller } from "../../durable-objects/node-state/record-teller.ts";
import { Records } from "../../durable-objects/node-state/records.ts";
import { RememberedConduct } from "../../durable-objects/node-state/remembered-conduct.ts";
import { Link } from "../../durable-objects/peer-link/link.ts";
import { fixedPeers } from "../../durable-objects/peers/peer-source.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { RememberedRecords } from "../../durable-objects/records/remembered-records.ts";
import { SyncRoots } from "../../durable-objects/sync/sync-roots.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryConductStore } from "../../durable-objects/testing/memory-conduct-store.ts";
import { MemoryCursorStore } from "../../durable-objects/testing/memory-cursor-store.ts";
import { MemoryEvidenceStore } from "../../durable-objects/testing/memory-evidence-store.ts";
import { MemoryHistoryStore } from "../../durable-objects/testing/memory-history-store.ts";
import { MemoryHubNames } from "../../durable-objects/testing/memory-hub-names.ts";
import { MemoryRecordStore } from "../../durable-objects/testing/memory-record-store.ts";
import { MemoryShardStore } from "../../durable-objects/testing/memory-shard-store.ts";
import { MemorySyncStore } from "../../durable-objects/testing/memory-sync-store.ts";
import { type MemoryTier, memoryTier } from "../../durable-objects/testing/memory-tier.ts";
import { MemoryUntoldStore } from "../../durable-objects/testing/memory-untold-store.ts";
import {
  envelopeOf,
  START_MS,
  network as shardWorldNetwork,
  signers,
  TOPICS,
} from "../../durable-objects/testing/shard-world.ts";
import { Shard } from "../../durable-objects/topic-shard/shard.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { Network } from "../../protocol/genesis.ts";
import type { WireRecord } from "../../protocol/record.ts";
import { PeerService } from "../peer-api/peer-service.ts";
import { LinkTeller } from "../peer-api/tell-links.ts";

/** Whole nodes without a platform: shards, roots, links and the peer API, joined by nothing but their ports. */

const reallyWait = setTimeout;
export const settle = () => new Promise<void>((resolve) => reallyWait(resolve, 0));

export class World {
  readonly clock = new ManualClock(START_MS);
  readonly nodes = new Map<string, MemoryNode>();
  /** Each request that was sent, whether it arrived or not. */
  readonly log: string[] = [];
  isCut = false;
  /** Nodes that nobody reaches, and that reach nobody. */
  readonly away = new Set<MemoryNode>();

  async send(from: MemoryNode, to: string, path: Parameters<PeerService["handle"]>[0], body: Bytes) {
    this.log.push(`${this.clock.nowMs() - START_MS} ${from.url} ${to}${path} ${toHex(suite.sha256(body))}`);
    const node = this.nodes.get(to);
    if (!node || this.isCut || this.away.has(node) || this.away.has(from))
      throw unavailable("peer_unreachable", `${to} does not answer`);
    return node.service.handle(path, body, from.signer.publicKey);
  }

  /** Lets time pass, with all that was to happen in it. */
  async pass(ms: number): Promise<void> {
    const endMs = this.clock.nowMs() + ms;
    await settle();
    while (this.clock.step(endMs)) await settle();
  }
}

export interface NodeOptions {
  readonly shardCount: number;
  readonly network?: Network;
  readonly smallBucketEvents?: number;
  readonly manyLacking?: number;
  /** How long events stay hot; for ever by default. */
  readonly hotMs?: number;
  /** How far the node's clock is ahead of the world's; negative when behind. */
  readonly skewMs?: number;
}

/** A clock that is always so far ahead of another. */
const skewed = (clock: Clock, skewMs: number): Clock => ({
  nowMs: () => clock.nowMs() + skewMs,
  after: (delayMs, work) => clock.after(delayMs, work),
});

export class MemoryNode {
  readonly url: string;
  readonly signer: Signer;
  readonly service: PeerService;
  readonly clock: Clock;
  readonly tier: MemoryTier;
  readonly shards: Shard[];
  readonly links = new Map<string, Link>();
  readonly stores: MemoryShardStore[];
  readonly sync: SyncRoots;
  readonly conduct: Conduct;
  readonly evidence = new Evidence(new MemoryEvidenceStore());
  readonly records: Records;
  readonly members: RememberedRecords;
  /** How often a shard was asked for its roots. */
  handOvers = 0;

  constructor(world: World, name: number, peers: readonly number[], options: NodeOptions) {
    const clock = skewed(world.clock, options.skewMs ?? 0);
    this.clock = clock;
    const { shardCount, network = shardWorldNetwork, smallBucketEvents, manyLacking } = options;
    this.url = urlOf(name);
    this.signer = signers[name] as Signer;
    this.conduct = new Conduct({ clock, store: new MemoryConductStore() });
    const conduct = new RememberedConduct(this.conduct, clock);
    world.nodes.set(this.url, this);
    const keyOfPeer = (peer: number) => (signers[peer] as Signer).publicKey;
    const addresses = peers.map((peer) => ({ url: urlOf(peer), key: keyOfPeer(peer) }));
    const config = { signer: this.signer, network, shardCount };
    const known = fixedPeers(addresses);
    const shards = { count: shardCount, at: (shard: number) => this.shards[shard] as Shard };
    const links = { of: (url: string) => this.links.get(url) as Link };
    this.tier = { ...memoryTier(clock), hotMs: options.hotMs ?? null };
    this.stores = Array.from({ length: shardCount }, () => new MemoryShardStore());
    this.sync = new SyncRoots({
      suite,
      clock,
      store: new MemorySyncStore(),
      shardCount,
      handOver: (shard, asOf) => {
        this.handOvers++;
        return shards.at(shard).handOver(asOf);
      },
      scrub: (shard) => shards.at(shard).scrub(),
    });
    const teller = new RecordTeller({
      store: new MemoryUntoldStore(),
      clock,
      listeners: () => this.#recordListeners(),
      records: () => this.records.set,
    });
    this.records = new Records({
      store: new MemoryRecordStore(),
      network,
      suite,
      clock,
      transaction: (work) => work(),
      changed: () => teller.changed(),
      committed: () => void teller.tellUntold(),
    });
    this.members = new RememberedRecords({ records: this.records, network, suite, clock });
    for (const { url, key } of addresses) {
      const link = new Link({
        url,
        clock,
        suite,
        shards,
        sync: this.sync,
        records: this.records,
        cursors: new MemoryCursorStore(),
        history: new MemoryHistoryStore(),
        conduct,
        ...(manyLacking === undefined ? {} : { manyLacking }),
        knownKey: async () => key,
        resolve: async () => ({ url, key }),
        call: (peer, path, body) => world.send(this, peer.url, path, body),
      });
      this.links.set(url, link);
    }
    this.shards = Array.from({ length: shardCount }, (_, shard) => {
      const started: Shard = new Shard({
        config,
        shard,
        random: (bytes) => new Uint8Array(bytes).fill(100 + name),
        store: this.stores[shard] as MemoryShardStore,
        tier: this.tier,
        suite,
        roots: this.sync,
        evidence: this.evidence,
        ...(smallBucketEvents === undefined ? {} : { smallBucketEvents }),
        clock,
        links,
        peers: known,
        hubs: {
          names: new MemoryHubNames(),
          feed: async (_, { to }) => ({ position: to, isListening: true }),
        },
        sync: async () => {},
        wakeAt: async (timeMs) => {
          clock.after(timeMs - clock.nowMs(), () => void started.wake());
        },
      });
      return started;
    });
    const linkTeller = new LinkTeller({ peers: known, clock, links });
    this.service = new PeerService({
      config,
      shards,
      sync: this.sync,
      suite,
      conduct,
      records: this.records,
      members: this.members,
      heard: (peer, hasNews) => void linkTeller.heard(peer, hasNews),
    });
  }

  #recordListeners(): RecordListener[] {
    const shards = this.shards.map((shard, number) => ({
      name: `shard-${number}`,
      tell: (records: readonly WireRecord[]) => shard.addRecords(records),
    }));
    return [{ name: "sync", tell: (_, digest) => this.sync.recordsChanged(digest) }, ...shards];
  }

  async publish(...messages: string[]): Promise<void> {
    const envelopes = messages.map((message, i) => envelopeOf(TOPICS[i % 3] ?? "", 1, message));
    for (const [shard, group] of groupByShard(envelopes, this.shards.length))
      await this.shards[shard]?.publish(group);
  }

  async ids(): Promise<string[]> {
    const shares = await Promise.all(this.shards.map((shard) => shard.pull(null, 1_000_000)));
    return shares.flatMap(({ names }) => names.map(({ id }) => toHex(id))).sort();
  }
}

export const urlOf = (name: number) => `node-${name}`;
