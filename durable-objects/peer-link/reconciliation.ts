import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { nameOfWire, type WireEvent } from "../../protocol/event.ts";
import { MAX_WANTED_IDS } from "../../protocol/limits.ts";
import { decodePage, type EventName } from "../../protocol/peer-messages.ts";
import { CELL_BYTES, decodeDifference } from "../../protocol/sketch.ts";
import { placeOfSymbol, symbolOf } from "../../protocol/sketch-symbol.ts";
import {
  decodeCellsAnswer,
  decodeCompareAnswer,
  decodeFlags,
  decodeRangeAnswer,
  encodeCells,
  encodeCompare,
  encodeRange,
  encodeSymbols,
} from "../../protocol/sync-codec.ts";
import {
  type BucketClass,
  type CompareAnswer,
  FIRST_CELLS,
  GROUP_TAG_BYTES,
  MAX_ASKED_SYMBOLS,
  type RangeAnswer,
} from "../../protocol/sync-messages.ts";
import { BUCKET_GROUPS } from "../../protocol/sync-tree.ts";
import { BUCKETS, bucketOf, shardOfBucket } from "../../protocol/topic.ts";
import type { RecordApi } from "../records/record-api.ts";
import type { RangeSummary } from "../sync/summary.ts";
import { groupTags } from "../sync/summary.ts";
import type { ComparedState, SyncApi } from "../sync/sync-api.ts";
import { BodyExchange, type ExchangeParts, nameText, pageInvalid } from "./body-exchange.ts";
import { MeteredCalls } from "./metered-calls.ts";
import { exchangeRecords } from "./record-exchange.ts";
import { RootDescent } from "./root-descent.ts";
import { RunBudget } from "./run-budget.ts";

/** Pages of events of one run; the next run goes on. */
const MAX_PAGES_PER_RUN = 256;
/** When the peer has so many events more, its segments are copied first. */
const MANY_LACKING = 4_096;
/** Cells that decode about 150 differences, and about 1,100. */
const MIDDLE_CELLS = 224;
const MOST_CELLS = 1_600;
const MIDDLE_DIFFERENCES = 150;
const MOST_DIFFERENCES = 1_100;
/** About 150 differences touch so many of the 64 bucket groups; when more differ, the number of differences is open. */
const MANY_GROUPS = 58;

/** What one run of anti-entropy with a peer found and did. */
export interface SyncReport {
  /** `apart`: the two have no slot in common as of which to compare; `partial`: it ended at its limit, the next run goes on. */
  readonly outcome: "same" | "apart" | "different" | "partial";
  /** The slot as of which was compared. */
  readonly asOf: number;
  /** Questions one after the other until all differences, or the first page of them, were known. */
  readonly roundTrips: number;
  readonly requests: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Events that were stored here, and events that were sent. */
  readonly received: number;
  readonly sent: number;
}

export interface ReconciliationParts extends ExchangeParts {
  readonly sync: SyncApi;
  readonly records: RecordApi;
  /** Copies the peer's segments that are lacking here; answers how many events were stored. */
  readonly copySegments: (parts: ExchangeParts) => Promise<number>;
  /** A smaller number than the usual one is for tests. */
  readonly manyLacking?: number;
}

type Different = Extract<CompareAnswer, { kind: "different" }>;

/** One run with one peer, in both directions: finds what the two do not share, and moves it. */
export class Reconciliation {
  readonly #parts: ReconciliationParts;
  readonly #calls: MeteredCalls;
  #budget: RunBudget;
  readonly #exchange: BodyExchange;
  #roundTrips = 0;
  #received = 0;
  #sent = 0;

  constructor(parts: ReconciliationParts) {
    this.#calls = new MeteredCalls(parts.ask);
    this.#budget = new RunBudget(parts.clock, MAX_PAGES_PER_RUN);
    this.#parts = { ...parts, ask: this.#calls.ask };
    this.#exchange = new BodyExchange(this.#parts);
  }

  /**
   * Without the sketch, lists alone are compared.
   * @throws PennypostError `peer_*` when the peer fails or answers what it must not.
   */
  async run(mayUseSketch = true): Promise<SyncReport> {
    const { answer: first, state } = await this.#compare();
    if (first.kind !== "different") return this.#report(first.kind, first.asOf);
    await this.#healRecords(first, state);
    const answer = (await this.#copySegments(first)) ? (await this.#compare()).answer : first;
    if (answer.kind !== "different") return this.#report("different", answer.asOf);
    await this.#heal(answer, mayUseSketch);
    return this.#report(this.#budget.isCut ? "partial" : "different", answer.asOf);
  }

  async #compare(): Promise<{ readonly answer: CompareAnswer; readonly state: ComparedState }> {
    const state = await this.#parts.sync.state();
    const answer = await this.#parts.ask("/peer/v1/sync/compare", encodeCompare(state), decodeCompareAnswer);
    this.#roundTrips = 1;
    const isAsked = answer.asOf <= state.asOf && answer.asOf >= state.asOf - 1;
    if (answer.kind === "different" && !isAsked)
      throw unavailable("peer_answer_invalid", "compared as of a slot that was not asked", {
        asOf: answer.asOf,
      });
    return { answer, state };
  }

