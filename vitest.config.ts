import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/**
 * Tests of `durable-objects/` and `workers/` run in workerd; all others in Node, where `test/` starts real nodes. What takes all
 * processors has them for itself: the groups run one after the other.
 */
export default defineConfig({
  test: {
    projects: [
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                LOCAL: "true",
                NODE_KEY: "11".repeat(32),
                SHARDS: "4",
                TEST_MIGRATIONS: await readD1Migrations("./migrations"),
              },
            },
          })),
        ],
        test: {
          name: "workerd",
          include: ["durable-objects/**/*.test.ts", "workers/**/*.test.ts"],
          setupFiles: ["./durable-objects/testing/workerd-setup.ts"],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "node",
          include: [
            "protocol/**/*.test.ts",
            "client/**/*.test.ts",
            "cli/**/*.test.ts",
            "simulator/**/*.test.ts",
          ],
          exclude: ["simulator/**/*.simulation.test.ts"],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "simulation",
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
          sequence: { groupOrder: 2 },
          include: ["test/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
