import { describe, expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../../protocol/testing/wallet.ts";
import { BAD_VERIFICATIONS, MAX_TURN_MS, VerificationPace } from "./verification-pace.ts";
import { WalletTokens } from "./wallet-tokens.ts";

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

describe("the pace of verifications", () => {
  test("holds nobody up while tokens are good", async () => {
    const clock = new ManualClock(NOW_MS);
    const pace = new VerificationPace(clock);
    for (let i = 0; i < 1_000; i++) {
      await pace.turn();
      pace.giveBack();
    }
    expect(clock.timers).toBe(0);
  });

  test("is that of time when they are bad, whoever waits", async () => {
    const clock = new ManualClock(NOW_MS);
    const pace = new VerificationPace(clock);
    let verified = 0;
    const bad = async () => {
      await pace.turn();
      verified++;
    };
    const all = Array.from({ length: burst + 30 }, bad);
    await settle();
    expect(verified).toBe(burst);
    for (let i = 1; i <= 10; i++) {
      await pass(clock, EACH_MS);
      expect(verified).toBe(burst + i);
    }
    await pass(clock, MAX_TURN_MS);
    await Promise.all(all);
    expect(verified).toBe(burst + 30);
  });

  test("refuses who would wait too long, and goes on when those are gone", async () => {
    const clock = new ManualClock(NOW_MS);
    const pace = new VerificationPace(clock);
    const places = burst + MAX_TURN_MS / EACH_MS;
    const all = Array.from({ length: places + 10 }, () => outcome(pace.turn()));
    await pass(clock, MAX_TURN_MS - 1);
    expect(clock.timers).toBe(11);
    await pass(clock, 1);
    const refused = Array(10).fill(["too_many_calls", 429]);
    expect(await Promise.all(all)).toEqual([...Array(places).fill("done"), ...refused]);
    await pass(clock, EACH_MS);
    expect(await outcome(pace.turn())).toBe("done");
  });

  test("is not held up by a clock that jumped back, nor by who never comes back from his wait", async () => {
    const clock = new ManualClock(NOW_MS);
    const pace = new VerificationPace(clock);
    for (let i = 0; i < burst; i++) await pace.turn();
    // Its request ends here.
    void pace.turn();
    clock.step(NOW_MS - 3_600_000);
    const other = pace.turn();
    await pass(clock, 2 * EACH_MS);
    expect(await outcome(other)).toBe("done");
  });
});

describe("tokens", () => {
  const free = async () => undefined;
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

  test("that wait and were refused meanwhile are not verified again", async () => {
    const clock = new ManualClock(NOW_MS);
    const tokens = new WalletTokens({ suite, clock });
    for (let n = 0; n < burst; n++) await outcome(tokens.verify(token(bob, n, alice.address), free));
    const same = token(bob, 999, alice.address);
    const many = Array.from({ length: 40 }, () => outcome(tokens.verify(same, free)));
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
