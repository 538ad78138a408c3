import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fromHex, toHex } from "../protocol/bytes.ts";
import { portableSigner } from "../protocol/crypto.ts";
import { parsePublicKey } from "../protocol/did-key.ts";
import { DEFAULT_POLICY, parseGenesis } from "../protocol/genesis.ts";
import { type KeygenOptions, keygen } from "./keygen.ts";

const NOW_MS = 1_800_000_000_000;
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-keygen-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(options: Partial<KeygenOptions> = {}) {
  const printed = { stdout: "", stderr: "" };
  const output = {
    stdout: (text: string) => {
      printed.stdout += text;
    },
    stderr: (text: string) => {
      printed.stderr += text;
    },
  };
  const all = { name: "net", genesis: join(folder, "genesis.json"), ...options };
  let error: unknown;
  try {
    keygen(all, output, NOW_MS);
  } catch (thrown) {
    error = thrown;
  }
  return { ...printed, error };
}

const publicKeyOf = (seed: string): string => toHex(portableSigner(fromHex(seed.trim())).publicKey);

describe("keygen", () => {
  it("prints the secret alone on stdout, the public key in both forms on stderr", () => {
    const { stdout, stderr, error } = run();
    expect(error).toBeUndefined();
    expect(stdout).toMatch(/^[0-9a-f]{64}\n$/);
    const did = /did:key:\S+/.exec(stderr)?.[0] ?? "";
    expect(toHex(parsePublicKey(did))).toBe(publicKeyOf(stdout));
    expect(stderr).toContain(publicKeyOf(stdout));
    expect(stderr).toContain("npx wrangler secret put NODE_KEY");
    expect(stderr).not.toContain(stdout.trim());
  });

  it("makes another key each time", () => {
    expect(run().stdout).not.toBe(run({ genesis: false }).stdout);
  });

  it("writes a genesis document whose only member and record key is the new one", () => {
    const publicKey = publicKeyOf(run().stdout);
    expect(parseGenesis(JSON.parse(readFileSync(join(folder, "genesis.json"), "utf8")))).toEqual({
      version: 1,
      name: "net",
      createdMs: NOW_MS,
      ...DEFAULT_POLICY,
      members: [publicKey],
      recordKeys: [publicKey],
    });
  });

  it("never overwrites a genesis document, and then makes no key", () => {
    const path = join(folder, "genesis.json");
    writeFileSync(path, "precious");
    const { stdout, stderr, error } = run({ out: join(folder, "key") });
    expect(error).toMatchObject({
      message: expect.stringContaining("exists already"),
      mend: expect.any(String),
    });
    expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
    expect(readFileSync(path, "utf8")).toBe("precious");
    expect(existsSync(join(folder, "key"))).toBe(false);
  });

  it("says what comes next: for its document, or for the network that it is to join", () => {
    const out = join(folder, "key");
    const elsewhere = join(folder, "genesis.json");
    expect(run({ out }).stderr).toContain(`npm run deploy -- --genesis ${elsewhere}\n`);
    const again = run({ out });
    expect(again.error).toMatchObject({
      mend: expect.stringContaining(`npx pennypost keygen --no-genesis --out ${out};`),
    });
    const other = join(folder, "other");
    const { stderr } = run({ out: other, genesis: false });
    expect(stderr).toContain("ask a member for an invitation");
    expect(stderr).toContain(`--admin-secret ${other}.admin-secret`);
    expect(stderr).toContain(`cp ${other} DATA/node.key`);
    expect(stderr).toContain("npx pennypost peer rotate --old-key");
    expect(run({ out: other, genesis: false }).error).toMatchObject({
      mend: "npx pennypost keygen --no-genesis --out ANOTHER_FILE",
    });
    expect(run().error).toMatchObject({ mend: expect.stringContaining("keygen --no-genesis;") });
  });

  it("makes a key beside an existing document when told to make none", () => {
    writeFileSync(join(folder, "genesis.json"), "precious");
    expect(run({ genesis: false }).stdout).toMatch(/^[0-9a-f]{64}\n$/);
  });

  it("writes the secret to a file for its owner alone, and not to stdout", () => {
    const out = join(folder, "key");
    const { stdout } = run({ out });
    expect(stdout).toBe("");
    expect(readFileSync(out, "utf8")).toMatch(/^[0-9a-f]{64}\n$/);
    expect(statSync(out).mode & 0o777).toBe(0o600);
  });

  it("makes an admin secret too: beside the key's file, or shown on stderr", () => {
    const out = join(folder, "key");
    const { stderr } = run({ out });
    const file = `${out}.admin-secret`;
    const secret = readFileSync(file, "utf8").trim();
    expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(stderr).toContain(`npx wrangler secret put ADMIN_SECRET < ${file}`);
    expect(stderr).not.toContain(secret);
    const shown = run({ genesis: false });
    const line = /^admin +([0-9a-f]{64})$/m.exec(shown.stderr);
    expect(line?.[1]).not.toBe(shown.stdout.trim());
    expect(shown.stderr).toContain("npx wrangler secret put ADMIN_SECRET");
  });

  it("never overwrites an admin secret, and then makes no key", () => {
    const out = join(folder, "key");
    writeFileSync(`${out}.admin-secret`, "precious");
    expect(run({ out }).error).toMatchObject({ message: expect.stringContaining("exists already") });
    expect(readFileSync(`${out}.admin-secret`, "utf8")).toBe("precious");
    for (const path of [out, join(folder, "genesis.json")]) expect(existsSync(path)).toBe(false);
  });

  it("never overwrites a key", () => {
    const out = join(folder, "key");
    writeFileSync(out, "precious");
    expect(run({ out }).error).toMatchObject({
      message: expect.stringContaining("a key is never overwritten"),
    });
    expect(readFileSync(out, "utf8")).toBe("precious");
    expect(existsSync(join(folder, "genesis.json"))).toBe(false);
  });

  it("leaves no document behind when the secret cannot be written", () => {
    expect(run({ out: join(folder, "missing", "key") }).error).toMatchObject({
      message: expect.stringContaining("cannot write"),
    });
    expect(existsSync(join(folder, "genesis.json"))).toBe(false);
  });

  it("refuses one file for both", () => {
    const path = join(folder, "both");
    expect(run({ out: path, genesis: path }).error).toMatchObject({
      message: expect.stringContaining("same file"),
    });
    expect(existsSync(path)).toBe(false);
  });

  it("prints JSON", () => {
    const { stdout, stderr } = run({ json: true, genesis: false });
    const { seed, publicKey, did, adminSecret, ...rest } = JSON.parse(stdout);
    expect(adminSecret).toMatch(/^[0-9a-f]{64}$/);
    expect(publicKey).toBe(publicKeyOf(seed));
    expect(toHex(parsePublicKey(did))).toBe(publicKey);
    expect({ rest, stderr }).toEqual({ rest: {}, stderr: "" });
  });

  it("keeps the secret out of the JSON when a file has it", () => {
    const out = join(folder, "key");
    const { stdout } = run({ json: true, out });
    expect(Object.keys(JSON.parse(stdout)).sort()).toEqual([
      "adminSecretFile",
      "did",
      "genesis",
      "publicKey",
      "seedFile",
    ]);
    for (const file of [out, `${out}.admin-secret`])
      expect(stdout).not.toContain(readFileSync(file, "utf8").trim());
  });
});
