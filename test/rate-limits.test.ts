import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { blindBatch } from "../client/blind-batch.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { Admin } from "./support/admin.ts";
import { readIssuer } from "./support/issuer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { suite } from "./support/peer.ts";
import { Buyer } from "./support/stamps.ts";
import { until } from "./support/until.ts";

/** Many wallets at one node, each from an address of its own, as the platform would name it. */

const LIMITS = {
  wallet: { burst: 30, perMinute: 60 },
  address: { burst: 60, perMinute: 120 },
  stamps: { burst: 150, perMinute: 1 },
  listedFactor: 2,
};
const WALLETS = 20;

let network: TestNetwork;
let node: TestNode;

beforeAll(async () => {
  network = await startNetwork(1, { admission: "wallet,stamp", rateLimits: JSON.stringify(LIMITS) });
  node = network.node(0);
});
afterAll(() => network.stop());

async function restart(): Promise<void> {
  await node.stop();
  await node.start();
}

class Publishing {
  readonly topic: string;
  readonly wallet: string;
  readonly statuses: number[] = [];
  readonly #token: string;
  readonly #address: string;
  #count = 0;

  constructor(name: string, address: string) {
    const wallet = new TestKey(name);
    this.wallet = wallet.address;
    const parts = tokenParts(Date.now(), {
      wallet,
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
    await restart();
    const again = new Publishing("told", address(3, 2));
    await again.times(30);
    expect(again.refused()).toBeGreaterThan(0);
  });

  test("have their stamps counted, too, and the node forgets none when it restarts", async () => {
    const buyer = new Buyer("who buys twice");
    const { body } = await blindBatch(await readIssuer(node), suite);
    const buy = async () => {
      const response = await buyer.buy(body, node);
      await response.body?.cancel();
      return [response.status, response.headers.get("pennypost-error")];
    };
    expect(await buy()).toEqual([200, null]);
    expect(await buy()).toEqual([429, "rate_limited"]);
    await restart();
    expect(await buy()).toEqual([429, "rate_limited"]);
    // Another's are its own.
    expect(await new Buyer("who buys once").stamps(node)).toHaveLength(100);
  });

  test("are listed or denied by the operator until that says otherwise, and over restarts", async () => {
    const [listed, denied] = [
      new Publishing("listed", address(5, 1)),
      new Publishing("denied", address(5, 2)),
    ];
    const admin = new Admin(node);
    for (const [wallet, standing] of [
      [listed, "listed"],
      [denied, "denied"],
    ] as const)
      await (
        await admin.request("PUT", `/admin/wallets/${wallet.wallet}?standing=${standing}`)
      ).body?.cancel();
    await restart();
    expect((await listed.once()).headers.get("ratelimit-policy")).toBe('"publish";q=60;w=30');
    const refused = await denied.once();
    expect([refused.status, refused.headers.get("pennypost-error")]).toEqual([403, "wallet_denied"]);
    const again = await admin.request("PUT", `/admin/wallets/${denied.wallet}?standing=none`);
    expect(await again.json()).toEqual({ wallet: denied.wallet, standing: "none", before: "denied" });
    await until("a publish of who is not denied any more", async () => {
      const response = await denied.once();
      await response.body?.cancel();
      return response.status === 200;
    });
  });

  test("are not told apart by the topics or tokens that they use, and one address has one budget", async () => {
    const wallets = Array.from({ length: 5 }, (_, i) => new Publishing(`of one address ${i}`, address(4, 1)));
    for (const each of wallets) await each.times(20);
    expect(wallets.reduce((sum, each) => sum + each.refused(), 0)).toBeGreaterThan(20);
  });
});
