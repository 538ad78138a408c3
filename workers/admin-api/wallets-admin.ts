import { createHmac } from "node:crypto";
import type { Env } from "../../durable-objects/env.ts";
import type { WalletStanding } from "../../durable-objects/limiter/limiter-api.ts";
import { nodeSecret } from "../../durable-objects/node-config.ts";
import { limiterOf } from "../../durable-objects/stubs.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { checksummed, type EvmAddress } from "../../protocol/evm-address.ts";
import type { Change } from "../audit-log.ts";

/** The operator's lists of wallets: listed ones may publish more, denied ones nothing. Kept as keyed hashes alone. */

const STANDINGS: readonly WalletStanding[] = ["none", "listed", "denied"];
const TARGET_DIGITS = 32;

/** A wallet as the operator writes it, in any case. @throws PennypostError `wallet_invalid` (400). */
export function readWallet(text: string | undefined): EvmAddress {
  const wallet = checksummed(text ?? "");
  if (wallet) return wallet;
  throw invalidArgument("wallet_invalid", "a wallet is 0x and 40 hex digits");
}

/** @throws PennypostError `standing_invalid` (400). */
export function readStanding(text: string | undefined): WalletStanding {
  const standing = STANDINGS.find((each) => each === text);
  if (standing) return standing;
  throw invalidArgument("standing_invalid", `a standing is ${STANDINGS.join(", ")}: ?standing=…`);
}

const limiter = (env: Env, wallet: EvmAddress) => limiterOf(env, { kind: "wallet", id: wallet });

export const standingOf = (env: Env, wallet: EvmAddress): Promise<WalletStanding> =>
  limiter(env, wallet).standingOf(wallet);

export const setStanding = (
  env: Env,
  wallet: EvmAddress,
  standing: WalletStanding,
): Promise<WalletStanding> => limiter(env, wallet).setStanding(wallet, standing);

/** A change as the audit log has it: the wallet under a hash that needs the node's secret. */
export function standingChange(env: Env, wallet: EvmAddress, standing: WalletStanding): Change {
  const hash = createHmac("sha256", nodeSecret(env)).update(`audit ${wallet}`).digest("hex");
  return { action: "wallet.standing", target: hash.slice(0, TARGET_DIGITS), detail: { standing } };
}
