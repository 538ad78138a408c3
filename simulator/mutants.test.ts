import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { applyPatch, type Patch, ROOT } from "./bundle.ts";
import { CATEGORIES, MUTANTS } from "./mutants.ts";
import { LIMIT_PATCHES } from "./small-limits.ts";

const patched = (patch: Patch): readonly [string, string] => {
  const source = readFileSync(join(ROOT, patch.file), "utf8");
  return [source, applyPatch(source, patch)];
};

describe("mutants", () => {
  test("are at least twenty, at least two of each category, each with a name of its own", () => {
    expect(MUTANTS.length).toBeGreaterThanOrEqual(20);
    expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
    for (const category of CATEGORIES)
      expect(MUTANTS.filter((mutant) => mutant.category === category).length).toBeGreaterThanOrEqual(2);
  });

  test.each(MUTANTS)("$name finds its text once, and changes it", (mutant) => {
    const [before, after] = patched(mutant);
    expect(after).not.toBe(before);
  });

  test.each(LIMIT_PATCHES.tree)("a small limit of $file is defined once: $find", (limit) => {
    const [before, after] = patched(limit);
    expect(after).not.toBe(before);
  });

  test("are refused when their text is not there, or twice", () => {
    const patch = { file: "a.ts", find: "one", replace: "two" };
    expect(applyPatch("just one", patch)).toBe("just two");
    expect(() => applyPatch("nothing", patch)).toThrow("0 times");
    expect(() => applyPatch("one and one", patch)).toThrow("2 times");
  });
});
