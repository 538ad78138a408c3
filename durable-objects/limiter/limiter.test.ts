import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import type { Env } from "../env.ts";
import { limiterOf } from "../stubs.ts";
import { envWith } from "../testing/fake-env.ts";
import { Limiter } from "./limiter.ts";
import type { Subject } from "./limiter-api.ts";
import { DAY_MS } from "./limiter-core.ts";

/** Far ahead: an alarm that lies in the past begins at once, by the real clock. */
const NOON_MS = Date.UTC(2100, 10, 23, 12);
const MIDNIGHT_MS = NOON_MS + DAY_MS / 2;
const LIMITED = envWith({
  RATE_LIMITS: JSON.stringify({
    wallet: { burst: 30, perMinute: 60 },
    address: { burst: 60, perMinute: 60 },
  }),
});
const alice: Subject = { kind: "wallet", id: "0x1111111111111111111111111111111111111111" };
const address: Subject = { kind: "address", id: "203.0.113.7" };

beforeEach(() => vi.useFakeTimers({ now: NOON_MS, toFake: ["Date"] }));
afterEach(() => {
  vi.useRealTimers();
  return reset();
});

interface Lives {
  /** The object's next life on its storage. */
  begin(of?: Env): Limiter;
  readonly storage: DurableObjectStorage;
}

const onOneStorage = (work: (lives: Lives) => Promise<void>) =>
  runInDurableObject(env.LIMITER.get(env.LIMITER.newUniqueId()), (_, state) =>
    work({ begin: (of = LIMITED) => new Limiter(state, of), storage: state.storage }),
  );

/** Takes units until there are none: how many there were. */
async function takeAll(limiter: Limiter, subject: Subject): Promise<number> {
  for (let taken = 0; ; ) {
    const lease = await limiter.lease(subject, 1, 0);
    if (!lease.ok) throw new Error(lease.error.code);
    if (lease.value.granted === 0) return taken;
    taken += lease.value.granted;
  }
}

const tablesOf = ({ sql }: DurableObjectStorage): string[] =>
  sql
    .exec<{ name: string }>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\' ORDER BY name",
    )
    .toArray()
    .map(({ name }) => name);

/** All that the storage holds, as one text. */
function contentsOf(storage: DurableObjectStorage): string {
  const rows = tablesOf(storage).flatMap((table) => storage.sql.exec(`SELECT * FROM ${table}`).toArray());
  const shown = (value: unknown) =>
    value instanceof ArrayBuffer ? toHex(new Uint8Array(value)) : String(value);
  return rows.map((row) => Object.values(row).map(shown).join(" ")).join("\n");
}

describe("the limiter's object", () => {
  test("knows in its next life what was spent, and whose standing is what", () =>
    onOneStorage(async ({ begin }) => {
      expect(await takeAll(begin(), alice)).toBe(30);
      expect(await takeAll(begin(), alice)).toBe(0);
      expect(await begin().setStanding(alice.id, "denied")).toEqual({ ok: true, value: "none" });
      const life = begin();
      expect(await life.standingOf(alice.id)).toEqual({ ok: true, value: "denied" });
      expect(await life.lease(alice, 1, 0)).toMatchObject({ value: { standing: "denied" } });
    }));

  test("gives one budget to all who ask at once", () =>
    onOneStorage(async ({ begin }) => {
      const limiter = begin();
      const leases = await Promise.all(Array.from({ length: 60 }, () => limiter.lease(alice, 1, 0)));
      expect(leases.reduce((sum, lease) => sum + (lease.ok ? lease.value.granted : 0), 0)).toBe(30);
    }));

  test("keeps no wallet, no address, and under another secret no standing", () =>
    onOneStorage(async ({ begin, storage }) => {
      const limiter = begin();
      await limiter.lease(alice, 1, 0);
      await limiter.lease(address, 1, 0);
      await limiter.lease({ kind: "nonce", id: `${alice.id} 00ff` }, 1, 0);
      await limiter.setStanding(alice.id, "listed");
      const contents = contentsOf(storage);
      expect(contents.split("\n").length).toBeGreaterThanOrEqual(5);
      for (const { id } of [alice, address])
        for (const form of [id, id.slice(2), toHex(new TextEncoder().encode(id))])
          expect(contents).not.toContain(form);
      const other = begin(envWith({ NODE_KEY: "22".repeat(32) }));
      expect(await other.standingOf(alice.id)).toEqual({ ok: true, value: "none" });
    }));

  test("forgets by itself: after 48 h nothing is left, neither secret nor row, and no alarm", () =>
    onOneStorage(async ({ begin, storage }) => {
      await begin().lease(alice, 1, 0);
      expect(await storage.getAlarm()).toBe(NOON_MS + DAY_MS);
      const alarms: number[] = [];
      for (;;) {
        const alarmMs = await storage.getAlarm();
        if (alarmMs === null) break;
        await storage.deleteAlarm();
        alarms.push(alarmMs);
        vi.setSystemTime(alarmMs);
        await begin().alarm();
      }
      expect(alarms).toEqual([NOON_MS + DAY_MS, MIDNIGHT_MS + DAY_MS]);
      expect(tablesOf(storage)).toEqual(["days", "wallets"]);
      expect(contentsOf(storage)).toBe("");
    }));

  test("keeps its alarm while it is asked, and mends that of a clock that was far ahead", () =>
    onOneStorage(async ({ begin, storage }) => {
      const limiter = begin();
      await limiter.lease(alice, 1, 0);
      vi.setSystemTime(NOON_MS + 3_600_000);
      await limiter.lease(alice, 1, 0);
      expect(await storage.getAlarm()).toBe(NOON_MS + DAY_MS);
      await storage.deleteAlarm();
      vi.setSystemTime(NOON_MS + 30 * DAY_MS);
      await limiter.lease(alice, 1, 0);
      vi.setSystemTime(NOON_MS);
      await limiter.lease(alice, 1, 0);
      expect(await storage.getAlarm()).toBe(NOON_MS + DAY_MS);
      expect(tablesOf(storage)).toEqual([`budgets_${Math.floor(NOON_MS / DAY_MS)}`, "days", "wallets"]);
    }));

  test("says what is wrong with a node that has no key, and serves when it has one", () =>
    onOneStorage(async ({ begin }) => {
      const without = begin(envWith({ NODE_KEY: "" }));
      const misconfigured = { ok: false, error: { code: "misconfigured", grpc: 14 } };
      expect(await without.lease(alice, 1, 0)).toMatchObject(misconfigured);
      expect(await without.standingOf(alice.id)).toMatchObject(misconfigured);
      expect(await without.setStanding(alice.id, "listed")).toMatchObject(misconfigured);
      expect(await takeAll(begin(), alice)).toBe(30);
    }));

  test("answers over its stub, for a wallet and its stamps alike", async () => {
    expect(await limiterOf(env, alice).setStanding(alice.id, "denied")).toBe("none");
    const stamps: Subject = { kind: "stamps", id: alice.id };
    expect(await limiterOf(env, alice).lease(stamps, 1, 0)).toMatchObject({ standing: "denied" });
    expect(await limiterOf(env, alice).standingOf(alice.id)).toBe("denied");
    // A local node has no limits by default.
    expect((await limiterOf(env, address).lease(address, 1_000, 0)).granted).toBeGreaterThanOrEqual(1_000);
  });
});
