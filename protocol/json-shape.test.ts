import fc from "fast-check";
import { expect, test } from "vitest";
import { utf8 } from "./bytes.ts";
import { checkJsonShape, MAX_JSON_DEPTH, MAX_JSON_VALUES } from "./json-shape.ts";

const check = (text: string) => () => checkJsonShape(utf8(text));
const refused = expect.objectContaining({ code: "json_too_complex", httpStatus: 400 });
const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const list = (length: number) => `[${Array(length).fill("{}").join()}]`;

test("depth ends at the limit, wherever it is reached", () => {
  expect(check(nested(MAX_JSON_DEPTH))).not.toThrow();
  expect(check(nested(MAX_JSON_DEPTH + 1))).toThrow(refused);
  expect(check(`{"a":"]]]]","b":${nested(MAX_JSON_DEPTH)}}`)).toThrow(refused);
  expect(check("[".repeat(1_000_000))).toThrow(refused);
});

test("the number of values is bounded", () => {
  expect(check(list(10_000))).not.toThrow();
  expect(check(list(MAX_JSON_VALUES))).toThrow(refused);
  expect(check(`[${"1,".repeat(MAX_JSON_VALUES)}1]`)).toThrow(refused);
});

test("what stands in strings does not count", () => {
  const brackets = JSON.stringify(`${"[".repeat(1000)}\\"\\\\${",".repeat(MAX_JSON_VALUES + 1)}`);
  expect(check(`[${brackets},"\\\\","a\\""]`)).not.toThrow();
});

/** The depth and number of a value's parts, as `JSON.parse` sees them. */
function measure(value: unknown): { depth: number; values: number } {
  if (typeof value !== "object" || value === null) return { depth: 0, values: 1 };
  const parts = Object.values(value).map(measure);
  const depth = 1 + Math.max(0, ...parts.map((part) => part.depth));
  return { depth, values: 1 + parts.reduce((sum, part) => sum + part.values, 0) };
}

test("any JSON within the limits passes, and any deeper one does not", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 20 }), (value) => {
      const { depth, values } = measure(value);
      if (values > MAX_JSON_VALUES / 4) return;
      if (depth > MAX_JSON_DEPTH) expect(check(JSON.stringify(value))).toThrow(refused);
      else expect(check(JSON.stringify(value))).not.toThrow();
    }),
  );
});

test("text that is no JSON is passed or refused, and the walk ends", () => {
  const text = fc.string({ unit: fc.constantFrom('"', "\\", "[", "]", ",", "a"), maxLength: 200 });
  fc.assert(
    fc.property(text, (each) => {
      try {
        checkJsonShape(utf8(each));
      } catch (error) {
        expect(error).toEqual(refused);
      }
    }),
  );
});
