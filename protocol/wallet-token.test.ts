import { secp256k1 } from "@noble/curves/secp256k1.js";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, fromHex } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import { addressOfKey, checksummed, type RecoverableSignature } from "./evm-address.ts";
import {
  bearer,
  identityTextOf,
  TestKey,
  type TokenParts,
  tokenBytes,
  tokenParts,
} from "./testing/wallet.ts";
import {
  checkToken,
  readAuthorization,
  readToken,
  signingWallet,
  TOKEN_AHEAD_MS,
  TOKEN_LIFE_MS,
  wrongWallet,
} from "./wallet-token.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const MS = 1_000_000n;

/** The wallet of a token that is good in all respects. @throws PennypostError */
function verify(bytes: Uint8Array, nowMs = NOW_MS): string {
  const token = readToken(readAuthorization(bearer(bytes)));
  const wallet = checkToken(token, nowMs);
  if (signingWallet(token) !== wallet) throw wrongWallet();
  return wallet;
}

/** "good", or the rule that a token breaks. */
function ruleOf(bytes: Uint8Array, nowMs = NOW_MS): string {
  try {
    verify(bytes, nowMs);
    return "good";
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect(error.httpStatus).toBe(401);
    return String(error.data.rule ?? error.code);
  }
}

const changed = (changes: Partial<TokenParts>) => tokenBytes(tokenParts(NOW_MS, changes));
const other = new TestKey("other");

describe("a token", () => {
  test("names the wallet that vouched for the key that signed it", () => {
    expect(verify(changed({}))).toBe(new TestKey("wallet").address);
    expect(verify(changed({ asWallet: true }))).toBe(new TestKey("wallet").address);
    expect(verify(changed({ timestampMs: 0n }))).toBe(new TestKey("wallet").address);
  });

  test("is good for an hour, and five minutes before it was made", () => {
    const bytes = changed({});
    expect(ruleOf(bytes, NOW_MS + TOKEN_LIFE_MS)).toBe("good");
    expect(ruleOf(bytes, NOW_MS + TOKEN_LIFE_MS + 1)).toBe("expired");
    expect(ruleOf(bytes, NOW_MS - TOKEN_AHEAD_MS)).toBe("good");
    expect(ruleOf(bytes, NOW_MS - TOKEN_AHEAD_MS - 1)).toBe("future");
    expect(ruleOf(changed({ createdNs: 2n ** 64n - 1n }))).toBe("future");
    expect(ruleOf(changed({ createdNs: 0n }))).toBe("expired");
  });

  const good = tokenParts(NOW_MS);
  const highS = ({ compact, recovery }: RecoverableSignature): RecoverableSignature => {
    const { r, s } = secp256k1.Signature.fromBytes(compact, "compact");
    const greater = new secp256k1.Signature(r, secp256k1.Point.Fn.ORDER - s);
    return { compact: greater.toBytes("compact"), recovery: 1 - recovery };
  };
  const flipped = (signature: RecoverableSignature): RecoverableSignature => {
    const compact = signature.compact.slice();
    compact[40] = (compact[40] as number) ^ 1;
    return { ...signature, compact };
  };

  test.each<[string, string, Partial<TokenParts>]>([
    ["another wallet's address", "identity_signature", { address: other.address }],
    ["an address in lower case", "wallet_address", { address: good.address.toLowerCase() }],
    ["an address without 0x", "wallet_address", { address: good.address.slice(2) }],
    ["no address", "wallet_address", { address: "" }],
    ["an identity key of another", "auth_signature", { identity: other, authSignature: good.authSignature }],
    [
      "an identity key that the wallet did not vouch for",
      "identity_signature",
      { identity: other, identityText: identityTextOf(1n, other.publicKey) },
    ],
    [
      "another time of the key",
      "identity_signature",
      { timestampMs: 7n, walletSignature: good.walletSignature },
    ],
    [
      "a later time",
      "auth_signature",
      { createdNs: BigInt(NOW_MS + 1) * MS, authSignature: good.authSignature },
    ],
    [
      "a changed signature of the wallet",
      "identity_signature",
      { walletSignature: flipped(good.walletSignature) },
    ],
    ["a changed signature of the key", "auth_signature", { authSignature: flipped(good.authSignature) }],
    ["the greater s of the wallet", "identity_signature", { walletSignature: highS(good.walletSignature) }],
    ["the greater s of the key", "auth_signature", { authSignature: highS(good.authSignature) }],
    [
      "the other recovery bit",
      "identity_signature",
      { walletSignature: { ...good.walletSignature, recovery: 1 - good.walletSignature.recovery } },
    ],
    [
      "a recovery bit of 2",
      "identity_signature",
      { walletSignature: { ...good.walletSignature, recovery: 2 } },
    ],
    [
      "a short signature",
      "auth_signature",
      { authSignature: { compact: good.authSignature.compact.slice(1), recovery: 0 } },
    ],
    ["a text of another form", "identity_signature", { identityText: "XMTP : Enable Identity\n" }],
  ])("with %s is refused by %s", (_, rule, changes) => {
    expect(ruleOf(changed(changes))).toBe(rule);
  });

  test("of which any byte was changed is refused, or says the same", () => {
    const bytes = changed({});
    const address = verify(bytes);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const tampered = bytes.slice();
        tampered[at] = (tampered[at] as number) ^ mask;
        const rule = ruleOf(tampered);
        // The recovery bit of the second signature says nothing, and neither does the number of a signature's form.
        if (rule === "good") expect(verify(tampered)).toBe(address);
      }),
      { numRuns: 300 },
    );
  });

  test("of random bytes is refused with a typed error", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        if (bytes.length > 0) expect(ruleOf(bytes)).not.toBe("good");
      }),
    );
  });

  test("cut short anywhere is refused", () => {
    const bytes = changed({});
    for (let length = 1; length < bytes.length; length++)
      expect(ruleOf(bytes.slice(0, length))).not.toBe("good");
  });
});

