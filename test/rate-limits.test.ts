import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bearer, TestKey, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";

/** Many wallets at one node, each from an address of its own, as the platform would name it. */

const LIMITS = {
  wallet: { burst: 30, perMinute: 60 },
  address: { burst: 60, perMinute: 120 },
  listedFactor: 2,
};
const WALLETS = 20;

let network: TestNetwork;
let node: TestNode;

beforeAll(async () => {
  network = await startNetwork(1, { admission: "wallet", rateLimits: JSON.stringify(LIMITS) });
  node = network.node(0);
});
afterAll(() => network.stop());

class Publishing {
  readonly topic: string;
  readonly statuses: number[] = [];
  readonly #token: string;
  readonly #address: string;
  #count = 0;

  constructor(name: string, address: string) {
    const parts = tokenParts(Date.now(), {
      wallet: new TestKey(name),
      identity: new TestKey(`${name} identity`),
    });
    this.#token = bearer(tokenBytes(parts));
    this.#address = address;
    this.topic = `/xmtp/0/m-${name.replaceAll(" ", "-")}/proto`;
  }

  async once(): Promise<Response> {
    const response = await node.request("/message/v1/publish", {
      method: "POST",
      body: JSON.stringify({ envelopes: [envelope(this.topic, ++this.#count, `${this.#count}`)] }),
      headers: { Authorization: this.#token, "CF-Connecting-IP": this.#address },
    });
    this.statuses.push(response.status);
    return response;
  }

  async times(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await (await this.once()).body?.cancel();
  }

  refused(): number {
    return this.statuses.filter((status) => status === 429).length;
  }
}

const address = (group: number, index: number) => `203.0.${group}.${index}`;

describe("wallets over their limit", () => {
  test("take nothing from those under theirs, who lose nothing", async () => {
    const make = (name: string, group: number) =>
      Array.from({ length: WALLETS }, (_, i) => new Publishing(`${name} ${i}`, address(group, i)));
    const [over, under] = [make("over", 1), make("under", 2)];
    await Promise.all([...over.map((each) => each.times(60)), ...under.map((each) => each.times(25))]);
    for (const each of over) {
      const stored = await node.queryAll(each.topic);
      expect(each.refused()).toBeGreaterThan(0);
      expect(stored).toHaveLength(60 - each.refused());
      // What comes back meanwhile is a unit a second.
      expect(stored.length).toBeGreaterThanOrEqual(30);
    }
    for (const each of under) {
      expect(each.refused()).toBe(0);
      expect(await node.queryAll(each.topic)).toHaveLength(25);
    }
  });

  test("are told when to come again and what is left, and the node forgets nothing when it restarts", async () => {
    const wallet = new Publishing("told", address(3, 1));
    const first = await wallet.once();
    expect(first.headers.get("ratelimit-policy")).toBe('"publish";q=30;w=30');
    expect(first.headers.get("ratelimit")).toMatch(/^"publish";r=29;t=\d+$/);
    await wallet.times(40);
    const refused = await wallet.once();
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(refused.headers.get("pennypost-error")).toBe("rate_limited");
    expect(await refused.json()).toMatchObject({ code: 8, message: "rate limit exceeded" });
    await node.stop();
    await node.start();
    const again = new Publishing("told", address(3, 2));
    await again.times(30);
    expect(again.refused()).toBeGreaterThan(0);
  });

  test("are not told apart by the topics or tokens that they use, and one address has one budget", async () => {
    const wallets = Array.from({ length: 5 }, (_, i) => new Publishing(`of one address ${i}`, address(4, 1)));
    for (const each of wallets) await each.times(20);
    expect(wallets.reduce((sum, each) => sum + each.refused(), 0)).toBeGreaterThan(20);
  });
});
