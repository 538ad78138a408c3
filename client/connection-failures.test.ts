import { describe, expect, test } from "vitest";
import { ConnectionFailures } from "./connection-failures.ts";

/** The pauses between connections that fail in some way, until the last. */
function pauses(failOnce: (failures: ConnectionFailures) => number | undefined, most = 40): number[] {
  const failures = new ConnectionFailures();
  const found: number[] = [];
  for (let i = 0; i < most; i++) {
    const pauseMs = failOnce(failures);
    if (pauseMs === undefined) return found;
    found.push(pauseMs);
  }
  return [...found, Number.POSITIVE_INFINITY];
}

function expectGrowing(found: readonly number[], count: number): void {
  expect(found).toHaveLength(count);
  for (const [i, pauseMs] of found.entries()) {
    const grown = Math.min(30_000, 500 * 2 ** i);
    expect(pauseMs).toBeGreaterThanOrEqual(grown / 2);
    expect(pauseMs).toBeLessThanOrEqual(grown);
  }
}

describe("connections that fail", () => {
  test("come after growing pauses, and end after 20, or 4 before the first was ready", () => {
    expectGrowing(
      pauses((failures) => failures.fail(0, false)),
      20,
    );
    expectGrowing(
      pauses((failures) => failures.fail(0, true)),
      4,
    );
  });

  test("begin anew after one that brought an event, or that lasted", () => {
    const brought = pauses((failures) => {
      failures.succeed();
      return failures.fail(9_999, false);
    });
    const lasted = pauses((failures) => failures.fail(10_000, false));
    for (const found of [brought, lasted]) {
      expect(found).toHaveLength(41);
      expect(Math.max(...found.slice(0, 40))).toBeLessThanOrEqual(500);
    }
  });

  test("with setbacks begin anew after one that lasted alone: a node can make events", () => {
    const setBack = (lastedMs: number) =>
      pauses((failures) => {
        failures.succeed();
        failures.setBack();
        return failures.fail(lastedMs, false);
      });
    expectGrowing(setBack(9_999), 20);
    expect(Math.max(...setBack(10_000).slice(0, 40))).toBeLessThanOrEqual(500);
  });
});
