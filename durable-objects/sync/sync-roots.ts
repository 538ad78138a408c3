import { type Bytes, equalBytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { CELL_BYTES } from "../../protocol/sketch.ts";
import {
  type CellsQuestion,
  type CompareAnswer,
  type CompareQuestion,
  FIRST_CELLS,
  type RootsQuestion,
} from "../../protocol/sync-messages.ts";
import { comparedRoot } from "../../protocol/sync-tree.ts";
import type { ScrubReport } from "../topic-shard/scrub/shard-scrub.ts";
import { type DifferingRoots, differingRoots } from "./differing-roots.ts";
import { type CountedRoot, groupTags, type RangeSummary, rootsAsOf, type Summary } from "./summary.ts";
import { SummaryKeeper, type SummaryPorts } from "./summary-keeper.ts";
import type { ComparedState, ShardScrubbed, SyncApi } from "./sync-api.ts";

const SCRUB_EVERY_MS = 86_400_000;

export interface SyncPorts extends SummaryPorts {
  scrub(shard: number): Promise<ScrubReport>;
}

/** What a node's one sync object answers, from the roots of all shards: the comparisons of peers, and which shard's scrub is due. */
export class SyncRoots implements SyncApi {
  readonly #ports: SyncPorts;
  readonly #keeper: SummaryKeeper;

  constructor(ports: SyncPorts) {
    this.#ports = ports;
    this.#keeper = new SummaryKeeper(ports);
  }

  async changed(shard: number, dueAsOf: number): Promise<null> {
    this.#keeper.changed(shard, dueAsOf);
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
    const [shard] = this.#keeper.allShards.toSorted((a, b) => lastMs(a) - lastMs(b));
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
    const { asOf, newest, previous } = await this.#keeper.current();
    return {
      asOf,
      newest: this.#compared(newest),
      previous: this.#compared(previous),
      records: this.#recordsDigest,
    };
  }

  /** The side of the summary that is as of a slot. @throws PennypostError `sync_apart` when there is none. */
  async #sideAsOf(
    asOf: number,
  ): Promise<{ readonly summary: Summary; readonly side: "newest" | "previous" }> {
    const summary = await this.#keeper.current();
    if (asOf === summary.asOf) return { summary, side: "newest" };
    if (asOf === summary.asOf - 1) return { summary, side: "previous" };
    throw unavailable("sync_apart", "this node keeps no roots as of that slot", {
      asOf,
      newest: summary.asOf,
    });
  }

  /** Compares as of the newest slot that both sides have roots of. */
  async compare(question: CompareQuestion): Promise<CompareAnswer> {
    const summary = await this.#keeper.current();
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
  async differing(question: RootsQuestion): Promise<DifferingRoots> {
    return differingRoots(await this.roots(question.asOf), question);
  }
}
