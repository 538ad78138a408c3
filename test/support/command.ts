import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { ROOT } from "../../cli/paths.ts";
import { NodeClient } from "./node-client.ts";
import { within } from "./until.ts";

const HOST = "127.0.0.1";
const PROGRAM = join(ROOT, "cli", "pennypost.ts");
const READY = /^pennypost: ready (.+)$/m;

/** What runs now; none of it outlives this process. */
const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** The command `pennypost …` as a process of its own. */
export class Command {
  readonly #child: ChildProcess;
  readonly #output = { out: "", err: "" };
  /** The exit status, or the name of the signal that ended it. */
  readonly exited: Promise<number | string>;
  /** The URLs of the line `pennypost: ready …`. */
  readonly ready: Promise<string[]>;

  constructor(...words: readonly string[]) {
    this.#child = spawn(process.execPath, [PROGRAM, ...words], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(this.#child);
    const ready = Promise.withResolvers<string[]>();
    const exited = Promise.withResolvers<number | string>();
    this.#child.stdout?.on("data", (text) => {
      this.#output.out += text;
      const urls = READY.exec(this.#output.out)?.[1];
      if (urls) ready.resolve(urls.split(" "));
    });
    this.#child.stderr?.on("data", (text) => {
      this.#output.err += text;
    });
    this.#child.once("exit", (status, signal) => {
      running.delete(this.#child);
      exited.resolve(status ?? signal ?? -1);
      ready.reject(new Error(`pennypost ${words.join(" ")} ended before it was ready:\n${this.#output.err}`));
    });
    this.exited = exited.promise;
    this.ready = ready.promise;
    // Who does not wait for it is not told that it failed.
    this.ready.catch(() => {});
  }

  /** All of its standard output so far. */
  get output(): string {
    return this.#output.out;
  }

  /** All of its standard error so far. */
  get errors(): string {
    return this.#output.err;
  }

  /** SIGTERM; answers the exit status. */
  async stop(): Promise<number | string> {
    this.#child.kill("SIGTERM");
    return within("the command's end after SIGTERM", this.exited);
  }

  /** SIGKILL, as `kill -9` of the process that was started. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await within("the command's end after SIGKILL", this.exited);
  }
}

export interface NodeSettings {
  readonly port: number;
  readonly data: string;
  readonly peers?: readonly string[];
  readonly shards?: number;
  /** Comma-separated policies that admit publishes; open by default. */
  readonly admission?: string;
}

/** A node run by `pennypost node`, that can be killed and started again on its data. */
export class NodeProcess extends NodeClient {
  readonly settings: NodeSettings;
  #command: Command | undefined;

  constructor(settings: NodeSettings) {
    super(`http://${HOST}:${settings.port}`);
    this.settings = settings;
  }

  /** Starts the command, which may become ready or not. */
  launch(changes: Partial<NodeSettings> = {}): Command {
    const { port, data, peers, shards, admission } = { ...this.settings, ...changes };
    const words = ["node", "--port", String(port), "--data", data];
    if (peers) words.push("--peers", peers.join());
    if (shards !== undefined) words.push("--shards", String(shards));
    if (admission) words.push("--admission", admission);
    this.#command = new Command(...words);
    return this.#command;
  }

  get errors(): string {
    return this.#command?.errors ?? "";
  }

  async start(): Promise<void> {
    await within("the node's ready line", this.launch().ready);
  }

  async kill(): Promise<void> {
    await this.#command?.kill();
  }

  async stop(): Promise<number | string | undefined> {
    return this.#command?.stop();
  }
}
