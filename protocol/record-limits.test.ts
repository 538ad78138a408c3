import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes, toHex, uint64Bytes, utf8 } from "./bytes.ts";
import { Network } from "./genesis.ts";
import { firstSeqOf } from "./hybrid-clock.ts";
import { MAX_ISSUER_KEYS_PER_SPAN } from "./issuer-records.ts";
import { createRecord, type RecordFact, type VerifiedRecord } from "./record.ts";
import { MAX_RECORDS, MAX_RECORDS_OF_KIND, RecordSet } from "./record-set.ts";
import { otherSigner, signer, suite } from "./testing/arbitraries.ts";
import { TestIssuer } from "./testing/test-issuer.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";
import { signerOf } from "./vectors/encoding.ts";

/** What a set keeps of more records than it has room for. */

const network = new Network({ ...MEMBERS_GENESIS, recordKeys: [toHex(signer.publicKey)] }, suite);
const GENESIS_MEMBER = signerOf("origin");
const DAY_MS = 86_400_000;
const START_MS = Math.ceil(MEMBERS_GENESIS.createdMs / (15 * DAY_MS)) * 15 * DAY_MS;
/** Few places, so that each set of a test is full. */
const LIMIT = 12;
const limited = (records: readonly VerifiedRecord[]) => new RecordSet(network, suite, records, LIMIT);
const idsOf = (set: RecordSet) => set.list().map(({ id }) => toHex(id));

/** As one who fills a set would make them: nobody here looks at signatures. */
function madeUp(by: number, fact: RecordFact, atMs: number): VerifiedRecord {
  const key = suite.sha256(uint64Bytes(BigInt(by)));
  const about = fact.kind === "member" ? `${toHex(fact.member)} ${fact.admitted}` : "";
  const block = utf8(`${by} ${atMs} ${fact.from} ${about}`);
  return { block, signature: key, id: suite.sha256(block), by: key, atMs, fact };
}
const { publicKey, challenge } = new TestIssuer(otherSigner.publicKey, network.id, suite).key;
const madeUpIssuer = (by: number, span: number, atMs: number): VerifiedRecord => {
  const from = firstSeqOf(START_MS + span * 15 * DAY_MS);
  return madeUp(by, { kind: "issuer", publicKey, challenge, from, to: from + 1n }, atMs);
};
const madeUpMember = (of: number, admitted: boolean, from: bigint, atMs: number): VerifiedRecord =>
  madeUp(0, { kind: "member", member: suite.sha256(uint64Bytes(BigInt(of))), admitted, from }, atMs);

const someIssuers = fc.tuple(fc.nat(15), fc.nat(4), fc.nat(5)).map((each) => madeUpIssuer(...each));
const someMembers = fc
  .tuple(fc.nat(5), fc.boolean(), fc.bigInt({ min: 0n, max: 3n }), fc.nat(3))
  .map((each) => madeUpMember(...each));
const someRecords = fc.array(fc.oneof({ arbitrary: someIssuers, weight: 3 }, someMembers), {
  size: "max",
  maxLength: 120,
});

/** Which of all records are to be kept, said at once and not one by one. */
function keptOf(all: readonly VerifiedRecord[]): string[] {
  const each = [...new Map(all.map((record) => [toHex(record.id), record])).values()];
  const byId = (a: VerifiedRecord, b: VerifiedRecord) => compareBytes(a.id, b.id);
  const members = each.flatMap((record) =>
    record.fact.kind === "member" ? [{ record, fact: record.fact }] : [],
  );
  const keptMembers = members
    .sort((a, b) => byId(a.record, b.record))
    .sort((a, b) => a.record.atMs - b.record.atMs)
    .sort((a, b) => Number(a.fact.admitted) - Number(b.fact.admitted))
    .slice(0, LIMIT);
  const issuers = each.filter(({ fact }) => fact.kind === "issuer");
  const signers = [...Map.groupBy(issuers, ({ by }) => toHex(by))].sort().slice(0, LIMIT);
  const share = Math.floor(LIMIT / Math.max(1, signers.length));
  const keptIssuers = signers.flatMap(([, list]) => {
    const spans = Map.groupBy(list, ({ fact }) => Number(fact.from));
    const newestFirst = [...spans].sort(([a], [b]) => b - a);
    return newestFirst
      .flatMap(([, some]) => some.sort(byId).slice(0, MAX_ISSUER_KEYS_PER_SPAN))
      .slice(0, share);
  });
  return [...keptMembers.map(({ record }) => record), ...keptIssuers].map(({ id }) => toHex(id)).sort();
}

