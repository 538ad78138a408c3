import { z } from "zod";
import { CommandError } from "./command-error.ts";
import { WRANGLER_CONFIG } from "./paths.ts";

/** What the launcher and `deploy` need of wrangler.toml, the one place for bindings and dates. */
const schema = z.object({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()).default([]),
  vars: z.record(z.string(), z.string()).default({}),
  durable_objects: z.object({
    bindings: z.array(z.object({ name: z.string(), class_name: z.string() })),
  }),
  d1_databases: z
    .array(z.object({ binding: z.string(), database_name: z.string(), migrations_dir: z.string() }))
    .length(1),
  r2_buckets: z.array(z.object({ binding: z.string() })).default([]),
});

export type WranglerConfig = z.infer<typeof schema>;

/** Everything in the file, as wrangler's own reader gives it. */
export async function readRawWranglerConfig(path = WRANGLER_CONFIG): Promise<Record<string, unknown>> {
  const { experimental_readRawConfig: readRawConfig } = await import("wrangler");
  return { ...readRawConfig({ config: path }).rawConfig };
}

export function parseWranglerConfig(raw: unknown, path = WRANGLER_CONFIG): WranglerConfig {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new CommandError(
    `${path}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not readable"}`,
    `put the setting back: git diff ${path}`,
  );
}

export const readWranglerConfig = async (path = WRANGLER_CONFIG): Promise<WranglerConfig> =>
  parseWranglerConfig(await readRawWranglerConfig(path), path);

/** The one D1 database of the config. */
export function databaseOf(config: WranglerConfig): WranglerConfig["d1_databases"][number] {
  const [database] = config.d1_databases;
  if (!database) throw new Error("the schema guarantees one database");
  return database;
}
