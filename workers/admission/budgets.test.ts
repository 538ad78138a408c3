import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Subject } from "../../durable-objects/limiter/limiter-api.ts";
import { LimiterCore } from "../../durable-objects/limiter/limiter-core.ts";
import type { RateLimits } from "../../durable-objects/limiter/limits.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryBudgetStore } from "../../durable-objects/testing/memory-budget-store.ts";
import { concatBytes } from "../../protocol/bytes.ts";
import { PennypostError, unavailable } from "../../protocol/errors.ts";
import { Budgets, LEASE_MS } from "./budgets.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 12);
const LIMITS: RateLimits = {
  wallet: { burst: 100, perMinute: 60 },
  address: { burst: 200, perMinute: 120 },
  stamps: { burst: 100, perMinute: 1 },
  listedFactor: 3,
};
const alice: Subject = { kind: "wallet", id: "0xA" };

class Scene {
  readonly clock = new ManualClock(NOW_MS);
  readonly store = new MemoryBudgetStore();
  core = this.fresh();
  leases = 0;
  /** How the next questions fail: on the way there, or on the way back. */
  readonly failures: ("there" | "back" | undefined)[] = [];

  fresh(): LimiterCore {
    let n = 0;
    return new LimiterCore({
      store: this.store,
      clock: this.clock,
      limits: LIMITS,
      listKey: new Uint8Array(32),
      random: (bytes) => new Uint8Array(bytes).fill(++n),
      hmac: (key, data) => suite.sha256(concatBytes(key, data)),
    });
  }

  /** What one isolate has. */
  isolate(): Budgets {
    const lease: LimiterCore["lease"] = async (...args) => {
      this.leases++;
      const failure = this.failures.shift();
      if (failure === "there") throw unavailable("part_unavailable", "the question is lost");
      const answer = await this.core.lease(...args);
      if (failure === "back") throw unavailable("part_unavailable", "the answer is lost");
      return answer;
    };
    return new Budgets({ clock: this.clock, limiterOf: () => ({ lease }) });
  }

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }
}

async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return "spent";
  } catch (error) {
    return error instanceof PennypostError ? error.code : error;
  }
}

async function spendAll(budgets: Budgets, subject: Subject, tries: number): Promise<number> {
  let spent = 0;
  for (let i = 0; i < tries; i++) if ((await outcome(budgets.spend(subject, 1))) === "spent") spent++;
  return spent;
}

