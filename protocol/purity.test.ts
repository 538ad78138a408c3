import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";

/** protocol/ runs in Node, browsers and Workers alike, and is the same for the same input: it imports and asks nothing of a platform. */

const FOLDER = import.meta.dirname;
const LIBRARIES = [
  "@noble/curves",
  "@noble/hashes",
  "@bufbuild/protobuf",
  "@ipld/car",
  "@ipld/dag-cbor",
  "multiformats",
  "zod",
  "http-message-sig",
];
const IMPURE = [
  /\bDate\.now\b/,
  /\bnew Date\(\)/,
  /\bperformance\b/,
  /\bMath\.random\b/,
  /\bgetRandomValues\b/,
  /\brandomUUID\b/,
  /\bcrypto\.subtle\b/,
  /\bfetch\b/,
  /\bset(Timeout|Interval|Immediate)\b/,
  /\bqueueMicrotask\b/,
  /\bcloudflare:/,
  /["'`]node:/,
  /\bprocess\b/,
  /\bBuffer\b/,
  /\bglobalThis\b/,
  /\bconsole\b/,
];

/** The tests, what they share, and the maker of the vectors may do as they like. */
const isPure = (file: string) => file.endsWith(".ts") && !/\.test\.ts$|^(vectors|testing)\//.test(file);
const files = readdirSync(FOLDER, { recursive: true, encoding: "utf8" }).filter(isPure);
const codeOf = (file: string): string =>
  readFileSync(join(FOLDER, file), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
const importsOf = (source: string): string[] =>
  [...source.matchAll(/(?<!["'`])(?:\bfrom|\bimport)\s*\(?\s*["'`]([^"'`]+)["'`]/g)].map(
    (match) => match[1] ?? "",
  );

describe("protocol/", () => {
  test("is found", () => {
    expect(files).toContain("validity.ts");
    expect(importsOf(readFileSync(join(FOLDER, "cbor.ts"), "utf8"))).toContain("@ipld/dag-cbor");
  });

  test.each(files)("%s imports nothing but protocol/ and a few pure libraries", (file) => {
    for (const name of importsOf(codeOf(file))) {
      if (name.startsWith(".")) {
        const target = relative(FOLDER, join(FOLDER, dirname(file), name));
        expect(isPure(target), `${file} imports ${name}`).toBe(true);
        expect(target.startsWith(".."), `${file} imports ${name}`).toBe(false);
      } else {
        const isAllowed = LIBRARIES.some((library) => name === library || name.startsWith(`${library}/`));
        expect(isAllowed, `${file} imports ${name}`).toBe(true);
      }
    }
  });

  test.each(files)("%s asks for no clock, no random, no I/O", (file) => {
    const source = codeOf(file);
    for (const pattern of IMPURE) expect(source).not.toMatch(pattern);
  });
});
