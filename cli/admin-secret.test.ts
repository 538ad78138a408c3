import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keptAdminSecret, makeAdminSecret } from "./admin-secret.ts";

let path: string;

beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), "pennypost-admin-")), "admin-secret");
});
afterEach(() => rmSync(join(path, ".."), { recursive: true }));

describe("an admin secret", () => {
  it("is another each time", () => {
    expect(makeAdminSecret()).toMatch(/^[0-9a-f]{64}$/);
    expect(makeAdminSecret()).not.toBe(makeAdminSecret());
  });

  it("is made at the first start, for its owner alone, and kept", () => {
    const secret = keptAdminSecret(path);
    expect(readFileSync(path, "utf8")).toBe(`${secret}\n`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(keptAdminSecret(path)).toBe(secret);
  });

  it("may be the operator's own, if it is long enough", () => {
    writeFileSync(path, `  ${"s".repeat(32)}\n`);
    expect(keptAdminSecret(path)).toBe("s".repeat(32));
    writeFileSync(path, "s".repeat(31));
    expect(() => keptAdminSecret(path)).toThrow("at least 32 characters");
    expect(readFileSync(path, "utf8")).toBe("s".repeat(31));
  });
});
