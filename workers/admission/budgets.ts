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
 *
 * What is left of a lease travels back with the next question. Where that fails nobody knows whether it arrived: the units count as given
 * back, and are kept here no more, since otherwise both sides might have them. So a failure loses up to one lease, a twentieth of a budget, or
 * what the question wanted; it comes back with time, and no budget is ever exceeded.
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
    const name = `${subject.kind} ${subject.id}`;
    const known = this.#fresh(name, nowMs);
    const isHopeless = known?.refused && units >= known.refused.wanted && nowMs < known.refused.untilMs;
    if (known && !isHopeless && known.left >= costOf(known, units)) return spendOf(known, units, nowMs);
    if (known && isHopeless) throw refusalOf(known, units, nowMs);
    return this.#lease(name, subject, units, nowMs);
  }

  /**
   * Takes units also where so many are not there: then the budget is in debt, and nothing is granted until that is made good.
   * @throws what the limiter's object throws.
   */
  async charge(subject: Subject, units: number): Promise<void> {
    const nowMs = this.#parts.clock.nowMs();
    const name = `${subject.kind} ${subject.id}`;
    const known = this.#fresh(name, nowMs);
    if (known && known.left >= units) {
      known.left -= units;
      return;
    }
    // At once, not at the next lease: an isolate that ends takes no debt with it.
    const left = this.#take(name);
    const lease = await this.#parts.limiterOf(subject).lease(subject, 0, left - units);
    this.#keep(name, { left: lease.granted, untilMs: nowMs + LEASE_MS, lease, refused: undefined });
  }

  #fresh(name: string, nowMs: number): Held | undefined {
    const held = this.#held.get(name);
    // The clock may have jumped back.
    return held && nowMs < held.untilMs && nowMs > held.untilMs - 2 * LEASE_MS ? held : undefined;
  }

  async #lease(name: string, subject: Subject, units: number, nowMs: number): Promise<Spent> {
    const returned = this.#take(name);
    const lease = await this.#parts.limiterOf(subject).lease(subject, units, returned);
    const refused = lease.waitMs > 0 ? { wanted: units, untilMs: nowMs + lease.waitMs } : undefined;
    const held = { left: lease.granted, untilMs: nowMs + LEASE_MS, lease, refused };
    this.#keep(name, held);
    // In this turn: another request's lease would take what is left here into its own.
    return spendOf(held, units, nowMs);
  }

  /** What is left of a lease, to be given back: once, so that another request that comes meanwhile has nothing to give. */
  #take(name: string): number {
    const left = this.#held.get(name)?.left ?? 0;
    this.#held.delete(name);
    return left;
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