describe("an Authorization header", () => {
  const codeOf = (header: string | undefined): string => {
    try {
      readAuthorization(header);
      return "good";
    } catch (error) {
      return `${(error as PennypostError).code}: ${(error as PennypostError).message}`;
    }
  };

  test("is the scheme Bearer in any case, and standard base64 with or without its padding", () => {
    const bytes = changed({});
    const padded = bearer(bytes);
    const forms = [
      padded,
      padded.replace(/=+$/, ""),
      ...["bearer", "BEARER  "].map((each) => padded.replace("Bearer", each)),
    ];
    for (const each of forms) expect(compareBytes(readAuthorization(each), bytes)).toBe(0);
  });

  test.each([
    [undefined, "wallet_token_missing: authorization token is not provided"],
    ["", "wallet_token_missing: authorization token is not provided"],
    ["Bearer", "authorization_malformed: invalid authorization header"],
    ["Bearer ", "authorization_malformed: invalid authorization header"],
    ["Bearer a b", "authorization_malformed: invalid authorization header"],
    ["bearers aaaa", "scheme_unknown: unrecognized authorization scheme bearers"],
    ["Basic aaaa", "scheme_unknown: unrecognized authorization scheme Basic"],
    ["Bearer a-_a", "wallet_token_invalid: validating token: it is not standard base64"],
    [`Bearer ${"A".repeat(8_192)}`, "wallet_token_invalid: validating token: it is too long"],
  ])("%s: %s", (header, expected) => {
    expect(codeOf(header)).toBe(expected);
  });
});

test("addresses have the checksums of EIP-55", () => {
  for (const address of [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
  ]) {
    expect(checksummed(address.toLowerCase())).toBe(address);
    expect(checksummed(address.toUpperCase().replace("0X", "0x"))).toBe(address);
  }
  expect(checksummed("0x12")).toBeUndefined();
});

test("a key's address is that of Ethereum", () => {
  const secret = fromHex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318");
  expect(addressOfKey(secp256k1.getPublicKey(secret, false))).toBe(
    "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23",
  );
});
