import { Command, InvalidArgumentError } from "commander";
import { addBackup, type ExportOptions, type ImportOptions } from "./backup/backup-program.ts";
import type { DeployOptions } from "./deploy.ts";
import type { KeygenOptions } from "./keygen.ts";
import type { NetworkOptions, NodeOptions } from "./launcher.ts";
import {
  DEFAULT_NODES,
  DEFAULT_PORT,
  MAX_PORT,
  parseAdmission,
  parseDeployedIssuerName,
  parseDeployedPeers,
  parseLimits,
  parseLocalPeers,
  parseLocalRpcUrl,
  parseNodes,
  parsePath,
  parsePort,
  parseShards,
} from "./options.ts";
import { addPeer, type PeerActions } from "./peer-program.ts";

/** What the commands do; each is loaded when it is called, since Miniflare and wrangler are large. */
export interface Actions {
  keygen(options: KeygenOptions): Promise<void>;
  start(options: NetworkOptions): Promise<void>;
  node(options: NodeOptions): Promise<void>;
  deploy(options: DeployOptions): Promise<void>;
  export(options: ExportOptions): Promise<void>;
  import(options: ImportOptions): Promise<void>;
  readonly peer: PeerActions;
}

const PORT = ["--port <port>", "port of the node", parsePort, DEFAULT_PORT] as const;
const SHARDS = [
  "--shards <count>",
  "topic shards per node, fixed at the first start (default: wrangler.toml's)",
  parseShards,
] as const;

const admissionOption = (byDefault: string) =>
  [
    "--admission <policies>",
    `who may publish: open, wallet, stamp, separated by commas, in the order in which they are asked (default: ${byDefault})`,
    parseAdmission,
  ] as const;

const rateLimitsOption = (byDefault: string) =>
  [
    "--rate-limits <limits>",
    `how much may be published: "off", or JSON like {"wallet":{"burst":100,"perMinute":60}} (default: ${byDefault})`,
    parseLimits,
  ] as const;

const ADMISSION = admissionOption("open");
const RATE_LIMITS = rateLimitsOption("off");
/** What a deployment leaves alone unless it is told otherwise. */
const AS_DEPLOYED = "as deployed";

const REQUIRE_IDENTITY_PROOF = [
  "--require-identity-proof",
  "a wallet's publish needs a proof of its identity key beside the token",
] as const;

const RPC_URL = [
  "--rpc-url <url>",
  "JSON-RPC endpoint of the chain on which wallets may be contracts (default: none may)",
  parseLocalRpcUrl,
] as const;

function parseName(text: string): string {
  if (text.trim() === "" || text.length > 64)
    throw new InvalidArgumentError("1 to 64 characters are needed.");
  return text;
}

function addKeygen(program: Command, actions: Actions): void {
  program
    .command("keygen")
    .description("make a node's key, and the genesis document of a new network")
    .option("--name <name>", "the network's name in the genesis document", parseName, "pennypost")
    .option("--genesis <file>", "where the genesis document goes", parsePath, "genesis.json")
    .option("--no-genesis", "make a key only")
    .option("--out <file>", "write the secret to a new file that only you can read, not to stdout", parsePath)
    .option("--json", "print JSON")
    .action((options: KeygenOptions) => actions.keygen(options));
}

function addStart(program: Command, actions: Actions): void {
  const command = program
    .command("start")
    .description("run a network of local nodes, all peers of each other")
    .option("--nodes <count>", "number of nodes", parseNodes, DEFAULT_NODES)
    .option("--port <port>", "port of the first node; the others follow", parsePort, DEFAULT_PORT)
    .option("--data <dir>", "keep the data here (default: a temporary folder, removed at the end)", parsePath)
    .option(...SHARDS)
    .option(...ADMISSION)
    .option(...RATE_LIMITS)
    .option(...REQUIRE_IDENTITY_PROOF)
    .option(...RPC_URL);
  command.action((options: NetworkOptions) => {
    if (options.port + options.nodes - 1 > MAX_PORT) {
      command.error(`error: ${options.nodes} nodes from port ${options.port} on end above ${MAX_PORT}`);
    }
    return actions.start(options);
  });
}

function addNode(program: Command, actions: Actions): void {
  program
    .command("node")
    .description("run one local node")
    .option(...PORT)
    .option("--data <dir>", "keep the data here (default: a temporary folder, removed at the end)", parsePath)
    .option("--peers <urls>", "nodes to replicate with: KEY@URL or URL, separated by commas", parseLocalPeers)
    .option(...SHARDS)
    .option(...ADMISSION)
    .option(...RATE_LIMITS)
    .option(...REQUIRE_IDENTITY_PROOF)
    .option(...RPC_URL)
    .option("--genesis <file>", "the network's genesis document (default: the development one)", parsePath)
    .action((options: NodeOptions) => actions.node(options));
}

function addDeploy(program: Command, actions: Actions): void {
  program
    .command("deploy")
    .description("deploy the node to Cloudflare: the Worker, then its database's migrations")
    .option("--dry-run", "bundle and show what would be done, offline")
    .option("--genesis <file>", "the network's genesis document (default: genesis.json)", parsePath)
    .option(
      "--peers <list>",
      `nodes to replicate with: KEY@URL, separated by commas; "" for none (default: ${AS_DEPLOYED})`,
      parseDeployedPeers,
    )
    .option(...admissionOption(AS_DEPLOYED))
    .option(...rateLimitsOption(AS_DEPLOYED))
    .option(REQUIRE_IDENTITY_PROOF[0], `${REQUIRE_IDENTITY_PROOF[1]} (default: ${AS_DEPLOYED})`)
    .option("--no-require-identity-proof", "a wallet's token does")
    .option(
      "--issuer-name <host>",
      `the host that names the node in its stamps' keys (default: ${AS_DEPLOYED}, or as it is first asked)`,
      parseDeployedIssuerName,
    )
    .action((options: DeployOptions) => actions.deploy(options));
}

export function makeProgram(actions: Actions): Command {
  const program = new Command("pennypost")
    .description("Run and deploy Pennypost nodes.")
    .showHelpAfterError("(--help shows the options; with npm they come behind a --: npm start -- --nodes 5)");
  addKeygen(program, actions);
  addStart(program, actions);
  addNode(program, actions);
  addDeploy(program, actions);
  addBackup(program, actions);
  addPeer(program, actions.peer);
  return program;
}
