import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DataDirectory } from "../cli/data-directory.ts";
import { HOST, LocalNode } from "../cli/local-node.ts";
import { keptNodeKey } from "../cli/node-key.ts";
import { bundleWorker } from "../cli/worker-bundle.ts";
import { readWranglerConfig } from "../cli/wrangler-config.ts";
import type { SyncReport } from "../durable-objects/peer-link/reconciliation.ts";
import type { Maintained } from "../durable-objects/sealed/maintenance.ts";
import { SHARDS } from "./data-set.ts";
import type { Counters } from "./worker/instrumented.ts";

const ENTRY = "bench/worker/instrumented.ts";
/** The first hand-over of a million events takes long. */
const REQUEST_TIMEOUT_MS = 600_000;

let bundled: Promise<string> | undefined;

export interface BenchNodeOptions {
  /** Hours after which events are sealed; never where absent. */
  readonly hotHours?: number;
  readonly inspectorPort?: number;
}

/** A node in workerd with the instrumented Worker. */
export class BenchNode {
  readonly folder: string;
  readonly url: string;
  readonly key: string;
  readonly #port: number;
  readonly #options: BenchNodeOptions;
  #directory: DataDirectory | undefined;
  #node: LocalNode | undefined;

  constructor(folder: string, port: number, options: BenchNodeOptions = {}) {
    this.folder = folder;
    this.#port = port;
    this.#options = options;
    this.url = `http://${HOST}:${port}`;
    this.key = keptNodeKey(join(folder, "node.key")).publicKey;
  }

  /** `peers`: as `PEERS` of the configuration. */
  async start(peers: string): Promise<void> {
    const { hotHours, inspectorPort } = this.#options;
    const config = await readWranglerConfig();
    bundled ??= bundleWorker(ENTRY);
    this.#directory = await DataDirectory.open(this.folder);
    this.#node = new LocalNode({
      label: `port ${this.#port}`,
      port: this.#port,
      directory: this.#directory,
      script: await bundled,
      config,
      variables: {
        GENESIS: "development",
        PEERS: peers,
        SHARDS: String(SHARDS),
        ...(hotHours === undefined ? {} : { HOT_HOURS: String(hotHours) }),
      },
      ...(inspectorPort === undefined ? {} : { inspectorPort }),
      report: (line) => void process.stderr.write(`${line}\n`),
    });
    await this.#node.ready();
  }

  async stop(): Promise<void> {
    await this.#node?.stop();
    await this.#directory?.close();
  }

  /** As a `TestPeer` asks it. */
  request(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init });
  }

  async #bench<T>(path: string): Promise<T> {
    const response = await this.request(`/bench/${path}`, { method: "POST" });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  counters = (): Promise<Counters> => this.#bench("counters");
  /** Brings the sync object up to date. */
  state = (): Promise<{ asOf: number }> => this.#bench("state");
  sync = (peerUrl: string): Promise<SyncReport> => this.#bench(`sync?peer=${encodeURIComponent(peerUrl)}`);
  /** A call to one shard that reads nothing. */
  check = (shard: number): Promise<null> => this.#bench(`check?shard=${shard}`);
  handOver = (shard: number, asOf: number) => this.#bench(`hand-over?shard=${shard}&asOf=${asOf}`);
  maintain = (shard: number): Promise<Maintained> => this.#bench(`maintain?shard=${shard}`);
  endShard = (shard: number) => this.#bench(`end-shard?shard=${shard}`);
  endSync = () => this.#bench("end-sync");

  /** CPU time that workerd has used so far, of all its threads, in ms; 0 where the system does not tell. */
  cpuMs(): number {
    const pid = this.#directory ? Number(readFileSync(this.#directory.workerdFile, "utf8")) : 0;
    return cpuMsOf(pid);
  }

  /** The most memory that workerd's process has had so far, in bytes; 0 where the system does not tell. */
  peakBytes(): number {
    try {
      const pid = Number(readFileSync(this.#directory?.workerdFile ?? "", "utf8"));
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024;
    } catch {
      return 0;
    }
  }
}

function cpuMsOf(pid: number): number {
  let nanoseconds = 0;
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`))
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
  } catch {
    // Not Linux, or a thread that ended just now.
  }
  return nanoseconds / 1e6;
}

/** What some work cost a node. */
export interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly rowsRead: number;
  readonly rowsWritten: number;
  readonly shardCalls: number;
}

/** Runs `work` and answers what it cost the node. */
export async function costOf<T>(
  node: BenchNode,
  work: () => Promise<T>,
): Promise<Cost & { readonly result: T }> {
  const before = await node.counters();
  const cpuBefore = node.cpuMs();
  const startMs = performance.now();
  const result = await work();
  const wallMs = performance.now() - startMs;
  const cpuMs = node.cpuMs() - cpuBefore;
  const after = await node.counters();
  return {
    result,
    wallMs,
    cpuMs,
    rowsRead: after.rowsRead - before.rowsRead,
    rowsWritten: after.rowsWritten - before.rowsWritten,
    shardCalls: after.shardCalls - before.shardCalls,
  };
}