  /** Before any event, since events are judged by records. */
  async #healRecords({ records }: Different, state: ComparedState): Promise<void> {
    if (!equalBytes(records, state.records)) await exchangeRecords(this.#parts);
  }

  async #copySegments({ asOf, count }: Different): Promise<boolean> {
    const mine = await this.#parts.sync.range(asOf);
    if (count - mine.count < (this.#parts.manyLacking ?? MANY_LACKING)) return false;
    const stored = await this.#parts.copySegments(this.#parts);
    this.#received += stored;
    this.#budget = new RunBudget(this.#parts.clock, MAX_PAGES_PER_RUN);
    return stored > 0;
  }

  async #heal(answer: Different, mayUseSketch: boolean): Promise<void> {
    const { asOf, count } = answer;
    const mine = await this.#parts.sync.range(asOf);
    const all = { asOf, class: null, fromBucket: 0, toBucket: BUCKETS };
    if (mine.count === 0 && count > 0) return this.#fetchRange(all);
    if (count === 0 && mine.count > 0) return this.#pushRange(all);
    const groups = differingGroups(mine, answer);
    // The records made the difference, or one that the next run finds.
    if (groups.size === 0 && mine.count === count) return;
    const descent = new RootDescent(
      { ...this.#parts, exchange: this.#exchange, budget: this.#budget },
      asOf,
      groups,
    );
    if (mayUseSketch && (await this.#healBySketch(answer, mine, descent))) return;
    const moved = await descent.run({
      fetchAll: (target) => this.#fetchRange(rangeOf(asOf, target)),
      pushAll: (target) => this.#pushRange(rangeOf(asOf, target)),
    });
    this.#received += moved.received;
    this.#sent += moved.sent;
    this.#roundTrips += descent.roundTrips;
  }

  /** Answers false when the sketches cannot be decoded, or lead to nothing: one of them may be wrong, or jammed. */
  async #healBySketch(answer: Different, mine: RangeSummary, descent: RootDescent): Promise<boolean> {
    const symbols = await this.#differingSymbols(answer, mine, descent);
    if (!symbols) return false;
    const { shards } = this.#parts;
    const groups = Map.groupBy(symbols, (symbol) =>
      shardOfBucket(placeOfSymbol(symbol).bucket, shards.count),
    );
    const found = await Promise.all([...groups].map(([shard, group]) => shards.at(shard).bySymbols(group)));
    const names = found.flat();
    const known = new Set(names.map(({ topicKey, id }) => toHex(symbolOf(bucketOf(topicKey), id))));
    const isKnown = (symbol: Bytes) => known.has(toHex(symbol));
    await this.#fetchSymbols(symbols.filter((symbol) => !isKnown(symbol)));
    await this.#offer(symbols.filter(isKnown), names);
    return this.#received + this.#sent > 0 || this.#budget.isCut;
  }

  /** Asks for as many cells as the difference seems to need; when it turns out larger, for the roots in the same breath. */
  async #differingSymbols(
    answer: Different,
    mine: RangeSummary,
    descent: RootDescent,
  ): Promise<Bytes[] | undefined> {
    const few = decodeDifference(mine.sketch.slice(0, FIRST_CELLS * CELL_BYTES), answer.cells);
    if (few) return few;
    const least = Math.abs(mine.count - answer.count);
    if (least > MOST_DIFFERENCES) return undefined;
    this.#roundTrips++;
    const isMany = least > MIDDLE_DIFFERENCES || descent.differingGroups > MANY_GROUPS;
    if (isMany) return this.#decodeCells(answer, mine, MOST_CELLS);
    const symbols = await this.#decodeCells(answer, mine, MIDDLE_CELLS);
    if (symbols) return symbols;
    this.#roundTrips++;
    const [more] = await Promise.all([this.#decodeCells(answer, mine, MOST_CELLS), descent.askFirst()]);
    return more;
  }

  async #decodeCells({ asOf }: Different, mine: RangeSummary, cells: number): Promise<Bytes[] | undefined> {
    const body = encodeCells({ asOf, cells });
    const theirs = await this.#parts.ask("/peer/v1/sync/cells", body, decodeCellsAnswer);
    if (theirs.length !== cells * CELL_BYTES)
      throw unavailable("peer_answer_invalid", "another number of cells than was asked", { cells });
    return decodeDifference(mine.sketch.slice(0, cells * CELL_BYTES), theirs);
  }

  /** Fetches what is not here, the oldest slots first. */
  async #fetchSymbols(symbols: readonly Bytes[]): Promise<void> {
    const { suite } = this.#parts;
    let left = symbols.toSorted((a, b) => placeOfSymbol(a).slot - placeOfSymbol(b).slot);
    while (left.length > 0 && this.#budget.take()) {
      const asked = left.slice(0, MAX_WANTED_IDS);
      const body = encodeSymbols(asked);
      const { events, more } = await this.#parts.ask("/peer/v1/sync/symbols", body, decodePage);
      this.#received += await this.#exchange.ingest(events);
      const settled = new Set(more ? events.map((event) => symbolText(event)) : asked.map(toHex));
      const rest = left.filter((symbol) => !settled.has(toHex(symbol)));
      if (rest.length === left.length) throw pageInvalid();
      left = rest;
    }

    function symbolText(event: WireEvent): string {
      const name = nameOfWire(event, suite);
      return name ? toHex(symbolOf(bucketOf(name.topicKey), name.id)) : "";
    }
  }

  /** Sends what the peer says that it lacks: it may have got some of it since it made its sketch. */
  async #offer(symbols: readonly Bytes[], names: readonly EventName[]): Promise<void> {
    for (let i = 0; i < symbols.length; i += MAX_ASKED_SYMBOLS) {
      const offered = symbols.slice(i, i + MAX_ASKED_SYMBOLS);
      const isLacking = await this.#parts.ask("/peer/v1/sync/lacking", encodeSymbols(offered), decodeFlags);
      const lacking = new Set(offered.filter((_, at) => isLacking[at]).map(toHex));
      const wanted = names.filter(({ topicKey, id }) => lacking.has(toHex(symbolOf(bucketOf(topicKey), id))));
      this.#sent += await this.#exchange.push(wanted, this.#budget);
    }
  }

