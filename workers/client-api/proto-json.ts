import { type Bytes, concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { invalidArgument } from "../../protocol/errors.ts";
import { checkJsonShape } from "../../protocol/json-shape.ts";
import { MAX_UINT64 } from "../../protocol/limits.ts";

/**
 * The reading half of protobuf's JSON mapping (https://protobuf.dev/programming-guides/json/), as lenient as the gateway
 * was: camelCase and snake_case, 64-bit integers as texts or numbers, base64 of either alphabet, padded or not, enums by
 * name or number, missing and null fields, unknown fields.
 */

export type JsonObject = Readonly<Record<string, unknown>>;

const malformed = (why: string) => invalidArgument("json_invalid", why);

/** Integers of 16 digits and more, which `JSON.parse` would round. */
const LONG_INTEGER = /[:[,\s]\d{16,}/;

/** Keeps long integers as the texts that they were. */
function keepLongIntegers(_key: string, value: unknown, context: { source?: string }): unknown {
  const { source } = context;
  return typeof value === "number" && source && /^\d{16,}$/.test(source) ? source : value;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/** Parses a request body; an empty one is `{}`. @throws PennypostError `json_invalid` or `json_too_complex`. */
export function parseJsonBody(body: Uint8Array): JsonObject {
  checkJsonShape(body);
  let value: unknown;
  try {
    const text = decoder.decode(body);
    if (text.trim() === "") return {};
    value = LONG_INTEGER.test(text)
      ? JSON.parse(text, keepLongIntegers as Parameters<typeof JSON.parse>[1])
      : JSON.parse(text);
  } catch {
    throw malformed("the body is not JSON");
  }
  return objectOf(value, "the body");
}

export function objectOf(value: unknown, name: string): JsonObject {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw malformed(`${name} is not an object`);
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A field by its camelCase name or its snake_case one; undefined when it is missing or null. */
export function fieldOf(object: JsonObject, name: string): unknown {
  const own = Object.hasOwn(object, name) ? object[name] : undefined;
  if (own !== undefined && own !== null) return own;
  const other = snakeCase(name);
  return Object.hasOwn(object, other) ? (object[other] ?? undefined) : undefined;
}

export function listField(object: JsonObject, name: string): readonly unknown[] {
  const value = fieldOf(object, name);
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw malformed(`${name} is not a list`);
}

export function textField(object: JsonObject, name: string): string {
  const value = fieldOf(object, name);
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  throw malformed(`${name} is not a string`);
}

export function textsField(object: JsonObject, name: string): string[] {
  return listField(object, name).map((value) => {
    if (typeof value === "string") return value;
    throw malformed(`${name} holds what is not a string`);
  });
}

export function uint64Field(object: JsonObject, name: string): bigint {
  const value = fieldOf(object, name);
  if (value === undefined || value === "") return 0n;
  const isWhole =
    typeof value === "string"
      ? /^\d{1,20}$/.test(value)
      : Number.isSafeInteger(value) && (value as number) >= 0;
  const whole = isWhole ? BigInt(value as string | number) : -1n;
  if (whole < 0n || whole > MAX_UINT64) throw malformed(`${name} is not an unsigned 64-bit integer`);
  return whole;
}

export function uint32Field(object: JsonObject, name: string): number {
  const value = uint64Field(object, name);
  if (value > 0xffff_ffffn) throw malformed(`${name} is not an unsigned 32-bit integer`);
  return Number(value);
}

const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

export function bytesField(object: JsonObject, name: string): Bytes {
  const text = textField(object, name);
  const digits = text.replace(/=+$/, "").length;
  if (!BASE64.test(text) || digits % 4 === 1) throw malformed(`${name} is not base64`);
  return new Uint8Array(Buffer.from(text, "base64"));
}

const DIRECTIONS = [
  "SORT_DIRECTION_UNSPECIFIED",
  "SORT_DIRECTION_ASCENDING",
  "SORT_DIRECTION_DESCENDING",
] as const;
export type Direction = (typeof DIRECTIONS)[number];

export function directionField(object: JsonObject, name: string): Direction {
  const value = fieldOf(object, name) ?? 0;
  const direction = typeof value === "number" ? DIRECTIONS[value] : DIRECTIONS.find((each) => each === value);
  if (direction === undefined) throw malformed(`${name} is not a sort direction`);
  return direction;
}

/** timestampNs and digest of a cursor as the 40 bytes that order rows; null when there is no cursor. */
export function cursorField(object: JsonObject, name: string): Bytes | null {
  const cursor = fieldOf(object, name);
  if (cursor === undefined) return null;
  const index = fieldOf(objectOf(cursor, name), "index");
  if (index === undefined) return null;
  const fields = objectOf(index, `${name}.index`);
  const digest = bytesField(fields, "digest");
  if (digest.length !== 32)
    throw invalidArgument("cursor_invalid", "the cursor is not one that a query answered");
  return concatBytes(uint64Bytes(uint64Field(fields, "senderTimeNs")), digest);
}
