import { beforeEach, describe, expect, test } from "vitest";
import { concatBytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { firstSeqOf, timeOfSeq } from "../../protocol/hybrid-clock.ts";
import { keyIdOf } from "../../protocol/privacy-pass.ts";
import type { IssuerRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import { suite } from "../platform-suite.ts";
import { DAY_MS, factOf, HOST, IssuerScene, idOf, other, START_MS } from "../testing/issuer-scene.ts";
import { development } from "../testing/shard-world.ts";
import { freePlaces, MARKS_BYTES } from "./buyer-count.ts";
import type { SealedKey } from "./issuer-key-store.ts";
import { KEY_MS, NEXT_KEY_MS, PREPARED_MS } from "./issuer-keys.ts";

/** A node's own issuer keys over months. */

let scene: IssuerScene;
beforeEach(() => {
  scene = new IssuerScene();
});

describe("a node's keys", () => {
  test("are one at first, in force at once, the same for everybody, and told as a record", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => scene.keys.keys(HOST)));
    expect(scene.made).toBe(1);
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    expect(await scene.life().keys("another.example")).toEqual(answers[0]);
    const [fact] = await scene.facts();
    expect(fact?.challenge).toEqual(stampChallenge(HOST, development.id, suite));
    expect(timeOfSeq(fact?.from ?? 0n)).toBeLessThan(START_MS);
    expect(timeOfSeq(fact?.to ?? 0n) - timeOfSeq(fact?.from ?? 0n)).toBe(KEY_MS);
    expect(scene.told).toEqual(answers[0]?.map(({ record }) => record));
  });

  test("are two at most in force at any time, over half a year of hours, each told an hour before it begins", async () => {
    const madeAtMs: number[] = [];
    const seen = new Map<string, IssuerRecord>();
    for (let hour = 0; hour < 24 * 180; hour++) {
      const before = scene.made;
      const facts = await scene.facts();
      if (scene.made > before) madeAtMs.push(scene.clock.nowMs());
      const nowMs = scene.clock.nowMs();
      const now = firstSeqOf(nowMs);
      const inForce = facts.filter((fact) => fact.from <= now && now < fact.to);
      expect(inForce.length).toBeGreaterThanOrEqual(1);
      expect(inForce.length).toBeLessThanOrEqual(2);
      for (const fact of facts) {
        seen.set(toHex(idOf(fact)), fact);
        expect(timeOfSeq(fact.from)).toBeLessThanOrEqual(nowMs + PREPARED_MS);
      }
      // The private keys of those that have ended are gone.
      expect(scene.store.all()).toHaveLength(facts.length);
      scene.wait(3_600_000);
    }
    expect(madeAtMs).toHaveLength(13);
    // By their records, too, no moment has three, and each is known long before its predecessor ends.
    const all = [...seen.values()].sort((a, b) => (a.from < b.from ? -1 : 1));
    expect(scene.told).toHaveLength(all.length);
    for (const [i, { from, to }] of all.entries()) {
      const next = all[i + 1];
      if (next) expect(timeOfSeq(next.from) - timeOfSeq(from)).toBe(NEXT_KEY_MS);
      if (next) expect(madeAtMs[i + 1]).toBeLessThan(timeOfSeq(next.from) - PREPARED_MS / 2);
      if (all[i + 2]) expect(all[i + 2]?.from).toBeGreaterThanOrEqual(to);
    }
  });

  test("are one while the clock is behind the genesis, however often it is asked for, and it is in force from then on", async () => {
    const { createdMs } = development.genesis;
    scene.clock.step(createdMs - PREPARED_MS / 2);
    for (let i = 0; i < 5; i++) {
      expect(await scene.keys.prepare(HOST)).toBe(false);
      scene.wait(60_000);
    }
    expect(scene.made).toBe(1);
    scene.clock.step(createdMs);
    expect(await scene.keys.prepare(HOST)).toBe(true);
    expect(scene.made).toBe(1);
    expect(scene.told).toHaveLength(1);
  });

  test("follow one another to the millisecond: the third begins when the first has ended", async () => {
    const [first] = await scene.facts();
    let dueMs = timeOfSeq((first as IssuerRecord).from) + NEXT_KEY_MS - PREPARED_MS;
    for (const made of [1, 2]) {
      scene.clock.step(dueMs - 1);
      await scene.facts();
      expect(scene.made).toBe(made);
      scene.clock.step(dueMs);
      const next = (await scene.facts()).at(-1) as IssuerRecord;
      expect(scene.made).toBe(made + 1);
      expect(timeOfSeq(next.from)).toBe(dueMs + PREPARED_MS);
      if (made === 2) expect(next.from).toBe(first?.to);
      dueMs += NEXT_KEY_MS;
    }
  });

  test("are one or two in force, also after a clock that was far ahead made the first", async () => {
    scene.wait(10 * DAY_MS);
    const [ahead] = await scene.facts();
    scene.clock.step(START_MS);
    for (let day = 0; day < 90; day++) {
      const now = firstSeqOf(scene.clock.nowMs());
      const inForce = (await scene.facts()).filter((fact) => fact.from <= now && now < fact.to);
      expect([day, inForce.length === 1 || inForce.length === 2]).toEqual([day, true]);
      if (day === 15) expect(inForce).toContainEqual(ahead);
      scene.wait(DAY_MS);
    }
  });

  test("are made by the minute's round as soon as a name is known, and by many rounds at once one", async () => {
    expect(await scene.keys.prepare(null)).toBe(false);
    expect(scene.made).toBe(0);
    const prepared = await Promise.all([
      ...Array.from({ length: 9 }, () => scene.keys.prepare(HOST)),
      scene.keys.prepare(null),
    ]);
    expect(prepared.slice(0, 9)).toEqual(Array(9).fill(true));
    expect([scene.made, scene.told.length]).toEqual([1, 1]);
    scene.wait(NEXT_KEY_MS);
    await Promise.all(Array.from({ length: 9 }, () => scene.keys.prepare(null)));
    expect([scene.made, scene.told.length]).toEqual([2, 2]);
  });

  test("are made by the minute's round of its own where the operator named the node", async () => {
    scene.names = { isLocal: false, issuerName: "own.example" };
    expect(await scene.life().prepare(null)).toBe(true);
    expect((await scene.facts()).map(({ challenge }) => challenge)).toEqual([
      stampChallenge("own.example", development.id, suite),
    ]);
  });

  test("are none while the node is no member: nobody would take the record", async () => {
    scene.isMember = false;
    expect(await scene.keys.keys(HOST)).toEqual([]);
    expect(await scene.keys.prepare(HOST)).toBe(false);
    expect(scene.made).toBe(0);
    scene.isMember = true;
    expect(await scene.keys.prepare(HOST)).toBe(true);
    const [fact] = await scene.facts();
    scene.isMember = false;
    // A key that is there stays: it is in its record.
    expect(await scene.facts()).toEqual([fact]);
  });

  test("begin again where nobody asked for long", async () => {
    await scene.facts();
    scene.wait(100 * DAY_MS);
    const facts = await scene.facts();
    expect([facts.length, scene.made]).toEqual([1, 2]);
    expect(scene.store.all()).toHaveLength(1);
  });

  test("keep the first one's challenge, whatever name the node is asked by later", async () => {
    const [first] = await scene.facts();
    scene.wait(NEXT_KEY_MS);
    const later = (await scene.life().keys("another.example")).map(factOf);
    expect(later.map(({ challenge }) => challenge)).toEqual([first?.challenge, first?.challenge]);
  });

  test("have ids with last bytes that differ, by which buyers name them", async () => {
    // Of so many made-up keys, the first two with one last byte.
    const last = (n: number) => keyIdOf(scene.keyAt(n).publicKey, suite).at(-1);
    const twin = Array.from({ length: 2_000 }, (_, n) => n + 1).find((n) => last(n) === last(0)) as number;
    await scene.facts();
    scene.made = twin;
    scene.wait(NEXT_KEY_MS);
    const facts = await scene.facts();
    expect(scene.made).toBe(twin + 2);
    expect(new Set(facts.map((fact) => idOf(fact).at(-1))).size).toBe(2);
  });

  test("of another node, whose secret the store had before, are not this one's", async () => {
    await scene.life(other).keys(HOST);
    const [fact, ...others] = await scene.facts();
    expect(others).toEqual([]);
    expect(fact && equalBytes(idOf(fact), keyIdOf(scene.keyAt(1).publicKey, suite))).toBe(true);
  });
});

