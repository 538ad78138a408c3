import { describe, expect, test } from "vitest";
import { PennypostError } from "../../protocol/errors.ts";
import { checkBearer } from "./bearer.ts";

const SECRET = "s3cret".repeat(8);

function codeOf(header: string | null, secret?: string): unknown {
  try {
    checkBearer(header, secret);
    return "ok";
  } catch (error) {
    return error instanceof PennypostError ? [error.code, error.httpStatus] : error;
  }
}

describe("the admin secret", () => {
  test("opens, in the header's usual forms", () => {
    for (const header of [`Bearer ${SECRET}`, `bearer ${SECRET}`, `Bearer   ${SECRET}`])
      expect(codeOf(header, SECRET)).toBe("ok");
  });

  test.each<[string, string | null]>([
    ["no header", null],
    ["an empty one", ""],
    ["no token", "Bearer "],
    ["another token", `Bearer ${"x".repeat(48)}`],
    ["a part of it", `Bearer ${SECRET.slice(0, -1)}`],
    ["more than it", `Bearer ${SECRET}s`],
    ["two words", `Bearer ${SECRET} ${SECRET}`],
    ["another scheme", `Basic ${SECRET}`],
    ["the secret alone", SECRET],
  ])("refuses %s", (_, header) => {
    expect(codeOf(header, SECRET)).toEqual(["unauthenticated", 401]);
  });

  test("that a node does not have opens nothing", () => {
    for (const header of [null, "Bearer ", `Bearer ${SECRET}`])
      expect(codeOf(header)).toEqual(["admin_disabled", 503]);
  });
});
