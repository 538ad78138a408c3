import { Link } from "../durable-objects/peer-link/link.ts";
import type { LinkApi } from "../durable-objects/peer-link/link-api.ts";
import type { SyncApi } from "../durable-objects/sync/sync-api.ts";
import { SyncRoots } from "../durable-objects/sync/sync-roots.ts";
import type { StoredHandOver, SyncStore } from "../durable-objects/sync/sync-store.ts";
import { MemoryCursorStore } from "../durable-objects/testing/memory-cursor-store.ts";
import { MemorySyncStore } from "../durable-objects/testing/memory-sync-store.ts";
import type { CursorStore } from "../durable-objects/peer-link/cursor-store.ts";
import { Shard } from "../durable-objects/topic-shard/shard.ts";
import type { ShardApi, Shards } from "../durable-objects/topic-shard/shard-api.ts";
import type { NodeIdentity } from "../durable-objects/node-identity.ts";
import type { Bytes } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import type { PeerPath } from "../protocol/peer-messages.ts";
import { shardOf } from "../protocol/topic.ts";
import { PeerService } from "../workers/peer-api/peer-service.ts";
import { LinkTeller } from "../workers/peer-api/tell-links.ts";
import { Disk } from "./disk.ts";
import { GuardedStore, type StorageGuard, type Write } from "./guarded-store.ts";
import { isOfDeadLife, type Life, never } from "./life.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { ShardState, shardStorage } from "./shard-disk.ts";
import { SimAlarm } from "./sim-alarm.ts";
import { SimHub } from "./sim-hub.ts";
import { type Opened, SimObject, type Surroundings } from "./sim-object.ts";
import { StorageFaults } from "./storage-faults.ts";

/** What a node asks of the simulation. */
export interface NodeWorld {
  readonly scheduler: Scheduler;
  readonly suite: CryptoSuite;
  hasPush(): boolean;
  send(from: SimNode, to: string, path: PeerPath, body: Bytes): Promise<Bytes>;
  struck(fault: string): void;
  violated(invariant: string, what: string): void;
  committed(node: SimNode, shard: number, writes: readonly Write[]): void;
}

export interface NodeSettings {
  readonly index: number;
  readonly url: string;
  readonly config: NodeIdentity;
  readonly offsetMs: number;
  readonly smallBucketEvents: number;
  readonly hasScrubs: boolean;
}

/** What a Worker's isolate holds: requests come in here. */
export interface WorkerApi {
  handle(path: PeerPath, body: Bytes, peer: Bytes): Promise<Bytes>;
}

const PUSH_PAUSE_MS = 5_000;
const CLOCK_SPAN_MS = 1_000;

const SYNC_METHODS = {
  reads: ["dueAsOfs", "handOvers", "scrubbedMs", "summary"],
  writes: {
    saveDueAsOf: null,
    saveHandOver: ({ shard }: StoredHandOver) => shard,
    saveScrubbedMs: null,
    saveSummary: () => "",
  },
};

/** One node: the production objects, each with a disk and lives of its own, joined by calls through the scheduler. */
export class SimNode {
  readonly settings: NodeSettings;
  readonly world: NodeWorld;
  readonly faults: StorageFaults;
  readonly shards: SimObject<ShardApi & { wake(): Promise<void> }>[];
  readonly disks: Disk<ShardState>[];
  readonly alarms: SimAlarm[];
  readonly sync: SimObject<SyncApi>;
  readonly links = new Map<string, SimObject<LinkApi>>();
  readonly hub: SimObject<SimHub>;
  readonly worker: SimObject<WorkerApi>;
  readonly #random: Random;
  readonly #around: Surroundings;
  #offsetMs: number;
  #offsetBeforeMs = 0;
  #jumpedMs = Number.NEGATIVE_INFINITY;
  #isUp = true;
  #epoch = 0;

