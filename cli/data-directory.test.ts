import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DataDirectory, WORKERD_PID_FILE_VARIABLE } from "./data-directory.ts";
import { isRunning, markOf, type ProcessMark } from "./processes.ts";

let folder: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "pennypost-data-")), "node");
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(join(folder, ".."), { recursive: true });
});

async function startProcess(env: NodeJS.ProcessEnv = {}): Promise<ProcessMark> {
  const source = 'setInterval(() => {}, 1e6); console.log("ready")';
  const child = spawn(process.execPath, ["-e", source], { stdio: "pipe", env: { ...process.env, ...env } });
  children.push(child);
  await once(child.stdout, "data");
  const mark = markOf(child.pid ?? 0);
  if (!mark) throw new Error("no process");
  return mark;
}

const launcherFile = () => join(folder, "launcher.pid");

function writeLauncherFile(text: string): void {
  mkdirSync(folder);
  writeFileSync(launcherFile(), text);
}

describe("a data directory", () => {
  it("is made, held, and let go of", async () => {
    const directory = await DataDirectory.open(folder);
    expect(JSON.parse(readFileSync(launcherFile(), "utf8"))).toMatchObject({ pid: process.pid });
    const { did } = directory.key();
    const secret = directory.adminSecret();
    await directory.close();
    expect(readdirSync(folder).sort()).toEqual(["admin-secret", "node.key"]);
    const again = await DataDirectory.open(folder);
    expect(again.key().did).toBe(did);
    expect(again.adminSecret()).toBe(secret);
    await again.close();
  });

  it("is refused to a second launcher, which changes nothing", async () => {
    const directory = await DataDirectory.open(folder);
    const before = readFileSync(launcherFile(), "utf8");
    await expect(DataDirectory.open(folder)).rejects.toMatchObject({
      message: expect.stringContaining("is in use by process"),
      mend: expect.stringContaining("--data"),
    });
    expect(readFileSync(launcherFile(), "utf8")).toBe(before);
    await directory.close();
  });

  it("goes to one of many that ask at once, also from a launcher that is gone", async () => {
    writeLauncherFile(JSON.stringify({ pid: 999_999_999, startedAt: "1" }));
    const asked = await Promise.allSettled(Array.from({ length: 8 }, () => DataDirectory.open(folder)));
    const holders = asked.filter((result) => result.status === "fulfilled");
    expect(holders).toHaveLength(1);
    for (const { value } of holders) await value.close();
    expect(existsSync(launcherFile())).toBe(false);
  });

  it("is not taken from a live launcher", async () => {
    const launcher = await startProcess();
    writeLauncherFile(JSON.stringify(launcher));
    await expect(DataDirectory.open(folder)).rejects.toThrow(`is in use by process ${launcher.pid}`);
    expect(isRunning(launcher)).toBe(true);
  });

  it("is taken from a launcher whose npm was killed, which is ended", async () => {
    const launcher = await startProcess();
    writeLauncherFile(JSON.stringify({ ...launcher, supervisor: { pid: 999_999_999, startedAt: "1" } }));
    const directory = await DataDirectory.open(folder);
    expect(isRunning(launcher)).toBe(false);
    await directory.close();
  });

  it.each(["", "garbage", "{}", JSON.stringify({ pid: process.pid, startedAt: "1" })])(
    "is taken over where the pid file says %j: nobody, or a process that reused the id",
    async (text) => {
      writeLauncherFile(text);
      const directory = await DataDirectory.open(folder);
      await directory.close();
    },
  );

  it("says why when it cannot be made", async () => {
    writeFileSync(folder, "a file");
    await expect(DataDirectory.open(join(folder, "below"))).rejects.toThrow("cannot make the data directory");
  });

  it("is emptied of what earlier runs left for nobody", async () => {
    mkdirSync(join(folder, "scratch", "miniflare-1"), { recursive: true });
    const directory = await DataDirectory.open(folder);
    expect(readdirSync(directory.scratch)).toEqual([]);
    await directory.close();
    expect(existsSync(join(folder, "scratch"))).toBe(false);
  });
});

describe("an orphaned workerd", () => {
  it("is ended at the start", async () => {
    mkdirSync(folder);
    const pidFile = join(folder, "workerd.pid");
    const orphan = await startProcess({ [WORKERD_PID_FILE_VARIABLE]: pidFile });
    writeFileSync(pidFile, `${orphan.pid}\n`);
    const directory = await DataDirectory.open(folder);
    expect(directory.workerdFile).toBe(pidFile);
    expect(isRunning(orphan)).toBe(false);
    await directory.close();
  });

  it("is not mistaken for another process that got its id, nor for another node's workerd", async () => {
    mkdirSync(folder);
    const other = await startProcess({ [WORKERD_PID_FILE_VARIABLE]: join(folder, "other", "workerd.pid") });
    writeFileSync(join(folder, "workerd.pid"), `${other.pid}\n`);
    const directory = await DataDirectory.open(folder);
    expect(isRunning(other)).toBe(true);
    await directory.close();
  });
});
