import { equalBytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { type Cursor, decodePullAnswer, encodePull, type PulledShard } from "../../protocol/peer-messages.ts";
import type { AnswerWatch } from "./asking.ts";
import { BodyExchange, type ExchangeParts } from "./body-exchange.ts";
import type { CursorStore } from "./cursor-store.ts";
import { RunBudget } from "./run-budget.ts";

export interface PullParts extends ExchangeParts {
  readonly cursors: CursorStore;
  readonly watch: AnswerWatch;
}

/** Requests for ids of one run, and these with the pages of events; what is left is read in the next. */
const MAX_PULLS_PER_RUN = 256;
const MAX_PAGES_PER_RUN = 4_096;
/** Pulls in a row that name what is not here, and then none of it comes: the peer names what it does not give. */
const MAX_FUTILE_PULLS = 8;

/** A store that was rolled back begins anew once, and again when it learns of it. */
const MAX_BEGINNINGS = 2;

/** Reads a peer's shards in their order of arrival, from where the last run ended, and fetches what is lacking here. */
export class CursorPull {
  readonly #parts: PullParts;
  readonly #exchange: BodyExchange;
  #running: Promise<number> | undefined;
  #isAskedAgain = false;

  constructor(parts: PullParts) {
    this.#parts = parts;
    this.#exchange = new BodyExchange(parts);
  }

  /** Answers how many events came in. @throws what `ask` throws; cursors stay behind what was stored. */
  run(): Promise<number> {
    if (this.#running) {
      this.#isAskedAgain = true;
      return this.#running;
    }
    this.#running = this.#parts.watch
      .run(() => this.#runAll())
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  async #runAll(): Promise<number> {
    const { cursors, clock } = this.#parts;
    const budget = new RunBudget(clock, MAX_PAGES_PER_RUN);
    const places = new Places(cursors.all());
    let received = 0;
    let futile = 0;
    try {
      for (let pulls = 0; pulls < MAX_PULLS_PER_RUN && futile < MAX_FUTILE_PULLS && budget.take(); pulls++) {
        this.#isAskedAgain = false;
        const body = encodePull({ cursors: places.all() });
        const shards = await this.#parts.ask("/peer/v1/pull", body, decodePullAnswer);
        places.check(shards);
        const lacking = await this.#exchange.lacking(shards.flatMap(({ names }) => names));
        const stored = await this.#exchange.fetchLacking(lacking, budget);
        received += stored;
        if (budget.isCut) break;
        futile = lacking.length > 0 && stored === 0 ? futile + 1 : 0;
        const isMore = places.move(shards) && shards.some(({ more, names }) => more && names.length > 0);
        if (!isMore && !this.#isAskedAgain) break;
      }
    } finally {
      // Once a run, since each is a row: what a crash takes is only read again.
      places.write(cursors);
    }
    return received;
  }
}

const invalidAnswer = () =>
  unavailable(
    "peer_answer_invalid",
    "a pull names a shard twice, or goes back to where it was again and again",
  );

/** Where one run stands in the shards of a peer. */
class Places {
  readonly #cursors: Map<number, Cursor>;
  readonly #moved = new Set<number>();
  /** How often each shard began anew in this run. */
  readonly #beginnings = new Map<number, number>();

  constructor(cursors: readonly Cursor[]) {
    this.#cursors = new Map(cursors.map((cursor) => [cursor.shard, cursor]));
  }

  all(): Cursor[] {
    return [...this.#cursors.values()].sort((a, b) => a.shard - b.shard);
  }

  /** @throws PennypostError `peer_answer_invalid` when a shard is named twice, or begins anew for ever. */
  check(shards: readonly PulledShard[]): void {
    if (new Set(shards.map(({ cursor }) => cursor.shard)).size < shards.length) throw invalidAnswer();
    for (const { cursor } of shards) {
      const { shard, generation, position } = cursor;
      const before = this.#cursors.get(shard);
      if (!before || (equalBytes(before.generation, generation) && position >= before.position)) continue;
      const beginnings = (this.#beginnings.get(shard) ?? 0) + 1;
      if (beginnings > MAX_BEGINNINGS) throw invalidAnswer();
      this.#beginnings.set(shard, beginnings);
    }
  }

  /** Answers whether any shard is at another place now. */
  move(shards: readonly PulledShard[]): boolean {
    let isMoved = false;
    for (const { cursor } of shards) {
      const before = this.#cursors.get(cursor.shard);
      if (before?.position === cursor.position && equalBytes(before.generation, cursor.generation)) continue;
      this.#cursors.set(cursor.shard, cursor);
      this.#moved.add(cursor.shard);
      isMoved = true;
    }
    return isMoved;
  }

  write(cursors: CursorStore): void {
    for (const shard of this.#moved) cursors.keep(this.#cursors.get(shard) as Cursor);
  }
}
