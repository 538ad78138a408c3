/** After a failure the peer is left alone for 1 s, 2 s, 4 s … up to this. */
const MAX_PAUSE_MS = 300_000;
export const FIRST_PAUSE_MS = 1_000;

/** Whether a peer answers, and how long it is left alone when it does not. */
export class Availability {
  #failures = 0;
  #pausedUntilMs = 0;

  /** Until when the peer is left alone; 0 when it is not. A pause that a clock far ahead began does not outlast it. */
  pausedUntil(nowMs: number): number {
    const untilMs = this.#pausedUntilMs;
    return untilMs > nowMs && untilMs <= nowMs + MAX_PAUSE_MS ? untilMs : 0;
  }

  failed(nowMs: number): void {
    this.#failures++;
    this.#pausedUntilMs = nowMs + Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#failures - 1));
  }

  /** The peer answered. Answers whether it had failed before. */
  answered(): boolean {
    const wasDown = this.#failures > 0;
    this.#failures = 0;
    return wasDown;
  }

  /** The peer was heard of by itself: a pause ends. Answers whether it had failed before. */
  heard(): boolean {
    this.#pausedUntilMs = 0;
    return this.answered();
  }
}
