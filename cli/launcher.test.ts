import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { freePortRun } from "../test/support/ports.ts";
import { ROOT } from "./paths.ts";
import { isRunning, markOf } from "./processes.ts";

const CLI = join(ROOT, "cli", "pennypost.ts");
const READY_DEADLINE_MS = 60_000;
/** As the issue promises. */
const STOP_MS = 5_000;

let folder: string;
const launchers: Launcher[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-launcher-"));
});
afterEach(async () => {
  for (const { child } of launchers.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  // A workerd that dies with its launcher may write for some more milliseconds.
  rmSync(folder, { recursive: true, maxRetries: 5, retryDelay: 50 });
});

class Launcher {
  readonly child: ChildProcess;
  readonly exited: Promise<unknown[]>;
  stdout = "";
  stderr = "";

  constructor(program: string, words: readonly string[], environment: NodeJS.ProcessEnv = {}) {
    // Without npm's variables: here nobody but the test decides when it ends.
    const { npm_lifecycle_event: _, ...env } = process.env;
    this.child = spawn(process.execPath, [program, ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...env, TMPDIR: folder, ...environment },
    });
    this.child.stdout?.on("data", (data) => {
      this.stdout += data;
    });
    this.child.stderr?.on("data", (data) => {
      this.stderr += data;
    });
    this.exited = once(this.child, "exit");
    launchers.push(this);
  }

  async ready(): Promise<void> {
    const deadlineMs = performance.now() + READY_DEADLINE_MS;
    while (!this.stdout.includes("\n")) {
      if (this.child.exitCode !== null || performance.now() > deadlineMs) {
        throw new Error(`not ready (exit code ${this.child.exitCode}): ${this.stdout}${this.stderr}`);
      }
      await sleep(20);
    }
  }

  /** Ends it by a signal; answers its exit code. */
  async end(signal: NodeJS.Signals): Promise<number | null> {
    const startMs = performance.now();
    this.child.kill(signal);
    await this.exited;
    expect(performance.now() - startMs).toBeLessThan(STOP_MS);
    return this.child.exitCode;
  }
}

async function answers(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/health`)).status === 200;
  } catch {
    return false;
  }
}

const launch = (...words: string[]): Launcher => new Launcher(CLI, words);

/** Starts the launcher as npm does, by a shell that waits for it, in a process that is npm's stand-in. */
function launchByNpm(...words: string[]): Launcher {
  const npm = join(folder, "npm.mjs");
  const script =
    'import { spawn } from "node:child_process"; spawn("sh", ["-c", process.argv[2]], { stdio: "inherit" });';
  writeFileSync(npm, script);
  const command = [process.execPath, CLI, ...words].map((word) => `'${word}'`).join(" ");
  return new Launcher(npm, [`${command}; true`], { npm_lifecycle_event: "node" });
}

const nodeKey = async (port: number): Promise<unknown> => {
  const info: unknown = await (await fetch(`http://127.0.0.1:${port}/v1/info`)).json();
  return typeof info === "object" && info !== null && "key" in info ? info.key : undefined;
};

const workerdIn = (...path: string[]) => {
  const pid = Number(readFileSync(join(folder, ...path, "workerd.pid"), "utf8"));
  const mark = markOf(pid);
  if (!mark) throw new Error(`no workerd runs as process ${pid}`);
  return mark;
};

async function untilGone(mark: ReturnType<typeof workerdIn>): Promise<void> {
  const deadlineMs = performance.now() + STOP_MS;
  while (isRunning(mark) && performance.now() < deadlineMs) await sleep(10);
  expect(isRunning(mark)).toBe(false);
}

