import fc from "fast-check";
import { expect, test } from "vitest";
import { fromHex, toHex } from "./bytes.ts";
import { portableSigner } from "./crypto.ts";
import { parsePublicKey, toDidKey } from "./did-key.ts";

const refused = expect.objectContaining({ code: "key_invalid" });

test("the example of the did:key specification", () => {
  const key = fromHex("2e6fcce36701dc791488e0d0b1745cc1e33a4c1c9fcc41c63bd343dbbe0970e6");
  expect(toDidKey(key)).toBe("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK");
});

test("any member key is read back from both of its forms", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
      const { publicKey } = portableSigner(seed);
      expect(parsePublicKey(toDidKey(publicKey))).toEqual(publicKey);
      expect(parsePublicKey(toHex(publicKey))).toEqual(publicKey);
    }),
    { numRuns: 20 },
  );
});

test.each([
  ["nothing", ""],
  ["a key of another kind (secp256k1)", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"],
  ["a cut did:key", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2do"],
  ["another DID method", "did:web:example.org"],
  ["letters that base58 has not", "did:key:z0OIl"],
  ["a small-order key", "00".repeat(32)],
  ["a non-canonical encoding", "ff".repeat(32)],
  ["63 digits", "a".repeat(63)],
])("%s is refused", (_name, text) => {
  expect(() => parsePublicKey(text)).toThrow(refused);
});
