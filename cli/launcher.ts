import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { DataDirectory, npmSupervisor } from "./data-directory.ts";
import { readGenesisFile } from "./genesis-file.ts";
import { HOST, LocalNode, type NodeVariables } from "./local-node.ts";
import { isRunning } from "./processes.ts";
import { Scheduler } from "./scheduler.ts";
import { bundleWorker } from "./worker-bundle.ts";
import { readWranglerConfig } from "./wrangler-config.ts";

/** Who may publish, and how much. */
interface AdmissionOptions {
  /** Comma-separated policies that admit publishes. */
  readonly admission?: string;
  /** "off", or JSON. */
  readonly rateLimits?: string;
  readonly requireIdentityProof?: true;
  /** Where wallets that are contracts are asked. */
  readonly rpcUrl?: string;
}

export interface NetworkOptions extends AdmissionOptions {
  readonly nodes: number;
  /** The first node's port; the others follow. */
  readonly port: number;
  /** A fresh temporary folder, removed at the end, where absent. */
  readonly data?: string;
  readonly shards?: number;
}

export interface NodeOptions extends AdmissionOptions {
  readonly port: number;
  readonly data?: string;
  readonly peers?: string;
  readonly shards?: number;
  /** The genesis document's file; the development genesis where absent. */
  readonly genesis?: string;
}

/** One node to be started. */
interface Plan {
  readonly label: string;
  readonly port: number;
  readonly directory: DataDirectory;
  readonly variables: Partial<NodeVariables>;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** All is to be stopped within 5 s of the signal. */
const STOP_GRACE_MS = 3_000;
const SUPERVISOR_POLL_MS = 250;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Removed when this process ends, in whatever way it can still act. */
function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  return folder;
}

/** Resolves at the first signal to stop, or when npm, which started this process, was killed. */
class StopRequest {
  readonly #asked = Promise.withResolvers<"stop">();
  readonly requested = this.#asked.promise;
  /** Under npm, Ctrl-C comes twice, from the terminal and from npm: the second changes nothing. */
  readonly #onSignal = (): void => this.#asked.resolve("stop");

  constructor() {
    this.takeSignals();
    const supervisor = npmSupervisor();
    if (!supervisor) return;
    const parent = process.ppid;
    const timer = setInterval(() => {
      if (process.ppid !== parent || !isRunning(supervisor)) this.#asked.resolve("stop");
    }, SUPERVISOR_POLL_MS);
    timer.unref();
  }

