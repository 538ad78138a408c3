import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex } from "../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../protocol/crypto.ts";
import { bytesOf } from "../protocol/testing/arbitraries.ts";
import signatures from "../protocol/vectors/signatures.json" with { type: "json" };
import { platformSigner, suite } from "./platform-suite.ts";

test("the tests run in workerd, as a local node", () => {
  expect(navigator.userAgent).toBe("Cloudflare-Workers");
  expect(env.LOCAL).toBe("true");
});

describe("signatures.json", () => {
  test.each(signatures.cases)("$valid: $description", ({ publicKey, message, signature, valid }) => {
    expect(suite.verify(fromHex(publicKey), fromHex(message), fromHex(signature))).toBe(valid);
  });
});

describe("the platform's suite", () => {
  test("hashes and signs as the portable one does, and each verifies the other", () => {
    const portable = portableSuite();
    const property = fc.property(bytesOf(32), bytesOf(0, 300), fc.nat(), (seed, message, at) => {
      const [platform, plain] = [platformSigner(seed), portableSigner(seed)];
      expect(platform.publicKey).toEqual(plain.publicKey);
      const signature = platform.sign(message);
      expect(signature).toEqual(plain.sign(message));
      expect(suite.sha256(message)).toEqual(portable.sha256(message));
      expect([suite, portable].map((each) => each.verify(plain.publicKey, message, signature))).toEqual([
        true,
        true,
      ]);
      const changed = signature.map((byte, i) => (i === at % 64 ? byte ^ 1 : byte));
      expect([suite, portable].map((each) => each.verify(plain.publicKey, message, changed))).toEqual([
        false,
        false,
      ]);
    });
    fc.assert(property, { numRuns: 25 });
  });

  test("gives hashes of their own, which later ones do not change", () => {
    const first = suite.sha256(Uint8Array.of(1));
    const copy = first.slice();
    suite.sha256(Uint8Array.of(2));
    expect(first).toEqual(copy);
    expect(first.buffer.byteLength).toBe(32);
  });

  test("takes seeds of 32 bytes only", () => {
    for (const length of [0, 31, 33, 64])
      expect(() => platformSigner(new Uint8Array(length))).toThrow(RangeError);
  });

  test("bears more keys than it remembers", () => {
    const message = Uint8Array.of(1, 2, 3);
    for (let n = 0; n < 1_100; n++) {
      const seed = new Uint8Array(32);
      new DataView(seed.buffer).setUint32(0, n);
      const signer = platformSigner(seed);
      expect(suite.verify(signer.publicKey, message, signer.sign(message))).toBe(true);
    }
  });
});
