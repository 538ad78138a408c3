import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type JoiningNode, joiningNodes } from "./support/joining-nodes.ts";
import { until } from "./support/until.ts";

/** Nodes join a network by invitation, by the commands that operators have, on real nodes. */

const nodes = await joiningNodes();
const { first, second, third, fourth } = nodes;

beforeAll(async () => {
  await Promise.all([first, second, third, fourth].map((node) => node.start()));
}, 120_000);
afterAll(() => nodes.stop());

describe("a node with an invitation", () => {
  test("joins: the network admits it, and what each takes comes to the other at once", async () => {
    await expect(second.say(1, "too early")).rejects.toThrow();
    const invitation = await first.invitation();
    const joined = await second.peer("join", first.url, invitation);
    expect(joined.errors).toBe("");
    expect(joined.output).toMatch(
      /is a peer now, and your node is a member of the network; clocks differ by \d+ ms/,
    );
    await until("the second is a member to itself", async () => {
      await second.say(2, "of the second");
      return true;
    });
    await first.say(3, "of the first");
    for (const node of [first, second])
      await until("both messages are there", async () => (await node.texts()).length === 2);
    const { output } = await first.peer("list");
    expect(output).toContain(`${second.url}  ${second.key.did}`);
  });

  test("may repeat it; another node may not use it too", async () => {
    const invitation = await first.invitation();
    for (let i = 0; i < 2; i++)
      expect(await second.peer("join", first.url, invitation)).toMatchObject({ status: 0 });
    const late = await third.peer("join", first.url, invitation);
    expect(late.status).toBe(1);
    expect(late.errors).toContain("another node has joined with this invitation");
  });

  test("of another network hears in one sentence in what they differ, and keeps the invitation good", async () => {
    const invitation = await first.invitation();
    const { status, errors } = await third.peer("join", first.url, invitation);
    expect(status).toBe(1);
    expect(errors).toContain("the documents differ in name, prefixes");
    expect(errors).toContain(`mend: take theirs, curl ${first.url}/v1/genesis > genesis.json`);
    expect(await second.peer("join", first.url, invitation)).toMatchObject({ status: 0 });
  });

  test("that was changed, revoked or made up, or is for another node, is refused", async () => {
    const invitation = await first.invitation();
    const join_ = (url: string, text: string) => second.peer("join", url, text);
    expect((await join_(first.url, invitation.slice(0, -8))).errors).toContain("cut or changed");
    expect((await join_(third.url, invitation)).errors).toContain(`the invitation is from ${first.url}`);
    expect((await first.peer("revoke")).output).toContain("1 unused invitation is revoked");
    expect((await join_(first.url, invitation)).errors).toContain("unknown, revoked or has expired");
    expect((await first.peer("join", first.url, invitation)).errors).toContain("this node's own");
  });

  test("where another answers, or nobody, hears how to name its own URL", async () => {
    const invitation = await first.invitation();
    for (const url of [third.url, "http://127.0.0.1:9"]) {
      const { status, errors } = await second.peer("join", first.url, invitation, "--url", url);
      expect(status).toBe(1);
      expect(errors).toContain(
        `mend: name the URL where ${first.url} reaches your node: --url URL (now ${url}); the invitation stays good`,
      );
    }
    expect(await second.peer("join", first.url, invitation)).toMatchObject({ status: 0 });
  });

  test("of a node without a record key waits, and is told so, until it is admitted", async () => {
    expect(fourth.errors).toContain(
      "its key is not in the genesis document. If it joined before, that is fine.",
    );
    expect(fourth.errors).toContain(
      `npx pennypost peer join URL INVITATION --node ${fourth.url} --admin-secret`,
    );
    const invitation = await second.invitation();
    const { output } = await fourth.peer("join", second.url, invitation);
    expect(output).toContain(`has to run npx pennypost peer admit ${fourth.key.did};`);
    await until("its list says why it has nothing", async () => {
      await fourth.sync(second);
      return (await fourth.peer("list")).output.includes("member  refuses us: not a member yet");
    });
    expect((await second.peer("list")).output).toContain(`${fourth.url}  ${fourth.key.did}  not a member  `);
    expect(await fourth.health()).toMatchObject({
      status: "degraded",
      failing: [{ part: "membership", code: "not_a_member" }],
    });
    expect((await first.peer("admit", fourth.key.did)).output).toContain("is a member from");
    await until("all hear of it", async () => {
      await second.sync(first);
      // It was refused so far, and pauses: a request of the second ends that.
      await second.sync(fourth);
      await fourth.sync(second);
      const list = await fourth.peer("list");
      return (await fourth.health()).status === "ok" && !list.output.includes("refuses us");
    });
    expect((await second.peer("list")).output).toContain(`${fourth.url}  ${fourth.key.did}  member  `);
  });

  test("has its peers still after a restart of both", async () => {
    const restart = async (node: JoiningNode) => {
      await node.stop();
      await node.start();
    };
    await Promise.all([first, second].map(restart));
    await second.say(4, "after the restart");
    await until("it is at the first", async () => (await first.texts()).includes("after the restart"));
    await first.say(5, "and back");
    await until("it is at the second", async () => (await second.texts()).includes("and back"));
  });

  test("leaves its invitations out of the audit log, where it is told that they were made and revoked", async () => {
    const rows = await first.audit();
    const actions = new Set(rows.map(({ action }) => action));
    for (const each of ["invitation.make", "invitation.revoke"]) expect(actions).toContain(each);
    expect(JSON.stringify(rows)).not.toContain("pennypost-invitation");
  });
});
