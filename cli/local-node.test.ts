import { expect, test } from "vitest";
import { wrongSetup } from "./local-node.ts";

const health = (...failing: { part: string; code: string; why: string }[]) =>
  JSON.stringify({ status: "failing", failing });

test("what every shard says is said once, with what to change", () => {
  const why = "this node's data has 16 shards, its configuration 4: set SHARDS back to 16";
  const shards = ["shard-0", "shard-1"].map((part) => ({ part, code: "shard_count_mismatch", why }));
  expect(wrongSetup(health(...shards))).toEqual({ why, mend: expect.stringContaining("--shards") });
});

test("a wrong genesis and a wrong setting are told at once too", () => {
  const one = (code: string) => wrongSetup(health({ part: "configuration", code, why: "because" }))?.mend;
  expect(one("network_mismatch")).toContain("--genesis");
  expect(one("misconfigured")).toContain("--help");
});

test("what may pass is waited for", () => {
  expect(wrongSetup(health({ part: "shard-0", code: "part_unavailable", why: "not yet" }))).toBeUndefined();
  expect(wrongSetup("Internal Server Error")).toBeUndefined();
  expect(wrongSetup("{}")).toBeUndefined();
});
