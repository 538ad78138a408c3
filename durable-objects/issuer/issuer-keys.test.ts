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
import { KEY_MS, NEXT_KEY_MS } from "./issuer-keys.ts";

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

  test("are two at most at any time, made fifteen days apart, over half a year of hours", async () => {
    const madeAtMs: number[] = [];
    const seen = new Map<string, IssuerRecord>();
    for (let hour = 0; hour < 24 * 180; hour++) {
      const before = scene.made;
      const facts = await scene.facts();
      if (scene.made > before) madeAtMs.push(scene.clock.nowMs());
      expect(facts.length).toBeGreaterThanOrEqual(1);
      expect(facts.length).toBeLessThanOrEqual(2);
      const now = firstSeqOf(scene.clock.nowMs());
      for (const fact of facts) {
        expect(fact.from <= now && now < fact.to).toBe(true);
        seen.set(toHex(idOf(fact)), fact);
      }
      // The private keys of those that have ended are gone with the next one.
      expect(scene.store.all().length).toBeLessThanOrEqual(3);
      scene.wait(3_600_000);
    }
    expect(madeAtMs).toHaveLength(12);
    for (const [i, atMs] of madeAtMs.entries())
      if (i > 0) expect(atMs - (madeAtMs[i - 1] as number)).toBe(NEXT_KEY_MS);
    // By their records, too, no moment has three.
    const all = [...seen.values()].sort((a, b) => (a.from < b.from ? -1 : 1));
    for (const [i, { to }] of all.entries())
      if (all[i + 2]) expect(all[i + 2]?.from).toBeGreaterThanOrEqual(to);
  });

  test("follow one another to the millisecond: the third begins when the first has ended", async () => {
    await scene.facts();
    for (const made of [1, 2]) {
      scene.wait(NEXT_KEY_MS - 1);
      await scene.facts();
      expect(scene.made).toBe(made);
      scene.wait(1);
      expect(await scene.facts()).toHaveLength(2);
      expect(scene.made).toBe(made + 1);
    }
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
