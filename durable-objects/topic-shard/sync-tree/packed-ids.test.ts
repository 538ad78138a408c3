import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../../protocol/bytes.ts";
import { slotHash } from "../../../protocol/sync-tree.ts";
import { suite } from "../../platform-suite.ts";
import { idOfRaw } from "../../testing/raw-events.ts";
import { PackedIds } from "./packed-ids.ts";

const idOf = (n: number): Bytes => idOfRaw({ bucket: 0, topic: 0, class: 0, slot: 5, n });

function packed(ids: readonly Bytes[]): PackedIds {
  const all = new PackedIds();
  for (const id of ids) all.add(id);
  return all;
}

const texts = (ids: Iterable<Bytes>) => [...ids].map(toHex);

test("ids that are packed in any order are hashed as the sorted list, and stay all there", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat({ max: 500 }), { maxLength: 60, size: "max" }), (numbers) => {
      const ids = numbers.map(idOf);
      const sorted = ids.toSorted(compareBytes);
      const all = packed(ids);
      expect(texts(all.ids())).toEqual(texts(ids));
      for (let times = 0; times < 2; times++) {
        expect(toHex(all.hash(suite))).toBe(toHex(slotHash(sorted, suite)));
        expect(texts(all.ids())).toEqual(texts(sorted));
      }
      expect(all.count).toBe(ids.length);
    }),
    { numRuns: 200 },
  );
});

test("a slot of 200,000 ids is hashed, more than a call takes arguments", () => {
  const ids = Array.from({ length: 200_000 }, (_, n) => {
    const id = new Uint8Array(40);
    new DataView(id.buffer).setUint32(4, n);
    return id;
  });
  const hash = toHex(slotHash(ids, suite));
  expect(toHex(packed(ids).hash(suite))).toBe(hash);
  const runs = [1, 0].flatMap((rest) => ids.filter((_, n) => n % 2 === rest));
  expect(toHex(packed(runs).hash(suite))).toBe(hash);
});
