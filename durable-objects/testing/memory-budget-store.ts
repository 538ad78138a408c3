import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { BudgetStore } from "../limiter/budget-store.ts";
import type { WalletStanding } from "../limiter/limiter-api.ts";
import type { Bucket } from "../limiter/token-bucket.ts";

interface Day {
  readonly secret: Bytes;
  readonly buckets: Map<string, Bucket>;
}

/** What `SqlBudgetStore` must agree with. */
export class MemoryBudgetStore implements BudgetStore {
  readonly #days = new Map<number, Day>();
  readonly #standings = new Map<string, WalletStanding>();

  transaction<T>(work: () => T): T {
    return work();
  }

  days(): number[] {
    return [...this.#days.keys()].sort((a, b) => a - b);
  }

  secretOf(day: number): Bytes | undefined {
    return this.#days.get(day)?.secret;
  }

  beginDay(day: number, secret: Bytes): void {
    this.#days.set(day, { secret, buckets: new Map() });
  }

  endDay(day: number): void {
    this.#days.delete(day);
  }

  bucket(day: number, key: Bytes): Bucket | undefined {
    return this.#days.get(day)?.buckets.get(toHex(key));
  }

  saveBucket(day: number, key: Bytes, bucket: Bucket): void {
    this.#days.get(day)?.buckets.set(toHex(key), bucket);
  }

  countBuckets(day: number, most: number): number {
    return Math.min(most, this.#days.get(day)?.buckets.size ?? 0);
  }

  dropBuckets(day: number, firstByte: number, beforeMs: number): void {
    const buckets = this.#days.get(day)?.buckets ?? new Map<string, Bucket>();
    const first = toHex(Uint8Array.of(firstByte));
    for (const [name, { atMs }] of buckets)
      if (name.startsWith(first) && atMs < beforeMs) buckets.delete(name);
  }

  standing(key: Bytes): WalletStanding {
    return this.#standings.get(toHex(key)) ?? "none";
  }

  saveStanding(key: Bytes, standing: WalletStanding): void {
    if (standing === "none") this.#standings.delete(toHex(key));
    else this.#standings.set(toHex(key), standing);
  }
}
