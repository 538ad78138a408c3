import { type Bytes, concatBytes } from "../../protocol/bytes.ts";
import type { Subject } from "../limiter/limiter-api.ts";
import { LimiterCore } from "../limiter/limiter-core.ts";
import type { RateLimits } from "../limiter/limits.ts";
import type { Bucket } from "../limiter/token-bucket.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "./manual-clock.ts";
import { MemoryBudgetStore } from "./memory-budget-store.ts";

export const START_MS = Date.UTC(2026, 10, 23, 12);
export const LIMITS: RateLimits = {
  wallet: { burst: 100, perMinute: 60 },
  address: { burst: 200, perMinute: 120 },
  stamps: { burst: 100, perMinute: 2 },
  listedFactor: 2.5,
};

/** Knows what was saved last. */
class NotedStore extends MemoryBudgetStore {
  lastSaved: { readonly day: number; readonly key: Bytes; readonly bucket: Bucket } | undefined;

  override saveBucket(day: number, key: Bytes, bucket: Bucket): void {
    this.lastSaved = { day, key, bucket };
    super.saveBucket(day, key, bucket);
  }
}

/** A limiter with its store and its clock, over its lives. */
export class LimiterScene {
  readonly clock = new ManualClock(START_MS);
  readonly store = new NotedStore();
  readonly maxBudgets: number;
  secrets = 0;
  core: LimiterCore;

  constructor(maxBudgets = 1_000) {
    this.maxBudgets = maxBudgets;
    this.core = this.life();
  }

  /** A life of the object, which knows what is stored. */
  life(): LimiterCore {
    return new LimiterCore({
      store: this.store,
      clock: this.clock,
      limits: LIMITS,
      maxBudgets: this.maxBudgets,
      listKey: new Uint8Array(32),
      random: (bytes) => new Uint8Array(bytes).fill(++this.secrets),
      hmac: (key, data) => suite.sha256(concatBytes(key, data)),
    });
  }

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }

  /** Takes so much, and gives back what was leased beside it. */
  async take(subject: Subject, units: number): Promise<boolean> {
    const { granted } = await this.core.lease(subject, units, 0);
    this.#giveBack(subject, granted >= units ? granted - units : granted);
    return granted >= units;
  }

  async units(subject: Subject): Promise<number> {
    const { granted, remaining } = await this.core.lease(subject, 0, 0);
    this.#giveBack(subject, granted);
    return granted + remaining;
  }

  /** In the storage itself, since each lease grants some. */
  #giveBack(subject: Subject, units: number): void {
    const save = this.store.lastSaved;
    if (!save) throw new Error(`${subject.id} has no budget`);
    this.store.saveBucket(save.day, save.key, { ...save.bucket, units: save.bucket.units + units });
  }
}
