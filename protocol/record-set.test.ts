import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, toHex } from "./bytes.ts";
import type { Signer } from "./crypto.ts";
import { DEVELOPMENT_GENESIS, type Genesis, Network } from "./genesis.ts";
import { firstSeqOf } from "./hybrid-clock.ts";
import { MAX_ISSUER_KEYS_PER_SPAN } from "./issuer-records.ts";
import { createRecord, type VerifiedRecord } from "./record.ts";
import { RecordSet } from "./record-set.ts";
import { shortKeyId } from "./stamp.ts";
import { otherSigner, signer, suite } from "./testing/arbitraries.ts";
import { TestIssuer } from "./testing/test-issuer.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";
import { signerOf } from "./vectors/encoding.ts";

const genesis: Genesis = { ...MEMBERS_GENESIS, recordKeys: [toHex(signer.publicKey)] };
const network = new Network(genesis, suite);
const GENESIS_MEMBER = signerOf("origin");
const DAY_MS = 86_400_000;
const START_MS = Math.ceil(genesis.createdMs / (15 * DAY_MS)) * 15 * DAY_MS;

const memberRecord = (member: Signer, admitted: boolean, from: bigint, atMs = 1): VerifiedRecord =>
  createRecord({ kind: "member", member: member.publicKey, admitted, from }, atMs, network, signer, suite);

function issuerRecord(by: Signer, index: number, fromMs: number, days = 30): VerifiedRecord {
  const { key } = new TestIssuer(by.publicKey, network.id, suite, { index });
  const { publicKey, challenge } = key;
  const [from, to] = [firstSeqOf(fromMs), firstSeqOf(fromMs + days * DAY_MS)];
  return createRecord({ kind: "issuer", publicKey, challenge, from, to }, 1, network, by, suite);
}

const setOf = (records: readonly VerifiedRecord[]) => new RecordSet(network, suite, records);

describe("the standing of an origin", () => {
  test("is the genesis's while no record speaks", () => {
    const records = setOf([]);
    expect(records.standingAt(GENESIS_MEMBER.publicKey, 0n)).toBe("member");
    expect(records.standingAt(otherSigner.publicKey, 0n)).toBe("unknown");
    const open = new RecordSet(new Network(DEVELOPMENT_GENESIS, suite), suite);
    expect(open.standingAt(otherSigner.publicKey, 0n)).toBe("member");
  });

  test("is that of the last record at or below a seq", () => {
    const records = setOf([
      memberRecord(otherSigner, true, 100n),
      memberRecord(otherSigner, false, 200n),
      memberRecord(otherSigner, true, 300n),
      memberRecord(GENESIS_MEMBER, false, 150n),
    ]);
    const at = (seq: bigint) => records.standingAt(otherSigner.publicKey, seq);
    expect([99n, 100n, 199n, 200n, 299n, 300n].map(at)).toEqual([
      "unknown",
      "member",
      "member",
      "removed",
      "removed",
      "member",
    ]);
    expect(records.standingAt(GENESIS_MEMBER.publicKey, 149n)).toBe("member");
    expect(records.standingAt(GENESIS_MEMBER.publicKey, 150n)).toBe("removed");
  });

  test("is removed where two records of one seq differ", () => {
    const both = [memberRecord(otherSigner, true, 7n), memberRecord(otherSigner, false, 7n)];
    for (const each of [both, both.toReversed()])
      expect(setOf(each).standingAt(otherSigner.publicKey, 7n)).toBe("removed");
  });

  test("is the same in whatever order the records came, some of them twice", () => {
    const facts = fc.array(fc.tuple(fc.boolean(), fc.bigInt({ min: 0n, max: 12n })), { maxLength: 8 });
    fc.assert(
      fc.property(facts, fc.func(fc.nat()), (each, order) => {
        const made = each.map(([admitted, from]) => memberRecord(otherSigner, admitted, from));
        const sorted = setOf(made);
        const shuffled = setOf(
          [...made, ...made].toSorted((a, b) => order(toHex(a.id)) - order(toHex(b.id))),
        );
        for (let seq = 0n; seq < 14n; seq++) {
          const standing = sorted.standingAt(otherSigner.publicKey, seq);
          expect(shuffled.standingAt(otherSigner.publicKey, seq)).toBe(standing);
          const last = each
            .filter(([, from]) => from <= seq)
            .sort((a, b) => Number(a[1] - b[1]))
            .at(-1);
          const isRemoved = each.some(([admitted, from]) => from === last?.[1] && !admitted);
          expect(standing).toBe(last ? (isRemoved ? "removed" : "member") : "unknown");
        }
        expect(shuffled.digest).toEqual(sorted.digest);
        expect(shuffled.list()).toEqual(sorted.list());
      }),
      { numRuns: 60 },
    );
  });
});

