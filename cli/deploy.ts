import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import type { Genesis } from "../protocol/genesis.ts";
import { CommandError } from "./command-error.ts";
import { readMigrations } from "./d1-migrations.ts";
import { readGenesisFile } from "./genesis-file.ts";
import { ROOT, WRANGLER_CONFIG } from "./paths.ts";
import { databaseOf, parseWranglerConfig, readRawWranglerConfig } from "./wrangler-config.ts";

export interface DeployOptions {
  readonly dryRun?: boolean;
  /** The genesis document's file; `genesis.json` where absent, if it is there. */
  readonly genesis?: string;
  /** Comma-separated `KEY@URL`; absent: as deployed; empty: none. */
  readonly peers?: string;
  /** Comma-separated policies that admit publishes; absent: as deployed. */
  readonly admission?: string;
  /** "off", or JSON; absent: as deployed. */
  readonly rateLimits?: string;
  /** Whether a wallet's publish needs a proof of its identity key; absent: as deployed. */
  readonly requireIdentityProof?: boolean;
  /** The host that names the node in its issuer keys' challenges; absent: as deployed. */
  readonly issuerName?: string;
}

/** Cloudflare's limit for a variable. */
const MAX_VARIABLE_BYTES = 5 * 1_024;
const DEFAULT_GENESIS_FILE = "genesis.json";
/** Wrangler writes the ids of what it creates into the config that it deploys: this copy, not wrangler.toml. */
const DEPLOY_CONFIG = join(ROOT, "dist", "deploy", "wrangler.json");
/** What the operator's own options set, never wrangler.toml: its values are those of a local node. */
const OPERATOR_VARIABLES = ["GENESIS", "PEERS"];

/**
 * The config to deploy: wrangler.toml without the operator's variables. With `--keep-vars`, what Cloudflare
 * has then stays, and a deployment without `--peers` does not cut a node off from its network.
 */
export function deployConfig(raw: Readonly<Record<string, unknown>>, root: string): Record<string, unknown> {
  const vars = z.record(z.string(), z.unknown()).default({}).parse(raw.vars);
  const main = z.string().parse(raw.main);
  return {
    ...raw,
    main: resolve(root, main),
    vars: Object.fromEntries(Object.entries(vars).filter(([name]) => !OPERATOR_VARIABLES.includes(name))),
  };
}

const VARIABLE_MENDS: Readonly<Record<string, string>> = {
  GENESIS: "begin with fewer members, and admit the others by records",
  PEERS: "name fewer peers",
};

function variable(name: string, value: string): string[] {
  const sizeBytes = Buffer.byteLength(value);
  if (sizeBytes > MAX_VARIABLE_BYTES) {
    throw new CommandError(
      `${name} has ${sizeBytes} bytes, and Cloudflare takes ${MAX_VARIABLE_BYTES} for a variable`,
      VARIABLE_MENDS[name] ?? "make it shorter",
    );
  }
  return ["--var", `${name}:${value}`];
}

/** The Worker variables that the operator's options set, beside the genesis document. */
function variablesOf(options: DeployOptions): [name: string, value: string][] {
  const { peers, admission, rateLimits, requireIdentityProof, issuerName } = options;
  const values = {
    PEERS: peers,
    ADMISSION: admission,
    RATE_LIMITS: rateLimits,
    REQUIRE_IDENTITY_PROOF: requireIdentityProof?.toString(),
    ISSUER_NAME: issuerName,
  };
  return Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);
}

/** The words after `wrangler` for the deployment itself. */
export function deployArguments(
  configPath: string,
  options: Omit<DeployOptions, "genesis">,
  genesis: Genesis | undefined,
): string[] {
  return [
    "deploy",
    ...(options.dryRun ? ["--dry-run"] : []),
    ...["--config", configPath, "--keep-vars"],
    ...(genesis ? variable("GENESIS", JSON.stringify(genesis)) : []),
    ...variablesOf(options).flatMap(([name, value]) => variable(name, value)),
  ];
}

export const migrateArguments = (binding: string): string[] => [
  ...["d1", "migrations", "apply", binding, "--remote", "--config", WRANGLER_CONFIG],
];

function genesisFor(options: DeployOptions): Genesis | undefined {
  const path = options.genesis ?? (existsSync(DEFAULT_GENESIS_FILE) ? DEFAULT_GENESIS_FILE : undefined);
  if (path !== undefined) {
    const genesis = readGenesisFile(path);
    if (genesis.members !== "any") return genesis;
    throw new CommandError(
      `${path} admits any key: such a network is for development, and a deployed node refuses it`,
      "npx pennypost keygen --genesis ANOTHER_FILE makes a document with you as its member",
    );
  }
  if (options.dryRun) return undefined;
  throw new CommandError(
    `a deployed node needs its network's genesis document, and there is no ${DEFAULT_GENESIS_FILE} here`,
    "for a new network: npx pennypost keygen; for one that exists: npm run deploy -- --genesis FILE",
  );
}

function runWrangler(words: readonly string[], environment: NodeJS.ProcessEnv, mend: string): void {
  const packageFile = createRequire(import.meta.url).resolve("wrangler/package.json");
  const program = join(dirname(packageFile), "bin", "wrangler.js");
  const { status, signal, error } = spawnSync(process.execPath, [program, ...words], {
    cwd: ROOT,
    env: { ...process.env, ...environment },
    stdio: "inherit",
  });
  if (error) throw error;
  if (status === 0) return;
  const command = words.slice(0, words[0] === "d1" ? 3 : 1).join(" ");
  throw new CommandError(`wrangler ${command} ended with ${signal ?? `status ${status}`}; see above`, mend);
}

/** No look-up of newer versions and no usage reports: a dry run works without a network. */
const OFFLINE = { WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true" };

/** `npm run deploy`: the Worker with its bindings, then the migrations of its database. */
export async function deploy(options: DeployOptions, print: (line: string) => void): Promise<void> {
  const genesis = genesisFor(options);
  const raw = await readRawWranglerConfig();
  const { binding, migrations_dir: folder } = databaseOf(parseWranglerConfig(raw));
  const words = deployArguments(DEPLOY_CONFIG, options, genesis);
  mkdirSync(dirname(DEPLOY_CONFIG), { recursive: true });
  writeFileSync(DEPLOY_CONFIG, JSON.stringify(deployConfig(raw, ROOT), null, 2));
  if (options.dryRun) {
    runWrangler(words, OFFLINE, "npm run typecheck");
    const names = readMigrations(join(ROOT, folder)).map(({ name }) => name);
    print(`Then the migrations of D1 "${binding}" that it lacks, of: ${names.join(", ") || "none"}`);
    // Wrangler hides the values of what is given by --var.
    for (const [name, value] of variablesOf(options)) print(`${name} would be: ${value || "empty"}`);
    if (!genesis) print("A real deployment also needs a genesis document: npx pennypost keygen");
    print("Nothing was deployed.");
    return;
  }
  runWrangler(words, {}, "npx wrangler whoami shows whether you are logged in; then npm run deploy again");
  runWrangler(
    migrateArguments(binding),
    {},
    `the Worker is deployed, its database is not up to date: npx wrangler ${migrateArguments(binding).slice(0, 5).join(" ")}`,
  );
}
