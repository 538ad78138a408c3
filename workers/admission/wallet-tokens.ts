import type { Clock } from "../../durable-objects/clock.ts";
import { toHex } from "../../protocol/bytes.ts";
import type { CryptoSuite } from "../../protocol/crypto.ts";
import { PennypostError } from "../../protocol/errors.ts";
import type { EvmAddress } from "../../protocol/evm-address.ts";
import {
  checkAge,
  checkToken,
  readAuthorization,
  readToken,
  signingWallet,
  type WalletToken,
  wrongWallet,
} from "../../protocol/wallet-token.ts";
import { VerificationPace } from "./verification-pace.ts";

/** Verified tokens that an isolate remembers: 300 bytes each. */
const MAX_REMEMBERED = 10_000;
/** Refused ones: who sends one again does not have it verified again. */
const MAX_REFUSED = 10_000;

/** A token that was verified: its wallet, and the identity key that signs for it. */
export interface VerifiedToken {
  readonly wallet: EvmAddress;
  /** Uncompressed secp256k1, 65 bytes. */
  readonly identityKey: Uint8Array;
  readonly createdNs: bigint;
}

/** Asks a contract whether a signature is its own (ERC-1271, ERC-6492). */
export type ContractCheck = (wallet: EvmAddress, token: WalletToken) => Promise<boolean>;

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
  readonly #verified = new Map<string, VerifiedToken>();
  readonly #refused = new Map<string, PennypostError>();
  readonly #pace: VerificationPace;

  constructor(parts: WalletTokensParts) {
    this.#parts = parts;
    this.#pace = new VerificationPace(parts.clock);
  }

  /** @throws PennypostError `too_many_calls` (429), `token_*`, `authorization_malformed`, `scheme_unknown` (401). */
  async verify(header: string | null): Promise<VerifiedToken> {
    const bytes = readAuthorization(header ?? undefined);
    const name = toHex(this.#parts.suite.sha256(bytes));
    const known = this.#known(name);
    if (known) return known;
    try {
      const token = readToken(bytes);
      await this.#pace.turn();
      const knownNow = this.#knownAfterTurn(name);
      if (knownNow) return knownNow;
      const nowMs = this.#parts.clock.nowMs();
      const verified = await this.#verifyToken(token, nowMs);
      remember(this.#verified, name, verified, MAX_REMEMBERED);
      return verified;
    } catch (error) {
      // A token from the future may be good in a while.
      if (
        error instanceof PennypostError &&
        error.code === "wallet_token_invalid" &&
        error.data.rule !== "future"
      )
        remember(this.#refused, name, error, MAX_REFUSED);
      throw error;
    }
  }

  /** @throws PennypostError as it was refused before, or has expired. */
  #known(name: string): VerifiedToken | undefined {
    const refused = this.#refused.get(name);
    if (refused) throw refused;
    const known = this.#verified.get(name);
    if (known) checkAge(known, this.#parts.clock.nowMs());
    return known;
  }

  /** Meanwhile another request may have brought the same. */
  #knownAfterTurn(name: string): VerifiedToken | undefined {
    if (this.#refused.has(name) || this.#verified.has(name)) this.#pace.giveBack();
    return this.#known(name);
  }

  /** What takes its time. One that is not signed by its wallet's own key counts as bad, though a contract may vouch for it. */
  #checkSignatures(
    token: WalletToken,
    nowMs: number,
  ): { readonly wallet: EvmAddress; readonly isOwn: boolean } {
    const wallet = checkToken(token, nowMs);
    const isOwn = signingWallet(token) === wallet;
    if (isOwn) this.#pace.giveBack();
    return { wallet, isOwn };
  }

  async #verifyToken(token: WalletToken, nowMs: number): Promise<VerifiedToken> {
    const { wallet, isOwn } = this.#checkSignatures(token, nowMs);
    if (!isOwn) {
      const isContracts = await this.#parts.contractSigned?.(wallet, token);
      if (!isContracts) throw wrongWallet();
    }
    return { wallet, identityKey: token.identityKey, createdNs: token.createdNs };
  }
}

/** Forgets the oldest when there are too many. */
function remember<T>(map: Map<string, T>, name: string, value: T, limit: number): void {
  if (map.size >= limit) {
    const oldest = map.keys().next();
    if (!oldest.done) map.delete(oldest.value);
  }
  map.set(name, value);
}