describe("the keys of an issuer", () => {
  const record = issuerRecord(otherSigner, 0, START_MS);
  const other = issuerRecord(otherSigner, 1, START_MS + 15 * DAY_MS);

  test("are found by origin and the beginning of their id", () => {
    const records = setOf([record, other, issuerRecord(signer, 0, START_MS)]);
    const { key } = new TestIssuer(otherSigner.publicKey, network.id, suite);
    const id = shortKeyId(key.publicKey, suite);
    const [from, to] = [firstSeqOf(START_MS), firstSeqOf(START_MS + 30 * DAY_MS)];
    expect(records.issuerKeys(otherSigner.publicKey, id)).toEqual([{ ...key, from, to }]);
    expect(records.issuerKeys(signer.publicKey, id)).toEqual([
      { ...key, origin: signer.publicKey, from, to },
    ]);
    expect(records.issuerKeys(otherSigner.publicKey, new Uint8Array(8))).toEqual([]);
    expect(records.issuerKeys(GENESIS_MEMBER.publicKey, id)).toEqual([]);
  });

  test("are few in each span of 15 days: those with the least ids, in whatever order they came", () => {
    const many = Array.from({ length: 9 }, (_, i) => issuerRecord(otherSigner, i % 2, START_MS + i, 1 + i));
    const least = many.toSorted((a, b) => compareBytes(a.id, b.id)).slice(0, MAX_ISSUER_KEYS_PER_SPAN);
    fc.assert(
      fc.property(fc.shuffledSubarray(many, { minLength: many.length }), (shuffled) => {
        const records = setOf([...shuffled, record, other, ...shuffled]);
        const expected = setOf([...least, record, other]);
        const ids = (set: RecordSet) => set.list().map(({ id }) => toHex(id));
        const kept = least.filter((each) => records.has(each.id));
        // `record` begins in the same span.
        expect(kept.length).toBeGreaterThanOrEqual(MAX_ISSUER_KEYS_PER_SPAN - 1);
        expect(ids(records)).toEqual(ids(expected));
        expect(records.digest).toEqual(expected.digest);
        expect(records.has(other.id)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test("are said to be of use before they are added just when they are", () => {
    const many = Array.from({ length: 7 }, (_, i) => issuerRecord(otherSigner, i % 2, START_MS + i, 1 + i));
    const all = [...many, record, other, memberRecord(otherSigner, true, 100n)];
    fc.assert(
      fc.property(fc.shuffledSubarray([...all, ...all], { minLength: all.length }), (shuffled) => {
        const records = setOf([]);
        for (const each of shuffled) {
          const expected = records.wouldAdd(each);
          expect(records.add(each) !== undefined).toBe(expected);
        }
      }),
      { numRuns: 40 },
    );
  });

  test("that are displaced are told, and no longer found", () => {
    const many = Array.from({ length: 5 }, (_, i) => issuerRecord(otherSigner, 0, START_MS + i, 1 + i));
    const sorted = many.toSorted((a, b) => compareBytes(b.id, a.id));
    const records = setOf(sorted.slice(0, 4));
    const change = records.add(sorted[4] as VerifiedRecord);
    expect(change?.displaced).toEqual([sorted[0]]);
    expect(records.has((sorted[0] as VerifiedRecord).id)).toBe(false);
    expect(records.size).toBe(4);
    expect(records.add(sorted[0] as VerifiedRecord)).toBeUndefined();
    expect(records.size).toBe(4);
  });

  test("make room when they are displaced", () => {
    const many = Array.from({ length: 9 }, (_, i) => issuerRecord(otherSigner, 0, START_MS + i, 1 + i));
    const records = setOf(many);
    expect(records.size).toBe(MAX_ISSUER_KEYS_PER_SPAN);
    expect(records.add(issuerRecord(signer, 0, START_MS))).toBeDefined();
  });

  test("of one node leave no room to nobody else's", () => {
    const mine = Array.from({ length: 6 }, (_, i) => issuerRecord(otherSigner, 0, START_MS + i, 1 + i));
    const theirs = issuerRecord(signer, 0, START_MS);
    expect(setOf([...mine, theirs]).has(theirs.id)).toBe(true);
  });
});

describe("who ever was a member", () => {
  test("is who the genesis or any record admits, whatever other records say", () => {
    const admitted = (...records: VerifiedRecord[]) => setOf(records).wasAdmitted(otherSigner.publicKey);
    expect(setOf([memberRecord(GENESIS_MEMBER, false, 0n)]).wasAdmitted(GENESIS_MEMBER.publicKey)).toBe(true);
    expect(admitted()).toBe(false);
    expect(admitted(memberRecord(otherSigner, false, 0n))).toBe(false);
    expect(admitted(memberRecord(otherSigner, true, 5n), memberRecord(otherSigner, false, 0n))).toBe(true);
    const open = new RecordSet(new Network(DEVELOPMENT_GENESIS, suite), suite);
    expect(open.wasAdmitted(otherSigner.publicKey)).toBe(true);
  });
});

test("the digest tells sets apart", () => {
  const a = memberRecord(otherSigner, true, 1n);
  const b = memberRecord(otherSigner, true, 2n);
  const digests = [setOf([]), setOf([a]), setOf([b]), setOf([a, b])].map(({ digest }) => toHex(digest));
  expect(new Set(digests).size).toBe(4);
  const growing = setOf([a]);
  expect(toHex(growing.digest)).toBe(digests[1]);
  growing.add(b);
  expect(toHex(growing.digest)).toBe(digests[3]);
});
