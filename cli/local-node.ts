import { createRequire } from "node:module";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { CommandError } from "./command-error.ts";
import { applyMigrations, readMigrations } from "./d1-migrations.ts";
import { type DataDirectory, WORKERD_PID_FILE_VARIABLE } from "./data-directory.ts";
import { ROOT, WORKERD_WRAPPER } from "./paths.ts";
import { databaseOf, type WranglerConfig } from "./wrangler-config.ts";

/** What a node is configured with; the rest is as wrangler.toml says. */
export interface NodeVariables {
  /** The genesis document as JSON, or "development". */
  readonly GENESIS: string;
  /** Comma-separated `KEY@URL` or, under the development genesis, URLs. */
  readonly PEERS: string;
  readonly SHARDS: string;
  /** Hours after which events are sealed; never where absent. */
  readonly HOT_HOURS?: string;
  /** Comma-separated policies that admit publishes. */
  readonly ADMISSION?: string;
  /** "off", or JSON. */
  readonly RATE_LIMITS?: string;
  readonly REQUIRE_IDENTITY_PROOF?: "true";
  readonly RPC_URL?: string;
}

export interface LocalNodeOptions {
  /** What its lines on stderr begin with. */
  readonly label: string;
  readonly port: number;
  readonly directory: DataDirectory;
  /** The bundled Worker. */
  readonly script: string;
  readonly config: WranglerConfig;
  readonly variables: NodeVariables;
  readonly report: (line: string) => void;
  /** Told all that the node logs, of whatever level. */
  readonly logged?: (line: string) => void;
  /** Where workerd's inspector listens; nowhere where absent. */
  readonly inspectorPort?: number;
}

export const HOST = "127.0.0.1";
const HEALTH_DEADLINE_MS = 30_000;
const HEALTH_POLL_MS = 50;
const HEALTH_REQUEST_MS = 5_000;
/** On Miniflare's own socket, which is on this machine alone; the node's socket does not know it. */
const SCHEDULED_URL = `http://localhost/cdn-cgi/local/scheduled?${new URLSearchParams({ cron: "* * * * *" })}`;
/** `/health` says in a line what is wrong; no more of it than that is shown. */
const MAX_SHOWN_CHARACTERS = 500;

/** Miniflare's own messages, warnings and worse, on stderr. */
class ReportedLog extends Log {
  readonly #report: (line: string) => void;

  constructor(report: (line: string) => void) {
    super(LogLevel.WARN, { prefix: "" });
    this.#report = report;
  }

  override log(message: string): void {
    this.#report(message);
  }
}

function workerdPath(): string {
  // workerd is miniflare's dependency, not ours: taken from where miniflare finds it.
  const miniflare = createRequire(import.meta.url).resolve("miniflare");
  const workerd: unknown = createRequire(miniflare)("workerd");
  if (typeof workerd === "object" && workerd !== null && "default" in workerd) return String(workerd.default);
  throw new CommandError("the npm package workerd names no program", "npm ci");
}

/** The program that the operator wants as workerd, if any; never a wrapper like ours, which would call itself. */
const inherited = process.env.MINIFLARE_WORKERD_PATH;
const chosenWorkerd =
  inherited === undefined || basename(inherited) === basename(WORKERD_WRAPPER) ? undefined : inherited;

/** Lets Miniflare start workerd through our wrapper; answers the program that the wrapper is to start. */
function wrapWorkerd(): string {
  process.env.X_LOCAL_OBSERVABILITY = "false";
  process.env.MINIFLARE_WORKERD_PATH = WORKERD_WRAPPER;
  return chosenWorkerd ?? workerdPath();
}

