import { describe, expect, test } from "vitest";
import { PennypostError } from "./errors.ts";
import { MAX_ISSUER_NAME_BYTES, parseIssuerName } from "./issuer-name.ts";

/** As a deployed node reads it, and a local one. */
function names(host: string): (string | undefined)[] {
  return [false, true].map((isLocal) => {
    try {
      return parseIssuerName(host, { isLocal });
    } catch (error) {
      if (!(error instanceof PennypostError)) throw error;
      expect([error.code, error.httpStatus]).toEqual(["issuer_name_invalid", 400]);
      return undefined;
    }
  });
}

const longest = `${"a".repeat(63)}.`.repeat(3) + "b".repeat(61);

describe("the name of an issuer", () => {
  test.each<[string, string]>([
    ["node.example", "node.example"],
    ["Node.EXAMPLE", "node.example"],
    ["node.example.", "node.example"],
    ["node.example.:8443", "node.example:8443"],
    ["node.example:443", "node.example"],
    ["xn--nde-0na.example", "xn--nde-0na.example"],
    ["1.2.3.example", "1.2.3.example"],
    ["a.example:65535", "a.example:65535"],
    [longest, longest],
  ])("%s is %s", (host, name) => {
    expect(names(host)).toEqual([name, name]);
  });

  test.each<[string, string]>([
    ["127.0.0.1:8787", "127.0.0.1:8787"],
    ["[::1]:8787", "[::1]:8787"],
    ["localhost:8787", "localhost:8787"],
    ["node.local", "node.local"],
    ["node.internal.", "node.internal"],
  ])("%s is one on a local node alone", (host, name) => {
    expect(names(host)).toEqual([undefined, name]);
  });

  test.each([
    "",
    ".",
    ".example",
    "a..example",
    "-a.example",
    "a-.example",
    "a_b.example",
    "a b.example",
    "user@node.example",
    "node.example/path",
    "node.example:",
    "node.example:0",
    "node.example:65536",
    "node.example:80:80",
    "n\u00f6de.example",
    "node.example\n",
    "node.example..",
    "[::1",
    `${"a".repeat(64)}.example`,
    `${longest}b`,
    `${longest}:8443`,
    `${"a.".repeat(100_000)}example`,
  ])("%j is none", (host) => {
    expect(names(host)).toEqual([undefined, undefined]);
  });

  test("has as many characters as a record has room for, and no more", () => {
    expect(longest).toHaveLength(MAX_ISSUER_NAME_BYTES);
  });
});
