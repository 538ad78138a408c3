import type { BucketLimit } from "./token-bucket.ts";

/**
 * Who has a budget. In memory on its way only: what is stored is a keyed hash of it. "stamps" are those that a wallet may buy; a "nonce" is
 * good for once.
 */
export interface Subject {
  readonly kind: "wallet" | "address" | "stamps" | "nonce";
  readonly id: string;
}

/** What the operator's lists say of a wallet. */
export type WalletStanding = "none" | "listed" | "denied";

/** Units that an isolate may spend without asking again, for a few seconds. */
export interface Lease {
  readonly standing: WalletStanding;
  /** Units, at least as many as were wanted, or all that fit where those are less; 0 when there are not enough. */
  readonly granted: number;
  /** What is left behind the lease. */
  readonly remaining: number;
  /** When so much as was wanted is there, in ms from now; 0 when it was granted. */
  readonly waitMs: number;
  readonly limit: BucketLimit;
}

/** The budgets of some subjects. All @throws PennypostError when the object does not answer. */
export interface LimiterApi {
  /**
   * Takes units out of a budget. `returned` are those of the asker's last lease that were not spent; below 0 they are its debt, of which
   * one full budget is kept in mind.
   */
  lease(subject: Subject, wanted: number, returned: number): Promise<Lease>;
  /** Answers what the wallet was. */
  setStanding(wallet: string, standing: WalletStanding): Promise<WalletStanding>;
  standingOf(wallet: string): Promise<WalletStanding>;
}
