import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DEVELOPMENT_GENESIS, parseGenesis } from "../protocol/genesis.ts";
import { deploy, deployArguments, deployConfig, migrateArguments } from "./deploy.ts";
import { makeGenesis } from "./keygen.ts";
import { makeNodeKey } from "./node-key.ts";
import { ROOT, WRANGLER_CONFIG } from "./paths.ts";
import { readRawWranglerConfig } from "./wrangler-config.ts";

const genesis = makeGenesis('a "net": one, two', makeNodeKey().publicKey, 1_800_000_000_000);

/** What wrangler makes of `--var NAME:VALUE`: it splits at the first colon. */
function variablesOf(words: readonly string[]): Map<string, string> {
  const values = words.filter((_, index) => words[index - 1] === "--var");
  return new Map(values.map((text) => [text.slice(0, text.indexOf(":")), text.slice(text.indexOf(":") + 1)]));
}

describe("the words for wrangler", () => {
  it("pass the genesis document whole", () => {
    const words = deployArguments("w.json", {}, genesis);
    expect(words.slice(0, 4)).toEqual(["deploy", "--config", "w.json", "--keep-vars"]);
    expect(parseGenesis(JSON.parse(variablesOf(words).get("GENESIS") ?? ""))).toEqual(genesis);
  });

  it("leave the peers as they are deployed, unless the operator names them", () => {
    expect(variablesOf(deployArguments("w.json", {}, genesis)).has("PEERS")).toBe(false);
    expect(variablesOf(deployArguments("w.json", { peers: "" }, genesis)).get("PEERS")).toBe("");
    const peers = `${"ab".repeat(32)}@https://a.example,${"cd".repeat(32)}@https://b.example:8443`;
    expect(variablesOf(deployArguments("w.json", { peers }, genesis)).get("PEERS")).toBe(peers);
  });

  it("set who may publish and how much, only where the operator says so", () => {
    const before = variablesOf(deployArguments("w.json", {}, genesis));
    expect([...before.keys()]).toEqual(["GENESIS"]);
    const rateLimits = '{"wallet":{"burst":1,"perMinute":2}}';
    const set = variablesOf(deployArguments("w.json", { admission: "wallet", rateLimits }, genesis));
    expect([set.get("ADMISSION"), set.get("RATE_LIMITS")]).toEqual(["wallet", rateLimits]);
    for (const requireIdentityProof of [true, false]) {
      const words = deployArguments("w.json", { requireIdentityProof }, genesis);
      expect(variablesOf(words).get("REQUIRE_IDENTITY_PROOF")).toBe(String(requireIdentityProof));
    }
    const named = variablesOf(deployArguments("w.json", { issuerName: "node.example" }, genesis));
    expect(named.get("ISSUER_NAME")).toBe("node.example");
  });

  it("say when it is only a trial", () => {
    expect(deployArguments("w.json", { dryRun: true }, undefined)).toEqual([
      "deploy",
      "--dry-run",
      "--config",
      "w.json",
      "--keep-vars",
    ]);
  });

  it("are refused when a variable is larger than Cloudflare takes", () => {
    const members = Array.from({ length: 70 }, () => makeNodeKey().publicKey);
    expect(() => deployArguments("w.json", {}, { ...genesis, members })).toThrow("Cloudflare takes 5120");
    expect(() => deployArguments("w.json", { peers: "x".repeat(5_121) }, genesis)).toThrow("PEERS has 5121");
  });

  it("migrate the remote database by wrangler.toml, which knows where the migrations are", () => {
    expect(migrateArguments("DB")).toEqual([
      ...["d1", "migrations", "apply", "DB", "--remote", "--config", WRANGLER_CONFIG],
    ]);
  });
});

describe("the config that is deployed", () => {
  it("is wrangler.toml without what the operator's options set, so that a second deployment keeps it", async () => {
    const raw = await readRawWranglerConfig();
    expect(raw.vars).toMatchObject({ GENESIS: "development", PEERS: "" });
    const { vars, main, ...rest } = deployConfig(raw, ROOT);
    expect(vars).toEqual({ SHARDS: "16", HOT_HOURS: "48" });
    expect(main).toBe(join(ROOT, "workers/index.ts"));
    expect({ ...rest, vars: raw.vars, main: raw.main }).toEqual(raw);
  });

  it("never says that the node is local", async () => {
    expect(JSON.stringify(await readRawWranglerConfig())).not.toContain("LOCAL");
  });
});

describe("a real deployment", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "pennypost-deploy-"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const printNothing = () => {
    throw new Error("printed");
  };

  it("is refused without a genesis document", async () => {
    await expect(deploy({ genesis: join(folder, "none.json") }, printNothing)).rejects.toMatchObject({
      message: expect.stringContaining("no genesis document"),
      mend: expect.stringContaining("npx pennypost keygen"),
    });
  });

  it("is refused with the development genesis, which admits any key", async () => {
    const path = join(folder, "open.json");
    writeFileSync(path, JSON.stringify(DEVELOPMENT_GENESIS));
    await expect(deploy({ genesis: path }, printNothing)).rejects.toThrow("admits any key");
  });

  it("never quotes a file that is no document: it may be a key's", async () => {
    const path = join(folder, "node.key");
    writeFileSync(path, `ab12${"cd".repeat(30)}\n`);
    await expect(deploy({ genesis: path }, printNothing)).rejects.toMatchObject({
      message: `no genesis document in ${path}: it is not JSON`,
    });
  });

  it("is refused with a document that is not one", async () => {
    const path = join(folder, "bad.json");
    writeFileSync(path, JSON.stringify({ ...genesis, members: ["no key"] }));
    await expect(deploy({ genesis: path }, printNothing)).rejects.toThrow("members");
  });
});
