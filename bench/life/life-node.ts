import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { applyMigrations, readMigrations } from "../../cli/d1-migrations.ts";
import { ROOT } from "../../cli/paths.ts";
import { bundleWorker } from "../../cli/worker-bundle.ts";
import { databaseOf, readWranglerConfig } from "../../cli/wrangler-config.ts";
import type { Ask } from "./live.ts";

const ENTRY = "bench/worker/living-node.ts";
let bundled: Promise<string> | undefined;

/** Runs `work` with a new node in workerd whose time the benchmark moves; nothing of it is left. */
export async function withLifeNode<T>(work: (ask: Ask) => Promise<T>): Promise<T> {
  const config = await readWranglerConfig();
  bundled ??= bundleWorker(ENTRY);
  const folder = mkdtempSync(join(tmpdir(), "pennypost-life-"));
  process.env.X_LOCAL_OBSERVABILITY = "false";
  const node = new Miniflare(
    convertV4MiniflareOptions({
      name: "life",
      modules: true,
      script: await bundled,
      compatibilityDate: config.compatibility_date,
      compatibilityFlags: config.compatibility_flags,
      durableObjects: {
        SHARD: { className: "LivingShard", useSQLite: true },
        SYNC: { className: "LivingSync", useSQLite: true },
      },
      d1Databases: { DB: "life" },
      r2Buckets: { BUCKET: "bucket" },
      resourcePersistencePath: folder,
      cf: false,
      telemetry: { enabled: false },
      logRequests: false,
      // A node says what it sealed: here nobody reads it.
      handleStructuredLogs: ({ level, message }) => {
        if (level === "warn" || level === "error") process.stderr.write(`${message}\n`);
      },
    }),
  );
  try {
    await node.ready;
    const migrations = readMigrations(join(ROOT, databaseOf(config).migrations_dir));
    await applyMigrations(await node.getD1Database("DB"), migrations);
    return await work((path, body) => ask(node, path, body));
  } finally {
    await node.dispose();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function ask<T>(node: Miniflare, path: string, body: unknown): Promise<T> {
  const response = await node.dispatchFetch(`http://life${path}`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}
