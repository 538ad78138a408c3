import * as fc from "fast-check";
import { expect, test } from "vitest";
import { mergeSorted } from "./merge-sorted.ts";

const byValue = (a: { value: number }, b: { value: number }) => a.value - b.value;

test("is a stable sort of all that was given", () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.nat(9), { maxLength: 8 }), { maxLength: 9 }), (lists) => {
      const sequences = lists.map((list, sequence) =>
        list.sort((a, b) => a - b).map((value, place) => ({ value, sequence, place })),
      );
      expect([...mergeSorted(sequences, byValue)]).toEqual(sequences.flat().sort(byValue));
    }),
  );
});

test("reads no more of a sequence than is asked for", () => {
  let read = 0;
  const counting = function* (values: readonly number[]) {
    for (const value of values) {
      read++;
      yield { value };
    }
  };
  const merged = mergeSorted([counting([1, 3, 5]), counting([2, 4, 6]), counting([])], byValue);
  expect(read).toBe(0);
  expect([merged.next().value, merged.next().value]).toEqual([{ value: 1 }, { value: 2 }]);
  expect(read).toBe(3);
});
