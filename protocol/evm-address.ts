import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { concatBytes, toHex, utf8 } from "./bytes.ts";

/** A wallet's address with the checksum in its letters' case (EIP-55): `0x` and 40 hex digits. */
export type EvmAddress = `0x${string}`;

/** An ECDSA signature over secp256k1, as wallets make it. */
export interface RecoverableSignature {
  /** r ‖ s, 64 bytes. */
  readonly compact: Uint8Array;
  /** 0 or 1: which of two keys signed. */
  readonly recovery: number;
}

const ADDRESS = /^0x[0-9a-fA-F]{40}$/;

/** An address in its EIP-55 form; undefined for what is none, whatever the case of its letters. */
export function checksummed(text: string): EvmAddress | undefined {
  if (!ADDRESS.test(text)) return undefined;
  const digits = text.slice(2).toLowerCase();
  const hash = toHex(keccak_256(utf8(digits)));
  const isUpper = (at: number) => Number.parseInt(hash.charAt(at), 16) >= 8;
  return `0x${[...digits].map((digit, at) => (isUpper(at) ? digit.toUpperCase() : digit)).join("")}`;
}

/** The address of an uncompressed public key of 65 bytes (Ethereum yellow paper, appendix F). */
export function addressOfKey(uncompressed: Uint8Array): EvmAddress {
  const digest = keccak_256(uncompressed.subarray(1));
  return checksummed(`0x${toHex(digest.subarray(12))}`) as EvmAddress;
}

/** What a wallet signs of a text (EIP-191, version 0x45). */
export function personalDigest(text: string): Uint8Array {
  const bytes = utf8(text);
  return keccak_256(concatBytes(utf8(`\x19Ethereum Signed Message:\n${bytes.length}`), bytes));
}

/** The uncompressed key, 65 bytes, that signed a digest of 32 bytes; undefined when none did. Refuses the greater of two values of s. */
export function recoverKey(
  { compact, recovery }: RecoverableSignature,
  digest: Uint8Array,
): Uint8Array | undefined {
  if (compact.length !== 64 || (recovery !== 0 && recovery !== 1)) return undefined;
  try {
    const signature = secp256k1.Signature.fromBytes(compact, "compact");
    if (signature.hasHighS()) return undefined;
    return signature.addRecoveryBit(recovery).recoverPublicKey(digest).toBytes(false);
  } catch {
    return undefined;
  }
}
