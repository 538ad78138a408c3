import { beforeEach, describe, expect, test } from "vitest";
import type { Timer } from "../../durable-objects/clock.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../../protocol/testing/wallet.ts";
import {
  BAD_VERIFICATIONS,
  MAX_TURN_MS,
  MAX_WAITING,
  MAX_WAITING_OF_SENDER,
  VerificationPace,
} from "./verification-pace.ts";
import { type Sender, WalletTokens } from "./wallet-tokens.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const { burst, perMinute } = BAD_VERIFICATIONS;
const EACH_MS = 60_000 / perMinute;
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** Lets time pass, with all that was to happen in it. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  const endMs = clock.nowMs() + ms;
  await settle();
  while (clock.step(endMs)) await settle();
}

async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return "done";
  } catch (error) {
    return error instanceof PennypostError ? [error.code, error.httpStatus] : error;
  }
}

/** Turns as they are given, by who had them. */
class Turns {
  readonly clock = new ManualClock(NOW_MS);
  readonly pace = new VerificationPace(this.clock);
  readonly given: string[] = [];

  /** Asks for one, which finds a bad token. */
  async bad(sender: string): Promise<void> {
    await this.pace.turn(sender);
    this.given.push(sender);
  }

  /** Takes what is given at once, so that all others wait. */
  async spendBurst(): Promise<void> {
    for (let n = 0; n < burst; n++) await this.pace.turn("before");
  }

  many(sender: string, count: number): Promise<unknown>[] {
    return Array.from({ length: count }, () => outcome(this.bad(sender)));
  }

  pass(turns: number): Promise<void> {
    return pass(this.clock, turns * EACH_MS);
  }
}

let turns: Turns;
beforeEach(() => {
  turns = new Turns();
});

describe("the pace of verifications", () => {
  test("holds nobody up while tokens are good", async () => {
    const { clock, pace } = turns;
    for (let i = 0; i < 1_000; i++) {
      await pace.turn("one");
      pace.giveBack();
    }
    expect(clock.timers).toBe(0);
  });

  test("is that of time when they are bad, whoever waits and wherever from", async () => {
    const senders = Array.from({ length: burst + 150 }, (_, n) => `sender ${n}`);
    const all = senders.map((sender) => turns.bad(sender));
    await settle();
    expect(turns.given).toEqual(senders.slice(0, burst));
    for (let i = 1; i <= 50; i++) {
      await turns.pass(1);
      expect(turns.given).toHaveLength(burst + i);
    }
    await turns.pass(100);
    await Promise.all(all);
    expect(turns.given).toEqual(senders);
    expect(turns.clock.timers).toBe(0);
  });

  test("goes from address to address, however many of each wait", async () => {
    await turns.spendBurst();
    const heavy = ["a", "b", "c", "d", "e"];
    for (const sender of heavy) void turns.many(sender, MAX_WAITING_OF_SENDER);
    await turns.pass(2);
    void turns.bad("first time");
    await turns.pass(heavy.length + 1);
    expect(turns.given).toEqual(["a", "b", "c", "d", "e", "a", "b", "first time"]);
    // What they send meanwhile changes nothing for others.
    for (let i = 0; i < 20; i++) {
      for (const sender of heavy) void turns.many(sender, 2);
      await turns.pass(1);
    }
    void turns.bad("another");
    await turns.pass(heavy.length + 1);
    expect(turns.given.at(-1)).toBe("another");
  });

  test("has room for a number of each address: one more is refused at once, and has a place when one is free", async () => {
    await turns.spendBurst();
    const waiting = turns.many("a", MAX_WAITING_OF_SENDER);
    for (let i = 0; i < 3; i++) expect(await outcome(turns.bad("a"))).toEqual(["too_many_calls", 429]);
    void turns.bad("b");
    await turns.pass(1);
    waiting.push(outcome(turns.bad("a")));
    expect(await outcome(turns.bad("a"))).toEqual(["too_many_calls", 429]);
    await turns.pass(MAX_WAITING_OF_SENDER + 1);
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["done"]));
    expect(turns.given).toHaveLength(MAX_WAITING_OF_SENDER + 2);
  });

  test("has room for a number in all, none of whom waits longer than five seconds", async () => {
    await turns.spendBurst();
    const inTime = MAX_TURN_MS / EACH_MS;
    expect(MAX_WAITING).toBe(inTime * MAX_WAITING_OF_SENDER);
    const senders = Array.from({ length: inTime }, (_, n) => `sender ${n}`);
    const all = senders.flatMap((sender) => turns.many(sender, MAX_WAITING_OF_SENDER));
    expect(await outcome(turns.bad("one more"))).toEqual(["too_many_calls", 429]);
    await pass(turns.clock, MAX_TURN_MS);
    const outcomes = (await Promise.all(all)).map(String);
    // The turn at the last moment comes too late.
    expect(turns.given).toEqual(senders.slice(0, inTime - 1));
    expect(outcomes.filter((each) => each === "too_many_calls,429")).toHaveLength(MAX_WAITING - inTime + 1);
    expect(turns.clock.timers).toBe(0);
    expect(await outcome(turns.bad("one more"))).toBe("done");
  });

  test("gives on what was given back, to all who wait", async () => {
    await turns.spendBurst();
    const good = Array.from({ length: 300 }, async (_, n) => {
      await turns.pace.turn(`sender ${n % 60}`);
      turns.pace.giveBack();
    });
    await turns.pass(1);
    await Promise.all(good);
    expect(turns.clock.timers).toBe(0);
  });

  test("is not held up by a clock that jumped back", async () => {
    await turns.spendBurst();
    void turns.bad("a");
    turns.clock.step(NOW_MS - 3_600_000);
    const other = turns.bad("b");
    await turns.pass(2);
    expect(await outcome(other)).toBe("done");
  });
});

