import type { NodeIdentity } from "../durable-objects/node-identity.ts";
import type { LinkApi } from "../durable-objects/peer-link/link-api.ts";
import type { Maintained } from "../durable-objects/sealed/maintenance.ts";
import type { SyncApi } from "../durable-objects/sync/sync-api.ts";
import { MemorySyncStore } from "../durable-objects/testing/memory-sync-store.ts";
import type { Bytes } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import type { PeerAddress } from "../protocol/peer-address.ts";
import type { PeerPath } from "../protocol/peer-messages.ts";
import { Disk } from "./disk.ts";
import { LinkContents, NodeStateContents, ShardContents } from "./disk-contents.ts";
import type { Write } from "./guarded-store.ts";
import { isOfDeadLife, type Life, never } from "./life.ts";
import {
  type Caller,
  type NodeObjects,
  type OpenParts,
  openHub,
  openLink,
  openShard,
  openState,
  openSync,
  openWorker,
  type ShardObject,
  type StateApi,
  type WorkerApi,
} from "./node-objects.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { SimAlarm } from "./sim-alarm.ts";
import { SimArchive } from "./sim-archive.ts";
import type { Listener, SimHub } from "./sim-hub.ts";
import { type Opened, SimObject, type Surroundings } from "./sim-object.ts";
import { StorageFaults } from "./storage-faults.ts";

/** What a node asks of the simulation. Nodes are named by their numbers. */
export interface NodeWorld {
  readonly scheduler: Scheduler;
  readonly suite: CryptoSuite;
  hasPush(): boolean;
  send(from: number, to: string, path: PeerPath, body: Bytes): Promise<Bytes>;
  struck(fault: string): void;
  violated(invariant: string, what: string): void;
  committed(node: number, shard: number, writes: readonly Write[]): void;
  /** A node says that a peer broke these rules. */
  breached(node: number, peer: Bytes, rules: readonly string[]): void;
}

export interface NodeSettings {
  readonly index: number;
  readonly url: string;
  readonly config: NodeIdentity;
  readonly peers: readonly Required<PeerAddress>[];
  readonly offsetMs: number;
  readonly hasScrubs: boolean;
  /** How long events stay hot, in ms; null for ever. */
  readonly hotMs: number | null;
}

/** How maintenance may fail where storage does. */
const BEARABLE: readonly string[] = ["storage_unavailable", "write_failed", "shard_overloaded"];

/** What is judged by the clock may be stored a moment later. */
const CLOCK_SPAN_MS = 1_000;

