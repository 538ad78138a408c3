import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { type Bytes, concatBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { Sketch } from "../../protocol/sketch.ts";
import { comparedRange, isInRange } from "../../protocol/sync-range.ts";
import {
  BUCKET_GROUPS,
  type BucketRoot,
  bucketGroupHash,
  bucketGroupOf,
  byBucketAndClass,
  comparedRoot,
  nodeRoot,
} from "../../protocol/sync-tree.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { Clock, Timer } from "../clock.ts";
import { suite } from "../platform-suite.ts";
import { SyncRoots } from "../sync/sync-roots.ts";
import type { SyncStore } from "../sync/sync-store.ts";
import type { ShardStore } from "../topic-shard/shard-store.ts";
import { RootsReport } from "../topic-shard/sync-tree/roots-report.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";
import { slotOfId } from "../topic-shard/sync-tree/slot-spans.ts";
import { MemoryShardStore } from "./memory-shard-store.ts";
import { keyOf } from "./shard-world.ts";
import { TREE_START_MS, TreeNode, treeNetwork } from "./tree-node.ts";

/** A clock that a test may also put back; its timers ring when the test says so. */
export class LooseClock implements Clock {
  now = TREE_START_MS;
  readonly #timers = new Set<() => void>();

  nowMs(): number {
    return this.now;
  }

  after(_delayMs: number, work: () => void): Timer {
    this.#timers.add(work);
    return { cancel: () => this.#timers.delete(work) };
  }

  get isIdle(): boolean {
    return this.#timers.size === 0;
  }

  ring(): void {
    const timers = [...this.#timers];
    this.#timers.clear();
    for (const timer of timers) timer();
  }
}

/** What goes wrong with the next hand-over that a shard is asked for. */
export type HandOverFault =
  | "refused"
  | "answer lost"
  /** An event comes late, when the shard has computed its share: it says so before its answer arrives, or after. */
  | "late event, said before"
  | "late event, said after";

const WRITES = ["saveDueAsOf", "saveHandOver", "saveScrubbedMs", "saveSummary"];

/** A store as one life of the sync object sees it: from the moment that the life ends, nothing of it is written any more. */
class LifeStore {
  readonly view: SyncStore;
  isOver = false;
  /** The life ends at the n-th write from now; 0 for not. */
  writesLeft = 0;

  constructor(store: SyncStore) {
    this.view = new Proxy(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          if (WRITES.includes(String(name)) && this.writesLeft > 0 && --this.writesLeft === 0)
            this.isOver = true;
          if (this.isOver) throw new Error("this life is over");
          return value.apply(target, args);
        };
      },
    });
  }
}

const topics = new Map<string, string>();
/** A topic of a class that a shard owns. */
export function topicOf(prefix: "short" | "odd" | "kept", shard: number, shardCount: number): string {
  const name = `${prefix} ${shard} ${shardCount}`;
  for (let n = 0; !topics.has(name); n++)
    if (shardOf(keyOf(`${prefix}-${n}`), shardCount) === shard) topics.set(name, `${prefix}-${n}`);
  return topics.get(name) as string;
}

/** The shards of a node and its sync object, joined as the platform joins them: calls that may fail or come late. */
export class SyncWorld {
  readonly clock = new LooseClock();
  readonly shards: TreeNode[];
  readonly #reports: RootsReport[];
  readonly #store: SyncStore;
  #life: LifeStore;
  roots: SyncRoots;
  /** The shards that were asked, with the `asOf`. */
  readonly asked: string[] = [];
  readonly faults: HandOverFault[] = [];
  /** So many of the next reports do not arrive. */
  reportsToLose = 0;
  #events = 0;

  constructor(shardCount: number, store: SyncStore) {
    this.#store = store;
    this.shards = Array.from(
      { length: shardCount },
      (_, shard) => new TreeNode(new MemoryShardStore(), { shard, shardCount }),
    );
    this.#reports = this.shards.map((_, shard) => this.#freshReport(shard));
    this.#life = new LifeStore(store);
    this.roots = this.#freshRoots();
  }

  /** Whether the sync object's life has ended: it takes a `crash` to begin the next. */
  get isOver(): boolean {
    return this.#life.isOver;
  }

  /** Ends the sync object's life at its n-th write from now. */
  dieAtWrite(n: number): void {
    this.#life.writesLeft = n;
  }

  /** Ends the sync object's life, and begins the next, which knows what is stored. */
  crash(): void {
    this.#life.isOver = true;
    this.#life = new LifeStore(this.#store);
    this.roots = this.#freshRoots();
  }

