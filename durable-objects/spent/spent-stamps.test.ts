import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { spentOf } from "../stubs.ts";
import type { Spending, SpentStamp } from "./spent-api.ts";
import { SpentStamps } from "./spent-stamps.ts";

/** Far ahead: an alarm that lies in the past begins at once, by the real clock. */
const NOW_MS = Date.UTC(2100, 10, 23);
const DAY_MS = 86_400_000;
const END_MS = NOW_MS + 30 * DAY_MS;

beforeEach(() => vi.useFakeTimers({ now: NOW_MS, toFake: ["Date"] }));
afterEach(() => {
  vi.useRealTimers();
  return reset();
});

const bytes = (fill: number, length = 32): Bytes => new Uint8Array(length).fill(fill);
const stamp = (nonce: number, envelope: number): SpentStamp => ({
  nonce: bytes(nonce),
  envelopeDigest: bytes(envelope),
});
const stored = (nonce: number, event: number) => ({ nonce: bytes(nonce), eventId: bytes(event, 40) });

interface Lives {
  begin(): SpentStamps;
  readonly storage: DurableObjectStorage;
}

const onOneStorage = (work: (lives: Lives) => Promise<void>) =>
  runInDurableObject(env.SPENT.get(env.SPENT.newUniqueId()), (_, state) =>
    work({ begin: () => new SpentStamps(state, env), storage: state.storage }),
  );

async function spend(life: SpentStamps, ...stamps: readonly SpentStamp[]): Promise<Spending[]> {
  const outcome = await life.spend(stamps, END_MS);
  if (!outcome.ok) throw new Error(outcome.error.code);
  return outcome.value;
}

const kinds = (spendings: readonly Spending[]): string[] => spendings.map(({ kind }) => kind);

describe("a spent stamp", () => {
  test("is good again for its envelope, and for no other, in this life and the next", () =>
    onOneStorage(async ({ begin }) => {
      expect(await spend(begin(), stamp(1, 7))).toEqual([{ kind: "fresh" }]);
      expect(await spend(begin(), stamp(1, 7))).toEqual([{ kind: "same", eventId: null }]);
      expect(await spend(begin(), stamp(1, 8))).toEqual([{ kind: "other" }]);
      expect(await spend(begin(), stamp(2, 7))).toEqual([{ kind: "fresh" }]);
    }));

  test("whose node died before its event was made, or before that was told, is still its envelope's", () =>
    onOneStorage(async ({ begin }) => {
      await spend(begin(), stamp(1, 7));
      // The first life ends here: the next knows no event, so that one is made.
      expect(await spend(begin(), stamp(1, 7))).toEqual([{ kind: "same", eventId: null }]);
      await begin().stored([stored(1, 9)]);
      expect(await spend(begin(), stamp(1, 7))).toEqual([{ kind: "same", eventId: bytes(9, 40) }]);
      expect(await spend(begin(), stamp(1, 8))).toEqual([{ kind: "other" }]);
    }));

  test("keeps the first event that it was told, and nothing is told of one that was not spent", () =>
    onOneStorage(async ({ begin }) => {
      const life = begin();
      await spend(life, stamp(1, 7));
      for (const event of [9, 10])
        expect(await life.stored([stored(1, event)])).toEqual({ ok: true, value: null });
      expect(await spend(life, stamp(1, 7))).toEqual([{ kind: "same", eventId: bytes(9, 40) }]);
      await life.stored([stored(2, 9)]);
      expect(await spend(life, stamp(2, 7))).toEqual([{ kind: "fresh" }]);
      expect(await life.stored([])).toEqual({ ok: true, value: null });
    }));

  test("stands in the answer at its place, also twice in one call", () =>
    onOneStorage(async ({ begin }) => {
      const life = begin();
      await spend(life, stamp(1, 7));
      const answers = await spend(life, stamp(2, 1), stamp(1, 8), stamp(1, 7), stamp(2, 1), stamp(2, 2));
      expect(kinds(answers)).toEqual(["fresh", "other", "same", "same", "other"]);
      expect(await spend(life)).toEqual([]);
    }));

  test("is one envelope's, whichever came first of many at once", () =>
    onOneStorage(async ({ begin }) => {
      const life = begin();
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => spend(life, stamp(1, i % 10))));
      const all = answers.flat();
      const [winner] = all.flatMap(({ kind }, i) => (kind === "fresh" ? [i % 10] : []));
      expect(all.map(({ kind }) => kind).filter((kind) => kind === "fresh")).toHaveLength(1);
      for (const [i, { kind }] of all.entries()) if (i % 10 !== winner) expect(kind).toBe("other");
      for (const { kind } of all.filter((_, i) => i % 10 === winner)) expect(kind).not.toBe("other");
    }));
});

describe("the set of a key", () => {
  test("is deleted as a whole a day after the key's end, and not before", () =>
    onOneStorage(async ({ begin, storage }) => {
      const life = begin();
      await spend(life, stamp(1, 7));
      expect(await storage.getAlarm()).toBe(END_MS + DAY_MS);
      vi.setSystemTime(NOW_MS + DAY_MS);
      // A later call changes nothing.
      await spend(life, stamp(2, 7));
      expect(await storage.getAlarm()).toBe(END_MS + DAY_MS);
      vi.setSystemTime(END_MS + DAY_MS);
      await storage.deleteAlarm();
      await life.alarm();
      expect(storage.sql.exec("SELECT * FROM spent").toArray()).toEqual([]);
      expect(await storage.getAlarm()).toBeNull();
      // The object serves on, should anybody ask.
      expect(kinds(await spend(life, stamp(1, 8)))).toEqual(["fresh"]);
      expect(kinds(await spend(begin(), stamp(1, 8)))).toEqual(["same"]);
    }));

  test("has its alarm before its first row: a row that nothing deletes cannot be", () =>
    onOneStorage(async ({ begin, storage }) => {
      const life = begin();
      storage.sql.exec("DROP TABLE spent");
      await expect(life.spend([stamp(1, 7)], END_MS)).rejects.toThrow("no such table");
      expect(await storage.getAlarm()).toBe(END_MS + DAY_MS);
    }));

  test("whose key ended already is not thrown away while it is used", () =>
    onOneStorage(async ({ begin, storage }) => {
      const life = begin();
      await life.spend([stamp(1, 7)], NOW_MS - 10 * DAY_MS);
      expect(await storage.getAlarm()).toBe(NOW_MS + DAY_MS);
    }));

  test("holds no more than hashes", () =>
    onOneStorage(async ({ begin, storage }) => {
      await spend(begin(), stamp(1, 7));
      const [row] = storage.sql.exec("SELECT * FROM spent").toArray();
      expect(Object.keys(row ?? {})).toEqual(["nonce", "digest", "event_id"]);
    }));

  test("is apart for each share, over the stubs", async () => {
    const [a, b] = [spentOf(env, "aa-0"), spentOf(env, "aa-1")];
    expect(kinds(await a.spend([stamp(1, 7)], END_MS))).toEqual(["fresh"]);
    expect(kinds(await b.spend([stamp(1, 8)], END_MS))).toEqual(["fresh"]);
    expect(await a.stored([stored(1, 9)])).toBeNull();
    const [again] = await a.spend([stamp(1, 7)], END_MS);
    expect(again?.kind === "same" && again.eventId && toHex(again.eventId)).toBe(toHex(bytes(9, 40)));
    expect(kinds(await a.spend([stamp(1, 8)], END_MS))).toEqual(["other"]);
  });
});
