import { beforeEach, describe, expect, test, vi } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { exhausted, PennypostError, unavailable } from "../../protocol/errors.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../../protocol/testing/wallet.ts";
import { TOKEN_LIFE_MS } from "../../protocol/wallet-token.ts";
import {
  CONTRACT_CHECK_UNITS,
  CONTRACT_HOLDS_MS,
  CONTRACT_REFUSED_MS,
  MAX_CONTRACT_CHECKS,
  MAX_REFUSED,
  type Sender,
  WalletTokens,
} from "./wallet-tokens.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const alice = new TestKey("alice");
const CONTRACT = new TestKey("the place of a contract").address;

/** Tokens with a contract that answers as a test says, and what was asked and charged. */
class Scene {
  readonly clock = new ManualClock(NOW_MS);
  asked = 0;
  charged = 0;
  answer: () => Promise<boolean> = async () => true;
  sender: Sender = {
    address: "192.0.2.1",
    charge: async (units) => {
      this.charged += units;
    },
  };
  readonly tokens = new WalletTokens({
    suite,
    clock: this.clock,
    contractSigned: () => {
      this.asked++;
      return this.answer();
    },
  });

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }

  verify(token: string) {
    return this.tokens.verify(token, this.sender);
  }

  async outcome(token: string): Promise<unknown> {
    try {
      return (await this.verify(token)).wallet;
    } catch (error) {
      return error instanceof PennypostError ? error.code : error;
    }
  }
}

let made = 0;
const token = (changes: Parameters<typeof tokenParts>[1] = {}) =>
  bearer(tokenBytes(tokenParts(NOW_MS, { wallet: alice, timestampMs: BigInt(++made), ...changes })));
const contractToken = () => token({ address: CONTRACT });

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});

describe("a verified token", () => {
  test("is known by its hash until it expires, and no longer", async () => {
    const one = token();
    const first = await scene.verify(one);
    for (const ms of [1, TOKEN_LIFE_MS - 1]) {
      scene.wait(ms);
      expect(await scene.verify(one)).toBe(first);
    }
    scene.wait(1);
    for (let i = 0; i < 2; i++) expect(await scene.outcome(one)).toBe("wallet_token_invalid");
  });

  test("is another one with each byte that differs, and with no padding the same", async () => {
    const one = token();
    const first = await scene.verify(one);
    expect(await scene.verify(one.replace(/=+$/, ""))).toBe(first);
    expect(await scene.verify(token())).not.toBe(first);
  });

  test("stays known, however many wrong ones come", async () => {
    const [one, wrong] = [token(), token({ address: new TestKey("bob").address })];
    const noContracts = new WalletTokens({ suite, clock: scene.clock });
    const first = await noContracts.verify(one, scene.sender);
    const refusal = await noContracts.verify(wrong, scene.sender).catch((error: unknown) => error);
    for (let i = 0; i < MAX_REFUSED; i++) {
      const garbage = `Bearer ${Buffer.from(`no token ${i}`).toString("base64")}`;
      await expect(noContracts.verify(garbage, scene.sender)).rejects.toThrow("validating token");
    }
    expect(await noContracts.verify(one, scene.sender)).toBe(first);
    // The first refusal was pushed out by so many others: it is found again, by verifying again.
    const again = await noContracts.verify(wrong, scene.sender).catch((error: unknown) => error);
    expect([refusal, again]).toMatchObject([
      { code: "wallet_token_invalid" },
      { code: "wallet_token_invalid" },
    ]);
    expect(again).not.toBe(refusal);
  });

  test("costs nothing more, and asks no contract", async () => {
    await scene.verify(token());
    expect([scene.asked, scene.charged]).toEqual([0, 0]);
  });
});

describe("a refused token", () => {
  test("by its time is judged anew: the clock may have been wrong", async () => {
    const late = token({ createdNs: BigInt(NOW_MS - TOKEN_LIFE_MS - 1) * 1_000_000n });
    expect(await scene.outcome(late)).toBe("wallet_token_invalid");
    scene.clock.step(NOW_MS - 1_000);
    expect(await scene.outcome(late)).toBe(alice.address);
  });
});