describe("a budget", () => {
  test("is its burst at once, and no more, then what comes back with time", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    expect(await spendAll(budgets, alice, 150)).toBe(100);
    scene.wait(10_000);
    expect(await spendAll(budgets, alice, 150)).toBe(10);
    scene.wait(3_600_000);
    expect(await spendAll(budgets, alice, 150)).toBe(100);
  });

  test("is one over all isolates, and after the limiter's restart", async () => {
    const scene = new Scene();
    const isolates = [scene.isolate(), scene.isolate(), scene.isolate()];
    let spent = 0;
    for (let i = 0; i < 150; i++) {
      const some = isolates[i % 3] as Budgets;
      if ((await outcome(some.spend(alice, 1))) === "spent") spent++;
      if (i === 60) scene.core = scene.fresh();
    }
    expect(spent).toBeLessThanOrEqual(100);
    expect(spent).toBeGreaterThanOrEqual(90);
  });

  test("says when to come again, and what is left", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    expect(await budgets.spend(alice, 40)).toEqual({ remaining: 60, limit: LIMITS.wallet });
    await budgets.spend(alice, 60);
    await expect(budgets.spend(alice, 30)).rejects.toMatchObject({
      code: "rate_limited",
      httpStatus: 429,
      data: { retryAfterS: 30, remaining: 0, burst: 100, perMinute: 60 },
    });
    scene.wait(29_000);
    expect(await outcome(budgets.spend(alice, 30))).toBe("rate_limited");
    scene.wait(1_000);
    expect(await outcome(budgets.spend(alice, 30))).toBe("spent");
  });

  test("pays for a publish that costs more than it holds, when it is full, with all of it", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    expect(await budgets.spend(alice, 3_000)).toEqual({ remaining: 0, limit: LIMITS.wallet });
    const refused = { code: "rate_limited", data: { retryAfterS: 100 } };
    await expect(budgets.spend(alice, 3_000)).rejects.toMatchObject(refused);
    scene.wait(100_000);
    expect(await outcome(budgets.spend(alice, 3_000))).toBe("spent");
  });

  test("of one wallet is not another's, nor an address's", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    await spendAll(budgets, alice, 120);
    expect(await outcome(budgets.spend({ kind: "wallet", id: "0xB" }, 100))).toBe("spent");
    expect(await outcome(budgets.spend({ kind: "address", id: "0xA" }, 200))).toBe("spent");
  });

  test("goes on over midnight", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    await spendAll(budgets, alice, 120);
    scene.wait(12 * 3_600_000 - 5_000);
    await spendAll(budgets, alice, 120);
    scene.wait(10_000);
    expect(await spendAll(budgets, alice, 120)).toBe(10);
  });

  test("is asked for seldom while there is plenty, and repeated refusals ask nobody", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    await spendAll(budgets, alice, 45);
    expect(scene.leases).toBeLessThan(15);
    await spendAll(budgets, alice, 80);
    const before = scene.leases;
    for (let i = 0; i < 6; i++) expect(await outcome(budgets.spend(alice, 1))).toBe("rate_limited");
    expect(scene.leases).toBe(before);
  });

  test("is never exceeded, however many isolates spend it at once, and what nobody spent comes back", async () => {
    const steps = fc.array(
      fc.record({
        isolate: fc.nat({ max: 3 }),
        units: fc.integer({ min: 1, max: 12 }),
        waitMs: fc.nat({ max: 400 }),
      }),
      {
        maxLength: 120,
      },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (trace) => {
        const scene = new Scene();
        const isolates = Array.from({ length: 4 }, () => scene.isolate());
        let spent = 0;
        for (const { isolate, units, waitMs } of trace) {
          const twice = [0, 1].map(() => outcome((isolates[isolate] as Budgets).spend(alice, units)));
          for (const each of await Promise.all(twice)) if (each === "spent") spent += units;
          scene.wait(waitMs);
        }
        const passedMs = scene.clock.nowMs() - NOW_MS;
        expect(spent).toBeLessThanOrEqual(100 + passedMs / 1_000);
      }),
      { numRuns: 100 },
    );
  });

  test("is not exceeded either where questions or answers are lost, and what that loses comes back", async () => {
    const failure = fc.constantFrom("there" as const, "back" as const, undefined);
    const steps = fc.array(fc.tuple(fc.nat({ max: 2 }), fc.integer({ min: 1, max: 12 })), { maxLength: 80 });
    await fc.assert(
      fc.asyncProperty(steps, fc.array(failure, { size: "max", maxLength: 40 }), async (trace, failures) => {
        const scene = new Scene();
        scene.failures.push(...failures);
        const isolates = Array.from({ length: 3 }, () => scene.isolate());
        let spent = 0;
        for (const [isolate, units] of trace)
          if ((await outcome((isolates[isolate] as Budgets).spend(alice, units))) === "spent") spent += units;
        expect(spent).toBeLessThanOrEqual(100);
        scene.failures.length = 0;
        scene.wait(100_000);
        expect(await spendAll(scene.isolate(), alice, 150)).toBe(100);
      }),
      { numRuns: 60 },
    );
  });

  test("is not kept here as well, where the answer to what gave it back is lost", async () => {
    const scene = new Scene();
    const [a, b] = [scene.isolate(), scene.isolate()];
    // Of the first lease four units are left, and are given back with a question that is refused.
    await a.spend(alice, 1);
    await b.spend(alice, 94);
    scene.failures.push("back");
    expect(await outcome(a.spend(alice, 6))).toBe("part_unavailable");
    expect(await outcome(b.spend(alice, 5))).toBe("spent");
    expect(await outcome(a.spend(alice, 4))).toBe("rate_limited");
  });

  test("below its limit is always granted, from several isolates in turn", async () => {
    const scene = new Scene();
    const isolates = [scene.isolate(), scene.isolate(), scene.isolate()];
    for (let second = 0; second < 600; second++) {
      const some = isolates[second % 3] as Budgets;
      expect([second, await outcome(some.spend(alice, 1))]).toEqual([second, "spent"]);
      scene.wait(1_000);
    }
  });
});

