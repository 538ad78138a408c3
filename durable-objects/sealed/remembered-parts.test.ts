import { describe, expect, test } from "vitest";
import { RememberedParts } from "./remembered-parts.ts";

describe("parts that were read", () => {
  const scene = () => {
    const reads: string[] = [];
    const parts = new RememberedParts(100);
    const get = (name: string, bytes = 40) =>
      parts.get(name, () => {
        reads.push(name);
        return new Uint8Array(bytes).fill(name.length);
      });
    return { reads, parts, get };
  };

  test("are read once", () => {
    const { reads, get } = scene();
    expect(get("a")).toBe(get("a"));
    expect(reads).toEqual(["a"]);
  });

  test("are forgotten beyond the limit, the one that was not asked for for longest first", () => {
    const { reads, get } = scene();
    for (const name of ["a", "b", "a", "c", "a", "b"]) get(name);
    expect(reads).toEqual(["a", "b", "c", "b"]);
  });

  test("may be larger than the limit", () => {
    const { reads, get } = scene();
    expect(get("a", 1_000)).toHaveLength(1_000);
    expect(get("b")).toHaveLength(40);
    expect(get("b")).toHaveLength(40);
    expect(reads).toEqual(["a", "b"]);
  });

  test("are forgotten when they may be others", () => {
    const { reads, parts, get } = scene();
    get("a");
    parts.clear();
    get("a");
    expect(reads).toEqual(["a", "a"]);
  });
});
