import { renameSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { joiningNodes, run } from "./support/joining-nodes.ts";
import { until } from "./support/until.ts";

/** What operators do with the peers that they have and the members of their network, by their commands, on real nodes. */

const nodes = await joiningNodes();
/** The second is a peer of the first, and the fourth one of the second. The third is no more than a key. */
const { first, second, third, fourth, folder, recordKeyFile, genesisFile } = nodes;

beforeAll(async () => {
  await Promise.all([first, second, fourth].map((node) => node.start()));
  expect(await second.peer("join", first.url, await first.invitation())).toMatchObject({ status: 0 });
  expect(await first.peer("admit", fourth.key.did)).toMatchObject({ status: 0 });
  await until("the second knows of the fourth", async () => {
    await second.sync(first);
    const { output } = await fourth.peer("join", second.url, await second.invitation());
    return output.includes("your node is a member of the network");
  });
  await until("the second is a member to itself", async () => {
    await second.say(2, "of the second");
    return true;
  });
  await until("it is at the first", async () => (await first.texts()).includes("of the second"));
}, 120_000);
afterAll(() => nodes.stop());

describe("the operator", () => {
  test("suspends a peer and resumes it: what it has comes then", async () => {
    const key = second.key.did;
    expect((await first.peer("suspend", key)).output).toContain("is suspended");
    expect((await first.peer("list")).output).toContain(
      `suspended; to lift it: npx pennypost peer resume ${key}`,
    );
    await until("the first refuses it", async () => (await second.sync(first)) === 503);
    expect((await second.peer("list")).output).toContain("refuses us: suspended");
    await second.say(6, "while suspended");
    expect((await first.peer("resume", key)).output).toContain("is no longer suspended");
    // A request of the first ends the second's pause, and its next push names what the first lacks.
    await until("it comes after all", async () => {
      await first.sync(second);
      await second.say(Date.now(), "after the suspension");
      return (await first.texts()).includes("while suspended");
    });
  });

  test("changes a node's key: its peers follow, and what it took before stays", async () => {
    const node = second;
    const before = node.key;
    const oldKey = join(folder, "old.key");
    await node.stop();
    renameSync(node.keyFile, oldKey);
    await node.start();
    expect(node.key.did).not.toBe(before.did);
    await expect(node.say(50, "too early")).rejects.toThrow();
    const wrong = await node.peer("rotate", "--old-key", recordKeyFile);
    expect(wrong.status).toBe(1);
    expect(wrong.output).toContain("does not know it");
    expect(wrong.errors).toContain("this file is not the key that the node had before");
    const told = await node.peer("rotate", "--old-key", oldKey);
    expect(told.errors).toBe("");
    expect(told.output).toContain(`${first.url}  calls this node by its new key\n`);
    expect((await node.peer("rotate", "--old-key", oldKey)).output).toContain("All peers know it");
    await until("it is a member by its new key", async () => {
      await node.say(51, "by the new key");
      return true;
    });
    // It was refused until the first knew it; by its answer it need not pause any more.
    await until("it is at the first", async () => {
      await node.say(Date.now(), "by the new key, again");
      return (await first.texts()).includes("by the new key");
    });
    await first.say(52, "to the new key");
    await until("it is at the second", async () => (await node.texts()).includes("to the new key"));
    expect(await first.texts()).toContain("of the second");
    expect((await first.peer("list")).output).toContain(`${node.url}  ${node.key.did}`);
    const same = await node.peer("rotate", "--old-key", node.keyFile);
    expect(same.errors).toContain("still has the old key");
    expect(same.errors).toContain("mv DATA/node.key OLD_KEY_FILE, cp NEW_KEY_FILE DATA/node.key");
  });

  test("removes a member by a key that no node holds: what it takes from then on goes nowhere", async () => {
    const invitation = await first.invitation();
    expect(await second.peer("join", first.url, invitation)).toMatchObject({ status: 0 });
    const from = new Date().toISOString();
    await second.say(7, "after the line");
    const removed = await first.peer(
      "remove",
      second.key.did,
      ...["--from", from, "--record-key", recordKeyFile, "--genesis", genesisFile],
    );
    expect(removed.errors).toBe("");
    expect(removed.output).toContain(`is removed from ${from}`);
    await until("its event leaves the first", async () => !(await first.texts()).includes("after the line"));
    expect(await first.texts()).toContain("while suspended");
    await until("it hears of it itself, and takes no more", async () => {
      await first.sync(second);
      return !(await second.texts()).includes("after the line");
    });
    await expect(second.say(8, "no member any more")).rejects.toThrow(/not_a_member|503/);
    const again = await second.peer("join", first.url, invitation);
    expect(again.errors).toContain("an operator has to admit it");
  });

  test("admits it again by a node's record key, and forgets a peer", async () => {
    const admitted = await first.peer("admit", second.key.publicKey);
    expect(admitted.output).toContain("is a member from");
    await until("it may publish again", async () => {
      await first.sync(second);
      await second.say(9, "a member again");
      return true;
    });
    const forgotten = await first.peer("forget", second.key.did);
    expect(forgotten.output).toContain("is no peer of this node any more; it stays a member");
    expect((await first.peer("list")).output).toContain("no peers");
    await second.peer("remove", fourth.key.did, ...["--record-key", recordKeyFile, "--genesis", genesisFile]);
    const removed = await second.peer("forget", fourth.key.did);
    expect(removed.output).toContain("is no peer of this node any more; it is removed from the network");
    const again = await second.peer("forget", fourth.key.did);
    expect(again.errors).toContain("no such peer");
    expect((await second.peer("suspend", fourth.key.did)).output).toContain("To lift it: npx pennypost");
    expect((await second.peer("list")).output).toMatch(
      /No peers of this node:\n\S+ {2}removed {2}suspended;/,
    );
    const genesisMs = Date.now() - 3_000_000;
    const ended = await first.peer("remove", second.key.did, "--from", new Date(genesisMs).toISOString());
    expect(ended.errors).toBe("");
    await until("all that it took is gone from the first", async () => {
      const texts = await first.texts();
      return !texts.includes("by the new key") && !texts.includes("a member again");
    });
  });

  test("is told what is wrong, and how to mend it", async () => {
    for (const [from, why] of [
      ["2020-01-01", "before the network began"],
      ["20261123", "before the network began"],
      ["yesterday", "neither a seq nor a time"],
      ["-1", "neither a seq nor a time"],
    ] as const)
      expect((await first.peer("remove", third.key.did, `--from=${from}`)).errors).toContain(why);
    for (const way of [[], ["--record-key", recordKeyFile, "--genesis", genesisFile]])
      expect((await first.peer("remove", first.key.did, ...way)).errors).toMatch(
        /the node's own key[\s\S]*mend: the same with --force/,
      );
    const wrong = await second.peer("admit", third.key.did);
    expect(wrong.status).toBe(1);
    expect(wrong.errors).toContain("mend: name the record key: --record-key FILE");
    const away = await run("peer", "list", "--node", "http://127.0.0.1:9", "--admin-secret", recordKeyFile);
    expect(away.errors).toContain("does not answer");
    const secure = first.url.replace("http:", "https:");
    const noTls = await run("peer", "list", "--node", secure, "--admin-secret", recordKeyFile);
    expect(noTls.errors).toContain(`does not speak https\n  mend: --node ${first.url}, if`);
    const cut = await first.peer("suspend", third.key.did.slice(0, 40));
    expect(cut.errors).toContain("mend: npx pennypost peer list shows the peers' keys");
    const stranger = await run("peer", "list", "--node", first.url, "--admin-secret", recordKeyFile);
    expect(stranger.errors).toContain("mend: name this node's secret");
  });

  test("finds every change in the audit log, and no invitation there", async () => {
    const rows = await first.audit();
    const actions = new Set(rows.map(({ action }) => action));
    for (const each of [
      "invitation.make",
      "peer.suspend",
      "peer.resume",
      "record.take",
      "member.decide",
      "peer.forget",
    ])
      expect(actions).toContain(each);
    expect(JSON.stringify(rows)).not.toContain("pennypost-invitation");
  });
});
