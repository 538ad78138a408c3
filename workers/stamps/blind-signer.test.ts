import { describe, expect, test } from "vitest";
import { makeIssuerKey, openIssuerKey, seal } from "../../durable-objects/issuer/key-sealing.ts";
import { type Bytes, concatBytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { modulusOf } from "../../protocol/privacy-pass.ts";
import { applyPublicKey } from "../../protocol/rsa-pss.ts";
import { STAMPS_PER_BATCH } from "../../protocol/stamp.ts";
import issuerKeys from "../../protocol/testing/issuer-keys.json" with { type: "json" };
import { BATCH_BYTES, readBatch, type SigningKey, signBatch } from "./blind-signer.ts";

const [{ publicKey, privateKey }] = issuerKeys.keys as [{ publicKey: string; privateKey: string }];
const modulus = modulusOf(fromHex(publicKey));
const SECRET = new Uint8Array(32).fill(3);
const KEY_ID = new Uint8Array(32).fill(0x4a);

async function platformKey(): Promise<SigningKey> {
  const pkcs8 = Uint8Array.from(Buffer.from(privateKey.replace(/-----[^-]+-----|\s/g, ""), "base64"));
  const key = await openIssuerKey(await seal(pkcs8, SECRET), SECRET);
  return {
    keyId: KEY_ID,
    modulus,
    sign: async (input) => new Uint8Array(await crypto.subtle.sign({ name: "RSA-RAW" }, key, input)),
  };
}

const blindedAt = (i: number): Bytes => {
  const bytes = new Uint8Array(256).fill(i + 1);
  bytes[0] = 1;
  return bytes;
};
const requestOf = (blinded: Bytes, head = [0, 2, 0x4a]): Bytes => concatBytes(Uint8Array.from(head), blinded);
const batch = (change?: { readonly at: number; readonly request: Bytes }): Bytes =>
  concatBytes(
    ...Array.from({ length: STAMPS_PER_BATCH }, (_, i) =>
      change?.at === i ? change.request : requestOf(blindedAt(i)),
    ),
  );

const broken: SigningKey = { keyId: KEY_ID, modulus, sign: async (input) => input };
const keyOf = (lastByte: number) => (lastByte === 0x4a ? broken : undefined);

function ruleOf(body: Bytes): unknown {
  try {
    readBatch(body, keyOf);
    return "good";
  } catch (error) {
    return error instanceof PennypostError ? [error.data.rule, error.httpStatus] : error;
  }
}

describe("a batch", () => {
  test("is a hundred requests of one key", () => {
    const { key, blinded } = readBatch(batch(), keyOf);
    expect(key).toBe(broken);
    expect(blinded.map(toHex)).toEqual(Array.from({ length: 100 }, (_, i) => toHex(blindedAt(i))));
    expect(BATCH_BYTES).toBe(25_900);
  });

  test.each<[string, Bytes, string]>([
    ["a request less", batch().subarray(259), "length"],
    ["a byte more", concatBytes(batch(), Uint8Array.of(0)), "length"],
    ["nothing", new Uint8Array(), "length"],
    ["another key", batch({ at: 0, request: requestOf(blindedAt(0), [0, 2, 0x4b]) }), "key"],
    ["two keys", batch({ at: 9, request: requestOf(blindedAt(0), [0, 2, 0x4b]) }), "type"],
    ["another type", batch({ at: 99, request: requestOf(blindedAt(0), [0, 1, 0x4a]) }), "type"],
    ["the modulus itself", batch({ at: 50, request: requestOf(modulus) }), "range"],
    ["more than the modulus", batch({ at: 99, request: requestOf(new Uint8Array(256).fill(255)) }), "range"],
  ])("with %s is refused", (_, body, rule) => {
    expect(ruleOf(body)).toEqual([rule, 400]);
  });
});

describe("signing", () => {
  test("by the platform gives what the public key undoes", async () => {
    const key = await platformKey();
    const signed = await signBatch(key, [blindedAt(0), blindedAt(1)]);
    expect(signed.length).toBe(512);
    expect(toHex(applyPublicKey(modulus, signed.subarray(256)) as Bytes)).toBe(toHex(blindedAt(1)));
  });

  test.each<[string, (result: Bytes) => Bytes]>([
    ["a flipped bit", (result) => result.map((byte, i) => (i === 255 ? byte ^ 1 : byte))],
    ["a shorter one", (result) => result.subarray(1)],
    ["nothing", () => new Uint8Array()],
    ["zeros", () => new Uint8Array(256)],
    ["the modulus", () => modulus],
  ])("releases nothing when one result is wrong: %s", async (_, change) => {
    const good = await platformKey();
    let count = 0;
    const faulty: SigningKey = {
      ...good,
      sign: async (input) => (++count === 3 ? change(await good.sign(input)) : good.sign(input)),
    };
    const work = signBatch(faulty, [0, 1, 2, 3].map(blindedAt));
    await expect(work).rejects.toMatchObject({ code: "signing_failed", httpStatus: 500 });
    expect(count).toBe(3);
  });
});

describe("an issuer's key", () => {
  test("is made, sealed and opened again, and signs", async () => {
    const made = await makeIssuerKey(SECRET);
    const own = modulusOf(made.publicKey);
    const key = await openIssuerKey(made.sealed, SECRET);
    const input = new Uint8Array(256).fill(1);
    const result = new Uint8Array(await crypto.subtle.sign({ name: "RSA-RAW" }, key, input));
    expect(toHex(applyPublicKey(own, result) as Bytes)).toBe(toHex(input));
  });

  test("is opened by the node's own secret alone, and not when it was changed", async () => {
    const { sealed } = await makeIssuerKey(SECRET);
    await expect(openIssuerKey(sealed, new Uint8Array(32).fill(4))).rejects.toThrow();
    const changed = sealed.map((byte, i) => (i === 100 ? byte ^ 1 : byte));
    await expect(openIssuerKey(changed, SECRET)).rejects.toThrow();
  });
});