describe("more records than there is room for", () => {
  test("leave the same ones, in whatever order they came, some of them twice", () => {
    fc.assert(
      fc.property(someRecords, fc.func(fc.nat()), (all, order) => {
        const shuffled = [...all, ...all].toSorted((a, b) => order(toHex(a.id)) - order(toHex(b.id)));
        const expected = keptOf(all);
        for (const each of [all, all.toReversed(), shuffled]) expect(idsOf(limited(each))).toEqual(expected);
      }),
    );
  });

  test("leave two nodes with the same ones, when they have told each other what they kept", () => {
    fc.assert(
      fc.property(someRecords, someRecords, (here, there) => {
        const both = [limited(here), limited(there)] as const;
        const told = both.map((set) => set.list());
        for (const [set, other] of [
          [both[0], told[1]],
          [both[1], told[0]],
        ] as const)
          for (const record of other ?? []) set.add(record);
        const expected = keptOf([...here, ...there]);
        for (const set of both) expect(idsOf(set)).toEqual(expected);
        expect(both[0].digest).toEqual(both[1].digest);
      }),
    );
  });

  test("are said to be of use just when they are, and what they displace is told and no longer found", () => {
    fc.assert(
      fc.property(someRecords, (all) => {
        const records = limited([]);
        const kept = new Set<string>();
        for (const each of all) {
          const isOfUse = records.wouldAdd(each);
          const change = records.add(each);
          expect(change !== undefined).toBe(isOfUse);
          if (change) kept.add(toHex(each.id));
          for (const { id, fact } of change?.displaced ?? []) {
            expect(fact.kind).toBe(each.fact.kind);
            kept.delete(toHex(id));
            if (fact.kind === "member") expect(records.factsOf(fact.member)).not.toContain(fact);
          }
          expect(idsOf(records)).toEqual([...kept].sort());
        }
        // Read anew, as at a start, they are the same.
        expect(idsOf(limited(records.list()))).toEqual(idsOf(records));
      }),
    );
  });

  test("of one signer push out nobody else's", () => {
    const theirs = [1, 2].flatMap((by) => [0, 1, 2, 3].map((span) => madeUpIssuer(by, span, 1)));
    const flood = Array.from({ length: 400 }, (_, i) => madeUpIssuer(3, i % 9, i));
    for (const all of [
      [...theirs, ...flood],
      [...flood, ...theirs],
    ]) {
      const records = limited(all);
      for (const each of theirs) expect(records.has(each.id)).toBe(true);
      expect(records.size).toBe(LIMIT);
      // Their keys are found, and of the one who signs so many those that begin last.
      const spans = records
        .list()
        .flatMap(({ by, fact }) => (by.every((byte, i) => byte === flood[0]?.by[i]) ? [fact.from] : []));
      expect(new Set(spans)).toEqual(new Set([firstSeqOf(START_MS + 8 * 15 * DAY_MS)]));
    }
  });

  test("of issuers keep no member's record out, nor the other way round", () => {
    const count = (set: RecordSet, kind: "member" | "issuer") =>
      set.list().filter(({ fact }) => fact.kind === kind).length;
    const issuers = Array.from({ length: 2 * LIMIT }, (_, i) => madeUpIssuer(i, 0, 1));
    const fact = { kind: "member", member: GENESIS_MEMBER.publicKey, admitted: false, from: 150n } as const;
    const removal = createRecord(fact, 1, network, signer, suite);
    const records = limited(issuers);
    expect(count(records, "issuer")).toBe(LIMIT);
    expect(records.add(removal)).toBeDefined();
    expect(records.standingAt(GENESIS_MEMBER.publicKey, 150n)).toBe("removed");
    for (let i = 0; i < 2 * LIMIT; i++) records.add(madeUpMember(i, true, 0n, 1));
    expect([count(records, "member"), count(records, "issuer")]).toEqual([LIMIT, LIMIT]);
    // A removal is never given up for an admission, and finds a place when all are taken.
    expect(records.standingAt(GENESIS_MEMBER.publicKey, 150n)).toBe("removed");
    const change = records.add(madeUpMember(2 * LIMIT, false, 0n, 9));
    expect(change?.displaced.map(({ fact }) => fact.kind === "member" && fact.admitted)).toEqual([true]);
    expect(records.standingAt(suite.sha256(uint64Bytes(BigInt(2 * LIMIT))), 1n)).toBe("removed");
  });

  test("are 8,192 of a kind where nobody says otherwise", () => {
    const all = Array.from({ length: MAX_RECORDS_OF_KIND + 5 }, (_, i) => madeUpIssuer(i, 0, 1));
    expect(new RecordSet(network, suite, all).size).toBe(MAX_RECORDS_OF_KIND);
    expect(MAX_RECORDS).toBe(2 * MAX_RECORDS_OF_KIND);
  });
});