/** One node: the production objects, each with a disk and lives of its own, joined by calls through the scheduler. */
export class SimNode implements NodeObjects {
  readonly settings: NodeSettings;
  readonly world: NodeWorld;
  readonly faults: StorageFaults;
  readonly archive: SimArchive;
  readonly shards: readonly SimObject<ShardObject>[];
  readonly disks: readonly Disk<ShardContents>[];
  readonly sync: SimObject<SyncApi>;
  readonly state: SimObject<StateApi>;
  readonly stateDisk: Disk<NodeStateContents>;
  readonly links = new Map<string, SimObject<LinkApi>>();
  readonly hub: SimObject<SimHub>;
  /** The open connections of clients. */
  readonly sockets = new Set<Listener>();
  readonly worker: SimObject<WorkerApi>;
  readonly #alarms: readonly SimAlarm[];
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
    this.archive = new SimArchive({
      suite: world.suite,
      scheduler: world.scheduler,
      random: random.fork("archive"),
      struck: (fault) => world.struck(fault),
      step: (object, point) => this.faults.step(object, point),
    });
    this.#around = {
      scheduler: world.scheduler,
      random: random.fork("ways"),
      isUp: () => this.#isUp,
      epoch: () => this.#epoch,
      faulted: (where, error) => {
        if (!String(error).includes("(injected)"))
          world.violated("no fault", `${this.name} ${where}: ${error}`);
      },
    };
    const numbers = Array.from({ length: settings.config.shardCount }, (_, shard) => shard);
    const parts = this.#parts();
    this.disks = numbers.map((shard) => {
      const generation = random.fork(`generation ${shard}`).bytes(8);
      return this.#disk(`shard-${shard}`, () => new ShardContents(generation));
    });
    this.shards = this.disks.map((disk, shard) =>
      this.#object(`shard-${shard}`, (life) => openShard(parts, shard, disk, life), disk),
    );
    this.#alarms = numbers.map((shard) => this.#alarm(shard));
    const syncDisk = this.#disk("sync", () => new MemorySyncStore());
    this.sync = this.#object("sync", (life) => openSync(parts, syncDisk, life), syncDisk);
    this.stateDisk = this.#disk("state", () => new NodeStateContents());
    this.state = this.#object("state", (life) => openState(parts, this.stateDisk, life), this.stateDisk);
    for (const { url } of settings.peers) {
      const disk = this.#disk(`link ${url}`, () => new LinkContents());
      const link = this.#object(`link ${url}`, (life) => openLink(parts, url, disk, life), disk);
      this.links.set(url, link);
    }
    this.hub = this.#object("hub-0", (life) => openHub(parts, life));
    this.worker = this.#object("worker", (life) => openWorker(parts, life));
  }

  #parts(): OpenParts {
    return {
      settings: this.settings,
      world: this.world,
      random: this.#random,
      objects: this,
      offsetMs: () => this.#offsetMs,
      guard: (life, committed) => ({
        check: () => life.check(),
        step: (point) => this.faults.step(life.name, point),
        ...(committed ? { committed } : {}),
      }),
      durable: (life, disk) => this.#durable(life, disk),
      archive: this.archive,
      wakeAt: (shard, timeMs, setAlarm) => {
        const alarm = this.#alarms[shard];
        if (!alarm?.wants(timeMs)) return;
        setAlarm(timeMs);
        alarm.arm();
      },
      send: (caller, to, path, body) => this.#send(caller, to, path, body),
    };
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

  /** What the clock has shown of late. */
  get clockSpan(): { readonly leastMs: number; readonly mostMs: number } {
    const { nowMs } = this.world.scheduler;
    const before = nowMs - this.#jumpedMs <= CLOCK_SPAN_MS ? this.#offsetBeforeMs : this.#offsetMs;
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
    for (const alarm of this.#alarms) alarm.arm();
  }

  link(url: string): SimObject<LinkApi> {
    const link = this.links.get(url);
    if (!link) throw new Error(`${this.name} has no peer ${url}`);
    return link;
  }

  get #objects(): SimObject<object>[] {
    return [...this.shards, this.sync, this.state, ...this.links.values(), this.hub, this.worker];
  }

  /** Ends all lives at once. */
  crash(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#epoch++;
    this.sockets.clear();
    for (const alarm of this.#alarms) alarm.stop();
    for (const object of this.#objects) this.#crashed(object.crash());
  }

  #crashed(lost: number): void {
    if (lost > 0) this.world.struck("commits lost");
  }

  /** Ends the life of one object; the next call begins another. The platform keeps the sockets of a hub that hibernates. */
  crashObject(name: string, keepsSockets = false): void {
    const object = this.#objects.find((each) => each.name === `${this.name}/${name}`);
    // A hub that hibernates has sockets and no life.
    if (object === this.hub && !keepsSockets) this.sockets.clear();
    if (!object?.life) return;
    this.#crashed(object.crash());
    const alarm = this.#alarms[this.shards.findIndex(({ name: shard }) => shard === object.name)];
    alarm?.stop();
    alarm?.arm();
  }

  restart(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    // Objects open when they are called; shards that have something to deliver are woken by their alarms.
    for (const alarm of this.#alarms) alarm.arm();
  }

  get #disks(): Disk<unknown>[] {
    return this.#objects.flatMap(({ disk }) => disk ?? []);
  }

  /** Remembers the state of all disks, to which the node can be brought back. */
  snapshot(): number {
    return Math.max(...this.#disks.map((disk) => disk.snapshot()));
  }

  /** Brings the disks of a node that is down back to an older state. */
  restore(snapshot: number): void {
    for (const disk of this.#disks) disk.restore(snapshot);
  }

  #disk<State>(name: string, make: () => State): Disk<State> {
    return new Disk(make, this.world.scheduler, this.#random.fork(`disk ${name}`));
  }

  #object<T extends object, State>(
    name: string,
    open: (life: Life) => Opened<T>,
    disk?: Disk<State>,
  ): SimObject<T> {
    return new SimObject(`${this.name}/${name}`, this.#around, open, disk as Disk<unknown> | undefined);
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
    const disk = this.disks[shard] as Disk<ShardContents>;
    return new SimAlarm({
      name: `${this.name}/shard-${shard}`,
      scheduler: this.world.scheduler,
      isUp: () => this.#isUp,
      offsetMs: () => this.#offsetMs,
      setFor: () => disk.state.alarmMs,
      clear: () => {
        disk.state.setAlarm(null);
        disk.commit([{ apply: (state) => state.setAlarm(null) }]);
      },
      ring: () =>
        this.called((platform) => (this.shards[shard] as SimObject<ShardObject>).seenBy(platform).wake()),
    });
  }

  /** A call from outside of the objects: by the platform, or by a client. */
  called<T>(work: (caller: Caller) => Promise<T>): Promise<T> {
    return this.#isUp ? work({ life: this.worker.running.life, object: undefined }) : never();
  }

  /** A request to a peer leaves when what the caller has committed is durable. */
  #send({ life, object }: Caller, to: string, path: PeerPath, body: Bytes): Promise<Bytes> {
    const { scheduler } = this.world;
    return new Promise((resolve, reject) => {
      scheduler.at(object?.gateMs ?? scheduler.nowMs, `send ${life.name} ${path}`, () =>
        life.run(() => {
          this.world.send(this.settings.index, to, path, body).then(
            (answer) => life.run(() => resolve(answer)),
            (error) => life.run(() => reject(error)),
          );
        }),
      );
    });
  }

  /** What `workers/scheduled.ts` does each minute. */
  cron(): void {
    if (!this.#isUp) return;
    const run = async (here: Caller) => {
      const quietly = (work: Promise<unknown>) => work.catch((error) => this.#cronFailed(error));
      const sync = this.sync.seenBy(here);
      await quietly(sync.state());
      await quietly(this.state.seenBy(here).tellRecords());
      const rounds = [...this.links.values()].map((link) => quietly(link.seenBy(here).round()));
      await Promise.all(this.settings.hasScrubs ? [...rounds, quietly(sync.scrubNext())] : rounds);
    };
    void this.called(run);
  }

  /** What the crons have the shards do now and then. */
  maintain(): void {
    if (!this.#isUp || this.settings.hotMs === null) return;
    void this.called(async (here) => {
      for (const shard of this.shards)
        shard
          .seenBy(here)
          .maintain()
          .then(
            (done) => this.#maintained(shard.name, done),
            (error) => this.#cronFailed(error),
          );
    });
  }

  #maintained(shard: string, done: Maintained): void {
    for (const [what, count] of Object.entries(done))
      if (typeof count === "number" && count > 0) this.world.struck(`maintained ${what}`);
    if (done.failed === null) return;
    this.world.struck(`maintenance failed: ${done.failed}`);
    if (!BEARABLE.includes(done.failed))
      this.world.violated("no fault", `the maintenance of ${shard} failed: ${done.failed}`);
  }

  #cronFailed(error: unknown): void {
    this.world.struck(`cron failed: ${isOfDeadLife(error) ? "crash" : (error as { code?: string }).code}`);
  }
}
