import { type Bytes, compareBytes, equalBytes } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { CELL_BYTES } from "../../protocol/sketch.ts";
import {
  type BucketClass,
  type CellsQuestion,
  type CompareAnswer,
  type CompareQuestion,
  FIRST_CELLS,
  GROUP_TAG_BYTES,
  MAX_LISTED_IDS,
  type RootsQuestion,
} from "../../protocol/sync-messages.ts";
import { MAX_BACK_SLOTS, newestAsOf } from "../../protocol/sync-range.ts";
import {
  BUCKET_GROUPS,
  bucketClassKey,
  bucketGroupOf,
  byBucketAndClass,
  comparedRoot,
  HASH_BYTES,
  slotGroupOf,
} from "../../protocol/sync-tree.ts";
import type { Clock } from "../clock.ts";
import type { ScrubReport } from "../topic-shard/scrub/shard-scrub.ts";
import { SMALL_BUCKET_EVENTS } from "../topic-shard/sync-tree/bucket-leaves.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";
import {
  type CountedRoot,
  decodeSummary,
  encodeSummary,
  type RangeSummary,
  rootsAsOf,
  type Summary,
  summarize,
} from "./summary.ts";
import type { ComparedState, ShardScrubbed, SyncApi } from "./sync-api.ts";
import type { SyncStore } from "./sync-store.ts";

/** Shards that are asked at a time. */
const SHARDS_AT_A_TIME = 16;
/** A shard may be further than this object: then the others are asked again, so many times. */
const MAX_REFRESHES = 3;
const SCRUB_EVERY_MS = 86_400_000;
/** What the list of slot groups of a large bucket counts as at least: a month has 40 of them. */
const LARGE_BUCKET_COST = 64;

export interface SyncPorts {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly store: SyncStore;
  readonly shardCount: number;
  handOver(shard: number, asOf: number): Promise<HandOver>;
  scrub(shard: number): Promise<ScrubReport>;
}

/** The buckets and classes that differ, in order, up to what one answer lists. */
export interface DifferingRoots {
  readonly targets: readonly BucketClass[];
  readonly next: BucketClass | null;
}

/**
 * The roots of all shards of a node. A check that finds nothing is answered from here alone: a shard is asked only when it
 * said that its share has changed, or when a slot has settled or leaves that it has events in.
 */
export class SyncRoots implements SyncApi {
  readonly #ports: SyncPorts;
  #summary: Summary | undefined;
  #refreshing: Promise<Summary> | undefined;
  /** What shards said while they were being asked: it may be later than their answer. */
  readonly #saidMeanwhile = new Map<number, number>();

  constructor(ports: SyncPorts) {
    this.#ports = ports;
    const stored = ports.store.summary();
    this.#summary = stored && decodeSummary(stored);
  }

  /** A shard's roots are others from an `asOf` on than those that it handed over. */
  async changed(shard: number, dueAsOf: number): Promise<null> {
    const { store } = this.#ports;
    const meanwhile = this.#saidMeanwhile.get(shard);
    if (this.#refreshing) this.#saidMeanwhile.set(shard, Math.min(meanwhile ?? dueAsOf, dueAsOf));
    const before = store.dueAsOfs().get(shard);
    // A shard that never was asked is due anyway.
    if (before !== undefined && dueAsOf < before) store.saveDueAsOf(shard, dueAsOf);
    return null;
  }

  async scrubNext(): Promise<ShardScrubbed | null> {
    const { store, clock } = this.#ports;
    const nowMs = clock.nowMs();
    const scrubbedMs = store.scrubbedMs();
    // A time that lies ahead is of a clock that was.
    const lastMs = (shard: number) => {
      const timeMs = scrubbedMs.get(shard) ?? Number.NEGATIVE_INFINITY;
      return timeMs <= nowMs ? timeMs : Number.NEGATIVE_INFINITY;
    };
    const [shard] = this.#allShards.toSorted((a, b) => lastMs(a) - lastMs(b));
    if (shard === undefined || lastMs(shard) > nowMs - SCRUB_EVERY_MS) return null;
    // Before, so that one that fails does not keep the others from their turn.
    store.saveScrubbedMs(shard, nowMs);
    const report = await this.#ports.scrub(shard);
    // Either may have been restored without the other: what the shard handed over need not be what is here.
    await this.changed(shard, 0);
    return { shard, report };
  }

  async recordsChanged(digest: Bytes): Promise<null> {
    const { store } = this.#ports;
    const known = store.recordsDigest();
    if (!known || !equalBytes(known, digest)) store.saveRecordsDigest(digest);
    return null;
  }

  get #recordsDigest(): Bytes {
    const { store, suite } = this.#ports;
    return store.recordsDigest() ?? recordsDigest([], suite);
  }

