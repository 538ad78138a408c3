import { afterEach, expect, test, vi } from "vitest";
import { logError, logWarning, setLogSink } from "./log.ts";

afterEach(() => {
  setLogSink();
  vi.restoreAllMocks();
});

test("entries go to the console as a line of JSON each, or where they are sent", () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  logWarning("slow", { peer: "p", tries: 2 });
  logError("broken", {});
  expect([warn.mock.calls, error.mock.calls]).toEqual([
    [['{"what":"slow","peer":"p","tries":2}']],
    [['{"what":"broken"}']],
  ]);
  const seen: unknown[] = [];
  setLogSink((...entry) => seen.push(entry));
  logWarning("slow", { tries: 3 });
  expect(seen).toEqual([["warning", "slow", { tries: 3 }]]);
  expect(warn).toHaveBeenCalledTimes(1);
});