  /** Fetches all of a range of which nothing is here. */
  async #fetchRange(range: Range): Promise<void> {
    let after: EventName | null = null;
    while (this.#budget.take()) {
      const body = encodeRange({ ...range, after });
      const answer: RangeAnswer = await this.#parts.ask("/peer/v1/sync/range", body, decodeRangeAnswer);
      this.#received += await this.#exchange.ingest(answer.events);
      if (!answer.next) return;
      if (after && nameText(answer.next) <= nameText(after)) throw pageInvalid();
      after = answer.next;
    }
  }

  /** Sends all of a range of which the peer has nothing. */
  async #pushRange(range: Range): Promise<void> {
    const { shards } = this.#parts;
    for (const shard of await this.#shardsIn(range)) {
      for (let after: EventName | null = null; ; ) {
        if (!this.#budget.goesOn()) return;
        const { events, next } = await shards.at(shard).listRange({ ...range, after });
        if (events.length > 0 && !this.#budget.take()) return;
        this.#sent += await this.#exchange.pushEvents(events);
        if (!next) break;
        after = next;
      }
    }
  }

  /** The shards that have something in a range: each run begins with the first, and must come past those that have nothing. */
  async #shardsIn({ asOf, class: id, fromBucket, toBucket }: Range): Promise<Set<number>> {
    const { sync, shards } = this.#parts;
    const isIn = (root: BucketClass) =>
      root.bucket >= fromBucket && root.bucket < toBucket && (id === null || root.class === id);
    const roots = (await sync.roots(asOf)).filter(isIn);
    return new Set(roots.map(({ bucket }) => shardOfBucket(bucket, shards.count)));
  }

  #report(outcome: SyncReport["outcome"], asOf: number): SyncReport {
    const { requests, bytesSent, bytesReceived } = this.#calls;
    return {
      outcome,
      asOf,
      roundTrips: this.#roundTrips,
      requests,
      bytesSent,
      bytesReceived,
      received: this.#received,
      sent: this.#sent,
    };
  }
}

interface Range {
  readonly asOf: number;
  readonly class: number | null;
  readonly fromBucket: number;
  readonly toBucket: number;
}

const rangeOf = (asOf: number, { bucket, class: id }: BucketClass): Range => ({
  asOf,
  class: id,
  fromBucket: bucket,
  toBucket: bucket + 1,
});

function differingGroups(mine: RangeSummary, { tags }: Different): Set<number> {
  const own = groupTags(mine.groups);
  const differing = new Set<number>();
  for (let group = 0; group < BUCKET_GROUPS; group++) {
    const at = group * GROUP_TAG_BYTES;
    for (let byte = at; byte < at + GROUP_TAG_BYTES; byte++)
      if (own[byte] !== tags[byte]) differing.add(group);
  }
  return differing;
}
