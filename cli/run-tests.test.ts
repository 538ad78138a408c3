import { describe, expect, it } from "vitest";
import { figuresOf, summary } from "./run-tests.ts";

const report = { numPassedTests: 5, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };

describe("the last line of npm test", () => {
  it("tells what passed", () => {
    expect(summary(figuresOf(report), 0)).toEqual({ line: "5 passed, 0 failed", status: 0 });
  });

  it("tells what was skipped", () => {
    const figures = figuresOf({ ...report, numPendingTests: 1, numTodoTests: 1 });
    expect(summary(figures, 0)).toEqual({ line: "5 passed, 0 failed, 2 skipped", status: 0 });
  });

  it("counts failures", () => {
    const figures = figuresOf({
      ...report,
      numFailedTests: 2,
      testResults: [{ status: "failed", assertionResults: [{ status: "failed" }, { status: "failed" }] }],
    });
    expect(summary(figures, 1)).toEqual({ line: "5 passed, 2 failed", status: 1 });
  });

  it("counts a file that did not load as a failure", () => {
    const figures = figuresOf({ ...report, testResults: [{ status: "failed", assertionResults: [] }] });
    expect(summary(figures, 1)).toEqual({ line: "5 passed, 1 failed", status: 1 });
  });

  it("counts an error outside of the tests as a failure", () => {
    expect(summary(figuresOf(report), 1)).toEqual({ line: "5 passed, 1 failed", status: 1 });
  });

  it("does not take nothing for success", () => {
    expect(summary(figuresOf({ ...report, numPassedTests: 0 }), 0)).toEqual({
      line: "0 passed, 0 failed",
      status: 1,
    });
  });
});
