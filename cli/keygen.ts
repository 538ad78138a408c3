import { existsSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { DEFAULT_POLICY, type Genesis, parseGenesis } from "../protocol/genesis.ts";
import { CommandError, systemErrorCode } from "./command-error.ts";
import { makeNodeKey, type NodeKey, writeNewFile, writeNodeKey } from "./node-key.ts";

export interface KeygenOptions {
  /** The network's name, 1 to 64 characters. */
  readonly name: string;
  /** Where the genesis document goes; false: none is made. */
  readonly genesis: string | false;
  /** A file for the secret, instead of stdout. */
  readonly out?: string;
  readonly json?: boolean;
}

export interface Output {
  stdout(text: string): void;
  stderr(text: string): void;
}

/** A new network whose only member, and only key for records, is the operator's. */
export function makeGenesis(name: string, publicKey: string, createdMs: number): Genesis {
  return parseGenesis({
    version: 1,
    name,
    createdMs,
    ...DEFAULT_POLICY,
    members: [publicKey],
    recordKeys: [publicKey],
  });
}

const PUT_SECRET = "npx wrangler secret put NODE_KEY";

function refuseExisting(path: string, what: string, mend: string): void {
  if (existsSync(path)) {
    throw new CommandError(`${path} exists already, and ${what} is never overwritten; no key was made`, mend);
  }
}

function writeNew(path: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (systemErrorCode(error) === undefined) throw error;
    throw new CommandError(`cannot write ${path}: ${why}; no key was made`, "name a file that can be made", {
      cause: error,
    });
  }
}

function writeFiles(options: KeygenOptions, key: NodeKey, genesis: Genesis): void {
  const { genesis: genesisPath, out } = options;
  if (genesisPath !== false) {
    const text = `${JSON.stringify(genesis, null, 2)}\n`;
    writeNew(genesisPath, () => writeNewFile(genesisPath, text, 0o644));
  }
  if (out === undefined) return;
  try {
    writeNew(out, () => writeNodeKey(out, key));
  } catch (error) {
    if (genesisPath !== false) rmSync(genesisPath);
    throw error;
  }
}

function nextSteps(options: KeygenOptions, key: NodeKey): string {
  const putSecret = options.out
    ? `${PUT_SECRET} < ${options.out}`
    : `unless this was: npx pennypost keygen | ${PUT_SECRET}\n     run ${PUT_SECRET}, and paste the key`;
  const lines = [`public key  ${key.did}`, `            ${key.publicKey}`];
  if (options.genesis !== false) {
    lines.push(`genesis     ${options.genesis}: this key is the only member and record key`);
  }
  lines.push(
    "",
    "Next:",
    `  1. ${putSecret}`,
    "  2. keep a backup of the key: Cloudflare shows a secret to nobody, and a lost key is a lost member",
    options.genesis === false
      ? "  3. ask the network's operators to admit the public key, and take their genesis document"
      : "  3. npm run deploy",
  );
  return `${lines.join("\n")}\n`;
}

/** Makes a node's key and, unless told otherwise, the genesis document of a new network. */
export function keygen(options: KeygenOptions, output: Output, nowMs: number): void {
  if (options.genesis !== false) {
    refuseExisting(
      options.genesis,
      "a genesis document",
      "for a further key: npx pennypost keygen --no-genesis; for a new network: npx pennypost keygen --genesis FILE",
    );
  }
  if (options.out !== undefined) {
    refuseExisting(options.out, "a key", "npx pennypost keygen --out ANOTHER_FILE");
    if (options.genesis !== false && resolve(options.out) === resolve(options.genesis)) {
      throw new CommandError(
        "--out and --genesis name the same file; no key was made",
        "name two different files",
      );
    }
  }
  const key = makeNodeKey();
  writeFiles(options, key, makeGenesis(options.name, key.publicKey, nowMs));
  if (options.json) {
    const { seed, publicKey, did } = key;
    const secret = options.out === undefined ? { seed } : { seedFile: options.out };
    const genesis = options.genesis === false ? {} : { genesis: options.genesis };
    output.stdout(`${JSON.stringify({ ...secret, publicKey, did, ...genesis })}\n`);
    return;
  }
  if (options.out === undefined) output.stdout(`${key.seed}\n`);
  output.stderr(nextSteps(options, key));
}
