import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { makeGenesis } from "../../cli/keygen.ts";
import { keptNodeKey, makeNodeKey, type NodeKey, writeNodeKey } from "../../cli/node-key.ts";
import type { Genesis } from "../../protocol/genesis.ts";
import { Command } from "./command.ts";
import { envelope, NodeClient, textOf } from "./node-client.ts";
import { freePorts } from "./ports.ts";
import { within } from "./until.ts";

const TOPIC = "/xmtp/0/m-joining/proto";

/** What a command printed, and how it ended. */
export interface Ended {
  readonly status: number | string;
  readonly output: string;
  readonly errors: string;
}

/** Runs `pennypost …` to its end. */
export async function run(...words: readonly string[]): Promise<Ended> {
  const command = new Command(...words);
  const status = await within(words.join(" "), command.exited);
  return { status, output: command.output, errors: command.errors };
}

/** A node run by `pennypost node`, and what its operator does. It has no peers but those that join. */
export class JoiningNode extends NodeClient {
  readonly data: string;
  readonly #words: readonly string[];
  #command: Command | undefined;

  constructor(data: string, port: number, genesisFile: string) {
    super(`http://127.0.0.1:${port}`);
    this.data = data;
    mkdirSync(data);
    keptNodeKey(this.keyFile);
    this.#words = ["node", "--port", String(port), "--data", data, "--shards", "2", "--genesis", genesisFile];
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

  get #secret(): string {
    return readFileSync(join(this.data, "admin-secret"), "utf8").trim();
  }

  #admin(method: string, path: string): Promise<Response> {
    return this.request(path, { method, headers: { authorization: `Bearer ${this.#secret}` } });
  }

  /** One run of anti-entropy; answers the HTTP status. */
  async sync(peer: JoiningNode): Promise<number> {
    const response = await this.#admin("POST", `/admin/sync?peer=${peer.key.publicKey}`);
    await response.body?.cancel();
    return response.status;
  }

  /** The rows of its audit log. */
  async audit(): Promise<readonly { readonly action: string }[]> {
    const answer = await (await this.#admin("GET", "/admin/audit")).json();
    return (answer as { rows: { action: string }[] }).rows;
  }

  get errors(): string {
    return this.#command?.errors ?? "";
  }

  async health(): Promise<{ readonly status: string }> {
    return (await (await this.request("/health")).json()) as { readonly status: string };
  }

  /** Publishes a text under one topic, the same for all. */
  say(ts: number, text: string): Promise<unknown> {
    return this.publish(envelope(TOPIC, ts, text));
  }

  /** All that it holds of what was said, in order of the alphabet. */
  async texts(): Promise<string[]> {
    return (await this.queryAll(TOPIC)).map(textOf).sort();
  }
}

const writeGenesis = (file: string, genesis: Genesis) => writeFileSync(file, JSON.stringify(genesis));

/**
 * Nodes of a network whose genesis names the first as the only member, but for the third, which is of another network. Records are
 * signed by the first, and by a record key that no node holds. None is started yet.
 */
export interface JoiningNodes {
  readonly first: JoiningNode;
  readonly second: JoiningNode;
  readonly third: JoiningNode;
  readonly fourth: JoiningNode;
  readonly folder: string;
  readonly recordKeyFile: string;
  readonly genesisFile: string;
  /** Stops all and removes their data. */
  stop(): Promise<void>;
}

export async function joiningNodes(): Promise<JoiningNodes> {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-joining-"));
  const [recordKeyFile, genesisFile, otherGenesisFile] = ["record.key", "genesis.json", "other.json"].map(
    (name) => join(folder, name),
  ) as [string, string, string];
  const ports = await freePorts(4);
  const node = (name: string, at: number, genesis = genesisFile) =>
    new JoiningNode(join(folder, name), ports[at] as number, genesis);
  const first = node("first", 0);
  const second = node("second", 1);
  const third = node("third", 2, otherGenesisFile);
  const fourth = node("fourth", 3);
  const recordKey = makeNodeKey();
  writeNodeKey(recordKeyFile, recordKey);
  const genesis = makeGenesis("joining", first.key.publicKey, Date.now() - 3_600_000);
  writeGenesis(genesisFile, { ...genesis, recordKeys: [...genesis.recordKeys, recordKey.publicKey] });
  writeGenesis(otherGenesisFile, {
    ...genesis,
    stampPrefixes: [],
    name: "another",
    prefixes: [...genesis.prefixes, ["/x/", 2]],
  });
  const stop = async () => {
    await Promise.all([first, second, third, fourth].map((each) => each.stop()));
    rmSync(folder, { recursive: true, force: true });
  };
  return { first, second, third, fourth, folder, recordKeyFile, genesisFile, stop };
}