  constructor(settings: NodeSettings, world: NodeWorld, random: Random) {
    this.settings = settings;
    this.world = world;
    this.#random = random;
    this.#offsetMs = settings.offsetMs;
    this.faults = new StorageFaults((fault) => world.struck(fault));
    this.#around = {
      scheduler: world.scheduler,
      random: random.fork("ways"),
      isUp: () => this.#isUp,
      epoch: () => this.#epoch,
      faulted: (where, error) => {
        if (!String(error).includes("(injected)")) world.violated("no fault", `${this.name} ${where}: ${error}`);
      },
    };
    const { shardCount, peers } = settings.config;
    const numbers = Array.from({ length: shardCount }, (_, shard) => shard);
    this.disks = numbers.map((shard) => {
      const generation = random.fork(`generation ${shard}`).bytes(8);
      return this.#disk(`shard-${shard}`, () => new ShardState(generation));
    });
    this.shards = numbers.map((shard) => this.#shard(shard));
    this.alarms = numbers.map((shard) => this.#alarm(shard));
    this.sync = this.#sync();
    for (const { url } of peers) this.links.set(url, this.#link(url));
    this.hub = this.#object("hub-0", (life) => ({
      api: new SimHub(this.#shardsSeenBy(life, undefined), random.fork("hub"), (key) => shardOf(key, shardCount)),
    }));
    this.worker = this.#object("worker", (life) => this.#openWorker(life));
  }

  get name(): string {
    return `n${this.settings.index}`;
  }

