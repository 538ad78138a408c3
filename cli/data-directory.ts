import { mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { keptAdminSecret } from "./admin-secret.ts";
import { CommandError, systemErrorCode } from "./command-error.ts";
import { keptNodeKey, type NodeKey } from "./node-key.ts";
import {
  commandLineOf,
  endProcess,
  isRunning,
  markOf,
  type ProcessMark,
  parentOf,
  wasStartedWith,
} from "./processes.ts";

/** The variable by which the wrapper learns where to note workerd's process id, and by which we know it again. */
export const WORKERD_PID_FILE_VARIABLE = "PENNYPOST_WORKERD_PID_FILE";

const LAUNCHER_GRACE_MS = 5_000;
const MAX_TAKEOVERS = 8;
const EMPTY_FILE_GRACE_MS = 200;

const markSchema = z.object({ pid: z.int().positive(), startedAt: z.string() });
/** Who holds a data directory: its launcher and, where npm started that, npm, without which it is orphaned. */
const holderSchema = markSchema.extend({ supervisor: markSchema.optional() });
type Holder = z.infer<typeof holderSchema>;

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

const SHELL = /^(\S*\/)?(sh|bash|dash|zsh) -c /;

/** The npm that started this process and waits for it, perhaps by a shell, if one did. */
export function npmSupervisor(): ProcessMark | undefined {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const parent = process.ppid;
  return markOf(SHELL.test(commandLineOf(parent)) ? (parentOf(parent) ?? parent) : parent);
}

/** A node's data on disk, held by one launcher at a time. */
export class DataDirectory {
  readonly path: string;
  readonly #launcherFile: string;
  readonly #workerdFile: string;
  readonly #holder: string;

  private constructor(path: string, holder: Holder) {
    this.path = path;
    this.#launcherFile = join(path, "launcher.pid");
    this.#workerdFile = join(path, "workerd.pid");
    this.#holder = `${JSON.stringify(holder)}\n`;
  }

  /**
   * Takes hold of the directory, made where it is missing. What a launcher that is gone left running is ended.
   * @throws CommandError when a launcher that still runs holds it.
   */
  static async open(path: string): Promise<DataDirectory> {
    const self = markOf(process.pid);
    if (!self) throw new CommandError("cannot read this process's own start time", "check that `ps` works");
    const supervisor = npmSupervisor();
    const directory = new DataDirectory(makeDirectory(path), supervisor ? { ...self, supervisor } : self);
    await directory.#acquire();
    try {
      await directory.endWorkerd();
      directory.#emptyScratch();
      mkdirSync(directory.scratch);
    } catch (error) {
      directory.#release();
      throw error;
    }
    return directory;
  }

  get workerdFile(): string {
    return this.#workerdFile;
  }

  get storage(): string {
    return join(this.path, "storage");
  }

  /** For files that no later run needs. */
  get scratch(): string {
    return join(this.path, "scratch");
  }

  /** The node's key, made at the first start. */
  key(): NodeKey {
    return keptNodeKey(join(this.path, "node.key"));
  }

  get keyFile(): string {
    return join(this.path, "node.key");
  }

  /** The secret of the node's admin API, made at the first start. */
  adminSecret(): string {
    return keptAdminSecret(this.adminSecretFile);
  }

  get adminSecretFile(): string {
    return join(this.path, "admin-secret");
  }

  /** Lets go of the directory; no workerd of its runs any more. */
  async close(): Promise<void> {
    await this.endWorkerd();
    this.#emptyScratch();
    this.#release();
  }

  /** Ends the workerd that the directory's pid file names, if it is ours and still runs. */
  async endWorkerd(): Promise<void> {
    const pid = Number(readText(this.#workerdFile)?.trim());
    const mark = Number.isInteger(pid) && pid > 1 ? markOf(pid) : undefined;
    if (mark && this.#isOurWorkerd(pid) && !(await endProcess(mark, 0))) {
      throw new CommandError(
        `an earlier workerd (process ${pid}) still runs on ${this.path}, and SIGKILL does not end it`,
        `kill -9 ${pid}`,
      );
    }
    rmSync(this.#workerdFile, { force: true });
  }

  /** The id may have gone to another process since: the variable we started it with tells. */
  #isOurWorkerd(pid: number): boolean {
    const isOurs = wasStartedWith(pid, WORKERD_PID_FILE_VARIABLE, this.#workerdFile);
    return isOurs ?? commandLineOf(pid).includes("workerd");
  }

  async #acquire(): Promise<void> {
    for (let attempt = 0; attempt < MAX_TAKEOVERS; attempt++) {
      try {
        writeFileSync(this.#launcherFile, this.#holder, { flag: "wx" });
        return;
      } catch (error) {
        if (systemErrorCode(error) !== "EEXIST") throw error;
      }
      await this.#takeOver();
    }
    throw new CommandError(
      `${this.path} is being taken by several launchers at once`,
      "start one, or give each its own --data DIR",
    );
  }

  /** Removes the file of a holder that is gone. @throws CommandError when the holder is there. */
  async #takeOver(): Promise<void> {
    let text = readText(this.#launcherFile);
    if (text === "") {
      // Between its creation and its only write, or cut off there.
      await sleep(EMPTY_FILE_GRACE_MS);
      text = readText(this.#launcherFile);
    }
    if (text === undefined) return;
    const holder = parseHolder(text);
    if (holder && isRunning(holder)) await this.#endOrphan(holder);
    const moved = join(this.path, `launcher.pid.${process.pid}.stale`);
    try {
      renameSync(this.#launcherFile, moved);
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return;
      throw error;
    }
    const isWhatWasRead = readText(moved) === text;
    // Another launcher was faster and the file was already its own: give it back.
    if (!isWhatWasRead) renameSync(moved, this.#launcherFile);
    else rmSync(moved);
  }

  /** A launcher whose npm was killed waits for nobody: it is ended. One that is in use is left alone. */
  async #endOrphan(holder: Holder): Promise<void> {
    const isOrphan = holder.supervisor !== undefined && !isRunning(holder.supervisor);
    const isUs = holder.pid === process.pid;
    if (isOrphan && !isUs && (await endProcess(holder, LAUNCHER_GRACE_MS))) return;
    throw new CommandError(
      `${this.path} is in use by process ${holder.pid}${isUs ? " (this one)" : ""}`,
      `stop that one first (kill ${holder.pid}), or give another --data DIR`,
    );
  }

  #emptyScratch(): void {
    rmSync(this.scratch, { recursive: true, force: true, maxRetries: 5 });
  }

  #release(): void {
    if (readText(this.#launcherFile) === this.#holder) rmSync(this.#launcherFile, { force: true });
  }
}

function makeDirectory(path: string): string {
  try {
    mkdirSync(path, { recursive: true });
    return realpathSync(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CommandError(`cannot make the data directory ${path}: ${why}`, "give another --data DIR", {
      cause: error,
    });
  }
}
