import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { toBase64Url } from "../protocol/base64.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { DEFAULT_POLICY } from "../protocol/genesis.ts";
import { stampChallenge } from "../protocol/stamp.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { DAY_MS, STAMPED, START_MS } from "./support/stamp-scene.ts";
import { Buyer, publishAt, stamped } from "./support/stamps.ts";
import { until } from "./support/until.ts";

/** A node that is asked under hosts that are no names. */

const DIRECTORY_PATH = "/.well-known/private-token-issuer-directory";
/** Over 253 characters. */
const LONG_HOST = ["a", "b", "c", "d", "e", "f"].map((part) => part.repeat(60)).join(".");

let network: TestNetwork;
let node: TestNode;
beforeAll(async () => {
  network = await startNetwork(2, {
    admission: "wallet,stamp",
    shards: 4,
    genesis: (keys) => ({
      ...DEFAULT_POLICY,
      version: 1,
      name: "asks for stamps",
      createdMs: START_MS - 60 * DAY_MS,
      members: [...keys],
      recordKeys: [],
      stampPrefixes: ["/xmtp/0/m-"],
    }),
  });
  node = network.node(0);
});
afterAll(() => network.stop());

/** Asks under a host, and answers the status, the error's code, the challenges of a refusal, and the body. */
function askUnder(host: string, method: string, path: string, body = "") {
  const { promise, resolve, reject } = Promise.withResolvers<(number | string | undefined)[]>();
  const sent = request(`${node.url}${path}`, { method, headers: { host } }, (response) => {
    const { "pennypost-error": code, "www-authenticate": challenges } = response.headers;
    let answer = "";
    response.setEncoding("utf8").on("error", reject);
    response.on("data", (part: string) => {
      answer += part;
    });
    response.on("end", () => resolve([response.statusCode, String(code), challenges, answer]));
  });
  sent.on("error", reject).end(body);
  return promise;
}

/** The challenge of the one key in the directory. */
async function challengeUnder(host: string): Promise<string> {
  const [status, , , answer] = await askUnder(host, "GET", DIRECTORY_PATH);
  expect(status).toBe(200);
  const { "token-keys": keys } = JSON.parse(String(answer)) as { "token-keys": { challenge: string }[] };
  expect(keys).toHaveLength(1);
  return keys[0]?.challenge ?? "";
}

const challengeOf = (host: string): string =>
  toBase64Url(stampChallenge(host, network.rules.id, portableSuite()));

test("hosts that are no names change nothing of the key that is there, and the stamps that are bought are good everywhere", async () => {
  // It was made when the node was first asked, which was for its health.
  const challenges = [await challengeUnder(LONG_HOST), await challengeUnder("a_b.example")];
  expect(challenges).toEqual(Array(2).fill(challengeOf(`127.0.0.1:${node.port}`)));
  const body = JSON.stringify({ envelopes: [envelope(STAMPED, 1, "none")] });
  for (const host of [LONG_HOST, "a_b.example"]) {
    const [status, code, asked] = await askUnder(host, "POST", "/message/v1/publish", body);
    expect([status, code]).toEqual([401, "wallet_token_missing"]);
    expect(asked).toContain(`PrivateToken challenge="${challenges[0]}`);
  }
  const [stamp] = await new Buyer("buyer").stamps(node);
  if (!stamp) throw new Error("there are stamps");
  expect(
    await publishAt(node, [stamped(network.rules, node, stamp, envelope(STAMPED, 1, "everywhere"))]),
  ).toEqual([200, null]);
  await until("the event is at each node", async () => {
    for (const each of network.nodes) await each.runScheduled();
    const stored = await Promise.all(network.nodes.map((each) => each.events(STAMPED)));
    return stored.every(({ length }) => length === 1);
  });
});
