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
/** Who has waited so long for a turn is refused. */
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

  /** Resolves when a verification may begin; what it finds good is to be given back. @throws PennypostError `too_many_calls` (429). */
  async turn(): Promise<void> {
    for (let waitedMs = 0; ; ) {
      this.#bucket = refilled(this.#bucket, BAD_VERIFICATIONS, this.#clock.nowMs());
      const ms = waitMs(this.#bucket, BAD_VERIFICATIONS, 1);
      if (ms === 0) {
        this.#bucket = { ...this.#bucket, units: this.#bucket.units - 1 };
        return;
      }
      waitedMs += ms;
      if (waitedMs > MAX_TURN_MS)
        throw exhausted("too_many_calls", "too many tokens wait to be verified", { retryAfterS: 1 });
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#clock.after(ms, resolve);
      await promise;
    }
  }

  /** The verification found a good token, or there was none: its turn does not count. */
  giveBack(): void {
    this.#bucket = { ...this.#bucket, units: this.#bucket.units + 1 };
  }
}
