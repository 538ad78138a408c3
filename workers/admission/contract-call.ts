import { encodeDeployData, erc6492SignatureValidatorAbi, erc6492SignatureValidatorByteCode } from "viem";
import { toHex } from "../../protocol/bytes.ts";
import type { ContractQuestion } from "../../protocol/wallet-token.ts";

/**
 * What a node of a chain is given to run: the validator of ERC-6492, which is no contract on any chain but code for this one call. It asks
 * the wallet's contract (ERC-1271), and makes it first where it does not exist yet and the signature says how.
 *
 * viem's own `verifyHash` is not used: to it, an endpoint that fails is a signature that is wrong, and its errors show the endpoint's URL.
 */
export function contractCall({ wallet, digest, signature }: ContractQuestion): `0x${string}` {
  return encodeDeployData({
    abi: erc6492SignatureValidatorAbi,
    bytecode: erc6492SignatureValidatorByteCode,
    args: [wallet, `0x${toHex(digest)}`, `0x${toHex(signature)}`],
  });
}