describe("a network of local nodes", { timeout: 120_000 }, () => {
  it.each(["SIGINT", "SIGTERM"] as const)(
    "prints one line when all answer, and %s stops all",
    async (signal) => {
      const port = await freePortRun(2);
      const launcher = launch("start", "--nodes", "2", "--port", String(port));
      await launcher.ready();
      expect(launcher.stdout).toBe(
        `pennypost: ready http://127.0.0.1:${port} http://127.0.0.1:${port + 1}\n`,
      );
      expect(await Promise.all([answers(port), answers(port + 1)])).toEqual([true, true]);
      const [temporary] = readdirSync(folder);
      const workers = ["node-1", "node-2"].map((node) => workerdIn(temporary ?? "", node));
      expect(await launcher.end(signal)).toBe(0);
      expect(workers.filter(isRunning)).toEqual([]);
      expect(await answers(port)).toBe(false);
      // Its temporary folder is gone, and so is Miniflare's.
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("keeps the keys and the data in a folder of the operator's", async () => {
    const port = await freePortRun(2);
    const words = ["start", "--nodes", "2", "--port", String(port), "--data", join(folder, "data")];
    const envelope = { contentTopic: "/xmtp/0/m-kept/proto", timestampNs: "1", message: "aGVsbG8=" };
    const call = (path: string, body: unknown) =>
      fetch(`http://127.0.0.1:${port}/message/v1/${path}`, { method: "POST", body: JSON.stringify(body) });
    const first = launch(...words);
    await first.ready();
    const keys = await Promise.all([nodeKey(port), nodeKey(port + 1)]);
    expect((await call("publish", { envelopes: [envelope] })).status).toBe(200);
    await first.end("SIGTERM");
    const second = launch(...words);
    await second.ready();
    expect(await Promise.all([nodeKey(port), nodeKey(port + 1)])).toEqual(keys);
    const page = await call("query", { contentTopics: [envelope.contentTopic] });
    expect(await page.json()).toMatchObject({ envelopes: [envelope] });
    expect(await second.end("SIGTERM")).toBe(0);
    expect(second.stderr).toContain(join(folder, "data", "node-1", "admin-secret"));
    expect(readdirSync(join(folder, "data", "node-1")).sort()).toEqual([
      "admin-secret",
      "node.key",
      "storage",
    ]);
  });
});

describe("one local node", { timeout: 120_000 }, () => {
  it.skipIf(process.platform !== "linux")(
    "takes its workerd along when it is killed, and starts again",
    async () => {
      const port = await freePortRun(1);
      const words = ["node", "--port", String(port), "--data", join(folder, "data")];
      const first = launch(...words);
      await first.ready();
      expect(first.stdout).toBe(`pennypost: ready http://127.0.0.1:${port}\n`);
      const key = await nodeKey(port);
      const workerd = workerdIn("data");
      await first.end("SIGKILL");
      await untilGone(workerd);
      const second = launch(...words);
      await second.ready();
      expect(await nodeKey(port)).toBe(key);
      expect(await second.end("SIGTERM")).toBe(0);
    },
  );

  it("stops when the npm that started it is killed, and a new one takes its folder", async () => {
    const port = await freePortRun(1);
    const words = ["node", "--port", String(port), "--data", join(folder, "data")];
    const first = launchByNpm(...words);
    await first.ready();
    const workerd = workerdIn("data");
    await first.end("SIGKILL");
    const second = launchByNpm(...words);
    await second.ready();
    expect(isRunning(workerd)).toBe(false);
    const successor = workerdIn("data");
    await second.end("SIGKILL");
    await untilGone(successor);
  });

  it("leaves alone what another launcher runs on the same folder", async () => {
    const port = await freePortRun(2);
    const data = join(folder, "data");
    const first = launch("node", "--port", String(port), "--data", data);
    await first.ready();
    const second = launch("node", "--port", String(port + 1), "--data", data);
    await second.exited;
    expect(second.child.exitCode).toBe(1);
    expect(second.stderr).toContain(`is in use by process ${first.child.pid}`);
    expect(second.stdout).toBe("");
    expect(await answers(port)).toBe(true);
  });

  it("names the port that is in use, and leaves nothing behind", async () => {
    const port = await freePortRun(1);
    const server = createServer().listen(port, "127.0.0.1");
    await once(server, "listening");
    const launcher = launch("node", "--port", String(port));
    await launcher.exited;
    server.close();
    expect(launcher.child.exitCode).toBe(1);
    expect(launcher.stderr).toContain(`port ${port} is in use`);
    expect(launcher.stdout).toBe("");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("writes nothing when its genesis document is none", async () => {
    const genesis = join(folder, "genesis.json");
    writeFileSync(genesis, "{}");
    const launcher = launch("node", "--genesis", genesis, "--data", join(folder, "data"));
    await launcher.exited;
    expect(launcher.child.exitCode).toBe(1);
    expect(launcher.stderr).toContain(`no genesis document in ${genesis}`);
    expect(existsSync(join(folder, "data"))).toBe(false);
  });
});
