import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isOfScheme, readCredentials } from "./authorization.ts";

describe("an Authorization header", () => {
  test.each([
    ["Bearer abc", { scheme: "Bearer", rest: "abc" }],
    ["bEaReR   abc ", { scheme: "bEaReR", rest: "abc" }],
    ['PrivateToken token="a b", key=c', { scheme: "PrivateToken", rest: 'token="a b", key=c' }],
    ["Bearer a b", { scheme: "Bearer", rest: "a b" }],
    ["Bearer", { scheme: "Bearer", rest: "" }],
    ["Bearer ", { scheme: "Bearer", rest: "" }],
    ["", undefined],
    ["  ", undefined],
    [null, undefined],
    [undefined, undefined],
  ])("is a scheme, and what stands behind it: %j", (header, expected) => {
    expect(readCredentials(header)).toEqual(expected);
  });

  test("is of its scheme in any case, and of no other", () => {
    const someCase = fc.mixedCase(fc.constantFrom("bearer", "privatetoken"));
    fc.assert(
      fc.property(someCase, (scheme) => {
        const credentials = readCredentials(`${scheme} x`);
        expect(isOfScheme(credentials, "Bearer")).toBe(scheme.length === 6);
        expect(isOfScheme(credentials, "PrivateToken")).toBe(scheme.length === 12);
      }),
    );
    for (const header of ["Bearers x", "Beare x", "x Bearer", null])
      expect(isOfScheme(readCredentials(header), "Bearer")).toBe(false);
  });

  test("is read in a time that its length bounds", () => {
    expect(readCredentials(`a${" ".repeat(100_000)}b${" ".repeat(100_000)}c`)?.rest.length).toBe(100_002);
  });
});
