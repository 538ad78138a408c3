import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { LIMITS, LimiterScene, START_MS } from "../testing/limiter-scene.ts";
import type { Subject, WalletStanding } from "./limiter-api.ts";
import { DAY_MS } from "./limiter-core.ts";

const START_DAY = Math.floor(START_MS / DAY_MS);
const wallet = (id: string): Subject => ({ kind: "wallet", id });
const alice = wallet("0xA");

/** What a budget is, by its definition alone: units as of a time. */
class Model {
  units = Number.POSITIVE_INFINITY;
  atMs = 0;
  standing: WalletStanding = "none";

  get limit() {
    const factor = this.standing === "listed" ? LIMITS.listedFactor : 1;
    return { burst: LIMITS.wallet.burst * factor, perMinute: LIMITS.wallet.perMinute * factor };
  }

  at(nowMs: number): number {
    const more = (Math.max(0, nowMs - this.atMs) * this.limit.perMinute) / 60_000;
    this.units = Math.min(this.limit.burst, this.units + more);
    this.atMs = nowMs;
    return this.units;
  }
}

describe("a budget", () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({ kind: fc.constant("take" as const), units: fc.integer({ min: 1, max: 120 }) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 90_000 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("wait" as const),
        ms: fc.constantFrom(DAY_MS / 2, DAY_MS, 2 * DAY_MS),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: -90_000, max: 0 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("stand" as const),
        as: fc.constantFrom<WalletStanding>("none", "listed", "denied"),
      }),
    },
  );

  test("is what its definition says, through waits, midnights, restarts, new standings and a clock that steps back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { size: "max", maxLength: 40 }), async (steps) => {
        const scene = new LimiterScene();
        const model = new Model();
        for (const each of steps) {
          const nowMs = scene.clock.nowMs();
          if (each.kind === "wait") scene.wait(each.ms);
          else if (each.kind === "restart") scene.core = scene.life();
          else if (each.kind === "stand") {
            // As the object does: what came back until now came back at the old rate only if it was asked for.
            expect(await scene.core.setStanding(alice.id, each.as)).toBe(model.standing);
            model.standing = each.as;
          } else {
            const wanted = Math.min(each.units, model.limit.burst);
            const { granted, remaining, standing, limit, waitMs } = await scene.core.lease(
              alice,
              each.units,
              0,
            );
            const there = model.at(nowMs);
            expect(standing).toBe(model.standing);
            expect(limit).toEqual({ burst: Math.floor(model.limit.burst), perMinute: model.limit.perMinute });
            if (Math.abs(there - wanted) > 1e-6) expect(granted > 0).toBe(there >= wanted);
            expect(granted === 0 || granted >= wanted).toBe(true);
            expect(granted).toBeLessThanOrEqual(there + 1e-6);
            model.units -= granted;
            expect(Math.abs(remaining - model.units)).toBeLessThan(1.001);
            expect(waitMs > 0).toBe(granted === 0);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test("gives to a listed wallet at once what it has more, and takes it back at once", async () => {
    const scene = new LimiterScene();
    expect(await scene.units(alice)).toBe(100);
    await scene.core.setStanding(alice.id, "listed");
    scene.wait(60_000);
    expect(await scene.units(alice)).toBe(250);
    expect((await scene.core.lease(alice, 1, 0)).limit).toEqual({ burst: 250, perMinute: 150 });
    scene.wait(60_000);
    await scene.core.setStanding(alice.id, "none");
    expect(await scene.units(alice)).toBe(100);
  });

  test("of a wallet's stamps has its standing, that of an address or a nonce none", async () => {
    const scene = new LimiterScene();
    await scene.core.setStanding("0xA", "denied");
    const standingOf = async (kind: Subject["kind"]) =>
      (await scene.core.lease({ kind, id: "0xA" }, 1, 0)).standing;
    expect(await standingOf("wallet")).toBe("denied");
    expect(await standingOf("stamps")).toBe("denied");
    expect(await standingOf("address")).toBe("none");
    expect(await standingOf("nonce")).toBe("none");
  });

  test("takes back what was not spent, up to its burst, and what is owed, down to as much", async () => {
    const scene = new LimiterScene();
    await scene.core.lease(alice, 50, 0);
    expect((await scene.core.lease(alice, 100, 30)).remaining).toBe(80);
    expect(await scene.core.lease(alice, 100, 1_000_000)).toMatchObject({ granted: 100, remaining: 0 });
    const owing = await scene.core.lease(alice, 10, -1_000_000);
    expect(owing).toMatchObject({ granted: 0, remaining: 0, waitMs: 110_000 });
    scene.wait(110_000);
    expect(await scene.take(alice, 10)).toBe(true);
  });

  test("gives all that fits to who wants more than ever fits", async () => {
    const scene = new LimiterScene();
    await scene.take(alice, 1);
    expect(await scene.core.lease(alice, 3_000, 0)).toMatchObject({ granted: 0, waitMs: 1_000 });
    scene.wait(1_000);
    expect(await scene.core.lease(alice, 3_000, 0)).toMatchObject({ granted: 100, waitMs: 0 });
    expect(await scene.core.lease(alice, 1, 0)).toMatchObject({ granted: 0, waitMs: 1_000 });
  });

  test("of a nonce is one for an hour, also over midnight", async () => {
    const scene = new LimiterScene();
    scene.clock.step((START_DAY + 1) * DAY_MS - 60_000);
    const nonce: Subject = { kind: "nonce", id: "0xA 11" };
    const take = async () => (await scene.core.lease(nonce, 1, 0)).granted;
    expect(await take()).toBe(1);
    for (const minutes of [0, 2, 10, 47]) {
      scene.wait(minutes * 60_000);
      scene.core = scene.life();
      expect(await take()).toBe(0);
    }
    scene.wait(60_000);
    expect(await take()).toBe(1);
    expect((await scene.core.lease({ kind: "nonce", id: "0xA 12" }, 1, 0)).granted).toBe(1);
  });
});

describe("the days of a limiter", () => {
  const spendAll = async (scene: LimiterScene) => {
    while (await scene.take(alice, 1));
  };

  test("begin at midnight UTC with a new secret, under which no row of the day before is found", async () => {
    const scene = new LimiterScene();
    await scene.take(alice, 1);
    scene.clock.step((START_DAY + 1) * DAY_MS - 1);
    await scene.take(alice, 1);
    expect(scene.store.days()).toEqual([START_DAY]);
    scene.wait(1);
    await spendAll(scene);
    expect(scene.store.days()).toEqual([START_DAY, START_DAY + 1]);
    const secrets = scene.store.days().map((day) => toHex(scene.store.secretOf(day) ?? new Uint8Array()));
    expect(new Set(secrets).size).toBe(2);
    expect(scene.store.days().map((day) => scene.store.countBuckets(day, 9))).toEqual([1, 1]);
  });

  test("both count: what was spent before midnight is not there after", async () => {
    const scene = new LimiterScene();
    scene.clock.step((START_DAY + 1) * DAY_MS - 1_000);
    await spendAll(scene);
    scene.wait(2_000);
    expect(await scene.take(alice, 3)).toBe(false);
    expect(await scene.take(alice, 2)).toBe(true);
  });

  test("leave nothing after 48 h, whenever in a day a row was written and whether anybody asks or not", async () => {
    for (const hour of [0, 1, 11.99, 12, 23, 23.999]) {
      const scene = new LimiterScene();
      const writtenMs = START_DAY * DAY_MS + hour * 3_600_000;
      scene.clock.step(writtenMs);
      await scene.take(alice, 1);
      let again = scene.core.forget();
      for (let i = 0; again !== undefined && i < 5; i++) {
        expect(again).toBeLessThanOrEqual(writtenMs + 2 * DAY_MS);
        expect(again).toBeGreaterThan(scene.clock.nowMs());
        scene.clock.step(again);
        again = scene.core.forget();
      }
      expect(again).toBeUndefined();
      expect(scene.store.days()).toEqual([]);
    }
  });

  test("go on as they are when the clock steps back over midnight, and nothing is given twice", async () => {
    const scene = new LimiterScene();
    scene.clock.step((START_DAY + 1) * DAY_MS + 5);
    await spendAll(scene);
    scene.wait(-10);
    expect(await scene.take(alice, 1)).toBe(false);
    expect(scene.store.days()).toEqual([START_DAY + 1]);
    scene.wait(1_010);
    expect(await scene.take(alice, 1)).toBe(true);
    expect(await scene.take(alice, 1)).toBe(false);
  });

  test("of a clock that was far ahead are forgotten, also when nobody asks", async () => {
    const scene = new LimiterScene();
    scene.wait(30 * DAY_MS);
    await scene.take(alice, 1);
    scene.clock.step(START_MS);
    expect(scene.core.forget()).toBeUndefined();
    expect(scene.store.days()).toEqual([]);
    expect(await scene.units(alice)).toBe(100);
  });
});

describe("very many budgets", () => {
  const address = (i: number): Subject => ({ kind: "address", id: `2001:db8:0:${i.toString(16)}::/64` });

  test("have an end: then who is new is refused, and who is known is not", async () => {
    const scene = new LimiterScene(10);
    for (let i = 0; i < 10; i++) expect(await scene.take(address(i), 1)).toBe(true);
    const refused = { code: "too_many_budgets", httpStatus: 429, data: { retryAfterS: 60 } };
    await expect(scene.core.lease(address(10), 1, 0)).rejects.toMatchObject(refused);
    expect(await scene.take(address(3), 1)).toBe(true);
    scene.core = scene.life();
    await expect(scene.core.lease(alice, 1, 0)).rejects.toMatchObject(refused);
    expect(scene.store.countBuckets(START_DAY, 99)).toBe(10);
  });

  test("make room when they have filled again, each kind in its own time, and nothing that counts is forgotten", async () => {
    const scene = new LimiterScene(10);
    const nonce: Subject = { kind: "nonce", id: "0xA 1" };
    await scene.take(nonce, 1);
    await scene.take({ kind: "stamps", id: "0xA" }, 100);
    for (let i = 0; i < 8; i++) await scene.take(address(i), 200);
    scene.wait(61_000);
    await expect(scene.core.lease(address(8), 1, 0)).rejects.toMatchObject({ code: "too_many_budgets" });
    // Twice the time that an address takes to fill is 200 s.
    scene.wait(140_000);
    expect(await scene.take(address(8), 200)).toBe(true);
    expect(scene.store.countBuckets(START_DAY, 99)).toBe(3);
    expect((await scene.core.lease(nonce, 1, 0)).granted).toBe(0);
    expect(await scene.units({ kind: "stamps", id: "0xA" })).toBeLessThan(10);
    expect(await scene.units(address(1))).toBe(200);
  });

  test("are looked through once a minute at most", async () => {
    const scene = new LimiterScene(3);
    let sweeps = 0;
    const { dropBuckets } = scene.store;
    scene.store.dropBuckets = (...args) => {
      sweeps++;
      dropBuckets.apply(scene.store, args);
    };
    for (let i = 0; i < 50; i++) await scene.core.lease(address(i), 1, 0).catch(() => {});
    expect(sweeps).toBe(4);
    scene.wait(60_000);
    for (let i = 0; i < 50; i++) await scene.core.lease(address(i), 1, 0).catch(() => {});
    expect(sweeps).toBe(8);
  });

  test("begin anew each day", async () => {
    const scene = new LimiterScene(3);
    for (let i = 0; i < 3; i++) await scene.take(address(i), 1);
    scene.wait(DAY_MS);
    for (let i = 3; i < 6; i++) expect(await scene.take(address(i), 1)).toBe(true);
    await expect(scene.core.lease(address(6), 1, 0)).rejects.toMatchObject({ code: "too_many_budgets" });
  });
});
