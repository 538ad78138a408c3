import type { Clock } from "../../durable-objects/clock.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { EvmAddress } from "../../protocol/evm-address.ts";
import {
  type ContractQuestion,
  checkAge,
  checkToken,
  contractQuestion,
  readAuthorization,
  readToken,
  signingWallet,
  type WalletToken,
  wrongWallet,
} from "../../protocol/wallet-token.ts";
import { Remembered } from "./remembered.ts";
import { SharedChecks } from "./shared-checks.ts";
import { VerificationPace } from "./verification-pace.ts";

/** Verified tokens that an isolate remembers: 500 bytes each. */
export const MAX_REMEMBERED = 10_000;
/** Refused ones, apart from those, so that they push out no good one: who sends one again does not have it verified again. */
export const MAX_REFUSED = 2_000;
/** What a contract says holds for so long: its owners change. */
export const CONTRACT_HOLDS_MS = 300_000;
/** A contract that said no may be made, or its owner changed, any moment. */
export const CONTRACT_REFUSED_MS = 60_000;
/** Contracts that an isolate asks at a time. */
export const MAX_CONTRACT_CHECKS = 16;
/** A little more than the endpoint has. */
const CONTRACT_CHECK_MS = 6_000;
/** What asking a contract costs the address of who sent the token, whatever the contract says: it is a call to elsewhere. */
export const CONTRACT_CHECK_UNITS = 10;
/** Rules that a time breaks: found before anything is verified, and another time may not break them. */
const RULES_OF_TIME: readonly unknown[] = ["expired", "future"];

/** A token that was verified: its wallet, and the identity key that signs for it. */
export interface VerifiedToken {
  readonly wallet: EvmAddress;
  /** Uncompressed secp256k1, 65 bytes. */
  readonly identityKey: Uint8Array;
  readonly createdNs: bigint;
}

/**
 * Asks a contract whether a signature is its own (ERC-1271, ERC-6492).
 * @throws PennypostError `wallet_check_unavailable` (503) when nobody can tell.
 */
export type ContractCheck = (question: ContractQuestion) => Promise<boolean>;

/** Takes units out of the budget of the address that a token came from. @throws PennypostError `rate_limited` (429). */
export type Charge = (units: number) => Promise<unknown>;

/** Who sent a token. */
export interface Sender {
  /** As `clientAddress` names it; all who have none count as one. */
  readonly address: string | null;
  readonly charge: Charge;
}

export interface WalletTokensParts {
  readonly suite: CryptoSuite;
  readonly clock: Clock;
  /** Where an RPC endpoint is configured. */
  readonly contractSigned?: ContractCheck;
}

/**
 * Verifies wallet tokens: each once, then it is known by its hash until it expires. What is remembered is in memory alone, and is never
 * logged.
 */
export class WalletTokens {
  readonly #parts: WalletTokensParts;
  readonly #verified = new Remembered<VerifiedToken>(MAX_REMEMBERED);
  readonly #refused = new Remembered<PennypostError>(MAX_REFUSED);
  readonly #checks: SharedChecks<VerifiedToken>;
  readonly #pace: VerificationPace;

  constructor(parts: WalletTokensParts) {
    this.#parts = parts;
    const { clock } = parts;
    this.#pace = new VerificationPace(clock);
    this.#checks = new SharedChecks({ clock, limit: MAX_CONTRACT_CHECKS, timeoutMs: CONTRACT_CHECK_MS });
  }

  /**
   * @throws PennypostError `wallet_token_*`, `authorization_malformed`, `scheme_unknown` (401), `too_many_calls` (429),
   * `wallet_check_unavailable` (503), or what `charge` throws.
   */
  async verify(header: string | null, { address, charge }: Sender): Promise<VerifiedToken> {
    const bytes = readAuthorization(header ?? undefined);
    const name = toHex(this.#parts.suite.sha256(bytes));
    const known = this.#known(name);
    if (known) return known;
    const token = this.#refusing(name, () => readToken(bytes));
    await this.#pace.turn(address ?? "");
    const knownNow = this.#knownAfterTurn(name);
    if (knownNow) return knownNow;
    const wallet = this.#refusing(name, () => checkToken(token, this.#parts.clock.nowMs()));
    // One that is not signed by its wallet's own key counts as bad, though a contract may vouch for it.
    if (signingWallet(token) !== wallet) return this.#verifyContract(name, wallet, token, charge);
    this.#pace.giveBack();
    return this.#remember(name, wallet, token, Number.POSITIVE_INFINITY);
  }

  async #verifyContract(
    name: string,
    wallet: EvmAddress,
    token: WalletToken,
    charge: Charge,
  ): Promise<VerifiedToken> {
    const { contractSigned } = this.#parts;
    if (!contractSigned) throw this.#refuse(name, wrongWallet(), Number.POSITIVE_INFINITY);
    await charge(CONTRACT_CHECK_UNITS);
    // Meanwhile another request may have had the answer.
    return this.#known(name) ?? this.#checks.run(name, () => this.#ask(contractSigned, name, wallet, token));
  }

  /** @throws PennypostError `wallet_token_invalid` (401) for a token that was refused before, or has expired since. */
  #known(name: string): VerifiedToken | undefined {
    const nowMs = this.#parts.clock.nowMs();
    const refused = this.#refused.get(name, nowMs);
    if (refused) throw refused;
    const known = this.#verified.get(name, nowMs);
    if (known) checkAge(known, nowMs);
    return known;
  }

  /** Meanwhile another request may have brought the same. */
  #knownAfterTurn(name: string): VerifiedToken | undefined {
    const nowMs = this.#parts.clock.nowMs();
    if (this.#refused.get(name, nowMs) || this.#verified.get(name, nowMs)) this.#pace.giveBack();
    return this.#known(name);
  }

  /** What a token shows by itself: what it is refused for holds the next time. */
  #refusing<T>(name: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof PennypostError && !RULES_OF_TIME.includes(error.data.rule))
        this.#refuse(name, error, Number.POSITIVE_INFINITY);
      throw error;
    }
  }

  async #ask(
    contractSigned: ContractCheck,
    name: string,
    wallet: EvmAddress,
    token: WalletToken,
  ): Promise<VerifiedToken> {
    const hasSigned = await contractSigned(contractQuestion(wallet, token));
    if (hasSigned) return this.#remember(name, wallet, token, CONTRACT_HOLDS_MS);
    throw this.#refuse(name, wrongWallet(), CONTRACT_REFUSED_MS);
  }

  #remember(name: string, wallet: EvmAddress, token: WalletToken, lifeMs: number): VerifiedToken {
    const nowMs = this.#parts.clock.nowMs();
    // A copy: what was read is a view of the whole token.
    const identityKey = token.identityKey.slice();
    const verified = { wallet, identityKey, createdNs: token.createdNs };
    this.#verified.set(name, verified, nowMs, nowMs + lifeMs);
    return verified;
  }

  #refuse(name: string, error: PennypostError, lifeMs: number): PennypostError {
    const nowMs = this.#parts.clock.nowMs();
    this.#refused.set(name, error, nowMs, nowMs + lifeMs);
    return error;
  }
}
