import { existsSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { DEFAULT_POLICY, type Genesis, parseGenesis } from "../protocol/genesis.ts";
import { makeAdminSecret } from "./admin-secret.ts";
import { CommandError, systemErrorCode } from "./command-error.ts";
import { makeNodeKey, type NodeKey, writeNewFile, writeNodeKey, writeSecretFile } from "./node-key.ts";

export interface KeygenOptions {
  /** The network's name, 1 to 64 characters. */
  readonly name: string;
  /** Where the genesis document goes; false: none is made. */
  readonly genesis: string | false;
  /** A file for the key, instead of stdout; the admin secret goes into another beside it. */
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

/** What a new node needs. */
interface Secrets {
  readonly key: NodeKey;
  readonly adminSecret: string;
}

const PUT_SECRET = "npx wrangler secret put NODE_KEY";
const PUT_ADMIN_SECRET = "npx wrangler secret put ADMIN_SECRET";

const adminSecretFile = (out: string): string => `${out}.admin-secret`;

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

/** Writes all or none. */
function writeFiles(options: KeygenOptions, { key, adminSecret }: Secrets, genesis: Genesis): void {
  const { genesis: genesisPath, out } = options;
  const written: string[] = [];
  const put = (path: string, write: () => void) => {
    writeNew(path, write);
    written.push(path);
  };
  try {
    if (genesisPath !== false) {
      const text = `${JSON.stringify(genesis, null, 2)}\n`;
      put(genesisPath, () => writeNewFile(genesisPath, text, 0o644));
    }
    if (out === undefined) return;
    put(out, () => writeNodeKey(out, key));
    put(adminSecretFile(out), () => writeSecretFile(adminSecretFile(out), adminSecret));
  } catch (error) {
    for (const path of written) rmSync(path);
    throw error;
  }
}

function lastSteps({ genesis, out }: KeygenOptions): string[] {
  if (genesis === "genesis.json") return ["  4. npm run deploy"];
  if (genesis !== false) return [`  4. npm run deploy -- --genesis ${genesis}`];
  const secret = out === undefined ? "FILE" : adminSecretFile(out);
  return [
    "  4. curl THERE/v1/genesis > genesis.json, unless you have the network's document already; npm run deploy",
    "  5. ask a member for an invitation (THERE: npx pennypost peer invite), then:",
    `     npx pennypost peer join THERE INVITATION --node https://YOUR-NODE --admin-secret ${secret}`,
    "",
    "To change the key of a node that has joined, only 1 and 3; then: npx pennypost peer rotate --old-key OLD_KEY_FILE",
  ];
}

function nextSteps(options: KeygenOptions, { key, adminSecret }: Secrets): string {
  const putSecret = options.out
    ? `${PUT_SECRET} < ${options.out}`
    : `unless this was: npx pennypost keygen | ${PUT_SECRET}\n     run ${PUT_SECRET}, and paste the key`;
  const putAdminSecret = options.out
    ? `${PUT_ADMIN_SECRET} < ${adminSecretFile(options.out)}`
    : `${PUT_ADMIN_SECRET}, and paste the admin secret above: it opens the node's admin API`;
  const lines = [`public key  ${key.did}`, `            ${key.publicKey}`];
  if (options.out === undefined) lines.push(`admin       ${adminSecret}`);
  else lines.push(`admin       ${adminSecretFile(options.out)}, for a deployed node`);
  if (options.genesis !== false) {
    lines.push(`genesis     ${options.genesis}: this key is the only member and record key`);
  }
  lines.push(
    "",
    "Next:",
    `  1. ${putSecret}`,
    `  2. ${putAdminSecret}`,
    "  3. keep a backup of the key: Cloudflare shows a secret to nobody, and a lost key is a lost member",
    ...lastSteps(options),
    "",
    `On this machine instead: ${options.out ? `cp ${options.out}` : "write the key to"} DATA/node.key before the first start; a local node makes its own DATA/admin-secret.`,
  );
  return `${lines.join("\n")}\n`;
}

/** Makes a node's key, a secret for its admin API and, unless told otherwise, the genesis document of a new network. */
export function keygen(options: KeygenOptions, output: Output, nowMs: number): void {
  if (options.genesis !== false) {
    const out = options.out === undefined ? "" : ` --out ${options.out}`;
    refuseExisting(
      options.genesis,
      "a genesis document",
      `for a further key: npx pennypost keygen --no-genesis${out}; for a new network: npx pennypost keygen --genesis FILE${out}`,
    );
  }
  if (options.out !== undefined) {
    for (const path of [options.out, adminSecretFile(options.out)])
      refuseExisting(
        path,
        "a key",
        `npx pennypost keygen ${options.genesis === false ? "--no-genesis " : ""}--out ANOTHER_FILE`,
      );
    if (options.genesis !== false && resolve(options.out) === resolve(options.genesis)) {
      throw new CommandError(
        "--out and --genesis name the same file; no key was made",
        "name two different files",
      );
    }
  }
  const key = makeNodeKey();
  const adminSecret = makeAdminSecret();
  writeFiles(options, { key, adminSecret }, makeGenesis(options.name, key.publicKey, nowMs));
  if (options.json) {
    const { seed, publicKey, did } = key;
    const { out } = options;
    const secret =
      out === undefined ? { seed, adminSecret } : { seedFile: out, adminSecretFile: adminSecretFile(out) };
    const genesis = options.genesis === false ? {} : { genesis: options.genesis };
    output.stdout(`${JSON.stringify({ ...secret, publicKey, did, ...genesis })}\n`);
    return;
  }
  if (options.out === undefined) output.stdout(`${key.seed}\n`);
  output.stderr(nextSteps(options, { key, adminSecret }));
}
