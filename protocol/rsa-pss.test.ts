import { constants, generateKeyPairSync, type KeyObject, privateEncrypt, sign } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, fromHex, toHex } from "./bytes.ts";
import { applyPublicKey, MODULUS_BYTES, verifyPss } from "./rsa-pss.ts";

interface Key {
  readonly modulus: Bytes;
  readonly privateKey: KeyObject;
}

function makeKey(): Key {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
  const { n } = privateKey.export({ format: "jwk" });
  return { privateKey, modulus: new Uint8Array(Buffer.from(String(n), "base64url")) };
}

const key = makeKey();

function signWith({ privateKey }: Key, message: Uint8Array, saltLength = 48, hash = "sha384"): Bytes {
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  return new Uint8Array(sign(hash, message, { key: privateKey, padding, saltLength }));
}

/** What an issuer does who signs any 256 bytes. */
const signRaw = (encoded: Uint8Array): Bytes =>
  new Uint8Array(privateEncrypt({ key: key.privateKey, padding: constants.RSA_NO_PADDING }, encoded));

const message = new Uint8Array([1, 2, 3]);

describe("a signature", () => {
  test("of any message is that message's, and no other's", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), (some, other) => {
        const signature = signWith(key, some);
        expect(verifyPss(key.modulus, some, signature)).toBe(true);
        expect(verifyPss(key.modulus, other, signature)).toBe(toHex(some) === toHex(other));
      }),
      { numRuns: 25 },
    );
  });

  test("is its own key's alone", () => {
    expect(verifyPss(makeKey().modulus, message, signWith(key, message))).toBe(false);
  });

  test.each([
    ["a salt of another length", () => signWith(key, message, 32)],
    ["no salt", () => signWith(key, message, 0)],
    ["another hash", () => signWith(key, message, 48, "sha256")],
    ["a byte less", () => signWith(key, message).subarray(1)],
    ["a byte more", () => concatBytes(signWith(key, message), Uint8Array.of(0))],
    ["nothing", () => new Uint8Array()],
    ["zeros", () => new Uint8Array(MODULUS_BYTES)],
    ["the same number above the modulus", () => aboveModulus(signWith(key, message))],
  ])("with %s is refused", (_, make) => {
    expect(verifyPss(key.modulus, message, make())).toBe(false);
  });

  test("with any bit changed is refused", () => {
    const signature = signWith(key, message);
    fc.assert(
      fc.property(fc.nat(MODULUS_BYTES * 8 - 1), (bit) => {
        const changed = signature.slice();
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(verifyPss(key.modulus, message, changed)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test("of an encoding that has any bit changed is refused", () => {
    const encoded = applyPublicKey(key.modulus, signWith(key, message)) as Bytes;
    expect(verifyPss(key.modulus, message, signRaw(encoded))).toBe(true);
    fc.assert(
      fc.property(fc.nat(MODULUS_BYTES * 8 - 1), (bit) => {
        const changed = encoded.slice();
        changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
        // A value above the modulus cannot be signed.
        if (toHex(changed) >= toHex(key.modulus)) return;
        expect(verifyPss(key.modulus, message, signRaw(changed))).toBe(false);
      }),
      { numRuns: 120 },
    );
  });
});

/** The same residue in another form, where that fits into 256 bytes. */
function aboveModulus(signature: Bytes): Bytes {
  const sum = BigInt(`0x${toHex(signature)}`) + BigInt(`0x${toHex(key.modulus)}`);
  const hex = sum.toString(16).padStart(2 * MODULUS_BYTES, "0");
  return fromHex(hex.length % 2 ? `0${hex}` : hex);
}

describe("the public key applied", () => {
  test("undoes the private one", () => {
    const input = concatBytes(Uint8Array.of(0), new Uint8Array(MODULUS_BYTES - 1).fill(7));
    expect(toHex(applyPublicKey(key.modulus, signRaw(input)) as Bytes)).toBe(toHex(input));
  });

  test("takes what is below the modulus alone", () => {
    expect(applyPublicKey(key.modulus, key.modulus)).toBeUndefined();
    expect(applyPublicKey(key.modulus, new Uint8Array(MODULUS_BYTES).fill(255))).toBeUndefined();
    expect(applyPublicKey(key.modulus, new Uint8Array(MODULUS_BYTES))).toEqual(new Uint8Array(MODULUS_BYTES));
  });
});
