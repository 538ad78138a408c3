import { unavailable } from "../../protocol/errors.ts";
import type { ContractQuestion } from "../../protocol/wallet-token.ts";
import { RpcEndpoint } from "./rpc-endpoint.ts";
import type { ContractCheck } from "./wallet-tokens.ts";

const YES = /^0x0*1$/;
const NO = /^0x0+$/;

/**
 * Asks wallets that are contracts, through a JSON-RPC endpoint of their chain. No answer of the endpoint but one that says yes is taken as
 * one; a contract that fails by its own doing has not signed.
 */
export function contractCheck(rpcUrl: string): ContractCheck {
  const endpoint = new RpcEndpoint(rpcUrl);
  return async (question: ContractQuestion): Promise<boolean> => {
    // Loaded by the first who needs it: most nodes never do.
    const { contractCall } = await import("./contract-call.ts");
    const answer = await endpoint.run(contractCall(question));
    if (answer === undefined || NO.test(answer)) return false;
    if (YES.test(answer)) return true;
    throw unavailable(
      "wallet_check_unavailable",
      "the wallet's contract cannot be asked: the answer is no word",
    );
  };
}
