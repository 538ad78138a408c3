import { type Bytes, concatBytes, utf8 } from "../../protocol/bytes.ts";
import { exhausted } from "../../protocol/errors.ts";
import type { Clock } from "../clock.ts";
import type { BudgetStore } from "./budget-store.ts";
import type { Lease, LimiterApi, Subject, WalletStanding } from "./limiter-api.ts";
import type { RateLimits } from "./limits.ts";
import { type Bucket, type BucketLimit, fillMs, fullBucket, refilled, waitMs } from "./token-bucket.ts";

export const DAY_MS = 86_400_000;
const SECRET_BYTES = 32;
const KEY_BYTES = 16;
/** Budgets of a day, at about 50 bytes each. An address has one for each /64 that a sender likes to use. */
const MAX_BUDGETS = 1_000_000;
/** Budgets are looked through at most so often, when there are too many. */
const SWEEP_PAUSE_MS = 60_000;
/** The first byte of a budget's key. */
const KINDS: Readonly<Record<Subject["kind"], number>> = { wallet: 1, address: 2, stamps: 3, nonce: 4 };
/** A nonce is spent once in an hour: longer than what it is a part of is good for. */
const NONCE_LIMIT: BucketLimit = { burst: 1, perMinute: 1 / 60 };
/** A lease takes this part of a full budget, while more than half of it is left. */
const LEASED_PART = 1 / 20;

export interface LimiterParts {
  readonly store: BudgetStore;
  readonly clock: Clock;
  readonly limits: RateLimits;
  /** The key of the operator's lists: the node's own, which is in no storage. */
  readonly listKey: Bytes;
  /** `MAX_BUDGETS`, where a test does not say otherwise. */
  readonly maxBudgets?: number;
  random(bytes: number): Bytes;
  hmac(key: Bytes, data: Bytes): Bytes;
}

/**
 * The budgets of some wallets and addresses. They are kept under keyed hashes: the key is random, of one day, and goes with all that was
 * kept under it when the day after has ended, so that after 48 h nothing tells who published. Till then a row is a pseudonym.
 */
export class LimiterCore implements LimiterApi {
  readonly #parts: LimiterParts;
  /** Budgets of the newest day, once counted. */
  #counted: { readonly day: number; count: number } | undefined;
  #sweptMs = Number.NEGATIVE_INFINITY;

  constructor(parts: LimiterParts) {
    this.#parts = parts;
  }

  get #today(): number {
    return Math.floor(this.#parts.clock.nowMs() / DAY_MS);
  }

  async lease(subject: Subject, wanted: number, returned: number): Promise<Lease> {
    const standing = hasStanding(subject) ? await this.standingOf(subject.id) : "none";
    return this.#parts.store.transaction(() => this.#lease(subject, standing, wanted, returned));
  }

