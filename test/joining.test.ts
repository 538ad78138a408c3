import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeGenesis } from "../cli/keygen.ts";
import { keptNodeKey, makeNodeKey, type NodeKey, writeNodeKey } from "../cli/node-key.ts";
import type { Genesis } from "../protocol/genesis.ts";
import { Command } from "./support/command.ts";
import { envelope, NodeClient, textOf } from "./support/node-client.ts";
import { freePorts } from "./support/ports.ts";
import { until, within } from "./support/until.ts";

/**
 * Operators join nodes to a network by the commands that they have, on real nodes. The genesis names the first node as the only
 * member; records are signed by it, and by a record key that no node holds.
 */

const TOPIC = "/xmtp/0/m-joining/proto";
const folder = mkdtempSync(join(tmpdir(), "pennypost-joining-"));
const nodes: JoiningNode[] = [];
const recordKeyFile = join(folder, "record.key");
const genesisFile = join(folder, "genesis.json");

/** What a command printed, and how it ended. */
interface Ended {
  readonly status: number | string;
  readonly output: string;
  readonly errors: string;
}

async function run(...words: readonly string[]): Promise<Ended> {
  const command = new Command(...words);
  const status = await within(words.join(" "), command.exited);
  return { status, output: command.output, errors: command.errors };
}

class JoiningNode extends NodeClient {
  readonly data: string;
  readonly #words: readonly string[];
  #command: Command | undefined;

  constructor(name: string, port: number, genesis: string) {
    super(`http://127.0.0.1:${port}`);
    this.data = join(folder, name);
    mkdirSync(this.data);
    keptNodeKey(this.keyFile);
    this.#words = [
      "node",
      "--port",
      String(port),
      "--data",
      this.data,
      "--shards",
      "2",
      "--genesis",
      genesis,
    ];
    nodes.push(this);
  }

  async start(): Promise<void> {
    this.#command = new Command(...this.#words);
    await within("the ready line", this.#command.ready);
  }

  async stop(): Promise<void> {
    await this.#command?.stop();
  }

  /** `pennypost peer …` to this node. */
  peer(...words: readonly string[]): Promise<Ended> {
    return run("peer", ...words, "--node", this.url, "--admin-secret", join(this.data, "admin-secret"));
  }

  async invitation(): Promise<string> {
    const { status, output } = await this.peer("invite", "--json");
    expect(status).toBe(0);
    return (JSON.parse(output) as { invitation: string }).invitation;
  }

  get keyFile(): string {
    return join(this.data, "node.key");
  }

  get key(): NodeKey {
    return keptNodeKey(this.keyFile);
  }

  get secret(): string {
    return readFileSync(join(this.data, "admin-secret"), "utf8").trim();
  }

  admin(method: string, path: string): Promise<Response> {
    return this.request(path, { method, headers: { authorization: `Bearer ${this.secret}` } });
  }

  /** One run of anti-entropy; answers the HTTP status. */
  async sync(peer: JoiningNode): Promise<number> {
    const response = await this.admin("POST", `/admin/sync?peer=${peer.key.publicKey}`);
    await response.body?.cancel();
    return response.status;
  }

  get errors(): string {
    return this.#command?.errors ?? "";
  }

  async health(): Promise<{ readonly status: string }> {
    return (await (await this.request("/health")).json()) as { readonly status: string };
  }

  async texts(): Promise<string[]> {
    return (await this.queryAll(TOPIC)).map(textOf).sort();
  }
}

const writeGenesis = (file: string, genesis: Genesis) => writeFileSync(file, JSON.stringify(genesis));
const publishBy = (node: JoiningNode, ts: number, text: string) => node.publish(envelope(TOPIC, ts, text));

let [first, second, third, fourth]: JoiningNode[] = [];
const at = (node: JoiningNode | undefined): JoiningNode => node as JoiningNode;

