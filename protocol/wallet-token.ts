import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { base64 } from "multiformats/bases/base64";
import { isOfScheme, readCredentials } from "./authorization.ts";
import { type Bytes, concatBytes, fromUtf8, toHex } from "./bytes.ts";
import { type ErrorData, PennypostError, unauthenticated } from "./errors.ts";
import {
  addressOfKey,
  checksummed,
  type EvmAddress,
  personalDigest,
  type RecoverableSignature,
  recoverKey,
} from "./evm-address.ts";

/**
 * The bearer token of the XMTP message API (2023): a wallet vouches for an identity key by a signed text, and the identity key signs
 * the wallet's address and a time. Nothing in it names a node or a content.
 */

/** A token is good for so long after it was made. */
export const TOKEN_LIFE_MS = 3_600_000;
/** A client's clock may be so far ahead. */
export const TOKEN_AHEAD_MS = 300_000;
/** What a wallet that is a contract may give as its signature, with what makes the contract before it (ERC-6492). */
const MAX_CONTRACT_SIGNATURE_BYTES = 4_096;
/** The SDKs' tokens have about 280 bytes, besides the signature of a contract. */
const MAX_TOKEN_BYTES = 1_024 + MAX_CONTRACT_SIGNATURE_BYTES;
const MAX_TOKEN_CHARACTERS = Math.ceil(MAX_TOKEN_BYTES / 3) * 4;
/** A contract's signature of fewer bytes than one of ECDSA has is none. */
const MIN_CONTRACT_SIGNATURE_BYTES = 65;
const KEY_BYTES = 65;
const NS_PER_MS = 1_000_000n;

/** A signature whose form only the wallet's contract knows (ERC-1271, ERC-6492). */
export interface ContractSignature {
  /** 65 to 4,096 bytes. */
  readonly contract: Uint8Array;
}

/** A token that was read: of the right form, nothing in it verified. */
export interface WalletToken {
  /** As the token says it, EIP-55 or not. */
  readonly walletAddress: string;
  readonly createdNs: bigint;
  /** Uncompressed, 65 bytes. */
  readonly identityKey: Uint8Array;
  /** The text by which the wallet vouches for the identity key. */
  readonly identityText: string;
  readonly walletSignature: RecoverableSignature | ContractSignature;
  readonly authData: Uint8Array;
  readonly authSignature: RecoverableSignature;
}

const invalid = (rule: string, why: string, data: ErrorData = {}) =>
  unauthenticated("wallet_token_invalid", `validating token: ${why}`, { rule, ...data });

/**
 * The token's bytes out of an `Authorization` header.
 * @throws PennypostError `wallet_token_missing`, `authorization_malformed`, `scheme_unknown`, `wallet_token_invalid` (401).
 */
export function readAuthorization(header: string | undefined): Bytes {
  if (header === undefined || header === "")
    throw unauthenticated("wallet_token_missing", "authorization token is not provided");
  const credentials = readCredentials(header);
  if (!credentials?.rest || credentials.rest.includes(" "))
    throw unauthenticated("authorization_malformed", "invalid authorization header");
  const { scheme, rest: text } = credentials;
  if (!isOfScheme(credentials, "Bearer"))
    throw unauthenticated("scheme_unknown", `unrecognized authorization scheme ${scheme.slice(0, 32)}`);
  if (text.length > MAX_TOKEN_CHARACTERS) throw invalid("size", "it is too long", { limit: MAX_TOKEN_BYTES });
  try {
    return base64.baseDecode(text.replace(/={1,2}$/, "")) as Bytes;
  } catch {
    throw invalid("encoding", "it is not standard base64");
  }
}

type Fields = ReadonlyMap<number, Uint8Array | bigint>;

/** The fields of a message, the last of each number, as protobuf has it. Unknown wire types are passed over. */
function readFields(bytes: Uint8Array): Fields {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Uint8Array | bigint>();
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) fields.set(number, reader.bytes());
    else if (wireType === WireType.Varint) fields.set(number, BigInt(reader.uint64()));
    else reader.skip(wireType, number);
  }
  return fields;
}

const bytesOf = (fields: Fields, number: number): Uint8Array | undefined => {
  const value = fields.get(number);
  return value instanceof Uint8Array ? value : undefined;
};

const numberOf = (fields: Fields, number: number): bigint => {
  const value = fields.get(number);
  return typeof value === "bigint" ? value : 0n;
};

/** Either form of a signature: of a key, or of a wallet. */
function readSignature(bytes: Uint8Array | undefined): RecoverableSignature | undefined {
  if (!bytes) return undefined;
  const outer = readFields(bytes);
  const inner = bytesOf(outer, 1) ?? bytesOf(outer, 2);
  if (!inner) return undefined;
  const fields = readFields(inner);
  const compact = bytesOf(fields, 1);
  const recovery = numberOf(fields, 2);
  return compact?.length === 64 && recovery <= 1n ? { compact, recovery: Number(recovery) } : undefined;
}

/** The text by which a wallet vouches for an identity key (uncompressed, 65 bytes) that was made at a time, in ms since 1970. */
export const identityText = (timestampMs: bigint, key: Uint8Array): string =>
  `XMTP : Create Identity\n${toHex(unsignedKey(timestampMs, key))}\n\nFor more info: https://xmtp.org/signatures/`;

