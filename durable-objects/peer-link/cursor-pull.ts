import { decodePullAnswer, encodePull } from "../../protocol/peer-messages.ts";
import type { AnswerWatch } from "./asking.ts";
import { BodyExchange, type ExchangeParts } from "./body-exchange.ts";
import type { CursorStore } from "./cursor-store.ts";

export interface PullParts extends ExchangeParts {
  readonly cursors: CursorStore;
  readonly watch: AnswerWatch;
}

/** Requests for ids of one run; what is left is read in the next. */
const MAX_PULLS_PER_RUN = 1_000;

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
    const { cursors } = this.#parts;
    let received = 0;
    for (let pulls = 0; pulls < MAX_PULLS_PER_RUN; pulls++) {
      this.#isAskedAgain = false;
      const body = encodePull({ cursors: cursors.all() });
      const shards = await this.#parts.ask("/peer/v1/pull", body, decodePullAnswer);
      received += await this.#exchange.fetch(shards.flatMap(({ names }) => names));
      const moved = shards.filter(({ cursor }) => cursors.keep(cursor)).length;
      const isMore = moved > 0 && shards.some(({ more, names }) => more && names.length > 0);
      if (!isMore && !this.#isAskedAgain) break;
    }
    return received;
  }
}
