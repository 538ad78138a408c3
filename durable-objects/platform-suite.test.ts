import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex } from "../protocol/bytes.ts";
import { portableSigner, portableSuite } from "../protocol/crypto.ts";
import { bytesOf } from "../protocol/testing/arbitraries.ts";
import { torsionedKey } from "../protocol/vectors/signature-vectors.ts";
import signatures from "../protocol/vectors/signatures.json" with { type: "json" };
import { platformSigner, suite } from "./platform-suite.ts";

test("the tests run in workerd, as a local node", () => {
  expect(navigator.userAgent).toBe("Cloudflare-Workers");
  expect(env.LOCAL).toBe("true");
});

describe("signatures.json", () => {
  test.each(signatures.cases)("$valid: $description", ({ publicKey, message, signature, valid }) => {
    const [key, text, made] = [fromHex(publicKey), fromHex(message), fromHex(signature)];
    expect(suite.verify(key, text, made)).toBe(valid);
    expect(suite.verifyFresh(key, text, made)).toBe(portableSuite().verifyFresh(key, text, made));
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

  test("agrees with the portable one on keys that are used once, points or not", () => {
    const portable = portableSuite();
    const { sign } = portableSigner(new Uint8Array(32).fill(3));
    const key = portableSigner(new Uint8Array(32).fill(3)).publicKey;
    expect(suite.verifyFresh(key, Uint8Array.of(1), sign(Uint8Array.of(1)))).toBe(true);
    const property = fc.property(bytesOf(32), bytesOf(0, 20), (some, message) => {
      const answers = [suite, portable].map((each) => each.verifyFresh(some, message, sign(message)));
      expect(answers).toEqual([false, false]);
    });
    fc.assert(property, { numRuns: 200 });
    const torsioned = torsionedKey("a fresh key");
    for (let i = 0; i < 40; i++) {
      const message = Uint8Array.of(i);
      const answers = [suite, portable].map((each) =>
        each.verifyFresh(torsioned.publicKey, message, torsioned.sign(message)),
      );
      expect(answers[0]).toBe(answers[1]);
    }
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
