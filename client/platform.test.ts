import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";

/** client/ runs wherever the web platform is: it imports protocol/ and a few libraries, and asks for nothing that a browser lacks. */

const FOLDER = import.meta.dirname;
const ROOT = join(FOLDER, "..");
const LIBRARIES = ["@cloudflare/blindrsa-ts", "@noble/curves", "zod"];
const FOREIGN = [
  /["'`](node|cloudflare):/,
  /\bprocess\b/,
  /\bBuffer\b/,
  /\b(window|document|navigator|localStorage)\b/,
  /\bconsole\b/,
  /\bMath\.random\b/,
];
/** What an application downloads, minified; told in docs/client.md. */
const MAX_KILOBYTES = 320;

const isSource = (file: string) =>
  file.endsWith(".ts") && !file.endsWith(".test.ts") && !file.startsWith("testing");
const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter(isSource);
const codeOf = (file: string): string =>
  readFileSync(join(FOLDER, file), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
const importsOf = (source: string): string[] =>
  [...source.matchAll(/(?<!["'`])(?:\bfrom|\bimport)\s*\(?\s*["'`]([^"'`]+)["'`]/g)].map(
    (match) => match[1] ?? "",
  );

describe("client/", () => {
  test("is found", () => {
    expect(files).toContain("index.ts");
    expect(importsOf(codeOf("index.ts"))).toContain("./pennypost-client.ts");
  });

  test.each(files)("%s imports client/, protocol/ and a few libraries alone", (file) => {
    for (const name of importsOf(codeOf(file))) {
      const target = relative(ROOT, join(FOLDER, dirname(file), name));
      const isOurs = name.startsWith(".") && /^(client|protocol)\//.test(target);
      const isLibrary = LIBRARIES.some((library) => name === library || name.startsWith(`${library}/`));
      expect(isOurs || isLibrary, `${file} imports ${name}`).toBe(true);
    }
  });

  test.each(files)("%s asks for nothing that is of one platform", (file) => {
    for (const pattern of FOREIGN) expect(codeOf(file)).not.toMatch(pattern);
  });

  test("is bundled for browsers, with all that it imports, in the size that its page tells", async () => {
    const { outputFiles, warnings } = await build({
      entryPoints: [join(FOLDER, "index.ts")],
      bundle: true,
      write: false,
      minify: true,
      format: "esm",
      platform: "browser",
    });
    expect(warnings).toEqual([]);
    const [bundle] = outputFiles;
    if (!bundle) throw new Error("there is one bundle");
    expect(bundle.text).not.toMatch(/["'`](node|cloudflare):/);
    expect(bundle.contents.length / 1_024).toBeLessThan(MAX_KILOBYTES);
    const page = readFileSync(join(ROOT, "docs/client.md"), "utf8");
    const told = /(\d+) KB minified, (\d+) KB compressed/.exec(page)?.slice(1).map(Number) ?? [];
    const sizes = [bundle.contents.length, gzipSync(bundle.contents).length];
    for (const [i, bytes] of sizes.entries())
      expect(Math.abs((told[i] ?? 0) - bytes / 1_024)).toBeLessThan(15);
  });
});