  #lease(subject: Subject, standing: WalletStanding, asked: number, returned: number): Lease {
    const { clock, store } = this.#parts;
    const limit = this.#limitOf(subject, standing);
    // What costs more than ever fits takes all there is: else it could never be had.
    const wanted = Math.min(asked, limit.burst);
    const nowMs = clock.nowMs();
    const { day, key, bucket } = this.#bucketOf(subject, limit);
    const now = refilled(bucket, limit, nowMs);
    const units = Math.max(-limit.burst, Math.min(limit.burst, now.units + returned));
    const granted = units < wanted ? 0 : grantOf(subject, units, wanted, limit);
    const left = { units: units - granted, atMs: now.atMs };
    store.saveBucket(day, key, left);
    return {
      standing,
      granted,
      remaining: Math.max(0, Math.floor(left.units)),
      waitMs: granted > 0 || wanted === 0 ? 0 : waitMs(left, limit, wanted),
      limit,
    };
  }

  #limitOf({ kind }: Pick<Subject, "kind">, standing: WalletStanding): BucketLimit {
    const { limits } = this.#parts;
    if (kind === "nonce") return NONCE_LIMIT;
    const { burst, perMinute } = limits[kind];
    const factor = standing === "listed" ? limits.listedFactor : 1;
    return { burst: Math.floor(burst * factor), perMinute: Math.floor(perMinute * factor) };
  }

  /** At midnight a budget goes on under the new day's key: the day before counts, too. */
  #bucketOf(
    subject: Subject,
    limit: BucketLimit,
  ): { readonly day: number; readonly key: Bytes; readonly bucket: Bucket } {
    const { store, clock } = this.#parts;
    const day = this.#beginToday();
    const key = this.#keyOf(subject, day);
    const known = store.bucket(day, key);
    if (known) return { day, key, bucket: known };
    this.#makeRoom(day);
    return { day, key, bucket: this.#bucketBefore(subject, day) ?? fullBucket(limit, clock.nowMs()) };
  }

  /** Counts one more. @throws PennypostError `too_many_budgets` (429) */
  #makeRoom(day: number): void {
    const { store, clock, maxBudgets = MAX_BUDGETS } = this.#parts;
    const count = () => ({ day, count: store.countBuckets(day, maxBudgets) });
    if (this.#counted?.day !== day) this.#counted = count();
    const nowMs = clock.nowMs();
    if (this.#counted.count >= maxBudgets && Math.abs(nowMs - this.#sweptMs) >= SWEEP_PAUSE_MS) {
      this.#sweptMs = nowMs;
      this.#dropFull(day, nowMs);
      this.#counted = count();
    }
    if (this.#counted.count >= maxBudgets)
      throw exhausted("too_many_budgets", "too many others ask this node at once", {
        retryAfterS: SWEEP_PAUSE_MS / 1_000,
      });
    this.#counted.count++;
  }

  /** Those that have filled again are as if they were not there. */
  #dropFull(day: number, nowMs: number): void {
    for (const kind of KIND_NAMES) {
      // Twice: a budget may owe as much as it holds.
      const fullAfterMs = 2 * fillMs(this.#limitOf({ kind }, "none"));
      this.#parts.store.dropBuckets(day, KINDS[kind], nowMs - fullAfterMs);
    }
  }

  #bucketBefore(subject: Subject, day: number): Bucket | undefined {
    const { store } = this.#parts;
    const secret = store.secretOf(day - 1);
    return secret && store.bucket(day - 1, this.#keyUnder(secret, subject));
  }

  #keyOf(subject: Subject, day: number): Bytes {
    const secret = this.#parts.store.secretOf(day);
    if (!secret) throw new Error("a day has begun with its secret");
    return this.#keyUnder(secret, subject);
  }

  #keyUnder(secret: Bytes, { kind, id }: Subject): Bytes {
    const hash = this.#parts.hmac(secret, utf8(`${kind} ${id}`)).subarray(0, KEY_BYTES);
    return concatBytes(Uint8Array.of(KINDS[kind]), hash);
  }

  /** Answers the day that counts: the newest that has begun, since a clock may step back over midnight. */
  #beginToday(): number {
    const { store, random } = this.#parts;
    this.#forgetAhead();
    const newest = store.days().at(-1) ?? Number.NEGATIVE_INFINITY;
    const day = Math.max(newest, this.#today);
    if (day > newest) store.beginDay(day, random(SECRET_BYTES));
    this.#forgetBefore(day - 1);
    return day;
  }

  /** Those of a clock that was far ahead. */
  #forgetAhead(): void {
    const { store } = this.#parts;
    for (const each of store.days()) if (each > this.#today + 1) store.endDay(each);
  }

  #forgetBefore(day: number): void {
    const { store } = this.#parts;
    for (const each of store.days()) if (each < day) store.endDay(each);
  }

  /** Forgets the days that have been over for a day. Answers when to come again; undefined when nothing is left. */
  forget(): number | undefined {
    this.#parts.store.transaction(() => {
      this.#forgetAhead();
      this.#forgetBefore(this.#today - 1);
    });
    const [oldest] = this.#parts.store.days();
    return oldest === undefined ? undefined : (oldest + 2) * DAY_MS;
  }

  #listed(wallet: string): Bytes {
    return this.#parts.hmac(this.#parts.listKey, utf8(wallet));
  }

  async standingOf(wallet: string): Promise<WalletStanding> {
    return this.#parts.store.standing(this.#listed(wallet));
  }

  async setStanding(wallet: string, standing: WalletStanding): Promise<WalletStanding> {
    const before = await this.standingOf(wallet);
    if (before !== standing) this.#parts.store.saveStanding(this.#listed(wallet), standing);
    return before;
  }
}

const KIND_NAMES = Object.keys(KINDS) as Subject["kind"][];

const hasStanding = ({ kind }: Subject): boolean => kind === "wallet" || kind === "stamps";

/** More than was wanted while there is plenty, so that the asker need not come back at once. Stamps and nonces have no leases. */
function grantOf({ kind }: Subject, units: number, wanted: number, { burst }: BucketLimit): number {
  if (kind === "stamps" || kind === "nonce") return wanted;
  const isPlenty = units - wanted > burst / 2;
  return isPlenty ? Math.max(wanted, Math.floor(burst * LEASED_PART)) : wanted;
}
