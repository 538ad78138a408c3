import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { applyMigrations, readMigrations } from "./d1-migrations.ts";
import { ROOT } from "./paths.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-migrations-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("migration files", () => {
  it("are read in the order of their names and split at drizzle's mark", () => {
    writeFileSync(
      join(folder, "0001_b.sql"),
      "CREATE TABLE b (x);\n--> statement-breakpoint\nCREATE TABLE c (x);\n",
    );
    writeFileSync(join(folder, "0000_a.sql"), "CREATE TABLE a (x);--> statement-breakpoint\n");
    writeFileSync(join(folder, "notes.md"), "not SQL");
    expect(readMigrations(folder)).toEqual([
      { name: "0000_a.sql", statements: ["CREATE TABLE a (x);"] },
      { name: "0001_b.sql", statements: ["CREATE TABLE b (x);", "CREATE TABLE c (x);"] },
    ]);
  });
});

describe("applying, on D1", () => {
  let miniflare: Miniflare;
  beforeAll(() => {
    miniflare = new Miniflare(
      convertV4MiniflareOptions({
        modules: true,
        script: "export default {}",
        d1Databases: ["ONE", "TWO", "THREE"],
        cf: false,
      }),
    );
  });
  afterAll(() => miniflare.dispose());

  const first = { name: "0000_a.sql", statements: ["CREATE TABLE a (x)", "INSERT INTO a VALUES (1)"] };

  it("applies each once, and notes it as wrangler does", async () => {
    const database = await miniflare.getD1Database("ONE");
    const second = { name: "0001_b.sql", statements: ["CREATE TABLE b (x)"] };
    expect(await applyMigrations(database, [first])).toEqual([first.name]);
    expect(await applyMigrations(database, [first, second])).toEqual([second.name]);
    expect(await applyMigrations(database, [first, second])).toEqual([]);
    const { results } = await database
      .prepare("SELECT id, name, applied_at FROM d1_migrations ORDER BY id")
      .all();
    expect(results).toEqual([
      { id: 1, name: first.name, applied_at: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/) },
      { id: 2, name: second.name, applied_at: expect.any(String) },
    ]);
    expect((await database.prepare("SELECT x FROM a").all()).results).toEqual([{ x: 1 }]);
  });

  it("applies a migration whole or not at all", async () => {
    const database = await miniflare.getD1Database("TWO");
    const broken = { name: "0001_b.sql", statements: ["CREATE TABLE b (x)", "CREATE TABLE b (x)"] };
    await expect(applyMigrations(database, [first, broken])).rejects.toThrow("migration 0001_b.sql failed");
    const { results } = await database
      .prepare("SELECT name FROM sqlite_master WHERE name IN ('a', 'b')")
      .all();
    expect(results).toEqual([{ name: "a" }]);
    expect((await database.prepare("SELECT name FROM d1_migrations").all()).results).toEqual([
      { name: first.name },
    ]);
  });

  it("applies the repository's own", async () => {
    const database = await miniflare.getD1Database("THREE");
    const migrations = readMigrations(join(ROOT, "migrations"));
    expect(await applyMigrations(database, migrations)).toEqual(migrations.map(({ name }) => name));
    expect((await database.prepare("SELECT * FROM peers").all()).results).toEqual([]);
  });
});
