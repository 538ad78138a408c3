import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "./paths.ts";

const pennypost = (...nodeOptions: string[]) =>
  spawnSync(process.execPath, [...nodeOptions, join(ROOT, "cli", "pennypost.mjs"), "--help"], {
    encoding: "utf8",
  });

it("the command runs on this Node, and says on an older one which it needs", () => {
  const here = pennypost();
  expect([here.status, here.stderr]).toEqual([0, ""]);
  expect(here.stdout).toContain("Usage: pennypost");
  // No older Node is here: this one says that it is one.
  const claim = 'Object.defineProperty(process, "versions", { value: { node: "20.1.0" } })';
  const old = pennypost("--import", `data:text/javascript,${encodeURIComponent(claim)}`);
  expect([old.status, old.stdout]).toEqual([1, ""]);
  expect(old.stderr).toMatch(/^pennypost: Node 24 is needed[^\n]*\n {2}mend: npm ci [^\n]*\n$/);
});
