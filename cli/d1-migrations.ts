import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CommandError } from "./command-error.ts";

export interface Migration {
  /** The file's name, as wrangler notes it. */
  readonly name: string;
  readonly statements: readonly string[];
}

const BREAKPOINT = "--> statement-breakpoint";

/** The migrations that drizzle-kit wrote into a folder, in the order of their names. */
export function readMigrations(folder: string): Migration[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => ({
      name,
      statements: readFileSync(join(folder, name), "utf8")
        .split(BREAKPOINT)
        .map((statement) => statement.trim())
        .filter(Boolean),
    }));
}

/** What is needed of D1, so that Miniflare's, which is a proxy with types of its own, fits as well. */
export interface MigratableDatabase<Statement> {
  prepare(sql: string): Statement & {
    bind(...values: unknown[]): Statement;
    run(): Promise<unknown>;
    all(): Promise<{ results: unknown[] }>;
  };
  batch(statements: Statement[]): Promise<unknown>;
}

/** As wrangler 4 makes it, so that both note the same migrations in the same place. */
const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS "d1_migrations"(
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT UNIQUE,
  applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)`;

const nameOf = (row: unknown): unknown =>
  typeof row === "object" && row !== null && "name" in row ? row.name : undefined;

/** Applies what is missing, each migration whole or not at all. Answers the names of those applied now. */
export async function applyMigrations<Statement>(
  database: MigratableDatabase<Statement>,
  migrations: readonly Migration[],
): Promise<string[]> {
  await database.prepare(CREATE_TABLE).run();
  const { results } = await database.prepare('SELECT name FROM "d1_migrations"').all();
  const applied = new Set(results.map(nameOf));
  const missing = migrations.filter(({ name }) => !applied.has(name));
  for (const { name, statements } of missing) {
    try {
      await database.batch([
        ...statements.map((statement) => database.prepare(statement)),
        database.prepare('INSERT INTO "d1_migrations" (name) VALUES (?)').bind(name),
      ]);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new CommandError(
        `migration ${name} failed and changed nothing: ${why}`,
        "correct durable-objects/d1-schema.ts and run npm run generate, or start on another --data DIR",
        { cause: error },
      );
    }
  }
  return missing.map(({ name }) => name);
}
