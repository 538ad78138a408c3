import { expect, test } from "vitest";
import { type Bytes, concatBytes, readUint64, toHex, uint64Bytes } from "./bytes.ts";
import { digestOfId } from "./event-id.ts";
import { DIGEST_PART_ENTRIES, numbersWithPrefix, packDigests } from "./segment-digests.ts";
import { type PackedEvent, packRuns } from "./segment-runs.ts";
import { suite } from "./testing/arbitraries.ts";

const COUNT = 2 * DIGEST_PART_ENTRIES + 9;
const digest = (n: number): Bytes => suite.sha256(uint64Bytes(BigInt(n)));
/** The first 62 bits are the same, the next two are not. */
const twin = (of: Bytes): Bytes => {
  const other = of.slice();
  other[7] = (other[7] as number) ^ 3;
  return other;
};
const ids = Array.from({ length: COUNT }, (_, n) =>
  concatBytes(uint64Bytes(BigInt(n)), n === 500 ? twin(digest(7)) : digest(n)),
);
const runs = packRuns(
  ids.map(
    (id): PackedEvent => ({
      topicKey: digest(0),
      id,
      timeKey: new Uint8Array(40),
      blockAt: 1,
      blockLength: 1,
      messageAt: 0,
      messageLength: 0,
      origin: 0,
    }),
  ),
);
const parts = packDigests(runs.ids);
const prefixOf = (of: Bytes): bigint => readUint64(of) >> 2n;

test("cuts the run into parts of 48 KB", () => {
  expect(parts.map(({ length }) => length)).toEqual([49_152, 49_152, 9 * 12]);
});

test("finds each event by the first bits of its digest, in few parts", () => {
  for (const [number, id] of ids.entries()) {
    const asked = new Set<number>();
    const partOf = (part: number) => {
      asked.add(part);
      return parts[part] ?? expect.fail(`no part ${part}`);
    };
    const found = [...numbersWithPrefix(prefixOf(digestOfId(id)), COUNT, partOf)];
    expect(found, toHex(id)).toContain(number);
    expect(asked.size).toBeLessThanOrEqual(3);
  }
});

test("tells all of one beginning, and nothing of one that no event has", () => {
  const partOf = (part: number) => parts[part] as Bytes;
  const found = [...numbersWithPrefix(prefixOf(digest(7)), COUNT, partOf)];
  expect(found.sort((a, b) => a - b)).toEqual([7, 500]);
  for (const prefix of [0n, 2n ** 62n - 1n, prefixOf(digest(COUNT + 1))])
    expect([...numbersWithPrefix(prefix, COUNT, partOf)]).toEqual([]);
  expect([...numbersWithPrefix(5n, 0, partOf)]).toEqual([]);
});
