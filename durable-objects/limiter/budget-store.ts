import type { Bytes } from "../../protocol/bytes.ts";
import type { WalletStanding } from "./limiter-api.ts";
import type { Bucket } from "./token-bucket.ts";

/** A limiter's storage. Days are whole days since 1970. Every method is synchronous. */
export interface BudgetStore {
  /** All or nothing; @throws whatever `work` throws, after a rollback. */
  transaction<T>(work: () => T): T;
  /** The days that have a secret, in order. */
  days(): number[];
  secretOf(day: number): Bytes | undefined;
  /** Begins a day, with its secret. */
  beginDay(day: number, secret: Bytes): void;
  /** Forgets a day: its secret, and all budgets under it. */
  endDay(day: number): void;
  bucket(day: number, key: Bytes): Bucket | undefined;
  saveBucket(day: number, key: Bytes, bucket: Bucket): void;
  /** How many budgets a day has; counts up to `most`. */
  countBuckets(day: number, most: number): number;
  /** Forgets those of a day whose keys begin with a byte and which were not asked for since a time in ms. */
  dropBuckets(day: number, firstByte: number, beforeMs: number): void;

  standing(key: Bytes): WalletStanding;
  /** "none" forgets the wallet. */
  saveStanding(key: Bytes, standing: WalletStanding): void;
}