beforeAll(async () => {
  const [a, b, c, d] = (await freePorts(4)) as [number, number, number, number];
  first = new JoiningNode("first", a, genesisFile);
  second = new JoiningNode("second", b, genesisFile);
  const otherGenesis = join(folder, "other.json");
  third = new JoiningNode("third", c, otherGenesis);
  fourth = new JoiningNode("fourth", d, genesisFile);
  const recordKey = makeNodeKey();
  writeNodeKey(recordKeyFile, recordKey);
  const genesis = makeGenesis("joining", first.key.publicKey, Date.now() - 3_600_000);
  writeGenesis(genesisFile, { ...genesis, recordKeys: [...genesis.recordKeys, recordKey.publicKey] });
  writeGenesis(otherGenesis, {
    ...genesis,
    stampPrefixes: [],
    name: "another",
    prefixes: [...genesis.prefixes, ["/x/", 2]],
  });
  for (const node of nodes) await node.start();
}, 120_000);

afterAll(async () => {
  for (const node of nodes) await node.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe("a node with an invitation", () => {
  test("joins: the network admits it, and what each takes comes to the other at once", async () => {
    await expect(publishBy(at(second), 1, "too early")).rejects.toThrow();
    const invitation = await at(first).invitation();
    const joined = await at(second).peer("join", at(first).url, invitation);
    expect(joined.errors).toBe("");
    expect(joined.output).toMatch(
      /is a peer now, and your node is a member of the network; clocks differ by \d+ ms/,
    );
    await until("the second is a member to itself", async () => {
      await publishBy(at(second), 2, "of the second");
      return true;
    });
    await publishBy(at(first), 3, "of the first");
    for (const node of [first, second])
      await until("both messages are there", async () => (await at(node).texts()).length === 2);
    const { output } = await at(first).peer("list");
    expect(output).toContain(`${at(second).url}  ${at(second).key.did}`);
  });

  test("may repeat it; another node may not use it too", async () => {
    const invitation = await at(first).invitation();
    for (let i = 0; i < 2; i++)
      expect(await at(second).peer("join", at(first).url, invitation)).toMatchObject({ status: 0 });
    const late = await at(third).peer("join", at(first).url, invitation);
    expect(late.status).toBe(1);
    expect(late.errors).toContain("another node has joined with this invitation");
  });

  test("of another network hears in one sentence in what they differ, and keeps the invitation good", async () => {
    const invitation = await at(first).invitation();
    const { status, errors } = await at(third).peer("join", at(first).url, invitation);
    expect(status).toBe(1);
    expect(errors).toContain("the documents differ in name, prefixes");
    expect(errors).toContain(`mend: take theirs, curl ${at(first).url}/v1/genesis > genesis.json`);
    expect(await at(second).peer("join", at(first).url, invitation)).toMatchObject({ status: 0 });
  });

  test("that was changed, revoked or made up, or is for another node, is refused", async () => {
    const invitation = await at(first).invitation();
    const join_ = (url: string, text: string) => at(second).peer("join", url, text);
    expect((await join_(at(first).url, invitation.slice(0, -8))).errors).toContain("cut or changed");
    expect((await join_(at(third).url, invitation)).errors).toContain(
      `the invitation is from ${at(first).url}`,
    );
    expect((await at(first).peer("revoke")).output).toContain("1 unused invitation is revoked");
    expect((await join_(at(first).url, invitation)).errors).toContain("unknown, revoked or has expired");
    expect((await at(first).peer("join", at(first).url, invitation)).errors).toContain("this node's own");
  });

  test("where another answers, or nobody, hears how to name its own URL", async () => {
    const invitation = await at(first).invitation();
    for (const url of [at(third).url, "http://127.0.0.1:9"]) {
      const { status, errors } = await at(second).peer("join", at(first).url, invitation, "--url", url);
      expect(status).toBe(1);
      expect(errors).toContain(
        `mend: name the URL where ${at(first).url} reaches your node: --url URL (now ${url}); the invitation stays good`,
      );
    }
    expect(await at(second).peer("join", at(first).url, invitation)).toMatchObject({ status: 0 });
  });

  test("of a node without a record key waits, and is told so, until it is admitted", async () => {
    const node = at(fourth);
    expect(node.errors).toContain(
      "its key is not in the genesis document. If it joined before, that is fine.",
    );
    expect(node.errors).toContain(`npx pennypost peer join URL INVITATION --node ${node.url} --admin-secret`);
    const invitation = await at(second).invitation();
    const { output } = await node.peer("join", at(second).url, invitation);
    expect(output).toContain(`has to run npx pennypost peer admit ${node.key.did};`);
    await until("its list says why it has nothing", async () => {
      await node.sync(at(second));
      return (await node.peer("list")).output.includes("member  refuses us: not a member yet");
    });
    expect((await at(second).peer("list")).output).toContain(`${node.url}  ${node.key.did}  not a member  `);
    expect(await node.health()).toMatchObject({
      status: "degraded",
      failing: [{ part: "membership", code: "not_a_member" }],
    });
    expect((await at(first).peer("admit", node.key.did)).output).toContain("is a member from");
    await until("all hear of it", async () => {
      await at(second).sync(at(first));
      await node.sync(at(second));
      const list = await node.peer("list");
      return (await node.health()).status === "ok" && !list.output.includes("refuses us");
    });
    expect((await at(second).peer("list")).output).toContain(`${node.url}  ${node.key.did}  member  `);
  });

  test("has its peers still after a restart of both", async () => {
    for (const node of [first, second]) {
      await at(node).stop();
      await at(node).start();
    }
    await publishBy(at(second), 4, "after the restart");
    await until("it is at the first", async () => (await at(first).texts()).includes("after the restart"));
    await publishBy(at(first), 5, "and back");
    await until("it is at the second", async () => (await at(second).texts()).includes("and back"));
  });
});

describe("the operator", () => {
  test("suspends a peer and resumes it: what it has comes then", async () => {
    const key = at(second).key.did;
    expect((await at(first).peer("suspend", key)).output).toContain("is suspended");
    expect((await at(first).peer("list")).output).toContain(
      `suspended; to lift it: npx pennypost peer resume ${key}`,
    );
    await until("the first refuses it", async () => (await at(second).sync(at(first))) === 503);
    expect((await at(second).peer("list")).output).toContain("refuses us: suspended");
    await publishBy(at(second), 6, "while suspended");
    expect((await at(first).peer("resume", key)).output).toContain("is no longer suspended");
    // A request of the first ends the second's pause, and its next push names what the first lacks.
    await until("it comes after all", async () => {
      await at(first).sync(at(second));
      await publishBy(at(second), Date.now(), "after the suspension");
      return (await at(first).texts()).includes("while suspended");
    });
  });

  test("changes a node's key: its peers follow, and what it took before stays", async () => {
    const node = at(second);
    const before = node.key;
    const oldKey = join(folder, "old.key");
    await node.stop();
    renameSync(node.keyFile, oldKey);
    await node.start();
    expect(node.key.did).not.toBe(before.did);
    await expect(publishBy(node, 50, "too early")).rejects.toThrow();
    const wrong = await node.peer("rotate", "--old-key", recordKeyFile);
    expect(wrong.status).toBe(1);
    expect(wrong.output).toContain("does not know it");
    expect(wrong.errors).toContain("this file is not the key that the node had before");
    const told = await node.peer("rotate", "--old-key", oldKey);
    expect(told.errors).toBe("");
    expect(told.output).toContain(`${at(first).url}  calls this node by its new key\n`);
    expect((await node.peer("rotate", "--old-key", oldKey)).output).toContain("All peers know it");
    await until("it is a member by its new key", async () => {
      await publishBy(node, 51, "by the new key");
      return true;
    });
    await until("it is at the first", async () => (await at(first).texts()).includes("by the new key"));
    await publishBy(at(first), 52, "to the new key");
    await until("it is at the second", async () => (await node.texts()).includes("to the new key"));
    expect(await at(first).texts()).toContain("of the second");
    expect((await at(first).peer("list")).output).toContain(`${node.url}  ${node.key.did}`);
    const same = await node.peer("rotate", "--old-key", node.keyFile);
    expect(same.errors).toContain("still has the old key");
    expect(same.errors).toContain("mend: stop the node, cp NEW_KEY_FILE DATA/node.key");
  });

  test("removes a member by a key that no node holds: what it takes from then on goes nowhere", async () => {
    const invitation = await at(first).invitation();
    expect(await at(second).peer("join", at(first).url, invitation)).toMatchObject({ status: 0 });
    const from = new Date().toISOString();
    await publishBy(at(second), 7, "after the line");
    const removed = await at(first).peer(
      "remove",
      at(second).key.did,
      ...["--from", from, "--record-key", recordKeyFile, "--genesis", genesisFile],
    );
    expect(removed.errors).toBe("");
    expect(removed.output).toContain(`is removed from ${from}`);
    await until(
      "its event leaves the first",
      async () => !(await at(first).texts()).includes("after the line"),
    );
    expect(await at(first).texts()).toContain("while suspended");
    await until("it hears of it itself, and takes no more", async () => {
      await at(first).sync(at(second));
      return !(await at(second).texts()).includes("after the line");
    });
    await expect(publishBy(at(second), 8, "no member any more")).rejects.toThrow(/not_a_member|503/);
    const again = await at(second).peer("join", at(first).url, invitation);
    expect(again.errors).toContain("an operator has to admit it");
  });

  test("admits it again by a node's record key, and forgets a peer", async () => {
    const admitted = await at(first).peer("admit", at(second).key.publicKey);
    expect(admitted.output).toContain("is a member from");
    await until("it may publish again", async () => {
      await at(first).sync(at(second));
      await publishBy(at(second), 9, "a member again");
      return true;
    });
    const forgotten = await at(first).peer("forget", at(second).key.did);
    expect(forgotten.output).toContain("is no peer of this node any more; it stays a member");
    expect((await at(first).peer("list")).output).toContain("no peers");
    await at(second).peer(
      "remove",
      at(fourth).key.did,
      ...["--record-key", recordKeyFile, "--genesis", genesisFile],
    );
    const removed = await at(second).peer("forget", at(fourth).key.did);
    expect(removed.output).toContain("is no peer of this node any more; it is removed from the network");
    const again = await at(second).peer("forget", at(fourth).key.did);
    expect(again.errors).toContain("no such peer");
    expect((await at(second).peer("suspend", at(fourth).key.did)).output).toContain(
      "To lift it: npx pennypost",
    );
    expect((await at(second).peer("list")).output).toMatch(
      /No peers of this node:\n\S+ {2}removed {2}suspended;/,
    );
    const genesisMs = Date.now() - 3_000_000;
    const ended = await at(first).peer(
      "remove",
      at(second).key.did,
      "--from",
      new Date(genesisMs).toISOString(),
    );
    expect(ended.errors).toBe("");
    await until("all that it took is gone from the first", async () => {
      const texts = await at(first).texts();
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
      expect((await at(first).peer("remove", at(third).key.did, `--from=${from}`)).errors).toContain(why);
    for (const way of [[], ["--record-key", recordKeyFile, "--genesis", genesisFile]])
      expect((await at(first).peer("remove", at(first).key.did, ...way)).errors).toContain(
        "the node's own key",
      );
    const wrong = await at(second).peer("admit", at(third).key.did);
    expect(wrong.status).toBe(1);
    expect(wrong.errors).toContain("mend: name the record key: --record-key FILE");
    const away = await run("peer", "list", "--node", "http://127.0.0.1:9", "--admin-secret", recordKeyFile);
    expect(away.errors).toContain("does not answer");
    const stranger = await run("peer", "list", "--node", at(first).url, "--admin-secret", recordKeyFile);
    expect(stranger.errors).toContain("mend: name this node's secret");
  });

  test("finds every change in the audit log, and no invitation there", async () => {
    const answer = await (await at(first).admin("GET", "/admin/audit")).json();
    const { rows } = answer as { rows: { action: string }[] };
    const actions = new Set(rows.map(({ action }) => action));
    for (const each of [
      "invitation.make",
      "invitation.revoke",
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