describe("a contract", () => {
  test("is asked once for a token that many send at once; each pays for the question", async () => {
    const gate = Promise.withResolvers<boolean>();
    scene.answer = () => gate.promise;
    const one = contractToken();
    const all = Promise.all(Array.from({ length: 10 }, () => scene.outcome(one)));
    await vi.waitFor(() => expect(scene.charged).toBe(10 * CONTRACT_CHECK_UNITS));
    gate.resolve(true);
    expect(await all).toEqual(Array(10).fill(CONTRACT));
    expect([scene.asked, scene.charged]).toEqual([1, 10 * CONTRACT_CHECK_UNITS]);
    expect(await scene.outcome(one)).toBe(CONTRACT);
    expect([scene.asked, scene.charged]).toEqual([1, 10 * CONTRACT_CHECK_UNITS]);
  });

  test("is not asked for who cannot pay", async () => {
    const charge = async () => {
      throw exhausted("rate_limited", "rate limit exceeded");
    };
    scene.sender = { ...scene.sender, charge };
    expect(await scene.outcome(contractToken())).toBe("rate_limited");
    expect(scene.asked).toBe(0);
  });

  test("that says yes is asked again after five minutes, and one that says no after one", async () => {
    const [good, bad] = [contractToken(), contractToken()];
    scene.answer = async () => scene.asked !== 2;
    expect([await scene.outcome(good), await scene.outcome(bad)]).toEqual([CONTRACT, "wallet_token_invalid"]);
    scene.wait(CONTRACT_REFUSED_MS - 1);
    expect([await scene.outcome(bad), scene.asked]).toEqual(["wallet_token_invalid", 2]);
    scene.wait(1);
    expect([await scene.outcome(bad), scene.asked]).toEqual([CONTRACT, 3]);
    scene.wait(CONTRACT_HOLDS_MS - CONTRACT_REFUSED_MS - 1);
    expect([await scene.outcome(good), scene.asked]).toEqual([CONTRACT, 3]);
    scene.wait(1);
    scene.answer = async () => false;
    expect([await scene.outcome(good), scene.asked]).toEqual(["wallet_token_invalid", 4]);
  });

  test("holds for no longer than its token", async () => {
    const one = contractToken();
    scene.wait(TOKEN_LIFE_MS - 1);
    expect(await scene.outcome(one)).toBe(CONTRACT);
    scene.wait(2);
    expect(await scene.outcome(one)).toBe("wallet_token_invalid");
  });

  test("that cannot be asked is not remembered, neither as yes nor as no", async () => {
    const one = contractToken();
    scene.answer = async () => {
      throw unavailable("wallet_check_unavailable", "away");
    };
    expect(await scene.outcome(one)).toBe("wallet_check_unavailable");
    scene.answer = async () => true;
    expect(await scene.outcome(one)).toBe(CONTRACT);
    scene.wait(CONTRACT_HOLDS_MS);
    scene.answer = async () => {
      throw unavailable("wallet_check_unavailable", "away");
    };
    expect(await scene.outcome(one)).toBe("wallet_check_unavailable");
  });

  test("whose answer is lost with the request that asked leaves others an answer, and room", async () => {
    scene.answer = () => new Promise(() => {});
    const lost = Array.from({ length: MAX_CONTRACT_CHECKS }, contractToken);
    const waiting = Promise.all(lost.map((each) => scene.outcome(each)));
    await vi.waitFor(() => expect(scene.asked).toBe(MAX_CONTRACT_CHECKS));
    expect(await scene.outcome(contractToken())).toBe("wallet_check_unavailable");
    const endMs = scene.clock.nowMs() + 6_000;
    while (scene.clock.step(endMs));
    expect(await waiting).toEqual(Array(MAX_CONTRACT_CHECKS).fill("wallet_check_unavailable"));
    scene.answer = async () => true;
    expect(await scene.outcome(lost[0] as string)).toBe(CONTRACT);
    expect(scene.clock.timers).toBe(0);
  });
});
