import { describe, expect, test } from "vitest";
import { LimiterCore } from "../../durable-objects/limiter/limiter-core.ts";
import type { RateLimits } from "../../durable-objects/limiter/limits.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryBudgetStore } from "../../durable-objects/testing/memory-budget-store.ts";
import { concatBytes, utf8 } from "../../protocol/bytes.ts";
import { PennypostError, unauthenticated, unavailable } from "../../protocol/errors.ts";
import { Budgets } from "./budgets.ts";
import type { Admission, OfferedPublish } from "./policy.ts";
import { admitWithinBudget, budgetHeaders } from "./publish-budget.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 12);
const LIMITS: RateLimits = {
  wallet: { burst: 50, perMinute: 60 },
  address: { burst: 100, perMinute: 60 },
  stamps: { burst: 100, perMinute: 1 },
  listedFactor: 3,
};
const ADDRESS = "203.0.113.7";

class Scene {
  readonly clock = new ManualClock(NOW_MS);
  readonly core = new LimiterCore({
    store: new MemoryBudgetStore(),
    clock: this.clock,
    limits: LIMITS,
    listKey: new Uint8Array(32),
    random: (bytes) => new Uint8Array(bytes).fill(1),
    hmac: (key, data) => suite.sha256(concatBytes(key, data)),
  });
  limitsAddresses = true;
  asked = 0;
  /** What the policies say. */
  answer: () => Admission = () => ({ policy: "wallet", wallet: "0xA" });
  budgets = this.isolate();

  isolate(): Budgets {
    return new Budgets({ clock: this.clock, limiterOf: () => this.core });
  }

  publish(messages: readonly number[], address: string | null = ADDRESS) {
    const offered: OfferedPublish = {
      envelopes: messages.map((bytes) => ({ topic: utf8("t"), ts: 1n, message: new Uint8Array(bytes) })),
      host: "node.test",
      header: (name) => (name === "CF-Connecting-IP" ? address : null),
    };
    const admit = async () => {
      this.asked++;
      return this.answer();
    };
    return admitWithinBudget(
      { budgets: this.budgets, limitsAddresses: this.limitsAddresses, admit },
      offered,
    );
  }

  async code(...args: Parameters<Scene["publish"]>): Promise<string> {
    try {
      await this.publish(...args);
      return "admitted";
    } catch (error) {
      return error instanceof PennypostError ? error.code : String(error);
    }
  }

  async left(kind: "address" | "wallet", id: string): Promise<number> {
    const { granted, remaining } = await this.core.lease({ kind, id }, 0, 0);
    return granted + remaining;
  }
}

const badToken = () => {
  throw unauthenticated("wallet_token_invalid", "bad");
};

describe("a publish", () => {
  test("costs its address and its wallet a unit an envelope, and one for each 8 KB", async () => {
    const scene = new Scene();
    const { spent } = await scene.publish([0, 8_191, 8_192, 24_576]);
    // The wallet's is the tighter budget: 4 envelopes, and 1 + 3 times 8 KB.
    expect(spent).toEqual({ remaining: 50 - 8, limit: LIMITS.wallet });
    const { spent: again } = await scene.publish([1]);
    expect(again?.remaining).toBe(50 - 9);
  });

  test("without an address, or where addresses have no limits, is paid by its wallet alone", async () => {
    const scene = new Scene();
    for (const [address, limits] of [
      [null, true],
      [ADDRESS, false],
    ] as const) {
      scene.limitsAddresses = limits;
      const { spent } = await scene.publish([1], address);
      expect(spent?.limit).toEqual(LIMITS.wallet);
    }
    scene.answer = () => ({ policy: "stamp", wallet: null });
    expect((await scene.publish([1], null)).spent).toBeUndefined();
  });

  test("by stamps is paid by its address alone", async () => {
    const scene = new Scene();
    scene.answer = () => ({ policy: "stamp", wallet: null });
    expect((await scene.publish([1, 1])).spent).toEqual({ remaining: 98, limit: LIMITS.address });
  });

  test("of an address over its limit is asked of no policy", async () => {
    const scene = new Scene();
    scene.answer = () => ({ policy: "stamp", wallet: null });
    expect(await scene.code(Array<number>(100).fill(0))).toBe("admitted");
    expect(scene.asked).toBe(1);
    expect(await scene.code([0])).toBe("rate_limited");
    expect(scene.asked).toBe(1);
    expect(await scene.code([0], "203.0.113.8")).toBe("admitted");
  });

  test("of all addresses of an IPv6 /64 is of one budget", async () => {
    const scene = new Scene();
    scene.answer = () => ({ policy: "stamp", wallet: null });
    expect(await scene.code(Array<number>(60).fill(0), "2001:db8:1:2::1")).toBe("admitted");
    expect(await scene.code(Array<number>(60).fill(0), "2001:db8:1:2:ffff::9")).toBe("rate_limited");
    expect(await scene.code(Array<number>(60).fill(0), "2001:db8:1:3::1")).toBe("admitted");
  });
});