  #freshReport(shard: number): RootsReport {
    const changed = async (_shard: number, dueAsOf: number) => {
      if (this.reportsToLose > 0) {
        this.reportsToLose--;
        throw unavailable("part_unavailable", "sync does not answer");
      }
      return this.roots.changed(shard, dueAsOf);
    };
    const dueAsOf = () => (this.shards[shard] as TreeNode).core.dueAsOf;
    return new RootsReport({ shard, clock: this.clock, roots: { changed }, dueAsOf });
  }

  #freshRoots(): SyncRoots {
    return new SyncRoots({
      suite,
      clock: this.clock,
      store: this.#life.view,
      shardCount: this.shards.length,
      handOver: (shard, asOf) => this.#handOver(shard, asOf),
      scrub: async () => ({ roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true }),
    });
  }

  async #handOver(shard: number, asOf: number): Promise<HandOver> {
    this.asked.push(`${shard} ${asOf}`);
    const fault = this.faults.shift();
    await null;
    if (fault === "refused") throw unavailable("write_failed", "the shard could not write");
    const node = this.#node(shard);
    const answer = node.run(() => node.core.handOver(asOf));
    this.#reports[shard]?.handedOver(answer.dueAsOf);
    await null;
    if (fault === "answer lost") throw unavailable("part_unavailable", "the shard does not answer");
    if (fault === "late event, said before") await this.arrive(shard, "kept", 5);
    if (fault === "late event, said after") void this.#afterwards(() => this.arrive(shard, "kept", 5));
    return answer;
  }

  async #afterwards(work: () => Promise<void>): Promise<void> {
    for (let turn = 0; turn < 20; turn++) await null;
    await work();
  }

  #node(shard: number): TreeNode {
    const node = this.shards[shard] as TreeNode;
    node.nowMs = this.clock.now;
    return node;
  }

  /** An event of some slots ago. */
  async arrive(shard: number, prefix: "short" | "odd" | "kept", agoSlots: number): Promise<void> {
    const node = this.#node(shard);
    node.arrive(topicOf(prefix, shard, this.shards.length), ++this.#events, agoSlots);
    await this.#reports[shard]?.send();
  }

  /** Stores all that another node has. */
  async takeFrom(other: SyncWorld): Promise<void> {
    for (const event of other.shards.flatMap(({ store }) => allEvents(store))) {
      const shard = shardOf(event.topicKey, this.shards.length);
      const node = this.#node(shard);
      node.run(() => node.core.ingest(event, node.nowMs));
      await this.#reports[shard]?.send();
    }
  }

  /** A shard's next life, which reports what it finds. */
  async restartShard(shard: number): Promise<void> {
    this.#node(shard).restart();
    this.#reports[shard] = this.#freshReport(shard);
    await this.#reports[shard]?.send();
  }

  /** A shard goes ahead by its own clock. */
  async advanceShard(shard: number, asOf: number): Promise<void> {
    const node = this.#node(shard);
    node.run(() => node.core.catchUpTree(asOf));
    await this.#reports[shard]?.send();
  }

  wait(slots: number): void {
    this.clock.now += Math.round(slots * SLOT_MS);
  }

  /** What the node has to answer as of a slot, from nothing but the stored events. */
  expected(asOf: number) {
    return { newest: this.#expectedAt(asOf, "newest"), previous: this.#expectedAt(asOf, "previous") };
  }

  #expectedAt(asOf: number, which: "newest" | "previous") {
    const roots: BucketRoot[] = [];
    const sketch = new Sketch();
    for (const shard of this.shards) {
      const expected = shard.expected(asOf)[which];
      sketch.merge(Sketch.fromBytes(fromHex(expected.sketch) as Bytes));
      for (const [name, root] of Object.entries(expected.roots)) {
        const [bucket = 0, id = 0] = name.split(" ").map(Number);
        roots.push({ bucket, class: id, root: fromHex(root) as Bytes });
      }
    }
    const byGroup = Map.groupBy(roots.sort(byBucketAndClass), ({ bucket }) => bucketGroupOf(bucket));
    const groups = Array.from({ length: BUCKET_GROUPS }, (_, group) =>
      bucketGroupHash(byGroup.get(group) ?? [], suite),
    );
    const root = toHex(
      comparedRoot(nodeRoot(concatBytes(...groups), suite), recordsDigest([], suite), suite),
    );
    return { root, groups: toHex(concatBytes(...groups)), sketch: toHex(sketch.prefix()) };
  }

  /** Events in the compared range. */
  countAt(asOf: number): number {
    const all = this.shards.flatMap(({ store }) => allEvents(store));
    return all.filter(({ id, class: of }) =>
      isInRange(comparedRange(treeNetwork.retentionOf(of), asOf), slotOfId(id)),
    ).length;
  }
}

const allEvents = (store: ShardStore) =>
  store.tree.eventsOfTopics({ from: new Uint8Array(), to: null }, null, 1e6, 1e9);

/** Works on the SQLite of a sync object of its own. */
export const onSyncStorage = <T>(work: (storage: DurableObjectStorage) => T | Promise<T>): Promise<T> =>
  runInDurableObject(env.SYNC.get(env.SYNC.newUniqueId()), (_, { storage }) => work(storage));
