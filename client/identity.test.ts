import { secp256k1 } from "@noble/curves/secp256k1.js";
import { privateKeyToAccount } from "viem/accounts";
import { describe, expect, test } from "vitest";
import { fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { addressOfKey, personalDigest } from "../protocol/evm-address.ts";
import { checkProof, readProof } from "../protocol/identity-proof.ts";
import { checkToken, readAuthorization, readToken, signingWallet } from "../protocol/wallet-token.ts";
import { Identity, type Wallet } from "./identity.ts";

const suite = portableSuite();
const NOW_MS = 1_800_000_000_000;
const MINUTE_MS = 60_000;

/** A wallet that counts how often it is asked. */
class CountingWallet implements Wallet {
  asked = 0;
  readonly #secret = suite.sha256(utf8("a wallet"));
  readonly address = addressOfKey(secp256k1.getPublicKey(this.#secret, false)).toLowerCase();

  async signMessage(text: string): Promise<string> {
    this.asked++;
    const digest = personalDigest(text);
    const [recovery = 0, ...compact] = secp256k1.sign(digest, this.#secret, {
      prehash: false,
      format: "recovered",
    });
    return `0x${toHex(Uint8Array.from(compact))}${(27 + recovery).toString(16)}`;
  }
}

const tokenOf = (header: string) => readToken(readAuthorization(header));

describe("an identity", () => {
  test("asks its wallet once, and makes tokens that nodes take", async () => {
    const wallet = new CountingWallet();
    const identity = await Identity.create(wallet, NOW_MS);
    const token = tokenOf(identity.authorization(NOW_MS));
    expect(checkToken(token, NOW_MS)).toBe(identity.wallet);
    expect(signingWallet(token)).toBe(identity.wallet);
    expect(toHex(token.identityKey)).toBe(toHex(identity.publicKey));
    expect(wallet.asked).toBe(1);
  });

  test("is made of a local account of viem as it is", async () => {
    const account = privateKeyToAccount(`0x${"5".repeat(64)}`);
    const identity = await Identity.create(account, NOW_MS);
    expect(identity.wallet).toBe(account.address);
    expect(signingWallet(tokenOf(identity.authorization(NOW_MS)))).toBe(account.address);
  });

  test.each<[string, unknown]>([
    ["nothing", undefined],
    ["an address", `0x${"1".repeat(40)}`],
    ["what signs nothing", { address: `0x${"1".repeat(40)}` }],
    ["what has no address, as a client of viem", { signMessage: async () => "0x" }],
    ["a name for an address", { address: "vitalik.eth", signMessage: async () => "0x" }],
  ])("is not made of %s, and says of what it is", async (_, wallet) => {
    const made = Identity.create(wallet as Wallet);
    const message = expect.stringContaining("{ address, signMessage(text) }");
    await expect(made).rejects.toMatchObject({ name: "PennypostError", code: "wallet_unfit", message });
  });

  test("makes a new token before the old one is an hour old, or when the clock went back", async () => {
    const identity = await Identity.create(new CountingWallet(), NOW_MS);
    const first = identity.authorization(NOW_MS);
    expect(identity.authorization(NOW_MS + 49 * MINUTE_MS)).toBe(first);
    for (const minutes of [50, 109, 600, -1]) {
      const nowMs = NOW_MS + minutes * MINUTE_MS;
      const next = identity.authorization(nowMs);
      expect(tokenOf(next).createdNs).toBe(BigInt(nowMs) * 1_000_000n);
    }
  });

  test("makes a proof for one request, another each time", async () => {
    const identity = await Identity.create(new CountingWallet(), NOW_MS);
    const request = {
      node: new Uint8Array(32),
      method: "POST",
      path: "/message/v1/publish",
      body: utf8("{}"),
    };
    const proofs = [1, 2].map(() => identity.proof(request, NOW_MS, suite));
    expect(new Set(proofs).size).toBe(2);
    for (const each of proofs) checkProof(readProof(each), request, identity.publicKey, NOW_MS, suite);
    const other = { ...request, path: "/v1/stamps" };
    expect(() => checkProof(readProof(proofs[0] ?? ""), other, identity.publicKey, NOW_MS, suite)).toThrow();
  });

  test("is the same when it is read from its text, and does not show its secret by accident", async () => {
    const identity = await Identity.create(new CountingWallet(), NOW_MS);
    const text = identity.serialize();
    const again = Identity.parse(text);
    expect(again.authorization(NOW_MS)).toBe(identity.authorization(NOW_MS));
    const { secret } = JSON.parse(text) as { secret: string };
    expect(fromHex(secret)).toHaveLength(32);
    expect(JSON.stringify({ identity })).not.toContain(secret);
    expect(String(Object.values(identity))).not.toContain(secret);
  });

  test("is refused when another wallet signed, or its text was changed", async () => {
    const wallet = new CountingWallet();
    const other = { address: `0x${"1".repeat(40)}`, signMessage: (text: string) => wallet.signMessage(text) };
    await expect(Identity.create(other)).rejects.toMatchObject({ code: "identity_invalid" });
    const odd = { address: wallet.address, signMessage: async () => undefined as unknown as string };
    await expect(Identity.create(odd)).rejects.toMatchObject({ code: "identity_invalid" });
    const mute = { address: wallet.address, signMessage: async () => "0x" };
    await expect(Identity.create(mute)).rejects.toMatchObject({ code: "identity_invalid" });
    const careless = { address: wallet.address, signMessage: () => wallet.signMessage("another text") };
    await expect(Identity.create(careless)).rejects.toMatchObject({ code: "identity_invalid" });
    const text = (await Identity.create(wallet)).serialize();
    const json = JSON.parse(text) as Record<string, unknown>;
    const changes: unknown[] = [
      { ...json, madeMs: 1 },
      { ...json, secret: "00".repeat(32) },
      { ...json, secret: "11".repeat(32) },
      { ...json, wallet: other.address },
      { ...json, version: 2 },
      {},
    ];
    for (const change of [...changes.map((each) => JSON.stringify(each)), "{", ""])
      expect(() => Identity.parse(change)).toThrow(expect.objectContaining({ code: "identity_invalid" }));
  });
});
