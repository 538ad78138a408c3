import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope, textOf } from "./support/node-client.ts";
import { newWallet, SDKS } from "./support/xmtp-sdk.ts";

/** A node that admits wallets alone, and the official SDKs as they are. */

let network: TestNetwork;
let node: TestNode;

beforeAll(async () => {
  network = await startNetwork(1, { admission: "wallet" });
  node = network.node(0);
});
afterAll(() => network.stop());
beforeEach(() => {
  vi.spyOn(console, "info").mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

/** What a publish is answered: status, message, and the policies that could have granted it. */
async function publish(token: string | null, ...topics: readonly string[]) {
  const envelopes = topics.map((topic, i) => envelope(topic, 1_000 + i, `to ${topic}`));
  const response = await node.request("/message/v1/publish", {
    method: "POST",
    body: JSON.stringify({ envelopes }),
    headers: token === null ? {} : { Authorization: token },
  });
  const body = (await response.json()) as {
    message?: string;
    details?: { metadata: { wouldGrant: string } }[];
  };
  return {
    status: response.status,
    message: body.message,
    wouldGrant: body.details?.[0]?.metadata.wouldGrant,
    code: response.headers.get("pennypost-error"),
    authenticate: response.headers.get("www-authenticate"),
  };
}

/** Runs `work` and answers the tokens that it sent to the node. */
async function tokensOf(work: () => Promise<unknown>): Promise<string[]> {
  const tokens: string[] = [];
  const send = globalThis.fetch;
  const spy = vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    const token = new Headers(init?.headers).get("authorization");
    if (token) tokens.push(token);
    return send(input, init);
  });
  try {
    await work();
  } finally {
    spy.mockRestore();
  }
  return [...new Set(tokens)];
}

describe.each(Object.entries(SDKS))("xmtp-js %s", (version, { Client }) => {
  const logIn = (wallet: ReturnType<typeof newWallet>) =>
    Client.create(wallet, { env: "local", apiUrl: node.url, persistConversations: false });

  test("logs in, and its messages arrive", async () => {
    const alice = await logIn(newWallet());
    const bob = await logIn(newWallet());
    const conversation = await alice.conversations.newConversation(bob.address);
    await conversation.send(`from ${version}`);
    const [received] = await bob.conversations.list();
    const messages = await received?.messages();
    expect(messages?.map(({ content }) => content)).toEqual([`from ${version}`]);
  });

  test("makes a token that is good for its own wallet's topics and those of all", async () => {
    const wallet = newWallet();
    const [token = ""] = await tokensOf(() => logIn(wallet));
    expect(token).toMatch(/^Bearer [A-Za-z0-9+/]{300,}=*$/);
    const topic = `/xmtp/0/m-${version}/proto`;
    expect(await publish(token, topic)).toMatchObject({ status: 200 });
    expect((await node.queryAll(topic)).map(textOf)).toEqual([`to ${topic}`]);
    expect(await publish(token, `/xmtp/0/contact-${newWallet().address}/proto`)).toMatchObject({
      status: 403,
      message: "publishing to restricted topic",
      code: "topic_restricted",
    });
  });

  test("makes a token of which no byte may be another", async () => {
    const [token = ""] = await tokensOf(() => logIn(newWallet()));
    const bytes = Buffer.from(token.slice("Bearer ".length), "base64");
    const step = Math.ceil(bytes.length / 40);
    for (let at = 0; at < bytes.length; at += step) {
      const changed = Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 1 : byte));
      const answer = await publish(`Bearer ${Buffer.from(changed).toString("base64")}`, "anything");
      expect([at, answer.status, answer.code]).toEqual([at, 401, "wallet_token_invalid"]);
      expect(answer.message).toMatch(/^validating token: /);
    }
  });
});

describe("a publish without a token", () => {
  test.each([
    [null, "wallet_token_missing", "authorization token is not provided"],
    ["Bearer", "authorization_malformed", "invalid authorization header"],
    ["Bearer a b", "authorization_malformed", "invalid authorization header"],
    ["Basic abc", "scheme_unknown", "unrecognized authorization scheme Basic"],
  ])("is refused as in 2023: %s", async (token, code, message) => {
    expect(await publish(token, "anything")).toEqual({
      status: 401,
      code,
      message,
      wouldGrant: "wallet",
      authenticate: "Bearer",
    });
    expect(await node.queryAll("anything")).toEqual([]);
  });
});
