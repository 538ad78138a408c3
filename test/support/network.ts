import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataDirectory } from "../../cli/data-directory.ts";
import { HOST, LocalNode, type NodeVariables } from "../../cli/local-node.ts";
import { keptNodeKey } from "../../cli/node-key.ts";
import { bundleWorker } from "../../cli/worker-bundle.ts";
import { readWranglerConfig } from "../../cli/wrangler-config.ts";
import { portableSuite } from "../../protocol/crypto.ts";
import { DEVELOPMENT_GENESIS, type Genesis, Network } from "../../protocol/genesis.ts";
import { NodeClient } from "./node-client.ts";
import { freePorts } from "./ports.ts";

const worker = async () => {
  const config = await readWranglerConfig();
  return { config, script: await bundleWorker(config.main) };
};
/** Read and bundled once per test file. */
let bundled: ReturnType<typeof worker> | undefined;

export interface NetworkOptions {
  readonly shards?: number;
  /** Comma-separated policies that admit publishes; open by default. */
  readonly admission?: string;
  /** How much may be published: "off", or JSON; off by default. */
  readonly rateLimits?: string;
  readonly requireIdentityProof?: boolean;
  /** Where wallets that are contracts are asked. */
  readonly rpcUrl?: string;
  /** Further peers of the first node, as `KEY@URL` or URLs. */
  readonly strangers?: readonly string[];
  /** Nodes, by number from 0, that are not started yet. */
  readonly without?: readonly number[];
  /** Makes the network's document of the nodes' keys, in hex; the development genesis where absent. */
  readonly genesis?: (keys: readonly string[]) => Genesis;
}

/** A node in this process's workerd, that can be stopped and started again on its data. No scheduler calls it. */
export class TestNode extends NodeClient {
  readonly port: number;
  /** Its public key, 64 hex digits. */
  readonly key: string;
  /** The other nodes of its network. */
  peers: readonly TestNode[] = [];
  /** Peers that are none of ours, as `KEY@URL` or URLs. */
  strangers: readonly string[] = [];
  /** The genesis document of its network. */
  genesis = DEVELOPMENT_GENESIS;
  /** What the node wrote to its log as warnings and errors. */
  readonly reports: string[] = [];
  /** All that it wrote to its log, of whatever level. */
  readonly logged: string[] = [];
  readonly folder: string;
  readonly #variables: Omit<NodeVariables, "GENESIS" | "PEERS">;
  #directory: DataDirectory | undefined;
  #node: LocalNode | undefined;

  constructor(
    folder: string,
    port: number,
    { shards = 16, admission = "open", rateLimits = "off", requireIdentityProof, rpcUrl }: NetworkOptions,
  ) {
    super(`http://${HOST}:${port}`);
    this.port = port;
    mkdirSync(folder);
    this.key = keptNodeKey(join(folder, "node.key")).publicKey;
    this.folder = folder;
    this.#variables = {
      SHARDS: String(shards),
      ADMISSION: admission,
      RATE_LIMITS: rateLimits,
      ...(requireIdentityProof ? { REQUIRE_IDENTITY_PROOF: "true" } : {}),
      ...(rpcUrl === undefined ? {} : { RPC_URL: rpcUrl }),
    };
  }

  async start(): Promise<void> {
    bundled ??= worker();
    const { config, script } = await bundled;
    this.#directory = await DataDirectory.open(this.folder);
    const peers = [...this.peers.map(({ key, url }) => `${key}@${url}`), ...this.strangers];
    this.#node = new LocalNode({
      label: `port ${this.port}`,
      port: this.port,
      directory: this.#directory,
      script,
      config,
      variables: { GENESIS: JSON.stringify(this.genesis), PEERS: peers.join(), ...this.#variables },
      report: (line) => void this.reports.push(line),
      logged: (line) => void this.logged.push(line),
    });
    await this.#node.ready();
  }

  /** Calls the node's scheduled handler, as cron does each minute; resolves when its pulls are done. */
  async runScheduled(): Promise<void> {
    await this.#node?.runScheduled();
  }

  async stop(): Promise<void> {
    await this.#node?.stop();
    this.#node = undefined;
    await this.#directory?.close();
    this.#directory = undefined;
  }
}

export interface TestNetwork {
  readonly nodes: readonly TestNode[];
  /** What its genesis document asks. */
  readonly rules: Network;
  /** One of the nodes, by number from 0. */
  node(index: number): TestNode;
  /** Stops all and removes their data. */
  stop(): Promise<void>;
}

/** Starts nodes on free ports, all peers of each other, with their data in a temporary folder. */
export async function startNetwork(count: number, options: NetworkOptions = {}): Promise<TestNetwork> {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-test-"));
  const ports = await freePorts(count);
  const nodes = ports.map((port, index) => new TestNode(join(folder, `node-${index}`), port, options));
  const genesis = options.genesis?.(nodes.map(({ key }) => key)) ?? DEVELOPMENT_GENESIS;
  for (const each of nodes) {
    each.peers = nodes.filter((other) => other !== each);
    each.genesis = genesis;
  }
  if (nodes[0]) nodes[0].strangers = options.strangers ?? [];
  const stop = async () => {
    const stopped = await Promise.allSettled(nodes.map((node) => node.stop()));
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    for (const result of stopped) if (result.status === "rejected") throw result.reason;
  };
  const node = (index: number): TestNode => {
    const found = nodes[index];
    if (!found) throw new RangeError(`there are ${count} nodes; ${index} is none`);
    return found;
  };
  const wanted = nodes.filter((_, index) => !options.without?.includes(index));
  const started = await Promise.allSettled(wanted.map((each) => each.start()));
  const failed = started.find((result) => result.status === "rejected");
  if (!failed) return { nodes, rules: new Network(genesis, portableSuite()), node, stop };
  await stop();
  throw failed.reason;
}
