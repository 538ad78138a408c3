import type { ReceivedEvent } from "./received-event.ts";

/** A set of texts that forgets the oldest. */
class RecentSet {
  readonly #limit: number;
  readonly #texts = new Set<string>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(text: string): boolean {
    return this.#texts.has(text);
  }

  add(text: string): void {
    this.#texts.delete(text);
    this.#texts.add(text);
    if (this.#texts.size <= this.#limit) return;
    const oldest = this.#texts.values().next();
    if (!oldest.done) this.#texts.delete(oldest.value);
  }

  delete(text: string): void {
    this.#texts.delete(text);
  }

  clear(): void {
    this.#texts.clear();
  }
}

/** Envelopes that a subscriber was shown: the last so many are not shown again. */
export const MAX_RECENT = 20_000;

/** What a subscription has shown of late: so that an envelope comes once, and a node that swaps events or hides a gap is noticed. */
export class RecentEvents {
  readonly #envelopes = new RecentSet(MAX_RECENT);
  readonly #ids = new RecentSet(MAX_RECENT);
  /** Parents that were said to be there already, or to have expired, when their children came. */
  readonly #passed = new RecentSet(MAX_RECENT);

  /** Whether an envelope is shown for the first time. `name` is unlike that of any other envelope. */
  isFirst(name: string): boolean {
    if (this.#envelopes.has(name)) return false;
    this.#envelopes.add(name);
    return true;
  }

  /**
   * Notes an event that a stream delivered.
   * @returns whether its place holds: a node delivers parents before their children, unless it marks the child with `gap`.
   */
  isInOrder({ id, links, gap }: ReceivedEvent): boolean {
    const isLate = this.#passed.has(id) && !this.#ids.has(id);
    this.#ids.add(id);
    this.#passed.delete(id);
    if (!gap) for (const link of links) if (!this.#ids.has(link)) this.#passed.add(link);
    return !isLate;
  }

  /** A store that was rebuilt delivers again what it gets back. */
  forgetOrder(): void {
    this.#ids.clear();
    this.#passed.clear();
  }
}