  #compared({ root }: RangeSummary): Bytes {
    return comparedRoot(root, this.#recordsDigest, this.#ports.suite);
  }

  async state(): Promise<ComparedState> {
    const { asOf, newest, previous } = await this.#current();
    return {
      asOf,
      newest: this.#compared(newest),
      previous: this.#compared(previous),
      records: this.#recordsDigest,
    };
  }

  /** What the node holds now. @throws PennypostError when a shard that has to be asked does not answer. */
  #current(): Promise<Summary> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
      this.#saidMeanwhile.clear();
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<Summary> {
    for (let refreshes = 0; refreshes < MAX_REFRESHES; refreshes++) {
      const asOf = this.#asOfNow();
      const isBack = asOf < (this.#summary?.asOf ?? 0);
      if (isBack) this.#scrubSoon();
      const due = isBack ? this.#allShards : this.#dueShards(asOf);
      if (this.#summary?.asOf === asOf && due.length === 0) return this.#summary;
      const dueAsOfs = new Map<number, number>();
      try {
        for (let i = 0; i < due.length; i += SHARDS_AT_A_TIME)
          await this.#askAll(due.slice(i, i + SHARDS_AT_A_TIME), asOf, dueAsOfs);
      } finally {
        if (due.length === 0 || dueAsOfs.size > 0) this.#summarize(asOf, dueAsOfs);
      }
    }
    // Shards change while they are read: what they handed over last, of which each refresh made a summary, is a moment old.
    return this.#summary as Summary;
  }

  get #allShards(): number[] {
    return Array.from({ length: this.#ports.shardCount }, (_, shard) => shard);
  }

  /** A clock that steps back a little waits for the time to come again; one that was far ahead was wrong. */
  #asOfNow(): number {
    const newest = newestAsOf(this.#ports.clock.nowMs());
    const known = this.#summary?.asOf ?? 0;
    return known > newest + MAX_BACK_SLOTS ? newest : Math.max(known, newest);
  }

  /** Shards that go back leave their sketches to the scrub. */
  #scrubSoon(): void {
    const { store } = this.#ports;
    for (const shard of this.#allShards) store.saveScrubbedMs(shard, 0);
  }

  #dueShards(asOf: number): number[] {
    const dueAsOfs = this.#ports.store.dueAsOfs();
    return this.#allShards.filter((shard) => (dueAsOfs.get(shard) ?? 0) <= asOf);
  }

  /** Waits for all, also when one fails: an answer that came after the next question would take the place of a newer one. */
  async #askAll(shards: readonly number[], asOf: number, dueAsOfs: Map<number, number>): Promise<void> {
    const answers = await Promise.allSettled(
      shards.map(async (shard) => dueAsOfs.set(shard, await this.#ask(shard, asOf))),
    );
    for (const answer of answers) if (answer.status === "rejected") throw answer.reason;
  }

  /** Answers when the shard is due again: to be written down with the summary, so that neither is without the other. */
  async #ask(shard: number, asOf: number): Promise<number> {
    const { store } = this.#ports;
    this.#saidMeanwhile.delete(shard);
    const { dueAsOf, ...handOver } = await this.#ports.handOver(shard, asOf);
    store.transaction(() => store.saveHandOver({ shard, ...handOver }));
    return dueAsOf;
  }

  #summarize(asOf: number, dueAsOfs: ReadonlyMap<number, number>): void {
    const { store } = this.#ports;
    const summary = this.#summaryAsOf(asOf, dueAsOfs.size > 0);
    store.transaction(() => {
      for (const [shard, dueAsOf] of dueAsOfs)
        store.saveDueAsOf(shard, Math.min(dueAsOf, this.#saidMeanwhile.get(shard) ?? dueAsOf));
      store.saveSummary(encodeSummary(summary));
    });
    this.#summary = summary;
  }

  #summaryAsOf(asOf: number, isChanged: boolean): Summary {
    const { store, suite } = this.#ports;
    if (!isChanged && this.#summary)
      return { asOf, newest: this.#summary.newest, previous: this.#summary.newest };
    let newest = asOf;
    for (const each of store.handOvers()) newest = Math.max(newest, each.asOf);
    return summarize(store, newest, suite);
  }

  /** The side of the summary that is as of a slot. @throws PennypostError `sync_apart` when there is none. */
  async #sideAsOf(
    asOf: number,
  ): Promise<{ readonly summary: Summary; readonly side: "newest" | "previous" }> {
    const summary = await this.#current();
    if (asOf === summary.asOf) return { summary, side: "newest" };
    if (asOf === summary.asOf - 1) return { summary, side: "previous" };
    throw unavailable("sync_apart", "this node keeps no roots as of that slot", {
      asOf,
      newest: summary.asOf,
    });
  }

  /** Compares as of the newest slot that both sides have roots of. */
  async compare(question: CompareQuestion): Promise<CompareAnswer> {
    const summary = await this.#current();
    const asOf = Math.min(question.asOf, summary.asOf);
    if (asOf < Math.max(question.asOf, summary.asOf) - 1) return { kind: "apart", asOf: summary.asOf };
    const mine = asOf === summary.asOf ? summary.newest : summary.previous;
    const theirs = asOf === question.asOf ? question.newest : question.previous;
    if (equalBytes(this.#compared(mine), theirs)) return { kind: "same", asOf };
    return {
      kind: "different",
      asOf,
      records: this.#recordsDigest,
      count: mine.count,
      tags: groupTags(mine.groups),
      cells: mine.sketch.slice(0, FIRST_CELLS * CELL_BYTES),
    };
  }

  async cells({ asOf, cells }: CellsQuestion): Promise<Bytes> {
    const { sketch } = await this.range(asOf);
    return sketch.slice(0, cells * CELL_BYTES);
  }

  async range(asOf: number): Promise<RangeSummary> {
    const { summary, side } = await this.#sideAsOf(asOf);
    return summary[side];
  }

  /** This node's own roots, in order of bucket and class. */
  async roots(asOf: number): Promise<CountedRoot[]> {
    const { summary, side } = await this.#sideAsOf(asOf);
    return rootsAsOf(this.#ports.store.handOvers(), summary.asOf, side);
  }

  /** Where a peer's roots differ from this node's: as much as one answer lists. */
  async differing({ asOf, groups, from, to, roots }: RootsQuestion): Promise<DifferingRoots> {
    const asked = new Set(groups);
    const isAsked = (each: BucketClass) =>
      asked.has(bucketGroupOf(each.bucket)) &&
      byBucketAndClass(each, from) >= 0 &&
      (to === null || byBucketAndClass(each, to) < 0);
    const mine = (await this.roots(asOf)).filter(isAsked);
    // A root that is asked twice would be answered twice, as often as the question has room for.
    const theirs = [...new Map(roots.filter(isAsked).map((each) => [bucketClassKey(each), each])).values()];
    const targets: BucketClass[] = [];
    let cost = 0;
    for (const { bucket, class: id, mine: own } of differences(mine, theirs.sort(byBucketAndClass))) {
      cost += 1 + (own ? costOf(own, asOf) : 0);
      if (targets.length > 0 && cost > MAX_LISTED_IDS) return { targets, next: { bucket, class: id } };
      targets.push({ bucket, class: id });
    }
    return { targets, next: null };
  }
}

/** Of listing a bucket and class, in ids; a hash of a slot group takes the room of one. */
function costOf({ count, oldest }: CountedRoot, asOf: number): number {
  if (count <= SMALL_BUCKET_EVENTS) return count;
  const groups = Math.max(0, slotGroupOf(asOf) - slotGroupOf(oldest)) + 1;
  return Math.max(LARGE_BUCKET_COST, Math.min(count, groups));
}

/** Merges two sorted lists of roots: what is in one only, or differs. */
function* differences(
  mine: readonly CountedRoot[],
  theirs: readonly (BucketClass & { readonly root: Bytes })[],
): Iterable<BucketClass & { readonly mine: CountedRoot | undefined }> {
  let [i, j] = [0, 0];
  while (i < mine.length || j < theirs.length) {
    const [a, b] = [mine[i], theirs[j]];
    const order = !a ? 1 : !b ? -1 : byBucketAndClass(a, b);
    if (a && order < 0) yield { ...a, mine: a };
    else if (b && order > 0) yield { ...b, mine: undefined };
    else if (a && b && compareBytes(a.root, b.root) !== 0) yield { ...a, mine: a };
    if (order <= 0) i++;
    if (order >= 0) j++;
  }
}

/** The first bytes of each bucket group's hash, joined. */
export function groupTags(groups: Bytes): Bytes {
  const tags = new Uint8Array(BUCKET_GROUPS * GROUP_TAG_BYTES);
  for (let group = 0; group < BUCKET_GROUPS; group++) {
    const at = group * HASH_BYTES;
    tags.set(groups.subarray(at, at + GROUP_TAG_BYTES), group * GROUP_TAG_BYTES);
  }
  return tags;
}
