import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

/** Only virtual time and the seed decide: nothing of the machine comes into a run. */
const IMPURE = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bperformance\b/,
  /\bhrtime\b/,
  /\bMath\.random\b/,
  /\bgetRandomValues\b/,
  /\brandomBytes\b/,
  /\brandomUUID\b/,
  /\bset(Timeout|Interval)\b/,
  /\bfetch\(/,
  /\bavailableParallelism\b/,
];
/** What starts runs and waits for them: it has threads, files and a real clock. */
const AROUND = ["pool.ts"];

const files = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" }).filter(
  (file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && !AROUND.includes(file),
);

describe("the simulation", () => {
  test("is found", () => {
    for (const file of ["scheduler.ts", "run.ts", join("invariants", "rules.ts")])
      expect(files).toContain(file);
  });

  test.each(files)("%s asks nothing of the machine", (file) => {
    const source = readFileSync(join(import.meta.dirname, file), "utf8");
    for (const pattern of IMPURE) expect(source).not.toMatch(pattern);
  });
});
