import { type Bytes, concatBytes, utf8 } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";

const filled = (bytes: number, byte: number): Bytes => new Uint8Array(bytes).fill(byte);
const bytes = (...values: readonly number[]): Bytes => Uint8Array.from(values);

/** Bodies that no message between nodes may be, neither as a question nor as an answer, by what they hold. */
export const MALFORMED_BODIES: readonly (readonly [string, Bytes])[] = [
  ["nothing", bytes()],
  ["a text", utf8("<html>")],
  ["lists nested 1,000 deep", concatBytes(filled(1_000, 0x81), bytes(0))],
  [
    "maps nested 1,000 deep",
    concatBytes(...Array.from({ length: 1_000 }, () => bytes(0xa1, 0x60)), bytes(0)),
  ],
  ["tags nested 1,000 deep", concatBytes(filled(1_000, 0xc1), bytes(0))],
  ["a list of a million items", concatBytes(bytes(0x9a, 0x00, 0x0f, 0x42, 0x40), new Uint8Array(1_000_000))],
  ["a list of 2^64-1 items, by its own word", bytes(0x9b, ...Array<number>(8).fill(0xff))],
  ["a map of 2^32-1 entries, by its own word", bytes(0xba, ...Array<number>(4).fill(0xff))],
  ["bytes longer than the body", bytes(0x81, 0x5a, 0x7f, 0xff, 0xff, 0xff, 1)],
  ["a list of an indefinite length", bytes(0x81, 0x9f, 0xff)],
  ["bytes of an indefinite length", bytes(0x81, 0x5f, 0x41, 0, 0xff)],
  ["a map with a key twice", bytes(0x81, 0xa2, 0x61, 0x61, 1, 0x61, 0x61, 2)],
  ["a tag of no meaning here", bytes(0x81, 0xc1, 0)],
  ["a CID that is none", bytes(0x81, 0xd8, 0x2a, 0x42, 0, 0xff)],
  ["a number that is none", bytes(0x81, 0xf9, 0x7e, 0)],
  ["undefined", bytes(0x81, 0xf7)],
  ["a number in more bytes than it needs", bytes(0x81, 0x18, 1)],
  ["a text that is not UTF-8", bytes(0x81, 0x61, 0xff)],
  ["bytes after the end", bytes(0x80, 0x80)],
  ["a map", encodeCbor({ runs: [], cursors: [] })],
  ["null", encodeCbor(null)],
  ["texts for all", encodeCbor(["a", "b", "c", "d", "e"])],
  ["floats for all", encodeCbor([1.5, 1.5, 1.5, 1.5, 1.5])],
  ["negative numbers for all", encodeCbor([-1, -1, -1, -1, -1])],
  ["2^53 for all", encodeCbor(Array<bigint>(5).fill(2n ** 53n))],
];