/** The third form of a signature, ours: `{ bytes contract = 3 { bytes bytes = 1 } }`. The first two are of ECDSA. */
function readContractSignature(bytes: Uint8Array | undefined): ContractSignature | undefined {
  const inner = bytes && bytesOf(readFields(bytes), 3);
  const contract = inner && bytesOf(readFields(inner), 1);
  if (!contract) return undefined;
  if (contract.length < MIN_CONTRACT_SIGNATURE_BYTES || contract.length > MAX_CONTRACT_SIGNATURE_BYTES)
    throw invalid("contract_signature", "the contract's signature is not 65 to 4,096 bytes");
  return { contract };
}

/** The public key as protobuf without its signature: what the wallet's text holds in hex. */
function unsignedKey(timestampMs: bigint, key: Uint8Array): Uint8Array {
  const writer = new BinaryWriter();
  if (timestampMs !== 0n) writer.tag(1, WireType.Varint).uint64(timestampMs);
  return writer
    .tag(3, WireType.LengthDelimited)
    .fork()
    .tag(1, WireType.LengthDelimited)
    .bytes(key)
    .join()
    .finish();
}

/** @throws PennypostError `wallet_token_invalid` (401), whose `rule` names what is wrong. */
export function readToken(bytes: Uint8Array): WalletToken {
  if (bytes.length > MAX_TOKEN_BYTES) throw invalid("size", "it is too long", { limit: MAX_TOKEN_BYTES });
  try {
    return readParts(bytes);
  } catch (error) {
    if (error instanceof PennypostError) throw error;
    throw invalid("encoding", "it is not a token");
  }
}

function readParts(bytes: Uint8Array): WalletToken {
  const token = readFields(bytes);
  const keyMessage = bytesOf(token, 1);
  if (!keyMessage) throw invalid("identity_key", "missing identity key");
  const key = readFields(keyMessage);
  const point = bytesOf(key, 3);
  const identityKey = point && bytesOf(readFields(point), 1);
  if (identityKey?.length !== KEY_BYTES || identityKey[0] !== 4)
    throw invalid("identity_key", "the identity key is not an uncompressed key of 65 bytes");
  const vouched = bytesOf(key, 2);
  const walletSignature = readSignature(vouched) ?? readContractSignature(vouched);
  if (!walletSignature) throw invalid("identity_signature", "missing identity key signature");
  const authData = bytesOf(token, 2);
  if (!authData) throw invalid("auth_data", "missing auth data");
  const authSignature = readSignature(bytesOf(token, 3));
  if (!authSignature) throw invalid("auth_signature", "missing auth data signature");
  const auth = readFields(authData);
  const address = bytesOf(auth, 1);
  return {
    walletAddress: address ? fromUtf8(address) : "",
    createdNs: numberOf(auth, 2),
    identityKey,
    identityText: identityText(numberOf(key, 1), identityKey),
    walletSignature,
    authData,
    authSignature,
  };
}

/** The wallet that vouched for the identity key, if it is one with a key of its own (no contract). */
export function signingWallet({ identityText, walletSignature }: WalletToken): EvmAddress | undefined {
  if ("contract" in walletSignature) return undefined;
  const key = recoverKey(walletSignature, personalDigest(identityText));
  return key && addressOfKey(key);
}

/** What a contract is asked of: whether it says that it signed `digest` (of EIP-191) with `signature`. */
export interface ContractQuestion {
  readonly wallet: EvmAddress;
  readonly digest: Uint8Array;
  readonly signature: Uint8Array;
}

/** ECDSA's r ‖ s ‖ v is how a contract with one owner takes it from that owner's wallet. */
export function contractQuestion(wallet: EvmAddress, token: WalletToken): ContractQuestion {
  const { walletSignature, identityText } = token;
  const signature =
    "contract" in walletSignature
      ? walletSignature.contract
      : concatBytes(walletSignature.compact, Uint8Array.of(27 + walletSignature.recovery));
  return { wallet, digest: personalDigest(identityText), signature };
}

/**
 * Checks all but who signed the identity key.
 * @returns the wallet that the token names.
 * @throws PennypostError `wallet_token_invalid` (401), whose `rule` names what is wrong.
 */
export function checkToken(token: WalletToken, nowMs: number): EvmAddress {
  const wallet = checksummed(token.walletAddress);
  if (!wallet || wallet !== token.walletAddress)
    throw invalid("wallet_address", "the wallet address is not in its EIP-55 form");
  checkAge(token, nowMs);
  const { compact } = token.authSignature;
  const isSigned = isSignedBy(compact, token.authData, token.identityKey);
  if (!isSigned) throw invalid("auth_signature", "the auth data is not signed by the identity key");
  return wallet;
}

function isSignedBy(compact: Uint8Array, data: Uint8Array, key: Uint8Array): boolean {
  try {
    return secp256k1.verify(compact, keccak_256(data), key, { prehash: false, lowS: true });
  } catch {
    return false;
  }
}

/** @throws PennypostError `wallet_token_invalid` (401) for a token that has expired, or is from the future. */
export function checkAge({ createdNs }: Pick<WalletToken, "createdNs">, nowMs: number): void {
  const ageMs = Number(BigInt(nowMs) - createdNs / NS_PER_MS);
  if (ageMs > TOKEN_LIFE_MS) throw invalid("expired", "token expired", { ageMs, limitMs: TOKEN_LIFE_MS });
  if (ageMs < -TOKEN_AHEAD_MS)
    throw invalid("future", "token is from the future", { aheadMs: -ageMs, limitMs: TOKEN_AHEAD_MS });
}

/** The refusal of a token whose identity key another wallet vouched for, or none: also of a contract that said no. */
export const wrongWallet = () =>
  invalid("identity_signature", "the identity key is not signed by the wallet that the token names");
