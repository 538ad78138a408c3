import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { base64pad } from "multiformats/bases/base64";
import { toHex, utf8 } from "../bytes.ts";
import { addressOfKey, type EvmAddress, personalDigest, type RecoverableSignature } from "../evm-address.ts";

/** What a wallet's token is made of; a test changes one part. */
export interface TokenParts {
  wallet: TestKey;
  identity: TestKey;
  address: string;
  createdNs: bigint;
  timestampMs: bigint;
  identityText: string;
  walletSignature: RecoverableSignature;
  authSignature: RecoverableSignature;
  authData: Uint8Array;
  /** Whether signatures stand in the form for wallets. */
  asWallet: boolean;
  /** In the place of the wallet's signature. */
  contractSignature: Uint8Array | undefined;
}

export class TestKey {
  readonly secret: Uint8Array;
  /** Uncompressed, 65 bytes. */
  readonly publicKey: Uint8Array;

  constructor(name: string) {
    this.secret = keccak_256(utf8(name));
    this.publicKey = secp256k1.getPublicKey(this.secret, false);
  }

  get address(): EvmAddress {
    return addressOfKey(this.publicKey);
  }

  sign(digest: Uint8Array): RecoverableSignature {
    const bytes = secp256k1.sign(digest, this.secret, { prehash: false, format: "recovered" });
    return { compact: bytes.slice(1), recovery: bytes[0] as number };
  }
}

const message = (work: (writer: BinaryWriter) => BinaryWriter) => work(new BinaryWriter()).finish();

const nested = (writer: BinaryWriter, number: number, bytes: Uint8Array) =>
  writer.tag(number, WireType.LengthDelimited).bytes(bytes);

const varint = (writer: BinaryWriter, number: number, value: bigint) =>
  value === 0n ? writer : writer.tag(number, WireType.Varint).uint64(value);

const signatureMessage = ({ compact, recovery }: RecoverableSignature, asWallet: boolean) =>
  message((writer) =>
    nested(
      writer,
      asWallet ? 2 : 1,
      message((inner) => varint(nested(inner, 1, compact), 2, BigInt(recovery))),
    ),
  );

const authDataOf = (address: string, createdNs: bigint) =>
  message((writer) => varint(nested(writer, 1, utf8(address)), 2, createdNs));

const pointOf = (key: Uint8Array) => message((writer) => nested(writer, 1, key));

const unsignedKeyOf = (timestampMs: bigint, key: Uint8Array) =>
  message((writer) => nested(varint(writer, 1, timestampMs), 3, pointOf(key)));

export const identityTextOf = (timestampMs: bigint, key: Uint8Array) =>
  `XMTP : Create Identity\n${toHex(unsignedKeyOf(timestampMs, key))}\n\nFor more info: https://xmtp.org/signatures/`;

/** The parts of a good token; `changes` come before what is signed over them. */
export function tokenParts(nowMs: number, changes: Partial<TokenParts> = {}): TokenParts {
  const wallet = changes.wallet ?? new TestKey("wallet");
  const identity = changes.identity ?? new TestKey("identity");
  const address = changes.address ?? wallet.address;
  const createdNs = changes.createdNs ?? BigInt(nowMs) * 1_000_000n;
  const timestampMs = changes.timestampMs ?? 1_600_000_000_000n;
  const identityText = changes.identityText ?? identityTextOf(timestampMs, identity.publicKey);
  const authData = changes.authData ?? authDataOf(address, createdNs);
  return {
    wallet,
    identity,
    address,
    createdNs,
    timestampMs,
    identityText,
    authData,
    walletSignature: wallet.sign(personalDigest(identityText)),
    authSignature: identity.sign(keccak_256(authData)),
    asWallet: false,
    contractSignature: undefined,
    ...changes,
  };
}

/** The token's bytes. */
export function tokenBytes(parts: TokenParts): Uint8Array {
  const { timestampMs, identity, walletSignature, authData, authSignature, asWallet } = parts;
  const { contractSignature } = parts;
  const vouched = contractSignature
    ? message((writer) =>
        nested(
          writer,
          3,
          message((inner) => nested(inner, 1, contractSignature)),
        ),
      )
    : signatureMessage(walletSignature, asWallet);
  const key = message((writer) =>
    nested(nested(varint(writer, 1, timestampMs), 2, vouched), 3, pointOf(identity.publicKey)),
  );
  return message((writer) =>
    nested(nested(nested(writer, 1, key), 2, authData), 3, signatureMessage(authSignature, asWallet)),
  );
}

export const bearer = (bytes: Uint8Array) => `Bearer ${base64pad.baseEncode(bytes)}`;