describe("a refused publish", () => {
  test("costs its address ten units more, and no wallet any", async () => {
    const scene = new Scene();
    scene.answer = badToken;
    expect(await scene.code([0])).toBe("wallet_token_invalid");
    scene.clock.step(NOW_MS + 5_000);
    scene.answer = () => ({ policy: "stamp", wallet: null });
    // Five have come back.
    expect((await scene.publish([0])).spent?.remaining).toBe(100 - 11 + 5 - 1);
    expect(await scene.left("wallet", "0xA")).toBe(50);
  });

  test("costs ten also where fewer are left: guesses come down to what is paid for with time", async () => {
    const scene = new Scene();
    scene.answer = badToken;
    let heard = 0;
    for (let second = 0; second < 600; second++) {
      for (let i = 0; i < 5; i++) if ((await scene.code([0])) === "wallet_token_invalid") heard++;
      scene.clock.step(NOW_MS + (second + 1) * 1_000);
    }
    // 100 at once and one a second, at eleven a guess, and one that is paid for later.
    expect(heard).toBeLessThanOrEqual((100 + 600) / 11 + 1);
    expect(heard).toBeGreaterThanOrEqual((100 + 600) / 11 - 2);
    expect(scene.asked).toBe(heard);
  });

  test("of many at once is paid for later, down to as much as the budget holds", async () => {
    const scene = new Scene();
    scene.answer = badToken;
    const codes = await Promise.all(Array.from({ length: 100 }, () => scene.code([0])));
    expect(codes.filter((code) => code === "wallet_token_invalid").length).toBeGreaterThan(50);
    scene.answer = () => ({ policy: "stamp", wallet: null });
    scene.clock.step(NOW_MS + 100_000);
    expect(await scene.code([0])).toBe("rate_limited");
    scene.clock.step(NOW_MS + 202_000);
    expect(await scene.code([0])).toBe("admitted");
  });

  test("is charged in an isolate that has no lease any more, too", async () => {
    const scene = new Scene();
    scene.answer = () => {
      scene.clock.step(scene.clock.nowMs() + 6_000);
      return badToken();
    };
    expect(await scene.code([0])).toBe("wallet_token_invalid");
    scene.budgets = scene.isolate();
    scene.answer = () => ({ policy: "stamp", wallet: null });
    // What the first isolate leased and did not spend is lost with it.
    expect((await scene.publish([0])).spent?.remaining).toBeLessThanOrEqual(100 - 11 + 6 - 1);
  });

  test("for which a part of the node is at fault costs nothing more", async () => {
    const scene = new Scene();
    for (const error of [unavailable("part_unavailable", "away"), new Error("a bug")]) {
      scene.answer = () => {
        throw error;
      };
      await expect(scene.publish([0])).rejects.toBe(error);
    }
    scene.answer = () => ({ policy: "stamp", wallet: null });
    expect((await scene.publish([0])).spent?.remaining).toBe(97);
  });
});

describe("the headers of a budget", () => {
  test("name the policy, what is left, and when all is back", () => {
    expect(budgetHeaders({ remaining: 20, limit: { burst: 50, perMinute: 60 } })).toEqual({
      "ratelimit-policy": '"publish";q=50;w=50',
      ratelimit: '"publish";r=20;t=30',
    });
    expect(budgetHeaders({ remaining: 50, limit: { burst: 50, perMinute: 60 } }).ratelimit).toBe(
      '"publish";r=50;t=0',
    );
    expect(budgetHeaders(undefined)).toEqual({});
  });
});
