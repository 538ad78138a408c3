import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, toHex, utf8 } from "./bytes.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { PennypostError } from "./errors.ts";
import { type Genesis, Network } from "./genesis.ts";
import { firstSeqOf, MAX_TIME_MS } from "./hybrid-clock.ts";
import { MAX_SEQ } from "./limits.ts";
import {
  createRecord,
  type IssuerRecord,
  MAX_ISSUER_KEY_MS,
  MAX_RECORD_BYTES,
  type MemberRecord,
  type RecordFact,
  readRecord,
  type WireRecord,
} from "./record.ts";
import { stampChallenge } from "./stamp.ts";
import { bytesOf, otherSigner, signer, suite } from "./testing/arbitraries.ts";
import { TestIssuer } from "./testing/test-issuer.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";
import { encodedSmallOrderPoint } from "./vectors/signature-vectors.ts";

const genesis: Genesis = { ...MEMBERS_GENESIS, recordKeys: [toHex(signer.publicKey)] };
const network = new Network(genesis, suite);
const AT_MS = genesis.createdMs + 1_000;
const FROM = firstSeqOf(AT_MS);

const member: MemberRecord = { kind: "member", member: otherSigner.publicKey, admitted: true, from: FROM };
const { key } = new TestIssuer(otherSigner.publicKey, network.id, suite);
const issuer: IssuerRecord = {
  kind: "issuer",
  publicKey: key.publicKey,
  challenge: key.challenge,
  from: FROM,
  to: firstSeqOf(AT_MS + MAX_ISSUER_KEY_MS),
};
const recordOf = (fact: RecordFact, by = fact.kind === "member" ? signer : otherSigner) =>
  createRecord(fact, AT_MS, network, by, suite);

function ruleOf(wire: WireRecord): unknown {
  try {
    return readRecord(wire, network, suite) ? "good" : "later";
  } catch (error) {
    return error instanceof PennypostError ? (error.data.rule ?? error.code) : error;
  }
}

/** A record whose block has other fields, with the signature that it needs. */
function changed(
  fact: RecordFact,
  fields: Record<string, unknown>,
  by = fact.kind === "member" ? signer : otherSigner,
) {
  const block = encodeCbor({
    ...(decodeCbor(recordOf(fact).block, { bytes: MAX_RECORD_BYTES }) as Record<string, unknown>),
    by: by.publicKey,
    ...fields,
  });
  return signed(block, by);
}

function signed(block: Bytes, by = signer): WireRecord {
  const signature = by.sign(concatBytes(utf8("pennypost/record/v1\0"), suite.sha256(block)));
  return { block, signature };
}

describe("a record", () => {
  test("is read as it was made", () => {
    const times = fc.integer({ min: genesis.createdMs, max: MAX_TIME_MS });
    const facts: fc.Arbitrary<RecordFact> = fc.oneof(
      fc.record({
        kind: fc.constant("member" as const),
        member: fc.constantFrom(otherSigner.publicKey, signer.publicKey),
        admitted: fc.boolean(),
        from: fc.bigInt({ min: 0n, max: MAX_SEQ }),
      }),
      fc
        .tuple(
          fc.integer({ min: genesis.createdMs, max: MAX_TIME_MS - MAX_ISSUER_KEY_MS }),
          fc.integer({ min: 1, max: MAX_ISSUER_KEY_MS }),
        )
        .map(([fromMs, lastsMs]) => ({
          ...issuer,
          from: firstSeqOf(fromMs),
          to: firstSeqOf(fromMs + lastsMs),
        })),
    );
    fc.assert(
      fc.property(facts, times, (fact, atMs) => {
        const record = createRecord(
          fact,
          atMs,
          network,
          fact.kind === "member" ? signer : otherSigner,
          suite,
        );
        expect(readRecord({ block: record.block, signature: record.signature }, network, suite)).toEqual(
          record,
        );
        expect(record.block.length).toBeLessThanOrEqual(MAX_RECORD_BYTES);
      }),
      { numRuns: 60 },
    );
  });

  test("of any bytes is refused, never thrown", () => {
    fc.assert(
      fc.property(bytesOf(0, 200), bytesOf(0, 70), (block, signature) => {
        expect(String(ruleOf({ block, signature }))).toMatch(/^(record|cbor)_/);
      }),
    );
  });

  test("with a bit changed is refused", () => {
    for (const { block, signature } of [recordOf(member), recordOf(issuer)]) {
      fc.assert(
        fc.property(fc.nat(), fc.boolean(), (place, isBlock) => {
          const flip = (bytes: Bytes) =>
            bytes.map((byte, i) => (i === place % bytes.length ? byte ^ 1 : byte));
          const wire = isBlock ? { block: flip(block), signature } : { block, signature: flip(signature) };
          expect(["good", "later"]).not.toContain(ruleOf(wire));
        }),
        { numRuns: 150 },
      );
    }
  });

  test("of a later version or kind is left to newer nodes", () => {
    expect(ruleOf(signed(encodeCbor({ v: 2 })))).toBe("later");
    expect(ruleOf(changed(member, { kind: "policy" }))).toBe("later");
    expect(ruleOf({ ...changed(member, { kind: "policy" }), signature: new Uint8Array(64) })).toBe(
      "record_signature",
    );
    expect(ruleOf(changed(member, { v: 0 }))).toBe("record_version");
  });

  test.each<[string, WireRecord]>([
    ["record_network", changed(member, { net: new Uint8Array(32) })],
    ["record_form", changed(member, { admitted: 1 })],
    ["record_form", changed(member, { member: new Uint8Array(31) })],
    ["record_form", changed(member, { from: -1 })],
    ["record_form", changed(member, { from: 2n ** 63n })],
    ["record_form", changed(member, { at: 1.5 })],
    ["record_form", changed(member, { at: MAX_TIME_MS + 1 })],
    ["record_form", signed(encodeCbor([1]))],
    ["record_form", signed(encodeCbor(null))],
    ["record_form", changed(issuer, { publicKey: new Uint8Array(341) })],
    ["record_canonical", changed(member, { more: 1 })],
    ["record_canonical", changed(issuer, { member: new Uint8Array(32) })],
    ["record_signer", recordOf(member, otherSigner)],
    ["record_member", recordOf({ ...member, member: encodedSmallOrderPoint(1) })],
    ["issuer_key_invalid", changed(issuer, { publicKey: new Uint8Array(342) })],
    [
      "record_challenge",
      recordOf({ ...issuer, challenge: stampChallenge("node.test", suite.sha256(utf8("x")), suite) }),
    ],
    ["record_challenge", recordOf({ ...issuer, challenge: concatBytes(issuer.challenge, Uint8Array.of(0)) })],
    ["record_challenge", recordOf({ ...issuer, challenge: stampChallenge("", network.id, suite) })],
    ["record_challenge", recordOf({ ...issuer, challenge: stampChallenge("a b", network.id, suite) })],
    ["record_interval", recordOf({ ...issuer, to: issuer.from })],
    ["record_interval", recordOf({ ...issuer, to: firstSeqOf(AT_MS + MAX_ISSUER_KEY_MS + 1) })],
    ["record_interval", recordOf({ ...issuer, from: firstSeqOf(genesis.createdMs) - 1n, to: FROM })],
  ])("is refused by %s", (rule, wire) => {
    expect(ruleOf(wire)).toBe(rule);
  });

  test("of members is signed by a record key, of issuers by any", () => {
    expect(ruleOf(recordOf(member))).toBe("good");
    expect(ruleOf(recordOf(issuer, signer))).toBe("good");
    expect(ruleOf(recordOf(issuer, otherSigner))).toBe("good");
  });
});
