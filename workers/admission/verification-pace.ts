import type { Clock } from "../../durable-objects/clock.ts";
import {
  type Bucket,
  type BucketLimit,
  fullBucket,
  refilled,
  waitMs,
} from "../../durable-objects/limiter/token-bucket.ts";
import { exhausted } from "../../protocol/errors.ts";

/** Verifications of an isolate that may find a bad token: so many at once, and 10 a second. Good ones do not count. */
export const BAD_VERIFICATIONS: BucketLimit = { burst: 20, perMinute: 600 };
/** Nobody waits longer for a turn. */
export const MAX_TURN_MS = 5_000;

/**
 * Bounds what bad tokens take of an isolate's time, which it has once for all its requests: verifying one takes some ms, in which
 * nothing else goes on. Each waits by its own timer, and none for another: a request that ends while it waits holds nobody up.
 */
export class VerificationPace {
  readonly #clock: Clock;
  #bucket: Bucket;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#bucket = fullBucket(BAD_VERIFICATIONS, clock.nowMs());
  }

  /**
   * Resolves when a verification may begin, in the order of the calls; what it finds good is to be given back.
   * @throws PennypostError `too_many_calls` (429), after the longest wait: who sends bad tokens gains nothing by being told at once.
   */
  async turn(): Promise<void> {
    const now = refilled(this.#bucket, BAD_VERIFICATIONS, this.#clock.nowMs());
    const ms = waitMs(now, BAD_VERIFICATIONS, 1);
    const hasPlace = ms <= MAX_TURN_MS;
    // Taken before its time comes, so that the next one waits longer.
    this.#bucket = hasPlace ? { ...now, units: now.units - 1 } : now;
    if (ms === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#clock.after(Math.min(ms, MAX_TURN_MS), resolve);
    await promise;
    if (!hasPlace)
      throw exhausted("too_many_calls", "too many tokens wait to be verified", { retryAfterS: 1 });
  }

  /** The verification found a good token, or there was none: its turn does not count. */
  giveBack(): void {
    this.#bucket = { ...this.#bucket, units: this.#bucket.units + 1 };
  }
}
