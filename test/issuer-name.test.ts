import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DEFAULT_POLICY } from "../protocol/genesis.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { DAY_MS, STAMPED, START_MS } from "./support/stamp-scene.ts";
import { Buyer, publishAt, stamped } from "./support/stamps.ts";
import { until } from "./support/until.ts";

/** A node whose first questions come under hosts that are no names. */

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

/** Asks under a host, and answers the status, the error's code and the challenges of a refusal. */
function askUnder(host: string, method: string, path: string, body = "") {
  const { promise, resolve, reject } = Promise.withResolvers<(number | string | undefined)[]>();
  const sent = request(`${node.url}${path}`, { method, headers: { host } }, (response) => {
    const { "pennypost-error": code, "www-authenticate": challenges } = response.headers;
    response.on("error", reject).on("end", () => {
      resolve([response.statusCode, String(code), challenges]);
    });
    response.resume();
  });
  sent.on("error", reject).end(body);
  return promise;
}

test("hosts that are no names make no key, and the stamps that are bought then are good everywhere", async () => {
  const body = JSON.stringify({ envelopes: [envelope(STAMPED, 1, "none")] });
  for (const host of [LONG_HOST, "a_b.example"]) {
    expect((await askUnder(host, "GET", DIRECTORY_PATH)).slice(0, 2)).toEqual([400, "issuer_name_invalid"]);
    expect(await askUnder(host, "POST", "/message/v1/publish", body)).toEqual([
      401,
      "wallet_token_missing",
      "Bearer, PrivateToken",
    ]);
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
  // Now there is a key, and no host matters.
  expect((await askUnder(LONG_HOST, "GET", DIRECTORY_PATH))[0]).toBe(200);
});
