import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import {
  commandLineOf,
  endProcess,
  isRunning,
  markOf,
  type ProcessMark,
  parentOf,
  wasStartedWith,
} from "./processes.ts";

const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A process that waits, and says so once its script runs. */
async function start(script = "", env: NodeJS.ProcessEnv = {}): Promise<ProcessMark> {
  const source = `${script}; setInterval(() => {}, 1e6); console.log("ready")`;
  const child = spawn(process.execPath, ["-e", source], { stdio: "pipe", env: { ...process.env, ...env } });
  children.push(child);
  await once(child.stdout, "data");
  const mark = markOf(child.pid ?? 0);
  if (!mark) throw new Error("no process");
  return mark;
}

describe("processes", () => {
  it("knows a process again by its start time, not by its id alone", async () => {
    const mark = await start();
    expect(isRunning(mark)).toBe(true);
    expect(isRunning({ ...mark, startedAt: "1" })).toBe(false);
    expect(markOf(process.pid)).not.toEqual(mark);
  });

  it("tells the command line, the parent, and a variable it was started with", async () => {
    const { pid } = await start("1 + 1", { PENNYPOST_PROBE: "a b" });
    expect(commandLineOf(pid)).toContain("1 + 1");
    expect(parentOf(pid)).toBe(process.pid);
    expect([true, undefined]).toContain(wasStartedWith(pid, "PENNYPOST_PROBE", "a b"));
    expect([false, undefined]).toContain(wasStartedWith(pid, "PENNYPOST_PROBE", "a"));
  });

  it("ends a process by SIGTERM", async () => {
    const mark = await start();
    expect(await endProcess(mark, 5_000)).toBe(true);
    expect(isRunning(mark)).toBe(false);
    expect(markOf(mark.pid)).toBeUndefined();
  });

  it("ends one that ignores SIGTERM by SIGKILL", async () => {
    const mark = await start('process.on("SIGTERM", () => {})');
    expect(await endProcess(mark, 200)).toBe(true);
    expect(isRunning(mark)).toBe(false);
  });

  it("leaves a process alone that has the id of one that is gone", async () => {
    const mark = await start();
    expect(await endProcess({ ...mark, startedAt: "1" }, 0)).toBe(true);
    expect(isRunning(mark)).toBe(true);
  });
});