describe("a failure", () => {
  test("to hand the record over leaves the key, and it is handed over later", async () => {
    scene.isTelling = false;
    await expect(scene.keys.keys(HOST)).rejects.toMatchObject({ code: "part_unavailable" });
    scene.isTelling = true;
    const [key] = await scene.keys.keys(HOST);
    expect([scene.made, scene.told.length]).toEqual([1, 0]);
    await scene.life().publish();
    expect(scene.told).toEqual([key?.record]);
  });

  test("to make a key is told, and the next one who asks makes it", async () => {
    scene.making = Promise.reject(new Error("no entropy"));
    await expect(scene.keys.keys(HOST)).rejects.toThrow("no entropy");
    scene.making = undefined;
    expect(await scene.keys.keys(HOST)).toHaveLength(1);
  });
});

describe("sales", () => {
  test("are told of the keys in force: batches, and about how many wallets", async () => {
    const [fact] = await scene.facts();
    const keyId = idOf(fact as IssuerRecord);
    const noSales = { keyId, fromMs: START_MS - 300_000, toMs: START_MS - 300_000 + KEY_MS };
    expect(scene.keys.sales()).toEqual([{ ...noSales, batches: 0, buyers: { about: 0 } }]);
    for (let i = 0; i < 200; i++) scene.keys.sold(keyId, `0x${i % 50}`);
    const [sales] = scene.life().sales();
    expect(sales).toMatchObject({ ...noSales, batches: 200 });
    const buyers = sales?.buyers;
    if (!buyers || !("about" in buyers)) throw new Error("so few can be told");
    expect(Math.abs(buyers.about - 50)).toBeLessThan(25);
  });

  test("are counted apart for each key, under a salt of its own, and go with it", async () => {
    await scene.facts();
    scene.wait(NEXT_KEY_MS);
    const [first, second] = (await scene.facts()).map(idOf);
    if (!first || !second) throw new Error("there are two keys");
    scene.keys.sold(first, "0xA");
    expect(scene.keys.sales().map(({ batches }) => batches)).toEqual([1, 0]);
    const [block] = scene.store
      .all()
      .flatMap(({ record }) => (scene.store.salesOf(record.block) ? [record.block] : []));
    if (!block) throw new Error("a sale was stored");
    scene.wait(NEXT_KEY_MS);
    await scene.facts();
    expect(scene.store.salesOf(block)).toBeUndefined();
    scene.keys.sold(first, "0xA");
    expect(scene.store.all().map(({ record }) => scene.store.salesOf(record.block))).toEqual([
      undefined,
      undefined,
    ]);
  });

  test("leave nothing of a wallet but a mark, among others that are there before the first", async () => {
    const [fact] = await scene.facts();
    const wallet = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    scene.keys.sold(idOf(fact as IssuerRecord), wallet);
    const [{ record }] = scene.store.all() as [SealedKey];
    const sales = scene.store.salesOf(record.block);
    if (!sales) throw new Error("a sale was stored");
    expect(sales).toMatchObject({ batches: 1, freeAtFirst: MARKS_BYTES * 4 });
    expect(freePlaces(sales.marks)).toBeGreaterThanOrEqual(MARKS_BYTES * 4 - 1);
    const stored = Buffer.from(concatBytes(sales.salt, sales.marks));
    expect(stored.includes(Buffer.from(wallet.slice(2), "hex"))).toBe(false);
    expect(stored.includes(wallet)).toBe(false);
  });
});