/** Miniflare leaves its temporary folder behind when the launcher is killed: there, the next start removes it. */
function withTemporaryFolder<T>(folder: string, make: () => T): T {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    return make();
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

function miniflareOptions(options: LocalNodeOptions, workerd: string) {
  const { config, directory, port, report } = options;
  const database = databaseOf(config);
  return convertV4MiniflareOptions({
    name: config.name,
    modules: true,
    script: options.script,
    compatibilityDate: config.compatibility_date,
    compatibilityFlags: config.compatibility_flags,
    durableObjects: Object.fromEntries(
      config.durable_objects.bindings.map(({ name, class_name: className }) => [
        name,
        { className, useSQLite: true },
      ]),
    ),
    d1Databases: { [database.binding]: database.database_name },
    r2Buckets: Object.fromEntries(config.r2_buckets.map(({ binding }) => [binding, binding.toLowerCase()])),
    bindings: {
      ...config.vars,
      ...options.variables,
      NODE_KEY: directory.key().seed,
      ADMIN_SECRET: directory.adminSecret(),
      LOCAL: "true",
    },
    resourcePersistencePath: directory.storage,
    host: HOST,
    port: 0,
    ...(options.inspectorPort === undefined ? {} : { inspectorPort: options.inspectorPort }),
    // For `runScheduled`.
    unsafeTriggerHandlers: true,
    // workerd's own socket: Miniflare's is a Worker in front that compresses, and so delays, streams.
    unsafeDirectSockets: [{ host: HOST, port }],
    unsafeRuntimeEnv: {
      PENNYPOST_WORKERD: workerd,
      [WORKERD_PID_FILE_VARIABLE]: directory.workerdFile,
    },
    // No look-up of `request.cf` on the internet.
    cf: false,
    telemetry: { enabled: false },
    logRequests: false,
    log: new ReportedLog(report),
    handleStructuredLogs: ({ level, message }) => {
      options.logged?.(message);
      if (level === "warn" || level === "error") report(message);
    },
  });
}

/** One node in workerd, on this machine. */
export class LocalNode {
  readonly url: string;
  readonly #options: LocalNodeOptions;
  readonly #miniflare: Miniflare;

  /** Begins to start the node; `ready` tells when it has. */
  constructor(options: LocalNodeOptions) {
    this.#options = options;
    this.url = `http://${HOST}:${options.port}`;
    const workerd = wrapWorkerd();
    this.#miniflare = withTemporaryFolder(
      options.directory.scratch,
      () => new Miniflare(miniflareOptions(options, workerd)),
    );
  }

  /** Resolves when the database is up to date and the node answers `/health` with 200. */
  async ready(): Promise<void> {
    try {
      await this.#miniflare.ready;
    } catch (error) {
      throw this.#startError(error);
    }
    const { binding, migrations_dir: folder } = databaseOf(this.#options.config);
    await applyMigrations(await this.#miniflare.getD1Database(binding), readMigrations(join(ROOT, folder)));
    await this.#waitForHealth();
  }

  #startError(error: unknown): Error {
    if (error instanceof Error && "code" in error && error.code === "ERR_ADDRESS_IN_USE") {
      const { port } = this.#options;
      return new CommandError(
        `port ${port} is in use on ${HOST}`,
        `stop what listens there (lsof -i :${port} names it), or give another --port`,
        { cause: error },
      );
    }
    return error instanceof Error ? error : new Error(String(error));
  }

  async #waitForHealth(): Promise<void> {
    const deadlineMs = performance.now() + HEALTH_DEADLINE_MS;
    for (;;) {
      const answer = await this.#askHealth();
      if (answer === undefined) return;
      if (typeof answer !== "string") throw new CommandError(answer.why, answer.mend);
      if (performance.now() > deadlineMs) {
        throw new CommandError(
          `${this.#options.label} did not become healthy within ${HEALTH_DEADLINE_MS / 1_000} s: ${answer}`,
          `see the lines above and ${this.url}/health`,
        );
      }
      await sleep(HEALTH_POLL_MS);
    }
  }

  /** Undefined when all is well, else what is wrong; with a mend when waiting does not help. */
  async #askHealth(): Promise<string | { readonly why: string; readonly mend: string } | undefined> {
    try {
      const response = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(HEALTH_REQUEST_MS) });
      const text = await response.text();
      if (response.status === 200) return undefined;
      return wrongSetup(text) ?? `${response.status} ${text.slice(0, MAX_SHOWN_CHARACTERS)}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /**
   * Calls the Worker's scheduled handler. @throws Error when it failed.
   *
   * Not by Miniflare's `getWorker`, which blocks this thread: what workerd logs is not read meanwhile, and after a hundred lines
   * workerd waits for that, so that neither would ever go on.
   */
  async runScheduled(): Promise<void> {
    const response = await this.#miniflare.dispatchFetch(SCHEDULED_URL);
    const outcome = await response.text();
    if (outcome !== "ok") throw new Error(`outcome ${outcome.slice(0, MAX_SHOWN_CHARACTERS)}`);
  }

  /** Stops workerd. What it acknowledged is on disk. */
  async stop(): Promise<void> {
    await this.#miniflare.dispose();
  }
}

/** What the operator has to change, by the code that `/health` gives for it. */
const MENDS: Readonly<Record<string, string>> = {
  misconfigured: "see --help for the options of this command",
  shard_count_mismatch: "give the --shards that this --data folder began with, or another folder",
  network_mismatch: "give the --genesis that this --data folder began with, or another folder",
};

/** A setup that no waiting mends; each reason once, since every shard gives it. */
export function wrongSetup(health: string): { readonly why: string; readonly mend: string } | undefined {
  let failing: { readonly code?: unknown; readonly why?: unknown }[];
  try {
    ({ failing = [] } = JSON.parse(health) as { failing?: typeof failing });
  } catch {
    return undefined;
  }
  const reasons = failing.filter(({ code }) => typeof code === "string" && code in MENDS);
  const mend = MENDS[String(reasons[0]?.code)];
  return mend ? { why: [...new Set(reasons.map(({ why }) => String(why)))].join("; "), mend } : undefined;
}
