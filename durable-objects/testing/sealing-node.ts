import { env } from "cloudflare:workers";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { PeerAddress } from "../../protocol/peer-address.ts";
import type { EventPage, WantBody } from "../../protocol/peer-messages.ts";
import type { RangeQuestion } from "../../protocol/sync-messages.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { BUCKETS, bucketOf } from "../../protocol/topic.ts";
import { Evidence } from "../node-state/evidence.ts";
import type { LinkApi } from "../peer-link/link-api.ts";
import { suite } from "../platform-suite.ts";
import { blocksKey, largeKey, messagesKey } from "../sealed/archive-keys.ts";
import { D1Catalogue } from "../sealed/d1-catalogue.ts";
import { R2Archive } from "../sealed/r2-archive.ts";
import { SealedIndex } from "../sealed/sealed-index.ts";
import { STORAGE_DEADLINE_MS } from "../sealed/storage-calls.ts";
import { Shard } from "../topic-shard/shard.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryEvidenceStore } from "./memory-evidence-store.ts";
import { MemoryHubNames } from "./memory-hub-names.ts";
import { envelopeOf, keyOf, network, onStorage, START_MS, SUBJECT, TOPICS } from "./shard-world.ts";
import { StorageFaults, withFaults } from "./storage-faults.ts";
import { timedBucket } from "./timed-bucket.ts";

/** A shard on a real SQLite, R2 and D1, whose clock goes as the test says. */

export const HOUR_MS = 3_600_000;
const HOT_MS = 48 * HOUR_MS;

