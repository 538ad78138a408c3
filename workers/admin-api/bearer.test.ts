import { describe, expect, test } from "vitest";
import { PennypostError } from "../../protocol/errors.ts";
import { checkBearer } from "./bearer.ts";

const SECRET = "s3cret".repeat(8);

function refusalOf(header: string | null, secret?: string): unknown {
  try {
    checkBearer(header, secret);
    return "ok";
  } catch (error) {
    return error;
  }
}

function codeOf(header: string | null, secret?: string): unknown {
  const refusal = refusalOf(header, secret);
  return refusal instanceof PennypostError ? [refusal.code, refusal.httpStatus] : refusal;
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

  test("is told apart from a header that is missing", () => {
    const wrong = { message: "this is not this node's admin secret" };
    for (const token of ["x", SECRET.slice(0, -1), `${SECRET}s`])
      expect(refusalOf(`Bearer ${token}`, SECRET)).toMatchObject(wrong);
    for (const header of [null, "", "Bearer ", SECRET, `Basic ${SECRET}`])
      expect(refusalOf(header, SECRET)).toMatchObject({
        message: expect.stringContaining("needs the header"),
      });
  });

  test("that a node does not have opens nothing", () => {
    for (const header of [null, "Bearer ", `Bearer ${SECRET}`])
      expect(codeOf(header)).toEqual(["admin_disabled", 503]);
  });
});
