import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import {
  Identity,
  type KeptStamp,
  MemoryStampStore,
  PennypostClient,
  type PennypostError,
} from "../client/index.ts";
import { utf8 } from "../protocol/bytes.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { LoopbackProxy, type ProxiedAnswer, ways } from "./support/proxy.ts";
import { testWallet } from "./support/test-wallet.ts";
import { untilWitnessed } from "./support/witnesses.ts";

/** A node that refuses a stamped publish, to see which wallet buys or speaks up right after it, sees none. */

const PUBLISH = "/message/v1/publish";
const envelopes = [{ topic: "/xmtp/0/m-refused/proto", message: utf8("the same again"), timestampNs: 1n }];

let network: TestNetwork;
let node: TestNode;
let identity: Identity;
/** Bought long before. */
let bought: KeptStamp[];

beforeAll(async () => {
  network = await startNetwork(2, { admission: "wallet,stamp", shards: 4 });
  node = network.node(0);
  identity = await Identity.create(testWallet("who is looked for"));
  await untilWitnessed(network);
  const store = new MemoryStampStore();
  const buyer = new PennypostClient({ url: node.url, identity, stamps: { store, unwitnessed: true } });
  await buyer.buyStamps();
  buyer.close();
  bought = [...(await store.list())];
});
afterAll(() => network.stop());

const refusal = (status: number, code: string, headers: ProxiedAnswer["headers"] = {}): ProxiedAnswer => ({
  status,
  headers: { "pennypost-error": code, ...headers },
  body: Buffer.from(JSON.stringify({ code: status === 429 ? 8 : 7, message: "no" })),
});

/** A client with some stamps at a node that refuses publishes, and all that is asked from then on. */
async function scene(stamps: number) {
  const proxy = await LoopbackProxy.open(node.url);
  onTestFinished(() => proxy.close());
  const store = new MemoryStampStore();
  const witnesses = [network.node(1).url];
  const client = new PennypostClient({ url: proxy.url, identity, maxTries: 2, stamps: { store, witnesses } });
  onTestFinished(() => client.close());
  await store.add(bought.splice(0, stamps));
  expect(await client.stampsLeft()).toBe(stamps);
  const seen: string[] = [];
  const refuse = (answer: ProxiedAnswer | undefined) => {
    proxy.way = async (request, forward) => {
      const { path, headers } = request;
      const isAnonymous = !headers.authorization && !headers["pennypost-proof"] && !headers.cookie;
      seen.push(isAnonymous ? path : `${path} by a wallet`);
      if (path !== PUBLISH) return forward(request);
      return answer && { ...answer, headers: { ...answer.headers, "set-cookie": ["who=you"] } };
    };
  };
  const publish = (): Promise<string> =>
    client.publish(envelopes).then(
      () => "published",
      (error: PennypostError) => error.code,
    );
  return { client, proxy, seen, refuse, publish };
}

describe("a stamped publish that is refused", () => {
  test.each<[string, ProxiedAnswer | undefined, string]>([
    ["for a key that is in force", refusal(403, "stamp_key_unknown"), "stamp_key_denied"],
    ["as spent", refusal(403, "stamp_spent"), "stamp_spent"],
    ["as invalid", refusal(403, "stamp_invalid"), "stamp_invalid"],
    [
      "with a question for the wallet's token",
      refusal(401, "wallet_token_missing", { "www-authenticate": 'Bearer, Basic realm="x"' }),
      "wallet_token_missing",
    ],
    [
      "with a question for another key's stamp",
      refusal(401, "stamp_missing", {
        "www-authenticate": 'PrivateToken challenge="AAIA", token-key="MIIB"',
      }),
      "stamp_missing",
    ],
    ["for too many", refusal(429, "rate_limited", { "retry-after": "3600" }), "rate_limited"],
    ["for too many, for a moment", refusal(429, "rate_limited", { "retry-after": "0" }), "rate_limited"],
    ["by a failure", { status: 500, headers: {}, body: Buffer.from("oops") }, "http_status"],
    ["to be sent elsewhere", refusal(307, "moved", { location: "/v1/stamps" }), "moved"],
    ["by a closed connection", undefined, "node_unreachable"],
  ])("%s, until no stamp is left, is followed by nothing of its wallet", async (_, answer, code) => {
    const { client, seen, refuse, publish } = await scene(2);
    refuse(answer);
    expect([await publish(), await publish()]).toEqual([code, code]);
    expect(await client.stampsLeft()).toBe(0);
    expect([await publish(), await publish()]).toEqual(["stamps_missing", "stamps_missing"]);
    expect(new Set(seen)).toEqual(new Set([PUBLISH]));
  });

  test("for a key that is in force keeps its other stamps, which are good once the node takes them", async () => {
    const { client, proxy, seen, refuse, publish } = await scene(50);
    refuse(refusal(403, "stamp_key_unknown"));
    expect(await publish()).toBe("stamp_key_denied");
    expect(await client.stampsLeft()).toBe(49);
    expect(seen).toEqual([PUBLISH]);
    proxy.way = ways.open;
    expect(await publish()).toBe("published");
  });

  test("for a key that has ended since it was prepared is told as the node does", async () => {
    const { client, refuse } = await scene(1);
    refuse(refusal(403, "stamp_key_unknown"));
    const prepared = await client.prepare(envelopes);
    expect(prepared.stampsUntilMs).toBeGreaterThan(Date.now());
    const later = client.send({ ...prepared, stampsUntilMs: Date.now() });
    await expect(later).rejects.toMatchObject({ code: "stamp_key_unknown" });
  });
});
