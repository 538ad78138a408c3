import { compareBytes, concatBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { EVENT_ID_BYTES } from "../../protocol/event-id.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { suite } from "../platform-suite.ts";
import { type Archive, filesIn } from "../sealed/archive.ts";
import { blocksKey, largeKey, messagesKey, type ShardPlace } from "../sealed/archive-keys.ts";
import { BodyReader } from "../sealed/body-reader.ts";
import { type Catalogue, entryOf } from "../sealed/catalogue.ts";
import { DamageNotes } from "../sealed/damage-notes.ts";
import { type Maintained, maintain } from "../sealed/maintenance.ts";
import type { MergeLimits } from "../sealed/merge-policy.ts";
import { Merging } from "../sealed/merging.ts";
import { REAP_AFTER_MS, Reaping } from "../sealed/reaping.ts";
import type { HeldPlace } from "../sealed/sealed-index.ts";
import type { HeldSegment } from "../sealed/sealed-store.ts";
import { type BuilderLimits, buildSegments, type SealableEvent } from "../sealed/segment-builder.ts";
import type { NewSegment } from "../sealed/segment-list.ts";
import { type HotShardStore, TieredShardStore } from "../sealed/tiered-shard-store.ts";
import { END_OF_IDS } from "../topic-shard/sync-tree/slot-spans.ts";
import type { ManualClock } from "./manual-clock.ts";
import { eventToSeal } from "./sealed-scene.ts";

const network = new Network(DEVELOPMENT_GENESIS, suite);
const FIRST_SEQ = 2n ** 61n;

export interface MergedSeed {
  readonly topic: string;
  /** From a first one on. */
  readonly seq: number;
  readonly ts?: bigint;
  readonly message: string;
  readonly isDropped?: boolean;
}

/** An event with a good signature. */
export function eventToMerge({ topic, seq, ts = 5n, message, isDropped = false }: MergedSeed): SealableEvent {
  const event = eventToSeal(utf8(topic), ts, FIRST_SEQ + BigInt(seq), utf8(message));
  const retention = network.classOf(utf8(topic)).id;
  return { ...event, class: retention, message: isDropped ? null : event.message };
}

const byTopicAndId = (a: SealableEvent, b: SealableEvent): number =>
  compareBytes(a.topicKey, b.topicKey) || compareBytes(a.id, b.id);

const textOf = (part: unknown): string =>
  part instanceof Uint8Array ? toHex(new Uint8Array(part)).slice(0, 32) : String(part);

interface SceneParts {
  readonly place: ShardPlace;
  readonly hot: HotShardStore;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  readonly clock: ManualClock;
  readonly limits: BuilderLimits;
  readonly mergeLimits?: MergeLimits;
}

/** Segments of one shard on some storage, with what merges them, in as many lives as are begun. */
export class MergingScene {
  readonly parts: SceneParts;
  store: TieredShardStore;
  merging: Merging;
  #reaping: Reaping;
  #bodies: BodyReader;

  constructor(parts: SceneParts) {
    this.parts = parts;
    [this.store, this.merging, this.#reaping, this.#bodies] = this.#begin();
  }

  restart(): void {
    [this.store, this.merging, this.#reaping, this.#bodies] = this.#begin();
  }

  #begin(): [TieredShardStore, Merging, Reaping, BodyReader] {
    const { hot, mergeLimits, ...given } = this.parts;
    const store = new TieredShardStore(hot);
    const damage = new DamageNotes();
    const bodies = new BodyReader({
      source: filesIn(given.archive),
      suite,
      prefix: given.place,
      blocksEnd: (segment) => store.index.blocksEnd(segment as HeldSegment),
      damaged: (segment, file) => void damage.note(segment as HeldSegment, file),
    });
    const parts = {
      ...given,
      ...(mergeLimits ? { mergeLimits: () => mergeLimits } : {}),
      network,
      suite,
      store,
      bodies,
      damage,
      hotMs: 1,
      nowMs: () => given.clock.nowMs(),
      write: async <T>(step: () => T) => store.transaction(step),
    };
    return [store, new Merging(parts), new Reaping(parts), bodies];
  }

  /** Seals events as one group. */
  async addGroup(events: readonly SealableEvent[]): Promise<void> {
    const { archive, catalogue, clock, limits, place } = this.parts;
    const added: NewSegment[] = [];
    for (const [classId, own] of Map.groupBy(events.toSorted(byTopicAndId), (each) => each.class))
      for (const built of buildSegments({ net: network.id, class: classId, pages: [own] }, suite, limits)) {
        if (built.kind === "large") await archive.putLarge(place, built.message);
        else {
          await archive.putSegment(place, built.written);
          await catalogue.add(place, [entryOf(built.written, clock.nowMs())]);
          added.push(built.written);
        }
      }
    this.store.transaction(() => this.store.index.addGroup(added));
  }

  get groups(): number {
    return new Set(this.store.index.segments.map((each) => `${each.class} ${each.group}`)).size;
  }

  places(): HeldPlace[] {
    const topics = { from: new Uint8Array(32), to: null };
    const span = { topics, fromId: new Uint8Array(EVENT_ID_BYTES), toId: END_OF_IDS, after: null };
    return [...this.store.index.inOrder(span)].flatMap((each) => ("passed" in each ? [] : [each]));
  }

  /** All events with all that is stored of them, as a reader gets them. */
  async everything(): Promise<string[]> {
    const places = this.places();
    const bodies = await this.#bodies.read(places, { parts: "all" });
    return places.map(({ topicKey, entry, segment }, i) => {
      const { block, signature, message, why } = bodies[i] ?? { message: null };
      const parts = [topicKey, entry.id, entry.timeKey, block, signature, message].flatMap(
        (part) => part ?? [],
      );
      const digest = suite.sha256(concatBytes(...parts));
      return [segment.class, entry.id, message?.length ?? why, digest].map(textOf).join(" ");
    });
  }

  /** As many calls as it takes until a call has nothing to do; answers all but the last. */
  async mergeAll(): Promise<Maintained[]> {
    const calls: Maintained[] = [];
    for (let i = 0; i < 100; i++) {
      const done = await maintain([this.merging]);
      if (!done.isMore && done.mergedGroups === 0 && done.rewrittenBytes === 0) return calls;
      calls.push(done);
    }
    throw new Error("the merges never end");
  }

  async reapAll(): Promise<void> {
    const { clock } = this.parts;
    while (clock.step(clock.nowMs() + REAP_AFTER_MS));
    while ((await this.#reaping.step()).kind !== "idle");
  }

  /** The keys that are in the archive and those that the segments need; the same of the catalogue. */
  async keys() {
    const { archive, catalogue, place } = this.parts;
    const pages = await Promise.all(
      ["segments", "large"].map((kind) => archive.list(`${kind}/${place.shardCount}/${place.shard}/`, null)),
    );
    const { all } = this.store.index;
    const needed = all.flatMap((segment) => [
      blocksKey(place, segment.root),
      ...(segment.messages ? [messagesKey(place, segment.root)] : []),
      ...this.store.index.largeOf(segment).map((digest) => largeKey(place, digest)),
    ]);
    const entries = await catalogue.ofShard(place, null, 1_000);
    return {
      stored: pages.flatMap(({ objects }) => objects.map(({ key }) => key)).sort(),
      needed: [...new Set(needed)].sort(),
      catalogued: entries.map(({ root }) => toHex(root)).sort(),
      held: [...new Set(all.map(({ root }) => toHex(root)))].sort(),
    };
  }
}
