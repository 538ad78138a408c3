import { secp256k1 } from "@noble/curves/secp256k1.js";
import { describe, expect, test } from "vitest";
import { type Bytes, utf8 } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import {
  checkProof,
  claimOf,
  formatProof,
  type ProvenRequest,
  readProof,
  signProof,
} from "./identity-proof.ts";
import { otherSigner, signer, suite } from "./testing/arbitraries.ts";

const SECRET = new Uint8Array(32).fill(5);
const KEY = secp256k1.getPublicKey(SECRET, false);
const NOW_S = 1_770_000_000;
const NONCE = new Uint8Array(16).fill(9) as Bytes;
const request: ProvenRequest = {
  node: signer.publicKey,
  method: "POST",
  path: "/v1/stamps",
  body: utf8("body"),
};
const proof = signProof(request, SECRET, { createdS: NOW_S, nonce: NONCE }, suite);

function ruleOf(work: () => unknown): unknown {
  try {
    work();
    return "good";
  } catch (error) {
    return error instanceof PennypostError ? (error.data.rule ?? error.code) : error;
  }
}

const check = (changes: Partial<ProvenRequest> = {}, nowS = NOW_S, key: Uint8Array = KEY, made = proof) =>
  ruleOf(() => checkProof(made, { ...request, ...changes }, key, nowS * 1_000, suite));

/** Without a word of what it is for. */
const { claim, ...bare } = proof;

describe("a proof", () => {
  test("is good for its request, within five minutes", () => {
    for (const nowS of [NOW_S - 300, NOW_S, NOW_S + 300]) expect(check({}, nowS)).toBe("good");
    for (const nowS of [NOW_S - 301, NOW_S + 301]) expect(check({}, nowS)).toBe("time");
  });

  test.each<[string, Partial<ProvenRequest>]>([
    ["node", { node: otherSigner.publicKey }],
    ["method", { method: "GET" }],
    ["path", { path: "/v1/stamp" }],
    ["body", { body: utf8("body2") }],
  ])("is not good for another %s, and says so where it says what it is for", (part, changes) => {
    expect(check(changes)).toBe(part);
    expect(check(changes, NOW_S, KEY, bare)).toBe("signature");
  });

  test("is good by its signature alone, whatever it says of itself", () => {
    expect(check({}, NOW_S, KEY, bare)).toBe("good");
    expect(check({}, NOW_S, KEY, { ...bare, claim: "nonsense" })).toBe("good");
    const body = utf8("body2");
    const lying = { ...bare, claim: claimOf({ ...request, body }, KEY, suite) };
    expect([check({}, NOW_S, KEY, lying), check({ body }, NOW_S, KEY, lying)]).toEqual(["good", "signature"]);
  });

  test("is its key's alone, and of its time and nonce", () => {
    const other = secp256k1.getPublicKey(new Uint8Array(32).fill(6), false);
    expect(check({}, NOW_S, other)).toBe("identity_key");
    expect(check({}, NOW_S, other, bare)).toBe("signature");
    expect(check({}, NOW_S, new Uint8Array(65), bare)).toBe("signature");
    expect(check({}, NOW_S, KEY, { ...proof, createdS: NOW_S + 1 })).toBe("signature");
    expect(check({}, NOW_S, KEY, { ...proof, nonce: new Uint8Array(16) })).toBe("signature");
    const flipped = proof.signature.map((byte, i) => (i === 40 ? byte ^ 1 : byte));
    expect(check({}, NOW_S, KEY, { ...proof, signature: flipped })).toBe("signature");
  });

  test("with the greater of two values of s is refused", () => {
    const { Point } = secp256k1;
    const order = Point.Fn.ORDER;
    const s = BigInt(`0x${Buffer.from(proof.signature.subarray(32)).toString("hex")}`);
    const high = Buffer.from((order - s).toString(16).padStart(64, "0"), "hex");
    const signature = Uint8Array.from([...proof.signature.subarray(0, 32), ...high]);
    expect(check({}, NOW_S, KEY, { ...proof, signature })).toBe("signature");
  });
});

describe("the header", () => {
  test("is read as it was written", () => {
    expect(readProof(formatProof(proof))).toEqual(proof);
    expect(readProof(formatProof(bare))).toEqual(bare);
    expect(formatProof(proof)).toBe(`${formatProof(bare)}, for=${claim}`);
  });

  test.each([
    [null, "proof_missing"],
    ["", "proof_missing"],
    ["t=1", "form"],
    [`${formatProof(proof)} `, "form"],
    [`${formatProof(bare)} `, "form"],
    [`${formatProof(bare)}, for=`, "form"],
    [`${formatProof(proof)}, for=${claim}`, "form"],
    [formatProof(proof).replace("/v1/stamps", `/${"x".repeat(256)}`), "form"],
    [formatProof(proof).toUpperCase(), "form"],
    [formatProof(proof).replace("t=", "t=-"), "form"],
    [formatProof(proof).replace("t=", "t=0000000000000"), "form"],
  ])("has one form: %j", (header, rule) => {
    expect(ruleOf(() => readProof(header))).toBe(rule);
  });
});
