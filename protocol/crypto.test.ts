import {
  createHash,
  createPrivateKey,
  createPublicKey,
  sign as nodeSign,
  verify as nodeVerify,
} from "node:crypto";
import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, equalBytes, fromHex, toHex } from "./bytes.ts";
import {
  hasCanonicalScalar,
  hasNeutralR,
  isPrimeOrderKey,
  mayBeFreshKey,
  PrimeOrderKeys,
  portableSigner,
  portableSuite,
} from "./crypto.ts";
import { bytesOf } from "./testing/arbitraries.ts";
import { encodedSmallOrderPoint, ORDER, scalarBytes, torsionedKey } from "./vectors/signature-vectors.ts";
import signatures from "./vectors/signatures.json" with { type: "json" };

const suite = portableSuite();
const seeds = bytesOf(32);
const cases = signatures.cases.map((each) => ({
  ...each,
  publicKey: fromHex(each.publicKey),
  message: fromHex(each.message),
  signature: fromHex(each.signature),
}));

/** The head of an Ed25519 key in SubjectPublicKeyInfo and in PKCS #8 (RFC 8410). */
const SPKI = fromHex("302a300506032b6570032100");
const PKCS8 = fromHex("302e020100300506032b657004220420");

/** Node's own verification behind the three checks: what a platform's suite is. */
function verifyByNode(publicKey: Bytes, message: Bytes, signature: Bytes): boolean {
  if (!hasCanonicalScalar(signature) || hasNeutralR(signature) || !isPrimeOrderKey(publicKey)) return false;
  const key = createPublicKey({
    key: Buffer.from(concatBytes(SPKI, publicKey)),
    format: "der",
    type: "spki",
  });
  return nodeVerify(null, message, key, signature);
}

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(Uint8Array.from(bytes).reverse())}`);

/** Without the cofactor, and without any check of the points: what a careless library does. */
function equationHolds(publicKey: Bytes, message: Bytes, signature: Bytes): boolean {
  const { Point } = ed25519;
  const encodedR = signature.subarray(0, 32);
  const k = Point.Fn.create(littleEndian(sha512(concatBytes(encodedR, publicKey, message))));
  const sB = Point.BASE.multiplyUnsafe(littleEndian(signature.subarray(32)));
  const found = sB.subtract(Point.fromBytes(publicKey, true).multiplyUnsafe(k));
  return found.equals(Point.fromBytes(encodedR, true));
}

describe("the rule of verification", () => {
  test.each(cases)("is also node:crypto's behind the three checks: $description", (each) => {
    expect(verifyByNode(each.publicKey, each.message, each.signature)).toBe(each.valid);
  });

  test.each(cases.filter((each) => /the equation holds/.test(each.description)))(
    "the case is what it says: $description",
    (each) => {
      const isCofactorless = !/holds with the cofactor/.test(each.description);
      expect(equationHolds(each.publicKey, each.message, each.signature)).toBe(isCofactorless);
      expect(each.zip215).toBe(true);
    },
  );

  test("agrees with node:crypto on signatures, and on those with a part exchanged", () => {
    const mask = fc.option(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 255 })));
    fc.assert(
      fc.property(seeds, bytesOf(0, 100), mask, fc.boolean(), (seed, message, change, isOtherKey) => {
        const signer = portableSigner(seed);
        const signature = signer.sign(message);
        const made = change
          ? signature.map((byte, i) => (i === change[0] ? byte ^ change[1] : byte))
          : signature;
        const key = isOtherKey ? portableSigner(suite.sha256(seed)).publicKey : signer.publicKey;
        const answer = suite.verify(key, message, made);
        expect(answer).toBe(!change && !isOtherKey);
        expect(verifyByNode(key, message, made)).toBe(answer);
      }),
      { numRuns: 150 },
    );
  });

  test("agrees with node:crypto on arbitrary keys and signatures, with torsion and with s + n·L", () => {
    const torsion = fc
      .integer({ min: 0, max: 7 })
      .map((j) => ed25519.Point.fromBytes(encodedSmallOrderPoint(j)));
    const shifted = (point: Bytes, by: InstanceType<typeof ed25519.Point>): Bytes =>
      Uint8Array.from(ed25519.Point.fromBytes(point).add(by).toBytes());
    fc.assert(
      fc.property(
        seeds,
        bytesOf(0, 20),
        torsion,
        torsion,
        fc.integer({ min: 0, max: 2 }),
        (seed, message, keyT, rT, n) => {
          const signer = portableSigner(seed);
          const signature = signer.sign(message);
          const s = littleEndian(signature.subarray(32)) + BigInt(n) * ORDER;
          const made = concatBytes(shifted(signature.slice(0, 32), rT), scalarBytes(s));
          const key = shifted(signer.publicKey, keyT);
          const isUntouched = keyT.is0() && rT.is0() && n === 0;
          expect(suite.verify(key, message, made)).toBe(isUntouched);
          expect(verifyByNode(key, message, made)).toBe(isUntouched);
        },
      ),
      { numRuns: 100 },
    );
    fc.assert(
      fc.property(bytesOf(0, 40), bytesOf(0, 10), bytesOf(0, 70), (key, message, signature) => {
        expect(suite.verify(key, message, signature)).toBe(false);
      }),
    );
  });
});

describe("a key that is used once", () => {
  test("is a member's key as well", () => {
    for (const each of cases)
      if (each.valid) expect(suite.verifyFresh(each.publicKey, each.message, each.signature)).toBe(true);
  });

  test("may have torsion: the equation alone decides, without the cofactor", () => {
    const key = torsionedKey("a fresh key");
    const outcomes = new Set<boolean>();
    for (let i = 0; i < 60; i++) {
      const message = Uint8Array.of(i);
      const signature = key.sign(message);
      const holds = equationHolds(key.publicKey, message, signature);
      expect(suite.verifyFresh(key.publicKey, message, signature)).toBe(holds);
      expect(suite.verify(key.publicKey, message, signature)).toBe(false);
      outcomes.add(holds);
    }
    expect([...outcomes].sort()).toEqual([false, true]);
  });

  test("is not of small order, in any encoding, nor any other that is not canonical", () => {
    const { Point } = ed25519;
    for (let multiple = 0; multiple < 8; multiple++) {
      const encoded = encodedSmallOrderPoint(multiple);
      const flipped = encoded.map((byte, i) => (i === 31 ? byte ^ 0x80 : byte));
      expect([mayBeFreshKey(encoded), mayBeFreshKey(flipped)]).toEqual([false, false]);
    }
    for (let y = 0n; y < 19n; y++)
      for (const sign of [0n, 2n ** 255n])
        expect(mayBeFreshKey(scalarBytes(Point.Fp.ORDER + y + sign))).toBe(false);
    for (const length of [0, 31, 33]) expect(mayBeFreshKey(new Uint8Array(length).fill(9))).toBe(false);
    expect(mayBeFreshKey(Uint8Array.from(Point.BASE.toBytes()))).toBe(true);
  });

  test("that is no point verifies nothing", () => {
    const signature = portableSigner(new Uint8Array(32)).sign(Uint8Array.of(1));
    const noPoints = Array.from({ length: 40 }, (_, i) => scalarBytes(BigInt(i + 2))).filter((key) => {
      try {
        ed25519.Point.fromBytes(key, false);
        return false;
      } catch {
        return true;
      }
    });
    expect(noPoints.length).toBeGreaterThan(5);
    for (const key of noPoints) expect(suite.verifyFresh(key, Uint8Array.of(1), signature)).toBe(false);
  });
});

describe("keys", () => {
  test("are canonical and of prime order", () => {
    for (const each of cases) {
      if (each.valid) expect(isPrimeOrderKey(each.publicKey)).toBe(true);
      if (/^A key (of order|of mixed|that encodes|with y|of 3)/.test(each.description))
        expect(isPrimeOrderKey(each.publicKey)).toBe(false);
    }
  });

  test("whose y is p or more are refused, with either sign", () => {
    const { Point } = ed25519;
    const ys = Array.from({ length: 19 }, (_, y) => BigInt(y));
    for (const sign of [0n, 2n ** 255n]) {
      for (const y of ys) expect(isPrimeOrderKey(scalarBytes(Point.Fp.ORDER + y + sign))).toBe(false);
    }
    expect(isPrimeOrderKey(Uint8Array.from(Point.BASE.toBytes()))).toBe(true);
  });

  test("are remembered with either answer, up to a number", () => {
    const keys = new PrimeOrderKeys();
    const good = portableSigner(new Uint8Array(32)).publicKey;
    const small = encodedSmallOrderPoint(1);
    for (let round = 0; round < 2; round++) {
      expect(keys.has(good)).toBe(true);
      expect(keys.has(small)).toBe(false);
    }
    for (let i = 0; i <= PrimeOrderKeys.MAX_REMEMBERED; i++) keys.has(Uint8Array.of(i >> 8, i & 255));
    expect(keys.has(good)).toBe(true);
    expect(keys.has(small)).toBe(false);
  });
});

describe("scalars", () => {
  const withScalar = (s: bigint) => concatBytes(new Uint8Array(32), scalarBytes(s));

  test("are canonical below L", () => {
    expect(hasCanonicalScalar(withScalar(0n))).toBe(true);
    expect(hasCanonicalScalar(withScalar(ORDER - 1n))).toBe(true);
    expect(hasCanonicalScalar(withScalar(ORDER))).toBe(false);
    expect(hasCanonicalScalar(withScalar(2n ** 256n - 1n))).toBe(false);
    expect(ORDER).toBe(2n ** 252n + 27742317777372353535851937790883648493n);
  });

  test("stand in signatures of 64 bytes alone", () => {
    for (const length of [0, 32, 63, 65, 96]) expect(hasCanonicalScalar(new Uint8Array(length))).toBe(false);
  });
});

describe("the portable suite and signer", () => {
  test("hash and sign as node:crypto does", () => {
    fc.assert(
      fc.property(seeds, bytesOf(0, 200), (seed, message) => {
        const key = createPrivateKey({
          key: Buffer.from(concatBytes(PKCS8, seed)),
          format: "der",
          type: "pkcs8",
        });
        expect(equalBytes(portableSigner(seed).sign(message), nodeSign(null, message, key))).toBe(true);
        expect(equalBytes(suite.sha256(message), createHash("sha256").update(message).digest())).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test("refuse a seed of another length", () => {
    for (const length of [0, 31, 33, 64])
      expect(() => portableSigner(new Uint8Array(length))).toThrow(`a seed has 32 bytes, not ${length}`);
  });
});
