import type { Clock } from "../../durable-objects/clock.ts";
import {
  type Bucket,
  type BucketLimit,
  fullBucket,
  refilled,
  waitMs,
} from "../../durable-objects/limiter/token-bucket.ts";
import { exhausted } from "../../protocol/errors.ts";

/**
 * Verifications of an isolate that may find a bad token: so many at once, and 40 a second, at 3 to 6 ms each: an eighth to a quarter of
 * its time. Good ones do not count.
 */
export const BAD_VERIFICATIONS: BucketLimit = { burst: 20, perMinute: 2_400 };
/** Nobody waits longer for a turn. */
export const MAX_TURN_MS = 5_000;
/** Who wait from one address: a client sends some requests at once. */
export const MAX_WAITING_OF_SENDER = 10;
/** In all: of as many addresses as have a turn in the longest wait. 2,000. */
export const MAX_WAITING = ((MAX_TURN_MS * BAD_VERIFICATIONS.perMinute) / 60_000) * MAX_WAITING_OF_SENDER;
/** Each who waits looks itself whose turn it is, every so many turns: fewer than are given at once, so that few are lost with who is gone. */
const TURNS_PER_LOOK = 10;
/** Where many wait, each looks less often: for each turn so many looks in all, at some 20 µs each. */
const MAX_LOOKS_PER_TURN = 40;

/** Of one request that waits. */
interface Place {
  readonly sender: string;
  /** Then its request has gone on, or is gone itself. */
  readonly untilMs: number;
  hasTurn: boolean;
  isOver: boolean;
  wake: () => void;
}

const tooMany = () => exhausted("too_many_calls", "too many tokens wait to be verified", { retryAfterS: 1 });

/**
 * Bounds what bad tokens take of an isolate's time, which it has once for all its requests: verifying one takes some ms, in which
 * nothing else goes on. Senders have their turns one after the other, however many requests of each wait, so that those with many bad
 * tokens hold up no other's first. Each request waits by its own timers and gives turns to whoever is next: one that ends while it waits
 * costs a turn at most.
 */
export class VerificationPace {
  readonly #clock: Clock;
  #bucket: Bucket;
  /** Those who wait, by senders: these in the order of their next turns, and of each the first one first. */
  readonly #senders = new Map<string, Place[]>();
  #waiting = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#bucket = fullBucket(BAD_VERIFICATIONS, clock.nowMs());
  }

  /**
   * Resolves when a verification may begin; what it finds good is to be given back.
   * @throws PennypostError `too_many_calls` (429), at once when too many wait, or after the longest wait.
   */
  async turn(sender: string): Promise<void> {
    this.#serve();
    if (this.#waiting === 0 && this.#take()) return;
    const place = this.#enter(sender);
    await this.#wait(place);
    if (!place.hasTurn) throw tooMany();
  }

  /** The verification found a good token, or there was none: its turn does not count. */
  giveBack(): void {
    this.#bucket = { ...this.#bucket, units: this.#bucket.units + 1 };
    this.#serve();
  }

  #take(): boolean {
    const { units } = this.#bucket;
    if (units < 1) return false;
    this.#bucket = { ...this.#bucket, units: units - 1 };
    return true;
  }

  #enter(sender: string): Place {
    if (this.#waiting >= MAX_WAITING) this.#dropLate();
    const places = this.#senders.get(sender) ?? [];
    if (this.#waiting >= MAX_WAITING || places.length >= MAX_WAITING_OF_SENDER) throw tooMany();
    const untilMs = this.#clock.nowMs() + MAX_TURN_MS;
    const place = { sender, untilMs, hasTurn: false, isOver: false, wake: () => {} };
    places.push(place);
    this.#senders.set(sender, places);
    this.#waiting++;
    return place;
  }

  async #wait(place: Place): Promise<void> {
    let leftMs = MAX_TURN_MS;
    // At first at different turns, so that at each one somebody looks.
    let turns = 1 + ((this.#waiting - 1) % this.#turnsPerLook());
    while (!place.isOver) {
      const ms = Math.min(leftMs, Math.max(1, waitMs(this.#bucket, BAD_VERIFICATIONS, turns)));
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = this.#clock.after(ms, resolve);
      place.wake = resolve;
      await promise;
      timer.cancel();
      leftMs -= ms;
      this.#serve();
      if (leftMs <= 0) this.#leave(place);
      turns = Math.min(Math.max(1, this.#waiting), this.#turnsPerLook());
    }
  }

  #turnsPerLook(): number {
    return Math.max(TURNS_PER_LOOK, Math.ceil(this.#waiting / MAX_LOOKS_PER_TURN));
  }

  /** Gives the turns that there are, to one sender after the other. */
  #serve(): void {
    const nowMs = this.#clock.nowMs();
    this.#bucket = refilled(this.#bucket, BAD_VERIFICATIONS, nowMs);
    for (const [sender, places] of this.#senders) {
      const place = places[0] as Place;
      const isLate = nowMs >= place.untilMs;
      if (!isLate && !this.#take()) return;
      place.hasTurn = !isLate;
      this.#leave(place);
      // Behind all others, whom this loop comes to before it comes here again.
      if (places.length === 0) continue;
      this.#senders.delete(sender);
      this.#senders.set(sender, places);
    }
  }

  #leave(place: Place): void {
    if (place.isOver) return;
    const { sender } = place;
    const places = this.#senders.get(sender) as Place[];
    places.splice(places.indexOf(place), 1);
    if (places.length === 0) this.#senders.delete(sender);
    this.#waiting--;
    place.isOver = true;
    place.wake();
  }

  /** Those whose requests are gone. */
  #dropLate(): void {
    const nowMs = this.#clock.nowMs();
    const late = [...this.#senders.values()].flat().filter(({ untilMs }) => nowMs >= untilMs);
    for (const place of late) this.#leave(place);
  }
}