/** Timers of requests that ended are not run any more. */
class ForgetfulClock extends ManualClock {
  forgets = false;

  override after(delayMs: number, work: () => void): Timer {
    return this.forgets ? { cancel: () => undefined } : super.after(delayMs, work);
  }
}

describe("requests that end while they wait", () => {
  const gone = async (count: number) => {
    const clock = new ForgetfulClock(NOW_MS);
    const pace = new VerificationPace(clock);
    for (let n = 0; n < burst; n++) await pace.turn("before");
    clock.forgets = true;
    for (let n = 0; n < count; n++)
      void outcome(pace.turn(`gone ${n % Math.ceil(count / MAX_WAITING_OF_SENDER)}`));
    clock.forgets = false;
    return { clock, pace };
  };

  test("hold up no other for longer than their addresses' turns", async () => {
    const { clock, pace } = await gone(50 * MAX_WAITING_OF_SENDER);
    const other = outcome(pace.turn("other"));
    await pass(clock, 60 * EACH_MS);
    expect(await other).toBe("done");
  });

  test("have no places any more when their time is over", async () => {
    const { clock, pace } = await gone(MAX_WAITING);
    expect(await outcome(pace.turn("other"))).toEqual(["too_many_calls", 429]);
    await pass(clock, MAX_TURN_MS);
    expect(await outcome(pace.turn("other"))).toBe("done");
  });
});

describe("tokens", () => {
  const from = (address: string | null): Sender => ({ address, charge: async () => undefined });
  const free = from("192.0.2.1");
  const token = (wallet: TestKey, n: number, address = wallet.address) =>
    bearer(
      tokenBytes(tokenParts(NOW_MS, { wallet, address, createdNs: BigInt(NOW_MS) * 1_000_000n - BigInt(n) })),
    );
  const [alice, bob] = [new TestKey("alice"), new TestKey("bob")];

  test("that are known are answered at once while bad ones wait; a good one waits its turn, and is verified once", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    const known = token(alice, 0);
    await tokens.verify(known, free);
    const bad = Array.from({ length: burst + 5 }, (_, n) =>
      outcome(tokens.verify(token(bob, n, alice.address), free)),
    );
    await settle();
    expect((await tokens.verify(known, free)).wallet).toBe(alice.address);
    const fresh = token(alice, 1);
    const good = [tokens.verify(fresh, free), tokens.verify(fresh, free)];
    await pass(clock, 10 * EACH_MS);
    const [first, second] = await Promise.all(good);
    expect(first?.wallet).toBe(alice.address);
    expect(second).toBe(first);
    expect(await Promise.all(bad)).toEqual(Array(burst + 5).fill(["wallet_token_invalid", 401]));
  });

  test("that are good cost no turn, however many come", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    for (let n = 0; n < burst + 5; n++)
      expect(await Promise.race([tokens.verify(token(alice, n), free), settle()])).toBeDefined();
    expect(clock.timers).toBe(0);
  });

  test("that are no tokens cost no turn", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    for (let n = 0; n < 3 * burst; n++)
      expect(await outcome(tokens.verify(bearer(Uint8Array.of(n, 1, 2)), free))).toEqual([
        "wallet_token_invalid",
        401,
      ]);
    expect((await tokens.verify(token(alice, 0), free)).wallet).toBe(alice.address);
    expect(clock.timers).toBe(0);
  });

  test("of unknown addresses count as those of one", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    for (let n = 0; n < burst; n++) await outcome(tokens.verify(token(bob, n, alice.address), from(null)));
    const bad = Array.from({ length: MAX_WAITING_OF_SENDER }, (_, n) =>
      outcome(tokens.verify(token(bob, burst + n, alice.address), from(null))),
    );
    await settle();
    expect(await outcome(tokens.verify(token(alice, 0), from(null)))).toEqual(["too_many_calls", 429]);
    const good = tokens.verify(token(alice, 1), free);
    await pass(clock, 2 * EACH_MS);
    expect((await good).wallet).toBe(alice.address);
    await pass(clock, MAX_TURN_MS);
    expect(await Promise.all(bad)).toEqual(Array(MAX_WAITING_OF_SENDER).fill(["wallet_token_invalid", 401]));
  });

  test("that wait and were refused meanwhile are not verified again", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    for (let n = 0; n < burst; n++) await outcome(tokens.verify(token(bob, n, alice.address), free));
    const same = token(bob, 999, alice.address);
    const many = Array.from({ length: 40 }, (_, n) =>
      outcome(tokens.verify(same, from(`192.0.2.${n % 10}`))),
    );
    await pass(clock, 40 * EACH_MS);
    expect(new Set((await Promise.all(many)).map(String)).size).toBe(1);
    // One verification paid for all of them: the others gave their turns back.
    expect(
      await outcome(
        Promise.all(Array.from({ length: burst - 1 }, (_, n) => tokens.verify(token(alice, n), free))),
      ),
    ).toBe("done");
    expect(clock.timers).toBe(0);
  });
});
