import { afterAll, beforeAll, expect, test } from "vitest";
import { madeUpTokens } from "../bench/bench-wallet.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { Buyer, publishAt } from "./support/stamps.ts";

/** A few addresses with many bad tokens beside one with a new good one. */

const ATTACKERS = 5;
const TOKENS_OF_EACH = 40;
const TOPIC = "/xmtp/0/m-new/proto";

let network: TestNetwork;
let node: TestNode;
beforeAll(async () => {
  network = await startNetwork(1, { admission: "wallet" });
  node = network.node(0);
});
afterAll(() => network.stop());

test("another address's first token is verified while those of a few wait, or are refused", async () => {
  const publish = (token: string, address: string) =>
    publishAt(node, [envelope(TOPIC, 1, "one")], { Authorization: token, "CF-Connecting-IP": address });
  let answered = 0;
  const some = Promise.withResolvers<void>();
  const bad = madeUpTokens(ATTACKERS * TOKENS_OF_EACH).map(async (token, i) => {
    const [, code] = await publish(token, `192.0.2.${i % ATTACKERS}`);
    if (++answered === ATTACKERS) some.resolve();
    return code;
  });
  await some.promise;
  const good = await publish(new Buyer("new").token, "198.51.100.1");
  const codes = new Set(await Promise.all(bad));
  expect(good).toEqual([200, null]);
  expect(codes).toEqual(new Set(["wallet_token_invalid", "too_many_calls"]));
});
