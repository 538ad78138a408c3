import { random } from "./platform.ts";

/** Pauses before a connection grow from the first to the last, by doubling; each is shortened at random by up to a half. */
const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 30_000;
const MAX_FAILURES = 20;
/** Before it was ready once: who subscribes waits. */
const MAX_FIRST_FAILURES = 4;
/** A connection that lasted so long was a good one. */
const GOOD_AFTER_MS = 10_000;

/** Counts the failures of a subscription's connections, so that no node makes it connect without a pause or an end. */
export class ConnectionFailures {
  readonly #most: number;
  #inARow = 0;
  /** Since a connection that lasted: events do not make up for them, since a node can make events. */
  #setbacks = 0;

  constructor(most = MAX_FAILURES) {
    this.#most = most;
  }

  /** A token that led nowhere, or a connection that brought much and no event. Answers how many there were in a row. */
  setBack(): number {
    return ++this.#setbacks;
  }

  /** A connection brought an event that was not there before. */
  succeed(): void {
    this.#inARow = 0;
  }

  /**
   * A connection failed.
   * @param lastedMs from when it was ready to when it was heard of last; 0 for one that was not.
   * @param isFirst whether none was ready yet.
   * @returns how long to wait before the next, in ms; undefined when it was one too many.
   */
  fail(lastedMs: number, isFirst: boolean): number | undefined {
    const wasGood = lastedMs >= GOOD_AFTER_MS;
    if (wasGood) this.#setbacks = Math.min(this.#setbacks, 1);
    this.#inARow = Math.max(wasGood ? 1 : this.#inARow + 1, this.#setbacks);
    if (this.#inARow > (isFirst ? Math.min(this.#most, MAX_FIRST_FAILURES) : this.#most)) return undefined;
    const grown = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#inARow - 1));
    return grown * (1 - random() / 2);
  }
}
