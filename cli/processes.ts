import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { systemErrorCode } from "./command-error.ts";

/** A process as a pid file names it. The start time tells it from a later one that got the same id. */
export interface ProcessMark {
  readonly pid: number;
  /** Opaque: the kernel's start time of the process. */
  readonly startedAt: string;
}

const POLL_MS = 20;
const hasProc = existsSync("/proc/self/stat");

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // Gone, or another user's.
    return undefined;
  }
}

interface ProcStat {
  readonly state: string | undefined;
  readonly parent: string | undefined;
  readonly startTicks: string | undefined;
}

/** "pid (name) state ppid …": the name may hold anything, also ")"; the start time is the 22nd field. */
function readStat(pid: number): ProcStat | undefined {
  const stat = readProc(pid, "stat");
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && { state: fields[0], parent: fields[1], startTicks: fields[19] };
}

function startFromProc(pid: number): string | undefined {
  const stat = readStat(pid);
  return stat?.state === "Z" || stat?.state === "X" ? undefined : stat?.startTicks;
}

function runPs(pid: number, column: string): string | undefined {
  try {
    const text = execFileSync("ps", ["-ww", "-o", `${column}=`, "-p", String(pid)], { encoding: "utf8" });
    return text.trim() || undefined;
  } catch {
    return undefined;
  }
}

/** When the process started, or undefined when there is none (a zombie is none). */
const startOf = (pid: number): string | undefined => (hasProc ? startFromProc(pid) : runPs(pid, "lstart"));

/** The mark of a running process. */
export function markOf(pid: number): ProcessMark | undefined {
  const startedAt = startOf(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether the very process that was marked still runs. */
export const isRunning = (mark: ProcessMark): boolean => startOf(mark.pid) === mark.startedAt;

/** The command line, words separated by spaces. */
export function commandLineOf(pid: number): string {
  const text = hasProc ? readProc(pid, "cmdline")?.replaceAll("\0", " ") : runPs(pid, "command");
  return text?.trim() ?? "";
}

/** The process that started this one, or that adopted it since. */
export function parentOf(pid: number): number | undefined {
  const parent = Number((hasProc ? readStat(pid)?.parent : runPs(pid, "ppid")) ?? Number.NaN);
  return Number.isInteger(parent) && parent > 0 ? parent : undefined;
}

/** Whether the process was started with this variable; undefined where the system does not tell. */
export function wasStartedWith(pid: number, name: string, value: string): boolean | undefined {
  if (!hasProc) return undefined;
  return readProc(pid, "environ")?.split("\0").includes(`${name}=${value}`) ?? false;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (systemErrorCode(error) !== "ESRCH") throw error;
  }
}

async function waitUntilGone(mark: ProcessMark, timeoutMs: number): Promise<boolean> {
  const deadlineMs = performance.now() + timeoutMs;
  while (isRunning(mark)) {
    if (performance.now() > deadlineMs) return false;
    await sleep(POLL_MS);
  }
  return true;
}

/** Ends a process: SIGTERM, and SIGKILL when it is still there after `graceMs`. Answers whether it is gone. */
export async function endProcess(mark: ProcessMark, graceMs: number): Promise<boolean> {
  const KILL_TIMEOUT_MS = 5_000;
  if (graceMs > 0) {
    if (!isRunning(mark)) return true;
    signal(mark.pid, "SIGTERM");
    if (await waitUntilGone(mark, graceMs)) return true;
  }
  if (!isRunning(mark)) return true;
  signal(mark.pid, "SIGKILL");
  return waitUntilGone(mark, KILL_TIMEOUT_MS);
}
