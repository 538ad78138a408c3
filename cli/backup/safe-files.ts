import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { suite } from "../../durable-objects/platform-suite.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { systemErrorCode } from "../command-error.ts";

/** Files that are whole or not there: each is written under another name, synced, and renamed. */

const UNFINISHED = ".part";
export const partOf = (path: string): string => `${path}${UNFINISHED}`;
export const isPart = (name: string): boolean => name.endsWith(UNFINISHED);

/** Bytes and SHA-256 (hex) of a file. */
export interface FileFacts {
  readonly bytes: number;
  readonly sha256: string;
}

export const factsOf = (bytes: Bytes): FileFacts => ({
  bytes: bytes.length,
  sha256: toHex(suite.sha256(bytes)),
});

/** A file's content; undefined when it is not there. */
export async function readIfThere(path: string): Promise<Bytes | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The names in a folder; none when it is not there. */
export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

async function withFile<T>(path: string, flags: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, flags);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

const syncFolder = (folder: string): Promise<void> => withFile(folder, "r", (file) => file.sync());

/** Names a file that is complete and checked by what it is. */
export async function finish(path: string): Promise<void> {
  await withFile(partOf(path), "r+", (file) => file.sync());
  await rename(partOf(path), path);
  await syncFolder(dirname(path));
}

/** Writes a whole file, in place of one that is there. */
export async function putFile(path: string, content: Bytes | string): Promise<void> {
  await withFile(partOf(path), "w", (file) => file.writeFile(content));
  await finish(path);
}

/** Appends to a file that is not complete yet, from a place on. */
export const appendPart = <T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T> =>
  withFile(partOf(path), "a", work);

export async function makeFolders(...folders: readonly string[]): Promise<void> {
  for (const folder of folders) await mkdir(folder, { recursive: true });
}

/** Removes what is in a folder and not to be kept. Answers how many files that were. */
export async function removeOthers(folder: string, kept: ReadonlySet<string>): Promise<number> {
  const others = (await namesIn(folder)).filter((name) => !kept.has(name));
  for (const name of others) await rm(join(folder, name), { force: true });
  return others.filter((name) => !isPart(name)).length;
}
