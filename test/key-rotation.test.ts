import { renameSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { keptNodeKey } from "../cli/node-key.ts";
import { DEFAULT_POLICY } from "../protocol/genesis.ts";
import { Command } from "./support/command.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { within } from "./support/until.ts";

/** What an operator is told who names the wrong file for a key that was changed, or joins with a key that was removed. */

let network: TestNetwork;
/** The first signs records; the second's key is changed. */
let [first, second]: TestNode[] = [];
beforeAll(async () => {
  network = await startNetwork(2, {
    shards: 2,
    genesis: (keys) => ({
      ...DEFAULT_POLICY,
      version: 1,
      name: "rotation",
      createdMs: Date.now() - 3_600_000,
      members: [...keys],
      recordKeys: [keys[0] ?? ""],
    }),
  });
  [first, second] = network.nodes;
});
afterAll(() => network.stop());

function known(node: TestNode | undefined): TestNode {
  if (!node) throw new Error("the network has two nodes");
  return node;
}

/** `pennypost peer …` to a node. */
async function peer(node: TestNode, ...words: readonly string[]) {
  const secret = join(node.folder, "admin-secret");
  const command = new Command("peer", ...words, "--node", node.url, "--admin-secret", secret);
  const status = await within(words.join(" "), command.exited);
  return { status, output: command.output, errors: command.errors };
}

test("the wrong old key is noticed, also when the peers know the new key already", async () => {
  const [keyFile, oldKey] = ["node.key", "old.key"].map((name) => join(known(second).folder, name)) as [
    string,
    string,
  ];
  await known(second).stop();
  renameSync(keyFile, oldKey);
  await known(second).start();
  const told = await peer(known(second), "rotate", "--old-key", oldKey);
  expect(told).toMatchObject({ status: 0, errors: "" });
  // Of a member, and of nobody.
  const strangers = [join(known(first).folder, "node.key"), join(known(second).folder, "nobody.key")];
  keptNodeKey(strangers[1] as string);
  for (const wrong of strangers) {
    const answer = await peer(known(second), "rotate", "--old-key", wrong);
    expect(answer.output).not.toContain("All peers know it");
    expect(answer.errors).toContain("this file is not the key that the node had before");
    expect(answer.status).toBe(1);
  }
  const again = await peer(known(second), "rotate", "--old-key", oldKey);
  expect(again).toMatchObject({ status: 0, errors: "" });
  expect(again.output).toContain("All peers know it");
});

test("who joins with a key that was removed is told the command that mends it, whole", async () => {
  const { did } = keptNodeKey(join(known(second).folder, "node.key"));
  expect(await peer(known(first), "remove", did)).toMatchObject({ status: 0 });
  const { output } = await peer(known(first), "invite", "--json");
  const { invitation } = JSON.parse(output) as { invitation: string };
  const refused = await peer(known(second), "join", known(first).url, invitation);
  expect(refused.status).toBe(1);
  expect(refused.errors).toContain(`npx pennypost peer admit ${did}\n`);
  expect(await peer(known(first), "admit", did)).toMatchObject({ status: 0 });
  expect(await peer(known(second), "join", known(first).url, invitation)).toMatchObject({ status: 0 });
});
