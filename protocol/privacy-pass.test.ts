import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, fromHex, toHex, utf8 } from "./bytes.ts";
import { portableSuite } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import {
  authenticatedPart,
  challengeOf,
  decodeToken,
  encodeToken,
  issuerKeyOf,
  keyIdOf,
  modulusOf,
  TOKEN_BYTES,
} from "./privacy-pass.ts";
import { verifyPss } from "./rsa-pss.ts";

interface Vector {
  readonly publicKey: string;
  readonly challenge: string;
  readonly nonce: string;
  readonly token: string;
}

const suite = portableSuite();
const file = new URL("vectors/privacy-pass.json", import.meta.url);
const { vectors } = JSON.parse(readFileSync(file, "utf8")) as { readonly vectors: readonly Vector[] };
const [first] = vectors as [Vector];

function ruleOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error instanceof PennypostError ? (error.data.rule ?? error.code) : error;
  }
}

describe("the vectors of RFC 9578", () => {
  test.each(vectors.map((vector, i) => [i, vector] as const))("%i verifies", (_, vector) => {
    const token = decodeToken(fromHex(vector.token));
    const publicKey = fromHex(vector.publicKey);
    expect(toHex(token.nonce)).toBe(vector.nonce);
    expect(toHex(token.challengeDigest)).toBe(toHex(suite.sha256(fromHex(vector.challenge))));
    expect(toHex(token.keyId)).toBe(toHex(keyIdOf(publicKey, suite)));
    expect(verifyPss(modulusOf(publicKey), authenticatedPart(token), token.authenticator)).toBe(true);
    expect(toHex(encodeToken(token))).toBe(vector.token);
  });

  test("have the challenge that is built here where they name no origin", () => {
    const built = vectors.filter(({ challenge }) => {
      const bytes = fromHex(challenge);
      const nameBytes = (bytes[2] as number) * 256 + (bytes[3] as number);
      const contextBytes = bytes[4 + nameBytes] as number;
      const name = new TextDecoder().decode(bytes.subarray(4, 4 + nameBytes));
      const context = bytes.subarray(5 + nameBytes, 5 + nameBytes + contextBytes);
      return toHex(challengeOf(name, context)) === challenge;
    });
    expect(built.length).toBeGreaterThan(0);
  });
});

describe("a token", () => {
  test("is its bytes again", () => {
    const bytes = (length: number) =>
      fc.uint8Array({ minLength: length, maxLength: length }).map((each) => new Uint8Array(each) as Bytes);
    const tokens = fc.record({
      nonce: bytes(32),
      challengeDigest: bytes(32),
      keyId: bytes(32),
      authenticator: bytes(256),
    });
    fc.assert(
      fc.property(tokens, (token) => {
        expect(decodeToken(encodeToken(token))).toEqual(token);
      }),
    );
  });

  test("has one length and one type", () => {
    const token = fromHex(first.token);
    expect(ruleOf(() => decodeToken(concatBytes(token, Uint8Array.of(0))))).toBe("length");
    expect(ruleOf(() => decodeToken(token.subarray(1)))).toBe("length");
    expect(ruleOf(() => decodeToken(new Uint8Array()))).toBe("length");
    for (const type of [0, 1, 3, 0xda7a]) {
      const other = concatBytes(Uint8Array.of(type >> 8, type & 255), token.subarray(2));
      expect(ruleOf(() => decodeToken(other))).toBe("type");
    }
    expect(token.length).toBe(TOKEN_BYTES);
    expect(TOKEN_BYTES).toBe(354);
  });
});

describe("an issuer's key", () => {
  test("has one form", () => {
    const key = fromHex(first.publicKey);
    expect(toHex(issuerKeyOf(modulusOf(key)))).toBe(first.publicKey);
    for (let at = 0; at < key.length; at++) {
      const isModulus = at >= 81 && at < 337;
      if (isModulus) continue;
      const changed = key.slice();
      changed[at] = (changed[at] as number) ^ 1;
      expect(ruleOf(() => modulusOf(changed))).toBe("issuer_key_invalid");
    }
  });

  test.each([
    ["nothing", () => new Uint8Array()],
    ["a byte more", () => concatBytes(fromHex(first.publicKey), Uint8Array.of(0))],
    ["an even modulus", () => issuerKeyOf(new Uint8Array(256).fill(0xfe))],
    ["a modulus of fewer bits", () => issuerKeyOf(new Uint8Array(256).fill(0x7f))],
    ["text", () => utf8("-----BEGIN PUBLIC KEY-----")],
  ])("is not %s", (_, make) => {
    expect(ruleOf(() => modulusOf(make()))).toBe("issuer_key_invalid");
  });
});