  get url(): string {
    return this.settings.url;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  get nowMs(): number {
    return this.world.scheduler.nowMs + this.#offsetMs;
  }

  /** What the clock has shown within the last second: what is judged by it may be stored a moment later. */
  get clockSpan(): { readonly leastMs: number; readonly mostMs: number } {
    const isRecent = this.world.scheduler.nowMs - this.#jumpedMs <= CLOCK_SPAN_MS;
    const before = isRecent ? this.#offsetBeforeMs : this.#offsetMs;
    const { nowMs } = this.world.scheduler;
    return {
      leastMs: nowMs - CLOCK_SPAN_MS + Math.min(before, this.#offsetMs),
      mostMs: nowMs + Math.max(before, this.#offsetMs),
    };
  }

  /** Sets the node's clock so far ahead of the true time. */
  setClock(offsetMs: number): void {
    this.#offsetBeforeMs = this.#offsetMs;
    this.#jumpedMs = this.world.scheduler.nowMs;
    this.#offsetMs = offsetMs;
    for (const alarm of this.alarms) alarm.arm();
  }

  get #objects(): SimObject<object>[] {
    return [...this.shards, this.sync, ...this.links.values(), this.hub, this.worker];
  }

  object(name: string): SimObject<object> | undefined {
    return this.#objects.find((each) => each.name === `${this.name}/${name}`);
  }

  /** Ends all lives at once. */
  crash(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#epoch++;
    for (const alarm of this.alarms) alarm.stop();
    for (const object of this.#objects) this.#crashed(object.crash());
  }

  #crashed(lost: number): void {
    if (lost > 0) this.world.struck("commits lost");
  }

  /** Ends the life of one object; the next call begins another. */
  crashObject(name: string): void {
    const object = this.object(name);
    if (!object?.life) return;
    this.#crashed(object.crash());
    const shard = this.shards.findIndex((each) => each === object);
    this.alarms[shard]?.stop();
    this.alarms[shard]?.arm();
  }

  restart(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    // Objects open when they are called; shards that have something to deliver are woken by their alarms.
    for (const alarm of this.alarms) alarm.arm();
  }

  /** The state of all disks, to which the node can be brought back. */
  snapshot(): number {
    return Math.max(...this.#disks.map((disk) => disk.snapshot()));
  }

  /** Brings the disks of a node that is down back to an older state. */
  restore(snapshot: number): void {
    for (const disk of this.#disks) disk.restore(snapshot);
  }

  get #disks(): Disk<unknown>[] {
    return this.#objects.flatMap(({ disk }) => disk ?? []);
  }

  #disk<State>(name: string, make: () => State): Disk<State> {
    return new Disk(make, this.world.scheduler, this.#random.fork(`disk ${name}`));
  }

  #object<T extends object>(name: string, open: (life: Life) => Opened<T>, disk?: Disk<never>): SimObject<T> {
    return new SimObject(`${this.name}/${name}`, this.#around, open, disk as Disk<unknown> | undefined);
  }

  #guard(life: Life, committed?: (writes: readonly Write[]) => void): StorageGuard {
    return {
      check: () => life.check(),
      step: (point) => this.faults.step(life.name, point),
      ...(committed ? { committed } : {}),
    };
  }

  #shardsSeenBy(life: Life, object: SimObject<object> | undefined): Shards {
    const seen = this.shards.map((shard) => shard.seenBy({ life, object }));
    return { count: seen.length, at: (shard) => seen[shard] as ShardApi };
  }

  #shard(shard: number): SimObject<ShardApi & { wake(): Promise<void> }> {
    const { suite } = this.world;
    const disk = this.disks[shard] as Disk<ShardState>;
    const object: SimObject<ShardApi & { wake(): Promise<void> }> = this.#object(
      `shard-${shard}`,
      (life) => {
        const guard = this.#guard(life, (writes) => this.world.committed(this, shard, writes));
        const { store, names, setAlarm } = shardStorage(disk, guard);
        const here = { life, object };
        const random = this.#random.fork(`random ${shard} ${this.#epoch} ${disk.commits}`);
        const api = new Shard({
          config: this.settings.config,
          shard,
          store,
          suite,
          smallBucketEvents: this.settings.smallBucketEvents,
          clock: life.clock(() => this.#offsetMs),
          random: (bytes) => random.bytes(bytes),
          links: { of: (url) => this.#linkForShard(url, here) },
          hubs: { names, feed: (_, batch) => this.hub.seenBy(here).feed(batch) },
          roots: this.sync.seenBy(here),
          sync: () => this.#durable(life, disk),
          wakeAt: async (timeMs) => {
            life.check();
            const alarm = this.alarms[shard];
            if (!alarm?.wants(timeMs)) return;
            setAlarm(timeMs);
            alarm.arm();
          },
        });
        return { api, start: () => api.start() };
      },
      disk as Disk<never>,
    );
    return object;
  }

  /** Resolves when all that is committed now is durable, if the life lasts so long. */
  #durable(life: Life, disk: Disk<unknown>): Promise<void> {
    const { durableMs } = disk;
    if (life.isOver) return never();
    return new Promise((resolve) => {
      this.world.scheduler.at(durableMs, `durable ${life.name}`, () =>
        life.run(() => {
          this.faults.step(life.name, "durable");
          resolve();
        }),
      );
    });
  }

