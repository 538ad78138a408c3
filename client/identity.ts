import { secp256k1 } from "@noble/curves/secp256k1.js";
import * as z from "zod";
import { type Bytes, fromHex, toHex } from "../protocol/bytes.ts";
import type { CryptoSuite } from "../protocol/crypto.ts";
import { invalidArgument } from "../protocol/errors.ts";
import {
  addressOfKey,
  checksummed,
  type EvmAddress,
  personalDigest,
  type RecoverableSignature,
  recoverKey,
} from "../protocol/evm-address.ts";
import { formatProof, PROOF_NONCE_BYTES, type ProvenRequest, signProof } from "../protocol/identity-proof.ts";
import { identityText } from "../protocol/wallet-token.ts";
import { type VouchedKey, writeAuthorization } from "../protocol/wallet-token-writer.ts";

/** Nodes take a token for an hour; a new one is made well before. */
const TOKEN_RENEWED_MS = 50 * 60_000;

/** Any wallet with a key of its own that can sign a text (EIP-191, `personal_sign`), such as one of ethers. */
export interface Wallet {
  /** `0x` and 40 hex digits. */
  readonly address: string;
  /** Answers the signature as `0x` and 130 hex digits: r, s and v. */
  signMessage(text: string): Promise<string>;
}

/** A local account of viem, such as `privateKeyToAccount` makes: it takes the text under a name. */
export interface LocalAccount {
  readonly address: string;
  readonly type: "local";
  signMessage(parameters: { readonly message: string }): Promise<string>;
}

const EXPECTED =
  "Identity.create takes { address, signMessage(text) }, as a wallet of ethers is, or a local account of viem";

const SIGNATURE = /^0x([0-9a-fA-F]{128})([0-9a-fA-F]{2})$/;

const invalid = (why: string) => invalidArgument("identity_invalid", `the identity: ${why}`);

const serializedSchema = z.strictObject({
  version: z.literal(1),
  wallet: z.string(),
  madeMs: z.int().min(0),
  secret: z.string().regex(/^[0-9a-f]{64}$/),
  walletSignature: z.string(),
});

function readSignature(text: string): RecoverableSignature {
  const [, compact, v] = (typeof text === "string" && SIGNATURE.exec(text)) || [];
  if (!compact || !v) throw invalid("the wallet's signature is not 0x and 130 hex digits");
  const last = Number.parseInt(v, 16);
  return { compact: fromHex(compact.toLowerCase()), recovery: last >= 27 ? last - 27 : last };
}

/** Checks what was handed in: not every application is checked by types. */
function addressOf(wallet: Wallet | LocalAccount): EvmAddress {
  const { address, signMessage } = (wallet ?? {}) as Partial<Wallet>;
  if (typeof signMessage !== "function" || typeof address !== "string")
    throw invalidArgument("wallet_unfit", `this is no wallet: ${EXPECTED}`);
  const written = checksummed(address);
  if (!written)
    throw invalidArgument("wallet_unfit", `the wallet's address is not 0x and 40 hex digits: ${EXPECTED}`);
  return written;
}

const signed = (wallet: Wallet | LocalAccount, text: string): Promise<string> =>
  "type" in wallet && wallet.type === "local"
    ? wallet.signMessage({ message: text })
    : (wallet as Wallet).signMessage(text);

const writeSignature = ({ compact, recovery }: RecoverableSignature): string =>
  `0x${toHex(compact)}${(27 + recovery).toString(16)}`;

/**
 * Who publishes: a wallet, and an identity key that the wallet vouched for once, so that it is not asked again. The identity key signs
 * tokens and proofs. Who has it can publish as the wallet: keep what `serialize` answers as you keep a secret.
 */
export class Identity {
  readonly #key: VouchedKey;
  readonly #secret: Bytes;
  #token: { readonly text: string; readonly madeMs: number } | undefined;

  private constructor(key: VouchedKey, secret: Bytes) {
    const { wallet, publicKey, timestampMs, walletSignature } = key;
    const signer = recoverKey(walletSignature, personalDigest(identityText(timestampMs, publicKey)));
    if (!signer || addressOfKey(signer) !== wallet)
      throw invalid(`its key is not signed by the wallet ${wallet}; contract wallets cannot sign one`);
    this.#key = key;
    this.#secret = secret;
  }

  /**
   * Makes a new identity key and asks the wallet, once, to vouch for it.
   * @throws PennypostError `wallet_unfit` for what is no such wallet, `identity_invalid` when it signed with another key, or signed
   * something else; and what the wallet itself throws, such as that its owner does not want to sign.
   */
  static async create(wallet: Wallet | LocalAccount, nowMs = Date.now()): Promise<Identity> {
    const address = addressOf(wallet);
    const secret = new Uint8Array(secp256k1.utils.randomSecretKey());
    const publicKey = secp256k1.getPublicKey(secret, false);
    const timestampMs = BigInt(Math.floor(nowMs));
    const walletSignature = readSignature(await signed(wallet, identityText(timestampMs, publicKey)));
    return new Identity({ wallet: address, publicKey, timestampMs, walletSignature }, secret);
  }

  /** Reads what `serialize` answered. @throws PennypostError `identity_invalid`. */
  static parse(text: string): Identity {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      throw invalid("the text is not JSON");
    }
    const parsed = serializedSchema.safeParse(json);
    const wallet = parsed.success && checksummed(parsed.data.wallet);
    if (!parsed.success || !wallet) throw invalid("the text is not one that serialize() made");
    const secret = fromHex(parsed.data.secret);
    if (!secp256k1.utils.isValidSecretKey(secret)) throw invalid("the secret is no key");
    const publicKey = secp256k1.getPublicKey(secret, false);
    const walletSignature = readSignature(parsed.data.walletSignature);
    return new Identity(
      { wallet, publicKey, timestampMs: BigInt(parsed.data.madeMs), walletSignature },
      secret,
    );
  }

  /** The identity as JSON text, its secret in it. */
  serialize(): string {
    const { wallet, timestampMs, walletSignature } = this.#key;
    return JSON.stringify({
      version: 1,
      wallet,
      madeMs: Number(timestampMs),
      secret: toHex(this.#secret),
      walletSignature: writeSignature(walletSignature),
    });
  }

  /** The wallet's address in its EIP-55 form. */
  get wallet(): EvmAddress {
    return this.#key.wallet;
  }

  /** Uncompressed secp256k1, 65 bytes. */
  get publicKey(): Uint8Array {
    return this.#key.publicKey;
  }

  /** `Bearer …` for the header `Authorization`: a token that is at most 50 minutes old. */
  authorization(nowMs: number): string {
    const known = this.#token;
    if (known && nowMs >= known.madeMs && nowMs - known.madeMs < TOKEN_RENEWED_MS) return known.text;
    const text = writeAuthorization(this.#key, this.#secret, BigInt(Math.floor(nowMs)) * 1_000_000n);
    this.#token = { text, madeMs: nowMs };
    return text;
  }

  /** For the header `Pennypost-Proof`: binds a request to a node, its content and this moment. Another one each time. */
  proof(request: ProvenRequest, nowMs: number, suite: CryptoSuite): string {
    const nonce = crypto.getRandomValues(new Uint8Array(PROOF_NONCE_BYTES));
    return formatProof(
      signProof(request, this.#secret, { createdS: Math.floor(nowMs / 1_000), nonce }, suite),
    );
  }

  /** Keeps the secret out of logs. */
  toJSON(): object {
    return { wallet: this.wallet };
  }
}
