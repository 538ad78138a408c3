import { privateKeyToAccount } from "viem/accounts";
import type { Wallet } from "../../client/index.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { portableSuite } from "../../protocol/crypto.ts";

/** A wallet as applications have one, by a library of wallets. */
export function testWallet(name: string): Wallet {
  const account = privateKeyToAccount(`0x${toHex(portableSuite().sha256(utf8(name)))}`);
  return { address: account.address, signMessage: (message) => account.signMessage({ message }) };
}
