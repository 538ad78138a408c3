import { keccak_256 } from "@noble/hashes/sha3.js";
import { describe, expect, test } from "vitest";
import { utf8 } from "./bytes.ts";
import { personalDigest } from "./evm-address.ts";
import { bearer, identityTextOf, TestKey, tokenBytes, tokenParts } from "./testing/wallet.ts";
import { checkToken, identityText, readAuthorization, readToken, signingWallet } from "./wallet-token.ts";
import { type VouchedKey, writeAuthorization } from "./wallet-token-writer.ts";

const NOW_MS = 1_700_000_000_000;
const wallet = new TestKey("wallet");
const identity = new TestKey("identity");
const secret = keccak_256(utf8("identity"));

function vouched(timestampMs: bigint): VouchedKey {
  const { publicKey } = identity;
  const walletSignature = wallet.sign(personalDigest(identityText(timestampMs, publicKey)));
  return { wallet: wallet.address, publicKey, timestampMs, walletSignature };
}

describe("a token that is written", () => {
  test("is the one that an independent writer makes, byte by byte", () => {
    const timestampMs = 1_600_000_000_000n;
    const written = writeAuthorization(vouched(timestampMs), secret, BigInt(NOW_MS) * 1_000_000n);
    expect(written).toBe(bearer(tokenBytes(tokenParts(NOW_MS, { wallet, identity, timestampMs }))));
  });

  test.each([0n, 1n, 1_700_000_000_123n])("is read back as it was, with a key made at %s", (timestampMs) => {
    expect(identityText(timestampMs, identity.publicKey)).toBe(
      identityTextOf(timestampMs, identity.publicKey),
    );
    const text = writeAuthorization(vouched(timestampMs), secret, BigInt(NOW_MS) * 1_000_000n);
    const token = readToken(readAuthorization(text));
    expect(checkToken(token, NOW_MS)).toBe(wallet.address);
    expect(signingWallet(token)).toBe(wallet.address);
  });
});
