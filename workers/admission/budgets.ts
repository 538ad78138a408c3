import type { Clock } from "../../durable-objects/clock.ts";
import type { Lease, LimiterApi, Subject } from "../../durable-objects/limiter/limiter-api.ts";
import type { BucketLimit } from "../../durable-objects/limiter/token-bucket.ts";
import { denied, exhausted, type PennypostError } from "../../protocol/errors.ts";

/** What an isolate knows of a budget holds for so long: then lists and limits are asked anew. */
export const LEASE_MS = 5_000;
/** Subjects that an isolate has leases of. */
const MAX_LEASES = 10_000;

interface Held {
  left: number;
  readonly untilMs: number;
  readonly lease: Lease;
  /** Until then there was not so much as this. */
  readonly refused: { readonly wanted: number; readonly untilMs: number } | undefined;
}

/** What a request is told of the budget that it spent. */
export interface Spent {
  readonly remaining: number;
  readonly limit: BucketLimit;
}

export interface BudgetsParts {
  readonly clock: Clock;
  limiterOf(subject: Subject): Pick<LimiterApi, "lease">;
}

/**
 * Spends budgets with leases of some seconds, so that most publishes ask no other object. Subjects are kept in memory alone, for as long
 * as their leases.
 */
export class Budgets {
  readonly #parts: BudgetsParts;
  readonly #held = new Map<string, Held>();

  constructor(parts: BudgetsParts) {
    this.#parts = parts;
  }

  /**
   * @throws PennypostError `rate_limited` (429), whose `data` has `retryAfterS` and `remaining`, or `wallet_denied` (403); or what the
   * limiter's object throws.
   */
  async spend(subject: Subject, units: number): Promise<Spent> {
    const nowMs = this.#parts.clock.nowMs();
    const name = nameOf(subject);
    const known = this.#fresh(name, nowMs);
    const isHopeless = known?.refused && units >= known.refused.wanted && nowMs < known.refused.untilMs;
    if (known && !isHopeless && known.left >= costOf(known, units)) return spendOf(known, units, nowMs);
    if (known && isHopeless) throw refusalOf(known, units, nowMs);
    return this.#take(name, subject, { wanted: units, owed: 0 }, nowMs, (held) =>
      spendOf(held, units, nowMs),
    );
  }

  /**
   * Takes units for what was refused, also those that are not there: what comes back with time pays them first.
   * @throws PennypostError what the limiter's object throws.
   */
  async charge(subject: Subject, units: number): Promise<void> {
    const nowMs = this.#parts.clock.nowMs();
    const name = nameOf(subject);
    const known = this.#fresh(name, nowMs);
    if (known) known.left -= units;
    else await this.#take(name, subject, { wanted: 0, owed: units }, nowMs, () => undefined);
  }

  #fresh(name: string, nowMs: number): Held | undefined {
    const held = this.#held.get(name);
    // The clock may have jumped back.
    return held && nowMs < held.untilMs && nowMs > held.untilMs - 2 * LEASE_MS ? held : undefined;
  }

  /** Leases what is wanted, gives back what is left of the last lease, and uses the new one in the turn in which it comes. */
  async #take<T>(
    name: string,
    subject: Subject,
    { wanted, owed }: { readonly wanted: number; readonly owed: number },
    nowMs: number,
    use: (held: Held) => T,
  ): Promise<T> {
    const returned = (this.#held.get(name)?.left ?? 0) - owed;
    // Given back once: another request that comes meanwhile has nothing to give.
    this.#held.delete(name);
    const lease = await this.#parts.limiterOf(subject).lease(subject, wanted, returned);
    const refused = lease.waitMs > 0 ? { wanted, untilMs: nowMs + lease.waitMs } : undefined;
    const held = { left: lease.granted, untilMs: nowMs + LEASE_MS, lease, refused };
    this.#keep(name, held);
    // A turn later another request's lease may have taken what is left here into its own.
    return use(held);
  }

  /** What several requests leased at once is all theirs. */
  #keep(name: string, held: Held): void {
    const other = this.#held.get(name);
    if (other) held.left += other.left;
    if (this.#held.size >= MAX_LEASES) {
      const oldest = this.#held.keys().next();
      if (!oldest.done) this.#held.delete(oldest.value);
    }
    this.#held.set(name, held);
  }
}

const nameOf = ({ kind, id }: Subject): string => `${kind} ${id}`;

/** What is larger than the whole budget costs all of it. */
const costOf = ({ lease }: Held, units: number): number => Math.min(units, lease.limit.burst);

/** @throws PennypostError as `refusalOf`. */
function spendOf(held: Held, units: number, nowMs: number): Spent {
  const cost = costOf(held, units);
  if (held.lease.standing === "denied" || held.left < cost) throw refusalOf(held, units, nowMs);
  held.left -= cost;
  return { remaining: Math.floor(held.left + held.lease.remaining), limit: held.lease.limit };
}

function refusalOf({ lease, refused }: Held, units: number, nowMs: number): PennypostError {
  if (lease.standing === "denied") return denied("wallet_denied", "wallet is deny listed");
  const waitMs = refused ? refused.untilMs - nowMs : lease.waitMs;
  return exhausted("rate_limited", "rate limit exceeded", {
    retryAfterS: Math.max(1, Math.ceil(waitMs / 1_000)),
    remaining: lease.remaining,
    burst: lease.limit.burst,
    perMinute: lease.limit.perMinute,
    units,
  });
}
