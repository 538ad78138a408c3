import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { base64pad } from "multiformats/bases/base64";
import { utf8 } from "./bytes.ts";
import type { EvmAddress, RecoverableSignature } from "./evm-address.ts";

/** The writing half of the wallet token: see `wallet-token.ts` for the form. */

/** An identity key for which a wallet has vouched. */
export interface VouchedKey {
  readonly wallet: EvmAddress;
  /** Uncompressed secp256k1, 65 bytes. */
  readonly publicKey: Uint8Array;
  /** When the key was made, in ms since 1970: part of what the wallet signed. */
  readonly timestampMs: bigint;
  /** Of `identityText` (EIP-191). */
  readonly walletSignature: RecoverableSignature;
}

const message = (work: (writer: BinaryWriter) => BinaryWriter): Uint8Array =>
  work(new BinaryWriter()).finish();
const bytesField = (writer: BinaryWriter, number: number, bytes: Uint8Array): BinaryWriter =>
  writer.tag(number, WireType.LengthDelimited).bytes(bytes);
/** Zero is what a field that is missing says. */
const uintField = (writer: BinaryWriter, number: number, value: bigint): BinaryWriter =>
  value === 0n ? writer : writer.tag(number, WireType.Varint).uint64(value);

function signatureMessage({ compact, recovery }: RecoverableSignature): Uint8Array {
  const inner = message((writer) => uintField(bytesField(writer, 1, compact), 2, BigInt(recovery)));
  return message((writer) => bytesField(writer, 1, inner));
}

function keyMessage({ publicKey, timestampMs, walletSignature }: VouchedKey): Uint8Array {
  const point = message((writer) => bytesField(writer, 1, publicKey));
  const signature = signatureMessage(walletSignature);
  return message((writer) =>
    bytesField(bytesField(uintField(writer, 1, timestampMs), 2, signature), 3, point),
  );
}

/**
 * A token, as it stands in an `Authorization` header. `secret`: the identity key's, 32 bytes; `createdNs`: ns since 1970, from which on
 * the token is good for an hour. The same input gives the same token (RFC 6979).
 */
export function writeAuthorization(key: VouchedKey, secret: Uint8Array, createdNs: bigint): string {
  const authData = message((writer) => uintField(bytesField(writer, 1, utf8(key.wallet)), 2, createdNs));
  const signed = secp256k1.sign(keccak_256(authData), secret, {
    prehash: false,
    lowS: true,
    format: "recovered",
  });
  const signature = signatureMessage({ compact: signed.slice(1), recovery: signed[0] as number });
  const token = message((writer) =>
    bytesField(bytesField(bytesField(writer, 1, keyMessage(key)), 2, authData), 3, signature),
  );
  return `Bearer ${base64pad.baseEncode(token)}`;
}
