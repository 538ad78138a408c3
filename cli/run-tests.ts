import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { z } from "zod";
import { describeError } from "./command-error.ts";
import { ROOT } from "./paths.ts";

/** `npm test`: all tests of all vitest projects, ending with one plain line of figures. */

const reportSchema = z.object({
  numPassedTests: z.int(),
  numFailedTests: z.int(),
  numPendingTests: z.int().default(0),
  numTodoTests: z.int().default(0),
  testResults: z.array(
    z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) }),
  ),
});

export interface Figures {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** A file that fails without a failed test, as one that does not load, counts as one failure. */
export function figuresOf(report: unknown): Figures {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } =
    reportSchema.parse(report);
  const brokenFiles = testResults.filter(
    ({ status, assertionResults }) =>
      status === "failed" && !assertionResults.some((each) => each.status === "failed"),
  );
  return {
    passed: numPassedTests,
    failed: numFailedTests + brokenFiles.length,
    skipped: numPendingTests + numTodoTests,
  };
}

/** vitest may fail without a failed test (an unhandled error): that is a failure, too. */
export function summary(figures: Figures, vitestStatus: number): { line: string; status: number } {
  const { passed, skipped } = figures;
  const failed = vitestStatus !== 0 ? Math.max(figures.failed, 1) : figures.failed;
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return { line, status: failed > 0 || passed === 0 ? 1 : 0 };
}

function runVitest(words: readonly string[]): { line: string; status: number } {
  const folder = mkdtempSync(join(tmpdir(), "pennypost-tests-"));
  const reportFile = join(folder, "report.json");
  const packageFile = createRequire(import.meta.url).resolve("vitest/package.json");
  const program = join(dirname(packageFile), "vitest.mjs");
  try {
    const { status } = spawnSync(
      process.execPath,
      [program, "run", "--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`, ...words],
      { cwd: ROOT, stdio: "inherit" },
    );
    return summary(figuresOf(JSON.parse(readFileSync(reportFile, "utf8"))), status ?? 1);
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return summary({ passed: 0, failed: 0, skipped: 0 }, 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const { line, status } = runVitest(process.argv.slice(2));
  process.stdout.write(`${line}\n`);
  process.exitCode = status;
}
