import { describe, expect, test } from "vitest";
import { toBase64 } from "../protocol/base64.ts";
import { compareBytes, toHex } from "../protocol/bytes.ts";
import { encodeCbor } from "../protocol/cbor.ts";
import { type CryptoSuite, portableSigner, portableSuite } from "../protocol/crypto.ts";
import { DEVELOPMENT_GENESIS, Network } from "../protocol/genesis.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { createRecord, type VerifiedRecord, type WireRecord } from "../protocol/record.ts";
import { RecordSet } from "../protocol/record-set.ts";
import { TestIssuer } from "../protocol/testing/test-issuer.ts";
import { NodeHttp } from "./node-http.ts";
import { type RecordsQuery, readRecords } from "./records.ts";

const DAY_MS = 86_400_000;
const recordKey = portableSigner(new Uint8Array(32).fill(1));
const issuer = portableSigner(new Uint8Array(32).fill(2));
const genesis = { ...DEVELOPMENT_GENESIS, recordKeys: [toHex(recordKey.publicKey)] };
const suite = portableSuite();
const network = new Network(genesis, suite);
const NOW_MS = genesis.createdMs + 600 * DAY_MS;
const { publicKey, challenge } = new TestIssuer(issuer.publicKey, network.id, suite).key;

/** One of the issuer's keys, by the time from the beginning of a span of 15 days to its own. */
function keyRecord(spans: number, afterMs: number): VerifiedRecord {
  const fromMs = (Math.floor(NOW_MS / (15 * DAY_MS)) + spans) * 15 * DAY_MS + afterMs;
  const fact = { publicKey, challenge, from: firstSeqOf(fromMs), to: firstSeqOf(fromMs + 30 * DAY_MS) };
  return createRecord({ kind: "issuer", ...fact }, NOW_MS, network, issuer, suite);
}
const memberRecord = (n: number): VerifiedRecord => {
  const member = portableSigner(new Uint8Array(32).fill(n)).publicKey;
  const fact = { kind: "member" as const, member, admitted: true, from: firstSeqOf(NOW_MS) };
  return createRecord(fact, NOW_MS, network, recordKey, suite);
};
const sorted = (records: readonly VerifiedRecord[]) => records.toSorted((a, b) => compareBytes(a.id, b.id));
const forged = (record: VerifiedRecord): VerifiedRecord => ({ ...record, signature: new Uint8Array(64) });
const range = (count: number) => Array.from({ length: count }, (_, i) => i);

const atSeq = firstSeqOf(NOW_MS);
const MEMBERS: RecordsQuery = { kind: "member" };
const KEYS: RecordsQuery = {
  kind: "issuer",
  by: issuer.publicKey,
  firstAt: atSeq,
  lastAt: atSeq,
  nowMs: NOW_MS,
};

/** A reader with what it remembers, and how many signatures it verified. */
class Reader {
  readonly records = new RecordSet(network, suite);
  verified = 0;
  pages = 0;
  readonly #suite: CryptoSuite = {
    ...suite,
    verify: (...signed) => {
      this.verified++;
      return suite.verify(...signed);
    },
  };

  /** "read", or why not. */
  async read(query: RecordsQuery, told: readonly WireRecord[]): Promise<string> {
    const http = new NodeHttp("https://node.test", {
      maxTries: 1,
      fetch: async (url) => Response.json(this.#page(told, new URL(url).searchParams)),
    });
    this.verified = 0;
    this.pages = 0;
    const { records } = this;
    return readRecords(http, query, { network, suite: this.#suite, records }).then(
      () => "read",
      (error) => error.code,
    );
  }

  #page(told: readonly WireRecord[], query: URLSearchParams): unknown {
    this.pages++;
    const idOf = ({ block }: WireRecord) => toHex(suite.sha256(block));
    const cursor = query.get("cursor") ?? "";
    const begin = cursor === "" ? 0 : told.findIndex((each) => idOf(each) === cursor) + 1;
    const end = begin + Number(query.get("limit"));
    const last = told[end - 1];
    return {
      records: told.slice(begin, end).map(({ block, signature }) => ({
        block: toBase64(block),
        signature: toBase64(signature),
      })),
      cursor: last && end < told.length ? idOf(last) : null,
    };
  }
}

describe("reading an issuer's keys", () => {
  test("verifies those that are kept of each span, however many are told, and none of them again", async () => {
    const told = sorted(range(300).map((i) => keyRecord(i % 2, i)));
    const reader = new Reader();
    expect(await reader.read({ ...KEYS, lastAt: firstSeqOf(NOW_MS + 15 * DAY_MS) }, told)).toBe("read");
    expect([reader.verified, reader.pages]).toEqual([8, 2]);
    const kept = new RecordSet(network, suite, told).list();
    expect(reader.records.list().map(({ id }) => toHex(id))).toEqual(kept.map(({ id }) => toHex(id)));
    await reader.read(KEYS, told);
    expect(reader.verified).toBe(0);
    // Another source's, which those with lesser ids displace.
    await reader.read(KEYS, told.slice(100));
    expect(reader.verified).toBe(0);
  });

  test("verifies those that may be in force then, and no others", async () => {
    const told = sorted(range(40).flatMap((i) => [keyRecord(i - 35, 0), keyRecord(i - 35, 1)]));
    const reader = new Reader();
    expect(await reader.read(KEYS, told)).toBe("read");
    const inForce = told.filter(
      ({ fact }) => fact.kind === "issuer" && fact.from <= atSeq && atSeq < fact.to,
    );
    expect(inForce.length).toBeGreaterThan(1);
    for (const { id } of inForce) expect(reader.records.has(id)).toBe(true);
    expect(reader.verified).toBeLessThanOrEqual(8);
  });

  test("ends where there are more than a node keeps", async () => {
    const told = sorted(range(2 * 256 + 1).map((i) => keyRecord(0, i)));
    const reader = new Reader();
    expect(await reader.read(KEYS, told)).toBe("answer_malformed");
    expect([reader.verified, reader.pages]).toEqual([4, 2]);
  });
});

describe("reading records", () => {
  test("remembers what was verified before one that does not hold", async () => {
    const told = sorted(range(5).map((i) => memberRecord(i + 10)));
    const broken = told.with(4, forged(told[4] as VerifiedRecord));
    const reader = new Reader();
    expect(await reader.read(MEMBERS, broken)).toBe("record_signature");
    expect(reader.verified).toBe(5);
    expect(await reader.read(MEMBERS, told)).toBe("read");
    expect([reader.verified, reader.records.size]).toEqual([1, 5]);
  });

  test("verifies nothing that was not asked for, of a newer kind, or doubled", async () => {
    const [key, member] = [keyRecord(0, 0), memberRecord(10)];
    const { net, by, at } = { net: network.id, by: issuer.publicKey, at: NOW_MS };
    const newer = range(20).map((n) => {
      const block = encodeCbor({ v: n % 2 ? 1 : 2, net, by, at, kind: "newer", n });
      return { ...key, block, id: suite.sha256(block) };
    });
    const reader = new Reader();
    expect(await reader.read(MEMBERS, sorted(newer))).toBe("read");
    expect(await reader.read(MEMBERS, [key])).toBe("answer_malformed");
    expect(await reader.read({ ...KEYS, by: recordKey.publicKey }, [key])).toBe("answer_malformed");
    expect(reader.verified).toBe(0);
    expect(await reader.read(MEMBERS, [member, member])).toBe("answer_malformed");
    expect(reader.verified).toBe(1);
  });
});
