import { describe, expect, test } from "vitest";
import { readPlace, writePlace } from "./subscription-token.ts";

describe("the token of a subscription", () => {
  test.each([
    { coveredMs: 1_800_000_000_000, nodeToken: "gwFI_-" },
    { coveredMs: 0, nodeToken: "" },
  ])("is read as it was written: %j", (place) => {
    expect(readPlace(writePlace(place))).toEqual(place);
  });

  test.each(["", ".", "?", "gwFI", ".gwFI", "zzzzzzzzzzz.gwFI", "1.gw/I", `1.${"a".repeat(65_537)}`])(
    "is refused when it is none: %#",
    (text) => {
      expect(() => readPlace(text)).toThrow(expect.objectContaining({ code: "token_invalid" }));
    },
  );
});
