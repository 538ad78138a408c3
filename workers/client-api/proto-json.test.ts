import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import {
  bytesField,
  cursorField,
  directionField,
  fieldOf,
  listField,
  parseJsonBody,
  textField,
  uint32Field,
  uint64Field,
} from "./proto-json.ts";

const parse = (text: string) => parseJsonBody(utf8(text));
const refused = expect.objectContaining({ code: "json_invalid", httpStatus: 400, grpc: 3 });

describe("the body", () => {
  test("an empty body is an empty object", () => {
    expect(parse("")).toEqual({});
    expect(parse(" \n")).toEqual({});
  });

  test.each(["{", "[]", "null", "3", '"text"', "{]", "undefined"])("%s is refused", (text) => {
    expect(() => parse(text)).toThrow(refused);
  });

  test("bytes that are not UTF-8 are refused", () => {
    expect(() => parseJsonBody(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))).toThrow(refused);
  });

  test("integers beyond 2^53 keep every digit, in every place of the body", () => {
    const body = parse('{"a":18446744073709551615,"b":[ 9007199254740993],"c":{"d":\t1686000000000000001}}');
    expect(uint64Field(body, "a")).toBe(2n ** 64n - 1n);
    expect(listField(body, "b")).toEqual(["9007199254740993"]);
    expect(uint64Field(fieldOf(body, "c") as Record<string, unknown>, "d")).toBe(1686000000000000001n);
  });

  test("digits inside texts stay texts", () => {
    expect(parse('{"message":":1234567890123456789"}')).toEqual({ message: ":1234567890123456789" });
  });
});

describe("fields", () => {
  test("are found by camelCase and by snake_case; null counts as missing", () => {
    expect(textField({ contentTopic: "a" }, "contentTopic")).toBe("a");
    expect(textField({ content_topic: "b" }, "contentTopic")).toBe("b");
    expect(textField({ contentTopic: null, content_topic: "b" }, "contentTopic")).toBe("b");
    expect(textField({}, "contentTopic")).toBe("");
    expect(fieldOf({ contentTopic: null }, "contentTopic")).toBeUndefined();
  });

  test("names of Object.prototype are not fields", () => {
    expect(fieldOf({}, "constructor")).toBeUndefined();
  });

  test.each([5, true, {}, []])("a topic that is %j is refused", (value) => {
    expect(() => textField({ contentTopic: value }, "contentTopic")).toThrow(refused);
  });

  test.each([{}, "a", 1, true])("a list that is %j is refused", (value) => {
    expect(() => listField({ envelopes: value }, "envelopes")).toThrow(refused);
  });
});

describe("integers", () => {
  test("any uint64 is read from a text, small ones from a number", () => {
    fc.assert(
      fc.property(
        fc.bigInt(0n, 2n ** 64n - 1n),
        (value) => uint64Field({ ns: String(value) }, "ns") === value,
      ),
    );
    expect(uint64Field({ ns: 5 }, "ns")).toBe(5n);
    expect(uint64Field({}, "ns")).toBe(0n);
    expect(uint64Field({ ns: "" }, "ns")).toBe(0n);
  });

  test.each([
    "-1",
    "1.5",
    "1e3",
    "0x10",
    " 1",
    "18446744073709551616",
    "99999999999999999999999",
    -1,
    1.5,
    2 ** 53,
    true,
    {},
  ])("%j is no uint64", (value) => expect(() => uint64Field({ ns: value }, "ns")).toThrow(refused));

  test("a uint32 ends at 2^32 − 1", () => {
    expect(uint32Field({ limit: 4294967295 }, "limit")).toBe(4294967295);
    expect(() => uint32Field({ limit: 4294967296 }, "limit")).toThrow(refused);
  });
});

describe("bytes", () => {
  test("both alphabets, padded or not", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.boolean(),
        fc.boolean(),
        (bytes, isUrlSafe, isPadded) => {
          const padded = Buffer.from(bytes).toString("base64");
          const text = isUrlSafe ? padded.replaceAll("+", "-").replaceAll("/", "_") : padded;
          const read = bytesField({ message: isPadded ? text : text.replaceAll("=", "") }, "message");
          return toHex(read) === toHex(bytes);
        },
      ),
    );
  });

  test.each(["a", "a===", "====", "ab c", "ä", "YQ==YQ==", "%%%%"])("%j is refused", (text) => {
    expect(() => bytesField({ message: text }, "message")).toThrow(refused);
  });
});

describe("directions and cursors", () => {
  test("a direction by name, by number, or missing", () => {
    expect(directionField({ direction: "SORT_DIRECTION_ASCENDING" }, "direction")).toBe(
      "SORT_DIRECTION_ASCENDING",
    );
    expect(directionField({ direction: 2 }, "direction")).toBe("SORT_DIRECTION_DESCENDING");
    expect(directionField({}, "direction")).toBe("SORT_DIRECTION_UNSPECIFIED");
    for (const wrong of ["UP", 3, -1, 1.5, true]) {
      expect(() => directionField({ direction: wrong }, "direction")).toThrow(refused);
    }
  });

  test("a cursor is the time and the digest of a row", () => {
    const digest = Buffer.alloc(32, 7).toString("base64");
    const cursor = cursorField({ cursor: { index: { digest, senderTimeNs: "258" } } }, "cursor");
    expect(cursor && toHex(cursor)).toBe(`0000000000000102${"07".repeat(32)}`);
    expect(cursorField({ cursor: null }, "cursor")).toBeNull();
    expect(cursorField({ cursor: {} }, "cursor")).toBeNull();
  });

  test.each([
    { index: { digest: "AAAA", senderTimeNs: "1" } },
    { index: { senderTimeNs: "1" } },
    { index: "x" },
    "opaque",
    { index: { digest: Buffer.alloc(32).toString("base64"), senderTimeNs: "x" } },
  ])("%j is refused", (cursor) => {
    expect(() => cursorField({ cursor }, "cursor")).toThrow(expect.objectContaining({ httpStatus: 400 }));
  });
});