describe("the operator's lists", () => {
  test("hold within 5 s in every isolate", async () => {
    const scene = new Scene();
    const budgets = scene.isolate();
    await budgets.spend(alice, 1);
    expect(await scene.core.setStanding(alice.id, "denied")).toBe("none");
    scene.wait(LEASE_MS);
    await expect(budgets.spend(alice, 1)).rejects.toMatchObject({ code: "wallet_denied", httpStatus: 403 });
    expect(await scene.core.setStanding(alice.id, "none")).toBe("denied");
    scene.wait(LEASE_MS);
    expect(await outcome(budgets.spend(alice, 1))).toBe("spent");
  });

  test("give listed wallets more", async () => {
    const scene = new Scene();
    await scene.core.setStanding(alice.id, "listed");
    expect(await spendAll(scene.isolate(), alice, 500)).toBe(300);
  });

  test("are kept under a hash that needs the node's key", async () => {
    const scene = new Scene();
    await scene.core.setStanding(alice.id, "denied");
    const other = new LimiterCore({
      store: scene.store,
      clock: scene.clock,
      limits: LIMITS,
      listKey: new Uint8Array(32).fill(1),
      random: (bytes) => new Uint8Array(bytes),
      hmac: (key, data) => suite.sha256(concatBytes(key, data)),
    });
    expect(await other.standingOf(alice.id)).toBe("none");
  });
});

describe("stamps and nonces", () => {
  test("are taken one by one: nothing is leased ahead, which nobody would give back", async () => {
    const { core } = new Scene();
    const stamps: Subject = { kind: "stamps", id: "0xA" };
    for (const left of [98, 96, 94]) {
      const { granted, remaining } = await core.lease(stamps, 2, 0);
      expect([granted, remaining]).toEqual([2, left]);
    }
    const nonce: Subject = { kind: "nonce", id: "0xA 00" };
    expect([(await core.lease(nonce, 1, 0)).granted, (await core.lease(nonce, 1, 0)).granted]).toEqual([
      1, 0,
    ]);
  });
});

describe("what is kept of a budget", () => {
  test("goes when the day after has ended", async () => {
    const scene = new Scene();
    await scene.core.lease(alice, 1, 0);
    const day = Math.floor(NOW_MS / 86_400_000);
    expect(scene.store.days()).toEqual([day]);
    scene.wait(24 * 3_600_000);
    await scene.core.lease(alice, 1, 0);
    expect(scene.store.days()).toEqual([day, day + 1]);
    scene.wait(12 * 3_600_000);
    await scene.core.lease(alice, 1, 0);
    expect(scene.store.days()).toEqual([day + 1, day + 2]);
    scene.wait(48 * 3_600_000);
    expect(scene.core.forget()).toBeUndefined();
    expect(scene.store.days()).toEqual([]);
  });

  test("is forgotten when a clock was far ahead", async () => {
    const scene = new Scene();
    await scene.core.lease(alice, 1, 0);
    const ahead = new LimiterCore({
      store: scene.store,
      clock: new ManualClock(NOW_MS + 30 * 86_400_000),
      limits: LIMITS,
      listKey: new Uint8Array(32),
      random: (bytes) => new Uint8Array(bytes),
      hmac: (key, data) => suite.sha256(concatBytes(key, data)),
    });
    await ahead.lease(alice, 1, 0);
    await scene.core.lease(alice, 1, 0);
    expect(scene.store.days()).toEqual([Math.floor(NOW_MS / 86_400_000)]);
  });
});