  /** Also after each `new Miniflare`, which adds handlers that end the process at once. */
  takeSignals(): void {
    for (const signal of SIGNALS) {
      // Ours stays in its place meanwhile: without any, a signal that waits to be delivered would be lost.
      if (!process.listeners(signal).includes(this.#onSignal)) process.on(signal, this.#onSignal);
      for (const listener of process.listeners(signal)) {
        if (listener !== this.#onSignal) process.removeListener(signal, listener);
      }
    }
  }
}

async function startNodes(plans: readonly Plan[], stop: StopRequest): Promise<LocalNode[]> {
  const config = await readWranglerConfig();
  const script = await bundleWorker(config.main);
  const defaults = { GENESIS: "development", PEERS: "", SHARDS: config.vars.SHARDS ?? "" };
  const nodes = plans.map(({ label, port, directory, variables }) => {
    const report = (line: string): void => say(`${label}: ${line}`);
    return new LocalNode({
      label,
      port,
      directory,
      script,
      config,
      variables: { ...defaults, ...variables },
      report,
    });
  });
  stop.takeSignals();
  return nodes;
}

async function runNodes(plans: readonly Plan[], stop: StopRequest): Promise<void> {
  let nodes: LocalNode[] = [];
  const schedulers: Scheduler[] = [];
  try {
    nodes = await startNodes(plans, stop);
    const ready = Promise.all(nodes.map((node) => node.ready()));
    if ((await Promise.race([ready, stop.requested])) === "stop") {
      ready.catch(() => {});
      return;
    }
    for (const [index, node] of nodes.entries()) {
      const label = plans[index]?.label;
      schedulers.push(
        new Scheduler(
          () => node.runScheduled(),
          (message) => say(`${label}: ${message}`),
        ),
      );
    }
    for (const scheduler of schedulers) scheduler.start();
    for (const { label, directory } of plans)
      say(`${label}: its admin secret is in ${directory.adminSecretFile}`);
    process.stdout.write(`pennypost: ready ${nodes.map(({ url }) => url).join(" ")}\n`);
    await stop.requested;
  } finally {
    for (const scheduler of schedulers) scheduler.stop();
    await Promise.race([Promise.allSettled(nodes.map((node) => node.stop())), sleep(STOP_GRACE_MS)]);
  }
}

/** Opens the directories, runs what `plan` makes of them, and lets go of them whatever happens. */
async function withDirectories(
  paths: readonly string[],
  stop: StopRequest,
  plan: (directories: readonly DataDirectory[]) => Plan[],
): Promise<void> {
  const directories: DataDirectory[] = [];
  try {
    for (const path of paths) directories.push(await DataDirectory.open(path));
    await runNodes(plan(directories), stop);
  } finally {
    await Promise.all(directories.map((directory) => directory.close()));
  }
}

const chosenVariables = ({
  shards,
  admission,
  rateLimits,
  requireIdentityProof,
  rpcUrl,
}: AdmissionOptions & Pick<NodeOptions, "shards">): Partial<NodeVariables> => ({
  ...(shards === undefined ? {} : { SHARDS: String(shards) }),
  ...(admission === undefined ? {} : { ADMISSION: admission }),
  ...(rateLimits === undefined ? {} : { RATE_LIMITS: rateLimits }),
  ...(requireIdentityProof ? { REQUIRE_IDENTITY_PROOF: "true" } : {}),
  ...(rpcUrl === undefined ? {} : { RPC_URL: rpcUrl }),
});

/** `npm start`: a network of nodes, all peers of each other, until a signal comes. */
export async function runNetwork(options: NetworkOptions): Promise<void> {
  const stop = new StopRequest();
  const root = options.data ?? temporaryFolder();
  const paths = Array.from({ length: options.nodes }, (_, index) => join(root, `node-${index + 1}`));
  await withDirectories(paths, stop, (directories) => {
    const addresses = directories.map(
      (directory, index) => `${directory.key().did}@http://${HOST}:${options.port + index}`,
    );
    return directories.map((directory, index) => ({
      label: `node-${index + 1}`,
      port: options.port + index,
      directory,
      variables: {
        PEERS: addresses.filter((_, other) => other !== index).join(","),
        ...chosenVariables(options),
      },
    }));
  });
}

/** What the operator of a node does whose key is not in the genesis document: the node may have joined, and does not know it yet. */
const outsideGenesis = ({ port }: NodeOptions, { keyFile, adminSecretFile }: DataDirectory): string[] => [
  "its key is not in the genesis document. If it joined before, that is fine.",
  `To join: ask a member for an invitation, then npx pennypost peer join URL INVITATION --node http://${HOST}:${port} --admin-secret ${adminSecretFile}`,
  `Founder of the network: put the key from keygen into ${keyFile}, and start again.`,
  `A new key of a node that joined: npx pennypost peer rotate --old-key OLD_KEY_FILE --node http://${HOST}:${port} --admin-secret ${adminSecretFile}`,
];

/** `npm run node`: one node in the foreground, until a signal comes. */
export async function runNode(options: NodeOptions): Promise<void> {
  const genesis = options.genesis === undefined ? undefined : readGenesisFile(options.genesis);
  const stop = new StopRequest();
  await withDirectories([options.data ?? temporaryFolder()], stop, ([directory]) => {
    if (!directory) throw new Error("one path gives one directory");
    const { did, publicKey } = directory.key();
    say(`pennypost: this node is ${did}@http://${HOST}:${options.port}`);
    if (genesis && genesis.members !== "any" && !genesis.members.includes(publicKey)) {
      for (const line of outsideGenesis(options, directory)) say(`pennypost: ${line}`);
    }
    const variables: Partial<NodeVariables> = {
      ...(genesis ? { GENESIS: JSON.stringify(genesis) } : {}),
      ...(options.peers === undefined ? {} : { PEERS: options.peers }),
      ...chosenVariables(options),
    };
    return [{ label: "node", port: options.port, directory, variables }];
  });
}
