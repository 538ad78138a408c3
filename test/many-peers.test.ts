import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { MAX_PEERS } from "../protocol/peer-address.ts";
import { HostilePeer } from "./support/hostile-peer.ts";
import { startNetwork } from "./support/network.ts";
import { expectHealthy } from "./support/refusals.ts";
import { spray, topicNames } from "./support/spray.ts";
import { within } from "./support/until.ts";

/** Some seconds. */
const MOST_TURNS = 1_000_000;

/** What is said of them comes all at once: more than the pipe of workerd's log takes while nobody reads it. */
test("a node with as many peers as it may have, all away, works and has its rounds", async () => {
  const strangers = await HostilePeer.reserve(MAX_PEERS);
  const network = await startNetwork(1, { shards: 4, strangers: strangers.map(({ address }) => address) });
  onTestFinished(() => network.stop());
  const node = network.node(0);
  const publishing = spray([node], topicNames("many", 8), 200, 1);
  // At the first line, so that the others come while the round is being called.
  for (let turns = 0; node.reports.length === 0 && turns < MOST_TURNS; turns++) await nextTurn();
  await within("a round", node.runScheduled());
  await publishing;
  expect(node.reports.length).toBeGreaterThanOrEqual(MAX_PEERS);
  await expectHealthy(node);
  // The launcher alone calls rounds, and not by the node's own socket.
  expect((await node.request("/cdn-cgi/local/scheduled")).status).toBe(404);
});
