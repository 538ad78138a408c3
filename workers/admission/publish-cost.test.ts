import { beforeEach, describe, expect, test } from "vitest";
import { LimiterCore } from "../../durable-objects/limiter/limiter-core.ts";
import { setLogSink } from "../../durable-objects/log.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { MemoryBudgetStore } from "../../durable-objects/testing/memory-budget-store.ts";
import { concatBytes, utf8 } from "../../protocol/bytes.ts";
import { PennypostError, unauthenticated } from "../../protocol/errors.ts";
import { Budgets } from "./budgets.ts";
import type { Admission, OfferedPublish } from "./policy.ts";
import { admitWithinBudget, REFUSED_UNITS } from "./publish-budget.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 12);
const LIMITS = {
  wallet: { burst: 10_000, perMinute: 1 },
  address: { burst: 200, perMinute: 60 },
  stamps: { burst: 100, perMinute: 1 },
  listedFactor: 1,
};
const GRANTED: Admission = { policy: "wallet", wallet: "0xA" };

/** A node's budgets, kept as in its objects, and policies that answer as a test says. */
class Scene {
  readonly clock = new ManualClock(NOW_MS);
  readonly core = new LimiterCore({
    store: new MemoryBudgetStore(),
    clock: this.clock,
    limits: LIMITS,
    listKey: new Uint8Array(32),
    random: (bytes) => new Uint8Array(bytes),
    hmac: (key, data) => suite.sha256(concatBytes(key, data)),
  });
  isAway = false;
  verified = 0;
  budgets = this.isolate();
  admit: (publish: OfferedPublish) => Promise<Admission> = async () => {
    this.verified++;
    throw unauthenticated("wallet_token_invalid", "no");
  };

  isolate(): Budgets {
    const lease: LimiterCore["lease"] = async (...args) => {
      // As a call to another object: others come meanwhile.
      await Promise.resolve();
      if (this.isAway) throw new Error("the limiter is away");
      return this.core.lease(...args);
    };
    return new Budgets({ clock: this.clock, limiterOf: () => ({ lease }) });
  }

  async publish(address = "203.0.113.1"): Promise<unknown> {
    const publish = {
      envelopes: [{ topic: utf8("weather"), ts: 1n, message: utf8("m") }],
      host: "node.test",
      request: { method: "POST", path: "/message/v1/publish", body: new Uint8Array() },
      header: (name: string) => (name === "CF-Connecting-IP" ? address : null),
    };
    const { budgets } = this;
    try {
      await admitWithinBudget({ budgets, limitsAddresses: true, admit: (each) => this.admit(each) }, publish);
      return "granted";
    } catch (error) {
      return error instanceof PennypostError ? error.code : error;
    }
  }

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }
}

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});

describe("a refused publish", () => {
  test("costs its address ten units besides", async () => {
    expect(await scene.publish()).toBe("wallet_token_invalid");
    scene.admit = async () => GRANTED;
    const after = 200 - 1 - REFUSED_UNITS;
    let granted = 0;
    while ((await scene.publish()) === "granted") granted++;
    expect(granted).toBe(after);
  });

  test.each([1, 3])("costs them all when fifty come at once, over %i isolates", async (isolates) => {
    const all = Array.from({ length: isolates }, () => scene.isolate());
    const work = Array.from({ length: 30 }, (_, i) => {
      scene.budgets = all[i % isolates] as Budgets;
      return scene.publish();
    });
    const answers = await Promise.all(work);
    expect(answers.filter((answer) => answer === "wallet_token_invalid")).toHaveLength(scene.verified);
    const debt = scene.verified * (1 + REFUSED_UNITS) - 200;
    expect(debt).toBeGreaterThan(0);
    // A unit comes back each second: until the debt is made good, nothing is granted, in any isolate.
    scene.admit = async () => GRANTED;
    scene.wait(Math.min(debt, 200) * 1_000);
    for (const each of all) {
      scene.budgets = each;
      expect(await scene.publish()).toBe("rate_limited");
    }
    scene.wait(1_000);
    expect(await scene.publish()).toBe("granted");
  });

  test("owes one full budget at most", async () => {
    const subject = { kind: "address", id: "203.0.113.1" } as const;
    await scene.budgets.charge(subject, 100_000);
    scene.wait(200_000);
    expect(await scene.publish()).toBe("rate_limited");
    scene.wait(1_000);
    expect(await scene.publish()).toBe("wallet_token_invalid");
  });

  test("takes nothing from another address", async () => {
    for (let i = 0; i < 50; i++) await scene.publish();
    scene.admit = async () => GRANTED;
    expect([await scene.publish(), await scene.publish("203.0.113.2")]).toEqual(["rate_limited", "granted"]);
  });

  test("is what the client hears of, also where the charge fails", async () => {
    const seen: unknown[] = [];
    setLogSink((_, what) => seen.push(what));
    scene.admit = async () => {
      scene.isAway = true;
      scene.wait(60_000);
      throw unauthenticated("wallet_token_invalid", "no");
    };
    expect(await scene.publish()).toBe("wallet_token_invalid");
    setLogSink();
    expect(seen).toEqual(["refusal_not_charged"]);
  });
});

describe("dear work that a policy does for a publish", () => {
  test("is paid before, by the address, and is not begun by who has not so much", async () => {
    let done = 0;
    scene.admit = async ({ charge }) => {
      await charge(50);
      done++;
      return GRANTED;
    };
    const answers: unknown[] = [];
    for (let i = 0; i < 6; i++) answers.push(await scene.publish());
    expect(answers).toEqual([...Array(3).fill("granted"), ...Array(3).fill("rate_limited")]);
    expect(done).toBe(3);
  });
});
