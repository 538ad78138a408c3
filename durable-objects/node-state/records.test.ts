import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { issuerKeyOf } from "../../protocol/privacy-pass.ts";
import {
  createRecord,
  MAX_ISSUER_KEY_AHEAD_MS,
  type VerifiedRecord,
  type WireRecord,
} from "../../protocol/record.ts";
import { MAX_SENT_RECORDS } from "../../protocol/record-messages.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryRecordStore } from "../testing/memory-record-store.ts";
import { memberRecord, network, START_MS, signers } from "../testing/shard-world.ts";
import { UndoLog } from "../testing/undo-log.ts";
import { Records } from "./records.ts";

const DAY_MS = 86_400_000;
const [A, B] = signers as readonly [Signer, Signer];
const STRANGER = platformSigner(new Uint8Array(32).fill(0x51));

/** A key of a node; keys are told apart by a number. */
function issuerRecord(by: Signer, n: number, fromMs = START_MS): VerifiedRecord {
  const modulus = concatBytes(Uint8Array.of(0x80, n), new Uint8Array(253).fill(1), Uint8Array.of(1));
  const fact = {
    kind: "issuer" as const,
    publicKey: issuerKeyOf(modulus),
    challenge: stampChallenge("node.test", network.id, suite),
    from: firstSeqOf(fromMs),
    to: firstSeqOf(fromMs + DAY_MS),
  };
  return createRecord(fact, START_MS, network, by, suite);
}

class Scene {
  readonly clock = new ManualClock(START_MS);
  readonly #log = new UndoLog();
  readonly store = new MemoryRecordStore(this.#log);
  /** What the object did, in its order. */
  readonly steps: string[] = [];
  isFull = false;
  records = this.life();

  life(): Records {
    return new Records({
      store: this.store,
      network,
      suite,
      clock: this.clock,
      transaction: (work) =>
        this.#log.transaction(() => {
          const result = work();
          if (this.isFull) throw new Error("no room");
          return result;
        }),
      changed: () => void this.steps.push("changed"),
      committed: () => void this.steps.push("committed"),
    });
  }

  stored = () => this.store.all().map(({ id }) => toHex(id));
  known = () => this.records.set.list().map(({ id }) => toHex(id));
}

const names = (records: readonly VerifiedRecord[]) => records.map(({ id }) => toHex(id)).sort();

describe("records from outside", () => {
  test("are stored, told in the same transaction, and known in the next life", async () => {
    const scene = new Scene();
    const records = [memberRecord(B, false, 5n), issuerRecord(A, 1)];
    expect(await scene.records.takeRecords(records)).toEqual({ added: 2, refused: [] });
    expect(scene.steps).toEqual(["changed", "committed"]);
    expect(scene.stored()).toEqual(names(records));
    scene.records = scene.life();
    expect(scene.known()).toEqual(names(records));
    expect(await scene.records.takeRecords(records)).toEqual({ added: 0, refused: [] });
    expect(scene.steps).toHaveLength(2);
  });

  test("that break a rule are named by it, and keep no others out", async () => {
    const scene = new Scene();
    const good = memberRecord(B, false, 5n);
    const broken: WireRecord[] = [
      { block: good.block, signature: new Uint8Array(64) },
      { block: Uint8Array.of(0xff), signature: good.signature },
      createRecord(good.fact, START_MS, network, STRANGER, suite),
    ];
    const { added, refused } = await scene.records.takeRecords([...broken, good]);
    expect(added).toBe(1);
    expect(refused).toEqual(["record_signature", "cbor_malformed", "record_signer"]);
  });

  test("stand as before when they cannot be stored, in memory too", async () => {
    const scene = new Scene();
    await scene.records.takeRecords([memberRecord(B, false, 5n)]);
    scene.isFull = true;
    await expect(scene.records.takeRecords([memberRecord(B, true, 9n)])).rejects.toThrow("no room");
    expect(scene.known()).toEqual(scene.stored());
    expect(scene.records.set.size).toBe(1);
    expect(scene.steps).toEqual(["changed", "committed", "changed"]);
    scene.isFull = false;
    expect((await scene.records.takeRecords([memberRecord(B, true, 9n)])).added).toBe(1);
  });
});

describe("keys of issuers", () => {
  test("of who never was a member are left out without blame, until he is one", async () => {
    const scene = new Scene();
    const keys = Array.from({ length: 4 }, (_, n) => issuerRecord(STRANGER, n));
    expect(await scene.records.takeRecords(keys)).toEqual({ added: 0, refused: [] });
    expect(scene.stored()).toEqual([]);
    const admitted = memberRecord(STRANGER, true, firstSeqOf(START_MS + DAY_MS));
    // In whatever order they come together.
    expect(await scene.records.takeRecords([...keys, admitted])).toEqual({ added: 5, refused: [] });
  });

  test("of who was removed stay, so that nodes agree whatever came first", async () => {
    const records = [
      memberRecord(STRANGER, true, 5n),
      memberRecord(STRANGER, false, 7n),
      issuerRecord(STRANGER, 1),
    ];
    for (const order of [
      [0, 1, 2],
      [1, 0, 2],
      [0, 2, 1],
    ]) {
      const scene = new Scene();
      for (const i of order) await scene.records.takeRecords([records[i] as VerifiedRecord]);
      expect(scene.known()).toEqual(names(records));
    }
    const onlyRemoved = new Scene();
    expect((await onlyRemoved.records.takeRecords(records.slice(1))).added).toBe(1);
  });

  test("that begin in some months are left for then", async () => {
    const scene = new Scene();
    const later = issuerRecord(A, 1, START_MS + MAX_ISSUER_KEY_AHEAD_MS + 1);
    expect(await scene.records.takeRecords([later])).toEqual({ added: 0, refused: [] });
    scene.clock.step(START_MS + 1);
    expect(await scene.records.takeRecords([later])).toEqual({ added: 1, refused: [] });
  });

  test("that are displaced leave the storage with the transaction that brings the others", async () => {
    const scene = new Scene();
    const keys = Array.from({ length: 7 }, (_, n) => issuerRecord(A, n));
    for (const each of keys.toSorted((a, b) => compareBytes(b.id, a.id)))
      await scene.records.takeRecords([each]);
    const least = keys.toSorted((a, b) => compareBytes(a.id, b.id)).slice(0, 4);
    expect(scene.stored()).toEqual(names(least));
    expect(scene.known()).toEqual(names(least));
  });
});