/** One storage with one shard of its own, in as many lives as are begun. */
export class SealingNode {
  readonly clock = new ManualClock(START_MS);
  readonly faults = new StorageFaults();
  readonly storage: DurableObjectStorage;
  /** What peers have, each asked in turn; without any, the shard has no peers. */
  peers: readonly (readonly WireEvent[])[] = [];
  readonly evidence = new Evidence(new MemoryEvidenceStore());
  readonly #bucket = timedBucket(env.BUCKET, this.clock, START_MS);
  shard: Shard;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.faults.onHang = () => void this.clock.step(this.clock.nowMs() + STORAGE_DEADLINE_MS);
    this.shard = this.#start();
  }

  /** Lets time pass, and what was to be done in it. */
  advance(ms: number): void {
    const untilMs = this.clock.nowMs() + ms;
    while (this.clock.step(untilMs));
  }

  restart(): void {
    this.shard = this.#start();
  }

  #start(): Shard {
    return new Shard({
      config: { signer: SUBJECT, network, shardCount: 1 },
      shard: 0,
      random: (bytes) => new Uint8Array(bytes).fill(2),
      store: new SqlShardStore(this.storage),
      tier: {
        archive: new R2Archive(withFaults(this.#bucket, this.faults), suite, this.clock),
        catalogue: new D1Catalogue(withFaults(env.DB, this.faults), this.clock),
        hotMs: HOT_MS,
      },
      suite,
      clock: this.clock,
      peers: {
        known: () => this.#addresses(),
        current: async () => this.#addresses(),
      },
      links: { of: (url) => this.linkTo(Number(url)) },
      hubs: { names: new MemoryHubNames(), feed: async (_, { to }) => ({ position: to, isListening: true }) },
      roots: { changed: async () => null },
      evidence: this.evidence,
      sync: async () => {},
      wakeAt: async () => {},
    });
  }

  #addresses(): PeerAddress[] {
    return this.peers.map((_, n) => ({ url: String(n), key: SUBJECT.publicKey }));
  }

  /** A peer that gives what it is asked for, ten events at a time. */
  linkTo(peer: number): LinkApi {
    const want = async ({ wanted }: WantBody): Promise<EventPage> => {
      const digests = new Set(wanted.map(({ id }) => toHex(digestOfId(id))));
      const found = (this.peers[peer] ?? []).filter(({ block }) => digests.has(toHex(suite.sha256(block))));
      return { events: found.slice(0, 10), more: found.length > 10 };
    };
    const link: Pick<LinkApi, "want" | "push"> = { want, push: async () => 0 };
    return link as LinkApi;
  }

  async publishDaily(days: number, each = 6): Promise<void> {
    for (let hour = 0; hour < days * 24; hour += 24 / each) {
      this.advance(START_MS + hour * HOUR_MS + 1 - this.clock.nowMs());
      const nowNs = BigInt(this.clock.nowMs()) * 1_000_000n;
      await this.shard.publish(TOPICS.map((topic) => envelopeOf(topic, nowNs, `${topic} at ${hour}`)));
      await this.maintain();
    }
  }

  maintain() {
    return this.shard.maintain();
  }

  /** All that clients and peers can read here, in a form that can be compared. */
  async everything() {
    const pages = [];
    for (const topic of TOPICS) {
      const query = {
        topic: utf8(topic),
        topicKey: keyOf(topic),
        startNs: 0n,
        endNs: 0n,
        maxBytes: 1e7,
        limit: 1_000,
        after: null,
      };
      for (const isDescending of [false, true]) {
        const page = await this.shard.query({ ...query, isDescending });
        const { events } = await this.shard.eventsByTime({ ...query, isDescending });
        pages.push([
          toHex(page.timeKeys),
          page.json,
          events.map(({ id, block, signature }) => [id, block, signature].map(toHex)),
        ]);
      }
      const { events } = await this.shard.eventsByCause(utf8(topic), keyOf(topic), null, 1_000);
      pages.push(events.map(({ id, message }) => toHex(id) + toHex(message)));
      pages.push((await this.shard.heads(utf8(topic), keyOf(topic))).map(toHex));
    }
    const asOf = newestAsOf(this.clock.nowMs());
    const range: string[] = [];
    let after: RangeQuestion["after"] = null;
    do {
      const page = await this.shard.listRange({ asOf, class: null, fromBucket: 0, toBucket: BUCKETS, after });
      range.push(...page.events.map(({ block }) => toHex(block)));
      after = page.next;
    } while (after);
    const buckets = await this.shard.listBuckets(
      TOPICS.flatMap((topic) => [1, 2].map((id) => ({ bucket: bucketOf(keyOf(topic)), class: id }))),
      asOf,
      "groups",
    );
    return { pages, range, buckets };
  }

  hotRows(): number {
    return this.storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM events").one().n;
  }

  /** The keys of all that the shard has in R2. */
  async files(): Promise<string[]> {
    const keys: string[] = [];
    for (const kind of ["segments", "large"]) {
      const { objects } = await env.BUCKET.list({ prefix: `${kind}/1/0/` });
      keys.push(...objects.map(({ key }) => key));
    }
    return keys;
  }

  /** Whether each file, and each entry of the catalogue, is one that the shard needs. */
  async everyKeyIsHeld(): Promise<boolean> {
    const index = new SealedIndex(new SqlShardStore(this.storage).sealed);
    const place = { shardCount: 1, shard: 0 };
    const needed = index.all.flatMap((segment) => [
      blocksKey(place, segment.root),
      messagesKey(place, segment.root),
      ...index.largeOf(segment).map((digest) => largeKey(place, digest)),
    ]);
    const entries = await new D1Catalogue(env.DB, this.clock).ofShard(place, null, 1_000);
    const roots = new Set(index.all.map(({ root }) => toHex(root)));
    return (
      (await this.files()).every((key) => needed.includes(key)) &&
      entries.every(({ root }) => roots.has(toHex(root)))
    );
  }

  /** The hash tree as of the newest settled slot, as the sync object asks for it each slot. */
  async handOver(): Promise<number> {
    return (await this.shard.handOver(newestAsOf(this.clock.nowMs()))).asOf;
  }
}

/** Works with a new node; what others left in R2 and D1 is gone. */
export const onSealingNode = (work: (node: SealingNode) => Promise<void>) =>
  onStorage(async (storage) => {
    new SqlShardStore(storage).saveGeneration(new Uint8Array(8).fill(1));
    const node = new SealingNode(storage);
    await env.BUCKET.delete(await node.files());
    await env.DB.batch(["segments", "segment_topics"].map((table) => env.DB.prepare(`DELETE FROM ${table}`)));
    await work(node);
  });
