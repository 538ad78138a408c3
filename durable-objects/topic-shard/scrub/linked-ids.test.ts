import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, uint64Bytes } from "../../../protocol/bytes.ts";
import { LinkedIds } from "./linked-ids.ts";

const idOf = (n: number): Bytes =>
  concatBytes(uint64Bytes(BigInt(n >> 2)), new Uint8Array(31), Uint8Array.of(n % 4));

test("what was added is found from the greatest id down, each once, as far as nothing was left out", () => {
  const rounds = fc.array(fc.array(fc.nat({ max: 60 }), { maxLength: 30 }), { maxLength: 8 });
  fc.assert(
    fc.property(rounds, fc.integer({ min: 1, max: 20 }), (adds, limit) => {
      const linked = new LinkedIds(limit);
      const added = new Set<string>();
      let below = 61;
      for (const numbers of adds) {
        for (const n of numbers.filter((each) => each < below)) {
          linked.add(idOf(n));
          added.add(toHex(idOf(n)));
        }
        expect(linked.size).toBeLessThanOrEqual(limit);
        for (let i = 0; i < 5 && below > 0; i++) {
          const id = idOf(--below);
          const isLeftOut = linked.floor !== undefined && compareBytes(id, linked.floor) <= 0;
          expect(linked.take(id)).toBe(!isLeftOut && added.has(toHex(id)));
          if (isLeftOut) return;
        }
      }
    }),
    { numRuns: 500 },
  );
});

test("the greatest stay when there is no room, and what was left out is named", () => {
  const linked = new LinkedIds(2);
  for (const n of [5, 9]) linked.add(idOf(n));
  expect(linked.floor).toBeUndefined();
  linked.add(idOf(5));
  expect(linked.floor).toBeUndefined();
  linked.add(idOf(7));
  expect(linked.floor).toEqual(idOf(5));
  linked.add(idOf(6));
  expect(linked.floor).toEqual(idOf(6));
  linked.add(idOf(5));
  expect([9, 8, 7, 6, 5].map((n) => linked.take(idOf(n)))).toEqual([true, false, true, false, false]);
  linked.clear();
  expect([linked.size, linked.floor]).toEqual([0, undefined]);
  linked.add(idOf(1));
  expect(linked.take(idOf(1))).toBe(true);
});

test("it takes 44 bytes for an id at most, however many were added, and few while there are few", () => {
  const linked = new LinkedIds(1_000);
  expect(linked.bytes).toBe(0);
  linked.add(idOf(1));
  expect(linked.bytes).toBeLessThanOrEqual(44 * 256);
  for (let n = 0; n < 5_000; n++) linked.add(idOf((n * 7_919) % 5_003));
  expect(linked.size).toBe(1_000);
  expect(linked.bytes).toBe(44_000);
});