test("nodes that have told each other all they have, page by page, hold the same, and what a set of all would", async () => {
  const strangers = fc.constantFrom(A, B, STRANGER);
  const record = fc.oneof(
    fc
      .tuple(strangers, fc.boolean(), fc.bigInt({ min: 0n, max: 5n }))
      .map(([of, admitted, from]) => memberRecord(of, admitted, from)),
    fc.tuple(strangers, fc.nat({ max: 9 })).map(([by, n]) => issuerRecord(by, n)),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { size: "max", maxLength: 12 }),
      fc.array(record, { size: "max", maxLength: 12 }),
      async (mine, theirs) => {
        const [a, b] = [new Scene(), new Scene()];
        for (const each of mine) await a.records.takeRecords([each]);
        for (const each of theirs) await b.records.takeRecords([each]);
        for (let round = 0; round < 4; round++) {
          const ids = a.records.set.list().map(({ id }) => id);
          const { records, lacking } = await b.records.compareRecords({ after: null, upTo: null, ids });
          await a.records.takeRecords(records);
          const wanted = new Set(lacking.map(toHex));
          await b.records.takeRecords(a.records.set.list().filter(({ id }) => wanted.has(toHex(id))));
        }
        expect(a.known()).toEqual(b.known());
        expect(toHex(a.records.set.digest)).toBe(toHex(b.records.set.digest));
        for (const scene of [a, b]) expect(scene.stored()).toEqual(scene.known());
      },
    ),
    { numRuns: 80 },
  );
});

describe("the question for all records", () => {
  test("is answered with all of them, or that they are the same", async () => {
    const scene = new Scene();
    const empty = new RecordSet(network, suite).digest;
    expect(await scene.records.recordsUnlike(empty)).toBeNull();
    await scene.records.takeRecords([memberRecord(B, false, 5n)]);
    const all = await scene.records.recordsUnlike(empty);
    expect(all).toHaveLength(1);
    expect(Object.keys(all?.[0] ?? {})).toEqual(["block", "signature"]);
    expect(await scene.records.recordsUnlike(scene.records.set.digest)).toBeNull();
  });
});

describe("the comparison with a peer", () => {
  const many = Array.from({ length: MAX_SENT_RECORDS + 30 }, (_, i) =>
    memberRecord(B, i % 2 === 0, BigInt(i)),
  );
  const sorted = many.toSorted((a, b) => compareBytes(a.id, b.id));
  const ids = (some: readonly { readonly id: Bytes }[]) => some.map(({ id }) => id);

  test("goes up to where a page is full, and on from there", async () => {
    const scene = new Scene();
    await scene.records.takeRecords(many);
    const first = await scene.records.compareRecords({ after: null, upTo: null, ids: [] });
    expect(first.records).toHaveLength(MAX_SENT_RECORDS);
    expect(first.next).toEqual(sorted[MAX_SENT_RECORDS - 1]?.id);
    const rest = await scene.records.compareRecords({ after: first.next, upTo: null, ids: [] });
    expect(rest.records).toHaveLength(30);
    expect(rest.next).toBeNull();
  });

  test("names what is lacking in the part that was answered alone", async () => {
    const scene = new Scene();
    const [lowest, highest] = [sorted[0], sorted.at(-1)] as [VerifiedRecord, VerifiedRecord];
    await scene.records.takeRecords(sorted.slice(1, -1));
    const page = await scene.records.compareRecords({ after: null, upTo: null, ids: ids([lowest, highest]) });
    expect(page.next).not.toBeNull();
    expect(page.lacking.map(toHex)).toEqual([toHex(lowest.id)]);
    const rest = await scene.records.compareRecords({ after: page.next, upTo: null, ids: [highest.id] });
    expect(rest.lacking.map(toHex)).toEqual([toHex(highest.id)]);
  });

  test("keeps to what was asked: above one id, up to another", async () => {
    const scene = new Scene();
    await scene.records.takeRecords(many);
    const [from, to] = [sorted[3], sorted[9]] as [VerifiedRecord, VerifiedRecord];
    const page = await scene.records.compareRecords({
      after: from.id,
      upTo: to.id,
      ids: ids(sorted.slice(5, 7)),
    });
    const expected = [4, 7, 8, 9].map((i) => toHex((sorted[i] as VerifiedRecord).block));
    expect(page.records.map(({ block }) => toHex(block))).toEqual(expected);
    expect(page).toMatchObject({ lacking: [], next: null });
  });
});
