import type { CryptoSuite } from "../../protocol/crypto.ts";
import { MAX_BACK_SLOTS, newestAsOf } from "../../protocol/sync-range.ts";
import type { Clock } from "../clock.ts";
import type { HandOver } from "../topic-shard/sync-tree/shard-tree.ts";
import { decodeSummary, encodeSummary, type Summary, summarize } from "./summary.ts";
import type { SyncStore } from "./sync-store.ts";

/** Shards that are asked at a time. */
const SHARDS_AT_A_TIME = 16;
/** A shard may be further than this object: then the others are asked again, so many times. */
const MAX_REFRESHES = 3;

export interface SummaryPorts {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  readonly store: SyncStore;
  readonly shardCount: number;
  handOver(shard: number, asOf: number): Promise<HandOver>;
}

/**
 * Keeps the summary of all shards' roots up to date. A check that finds nothing is answered from it alone: a shard is asked only when
 * it said that its share has changed, or when a slot has settled or leaves that it has events in.
 */
export class SummaryKeeper {
  readonly #ports: SummaryPorts;
  #summary: Summary | undefined;
  #refreshing: Promise<Summary> | undefined;
  /** What shards said while they were being asked: it may be later than their answer. */
  readonly #saidMeanwhile = new Map<number, number>();

  constructor(ports: SummaryPorts) {
    this.#ports = ports;
    const stored = ports.store.summary();
    this.#summary = stored && decodeSummary(stored);
  }

  /** A shard's roots are others from an `asOf` on than those that it handed over. */
  changed(shard: number, dueAsOf: number): void {
    const { store } = this.#ports;
    const meanwhile = this.#saidMeanwhile.get(shard);
    if (this.#refreshing) this.#saidMeanwhile.set(shard, Math.min(meanwhile ?? dueAsOf, dueAsOf));
    const before = store.dueAsOfs().get(shard);
    // A shard that never was asked is due anyway.
    if (before !== undefined && dueAsOf < before) store.saveDueAsOf(shard, dueAsOf);
  }

  /** What the node holds now. @throws PennypostError when a shard that has to be asked does not answer. */
  current(): Promise<Summary> {
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
      const due = isBack ? this.allShards : this.#dueShards(asOf);
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

  get allShards(): number[] {
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
    for (const shard of this.allShards) store.saveScrubbedMs(shard, 0);
  }

  #dueShards(asOf: number): number[] {
    const dueAsOfs = this.#ports.store.dueAsOfs();
    return this.allShards.filter((shard) => (dueAsOfs.get(shard) ?? 0) <= asOf);
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
}