  #alarm(shard: number): SimAlarm {
    const disk = this.disks[shard] as Disk<ShardState>;
    const write = (timeMs: number | null) => {
      disk.state.setAlarm(timeMs);
      disk.commit([{ apply: (state) => state.setAlarm(timeMs) }]);
    };
    return new SimAlarm({
      name: `${this.name}/shard-${shard}`,
      scheduler: this.world.scheduler,
      isUp: () => this.#isUp,
      offsetMs: () => this.#offsetMs,
      setFor: () => disk.state.alarmMs,
      clear: () => write(null),
      ring: () => this.called((platform) => (this.shards[shard] as SimObject<{ wake(): Promise<void> }>).seenBy(platform).wake()),
    });
  }

  /** A call from outside of the objects: by the platform, or by a client. */
  called<T>(work: (caller: { readonly life: Life; readonly object: undefined }) => Promise<T>): Promise<T> {
    if (!this.#isUp) return never();
    return work({ life: this.worker.running.life, object: undefined });
  }

  #sync(): SimObject<SyncApi> {
    const disk = this.#disk("sync", () => new MemorySyncStore());
    const object: SimObject<SyncApi> = this.#object(
      "sync",
      (life) => {
        const shards = this.#shardsSeenBy(life, object);
        const store = new GuardedStore(disk, this.#guard(life)).view<SyncStore>((state) => state, SYNC_METHODS);
        const api = new SyncRoots({
          suite: this.world.suite,
          clock: life.clock(() => this.#offsetMs),
          store,
          shardCount: shards.count,
          handOver: (shard, asOf) => shards.at(shard).handOver(asOf),
          scrub: (shard) => shards.at(shard).scrub(),
        });
        return { api };
      },
      disk as Disk<never>,
    );
    return object;
  }

  /** Where pushes are not to work, a shard is told at each that the peer is left alone for a while. */
  #linkForShard(url: string, here: { readonly life: Life; readonly object: SimObject<object> }): LinkApi {
    const link = this.#linkTo(url).seenBy(here);
    if (this.world.hasPush()) return link;
    return { ...link, want: (want) => link.want(want), push: async () => this.nowMs + PUSH_PAUSE_MS };
  }

  #linkTo(url: string): SimObject<LinkApi> {
    const link = this.links.get(url);
    if (!link) throw new Error(`${this.name} has no peer ${url}`);
    return link;
  }

  #link(url: string): SimObject<LinkApi> {
    const disk = this.#disk(`link ${url}`, () => new MemoryCursorStore());
    const key = this.settings.config.peers.find((peer) => peer.url === url)?.key as Bytes;
    const object: SimObject<LinkApi> = this.#object(
      `link ${url}`,
      (life) => {
        const here = { life, object };
        const cursors = new GuardedStore(disk, this.#guard(life)).view<CursorStore>((state) => state, {
          reads: ["all"],
          writes: { keep: null },
        });
        const api = new Link({
          url,
          clock: life.clock(() => this.#offsetMs),
          suite: this.world.suite,
          shards: this.#shardsSeenBy(life, object),
          sync: this.sync.seenBy(here),
          cursors,
          knownKey: async () => key,
          resolve: async () => ({ url, key }),
          call: (peer, path, body) => this.#send(life, object, peer.url, path, body),
        });
        return { api };
      },
      disk as Disk<never>,
    );
    return object;
  }

  /** A request to a peer leaves when what the link has committed is durable. */
  #send(life: Life, link: SimObject<object>, to: string, path: PeerPath, body: Bytes): Promise<Bytes> {
    if (life.isOver) return never();
    return new Promise((resolve, reject) => {
      this.world.scheduler.at(link.gateMs, `send ${life.name} ${path}`, () =>
        life.run(() => {
          this.world.send(this, to, path, body).then(
            (answer) => life.run(() => resolve(answer)),
            (error) => life.run(() => reject(error)),
          );
        }),
      );
    });
  }

  #openWorker(life: Life): Opened<WorkerApi> {
    const { config } = this.settings;
    const here = { life, object: undefined };
    const clock = life.clock(() => this.#offsetMs);
    const links = { of: (url: string) => this.#linkTo(url).seenBy(here) };
    const teller = new LinkTeller({ config, clock, links });
    const service = new PeerService({
      config,
      shards: this.#shardsSeenBy(life, undefined),
      sync: this.sync.seenBy(here),
      suite: this.world.suite,
      clock,
      heard: (peer, hasNews) => void teller.heard(peer, hasNews),
    });
    return { api: service };
  }

  /** What `workers/scheduled.ts` does each minute. */
  cron(): void {
    if (!this.#isUp) return;
    const { life } = this.worker.running;
    const here = { life, object: undefined };
    const run = async () => {
      const quietly = (work: Promise<unknown>) => work.catch((error) => this.#cronFailed(error));
      await quietly(this.sync.seenBy(here).state());
      await Promise.all([...this.links.values()].map((link) => quietly(link.seenBy(here).round())));
      if (this.settings.hasScrubs) await quietly(this.sync.seenBy(here).scrubNext());
    };
    void run();
  }

  #cronFailed(error: unknown): void {
    this.world.struck(`cron failed: ${isOfDeadLife(error) ? "crash" : (error as { code?: string }).code}`);
  }
}
