import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { keptNodeKey, makeNodeKey } from "./node-key.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "pennypost-key-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a kept key", () => {
  it("is made once, for its owner alone, and stays", () => {
    const path = join(folder, "node.key");
    const key = keptNodeKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(keptNodeKey(path)).toEqual(key);
  });

  it("may be put there by the operator", () => {
    const path = join(folder, "node.key");
    const key = makeNodeKey();
    writeFileSync(path, ` ${key.seed.toUpperCase()}\n`);
    expect(keptNodeKey(path)).toEqual(key);
  });

  it.each(["", "abc", "00".repeat(33)])("is never replaced when the file holds %j", (text) => {
    const path = join(folder, "node.key");
    writeFileSync(path, text);
    expect(() => keptNodeKey(path)).toThrow("holds no node key");
    expect(readFileSync(path, "utf8")).toBe(text);
  });
});
