import { describe, expect, test } from "vitest";
import { firstSeqOf } from "./hybrid-clock.ts";
import { parseSeqText } from "./seq-text.ts";

const NOW_MS = Date.UTC(2026, 10, 23, 12);
const context = { createdMs: Date.UTC(2026, 0, 1), nowMs: NOW_MS };
const parse = (text: string) => parseSeqText(text, context);

describe("a seq as text", () => {
  test("is a UTC time, or the seq", () => {
    expect(parse("2026-11-23T12:00:00Z")).toBe(firstSeqOf(NOW_MS));
    expect(parse("2026-11-23T12:00Z")).toBe(firstSeqOf(NOW_MS));
    expect(parse("2026-11-23T12:00:00.250Z")).toBe(firstSeqOf(NOW_MS + 250));
    expect(parse("2026-11-23")).toBe(firstSeqOf(Date.UTC(2026, 10, 23)));
    expect(parse(String(firstSeqOf(NOW_MS) + 7n))).toBe(firstSeqOf(NOW_MS) + 7n);
    expect(parse("2026-01-01")).toBe(firstSeqOf(context.createdMs));
  });

  test.each([
    "",
    "0",
    "-1",
    "2026",
    "20261123",
    "x 3",
    "yesterday 1",
    "now",
    "00000000000000000000",
    "2026-11-23T12:00:00",
    "2026-11-23T12:00:00+02:00",
    "2026-13-45",
    "2025-12-31",
    "2028-01-01",
    String(NOW_MS),
    String(2n ** 63n),
    String(2n ** 63n - 1n),
    "99999999999999999999",
    "1e18",
    "+275760-09-13",
  ])("%s is refused", (text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: "from_invalid", httpStatus: 400 }));
  });
});
