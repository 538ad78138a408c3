import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/** The seed of all property tests: the same in every run, unless PROPERTY_SEED names one or says "random". */
const propertySeed =
  process.env.PROPERTY_SEED === "random"
    ? Math.trunc(Math.random() * 2 ** 31)
    : Number(process.env.PROPERTY_SEED ?? 20_261_123);
if (!Number.isInteger(propertySeed)) throw new RangeError("PROPERTY_SEED is an integer, or the word random");
const SEEDED = ["./protocol/testing/property-seed.ts"];

/** By default vitest leaves a processor free: of two, a half. */
const maxWorkers = "100%";

/** Whether a module, with all that it imports, asks nothing of the platform: no storage, no objects, no bindings. */
function isPure(file: string, seen = new Set<string>()): boolean {
  if (seen.has(file)) return true;
  seen.add(file);
  const imports = readFileSync(file, "utf8").matchAll(
    /^(?:import|export) (?!type )(?:[^;"]* from )?"([^"]+)";/gm,
  );
  return [...imports].every(([, name = ""]) =>
    name.startsWith(".") && name.endsWith(".ts")
      ? isPure(join(dirname(file), name), seen)
      : !name.startsWith("cloudflare:"),
  );
}

const IN_WORKERD = ["durable-objects/**/*.test.ts", "workers/**/*.test.ts"];
const pure = globSync(IN_WORKERD).filter((file) => isPure(file));

const workerd = cloudflareTest(async () => ({
  wrangler: { configPath: "./wrangler.toml" },
  miniflare: {
    bindings: {
      LOCAL: "true",
      NODE_KEY: "11".repeat(32),
      SHARDS: "4",
      TEST_MIGRATIONS: await readD1Migrations("./migrations"),
    },
  },
}));

/**
 * Tests of `durable-objects/` and `workers/` run in workerd; all others in Node, where `test/` starts real nodes. What takes all
 * processors has them for itself: the groups run one after the other.
 */
export default defineConfig({
  test: {
    provide: { propertySeed },
    projects: [
      {
        plugins: [workerd],
        test: {
          name: "workerd",
          maxWorkers,
          include: IN_WORKERD,
          exclude: pure,
          setupFiles: [...SEEDED, "./durable-objects/testing/workerd-setup.ts"],
          testTimeout: 60_000,
        },
      },
      {
        plugins: [workerd],
        test: {
          // Most of a file's time is a worker's start and its modules: those that could not tell share one.
          name: "workerd-pure",
          isolate: false,
          maxWorkers,
          include: pure,
          setupFiles: SEEDED,
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "node",
          setupFiles: SEEDED,
          maxWorkers,
          include: [
            "protocol/**/*.test.ts",
            "client/**/*.test.ts",
            "cli/**/*.test.ts",
            "simulator/**/*.test.ts",
            "bench/**/*.test.ts",
          ],
          exclude: ["simulator/**/*.simulation.test.ts"],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "simulation",
          setupFiles: SEEDED,
          sequence: { groupOrder: 1 },
          include: ["simulator/**/*.simulation.test.ts"],
          // Its seeds run in as many threads as there are processors.
          fileParallelism: false,
          testTimeout: 300_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: "network",
          setupFiles: SEEDED,
          sequence: { groupOrder: 2 },
          include: ["test/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          // A file waits for its nodes two thirds of the time; more than two at a time would make each other slow.
          maxWorkers: 2,
        },
      },
    ],
  },
});
