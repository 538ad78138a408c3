import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareBytes } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type {
  AskedSlots,
  BucketClass,
  BucketListing,
  RootsAnswer,
  RootsQuestion,
  SlotPlace,
  SlotsAnswer,
} from "../../protocol/sync-messages.ts";
import { bucketGroupOf, byBucketAndClass, slotGroupOf } from "../../protocol/sync-tree.ts";
import { development } from "../testing/shard-world.ts";
import { checkRoots, checkSlots, readListed, restOf } from "./descent-answers.ts";

const invalid = expect.objectContaining({ code: "peer_answer_invalid", httpStatus: 503 });

describe("an answer about roots", () => {
  const question: RootsQuestion = {
    asOf: 9,
    groups: [0, 1, 5],
    from: { bucket: 3, class: 2 },
    to: { bucket: 330, class: 1 },
    roots: [],
  };
  const listing = (bucket: number, id: number): BucketListing => ({
    bucket,
    class: id,
    kind: "ids",
    topics: [],
  });
  const place = fc.record({ bucket: fc.nat({ max: 400 }), class: fc.nat({ max: 3 }) });
  const isAsked = (at: BucketClass) =>
    byBucketAndClass(at, question.from) >= 0 &&
    byBucketAndClass(at, question.to as BucketClass) < 0 &&
    question.groups.includes(bucketGroupOf(at.bucket));
  const places = fc
    .uniqueArray(place, { maxLength: 9, selector: (at) => at.bucket * 4 + at.class })
    .map((all) => all.filter(isAsked).sort(byBucketAndClass));
  const listed = (all: readonly BucketClass[], next: BucketClass | null = null): RootsAnswer => ({
    listings: all.map((at) => listing(at.bucket, at.class)),
    next,
  });

  test("is good when it lists some of what was asked, in order, and goes on behind it", () => {
    fc.assert(
      fc.property(places, place, (all, next) => {
        checkRoots(listed(all), question);
        const last = all.at(-1) ?? question.from;
        if (byBucketAndClass(next, last) > 0) checkRoots(listed(all, next), question);
      }),
    );
  });

  test("is refused when it lists something twice, out of order, or that was not asked", () => {
    fc.assert(
      fc.property(places, fc.nat(), place, (all, at, other) => {
        const i = at % Math.max(1, all.length);
        const one = all[i];
        if (one) expect(() => checkRoots(listed(all.toSpliced(i, 0, one)), question)).toThrow(invalid);
        if (all.length > 1) expect(() => checkRoots(listed(all.toReversed()), question)).toThrow(invalid);
        if (!isAsked(other)) {
          const sorted = [...all, other].sort(byBucketAndClass);
          expect(() => checkRoots(listed(sorted), question)).toThrow(invalid);
        }
      }),
    );
  });

  test("is refused when it goes on where it began or before", () => {
    const all = [
      { bucket: 5, class: 1 },
      { bucket: 70, class: 1 },
    ];
    for (const next of [question.from, { bucket: 3, class: 1 }, { bucket: 0, class: 0 }])
      expect(() => checkRoots(listed([], next), question)).toThrow(invalid);
    for (const next of [all[1], all[0], question.from])
      expect(() => checkRoots(listed(all, next), question)).toThrow(invalid);
    checkRoots(listed(all, { bucket: 70, class: 2 }), question);
  });
});

describe("what is here of what an answer lists", () => {
  test("cannot be of a class that the network has not: the answer is refused", async () => {
    const read = async (id: number) => development.retentionOf(id).name;
    expect(await readListed(() => read(1))).toBe("default");
    await expect(readListed(() => read(77))).rejects.toEqual(invalid);
  });

  test("may fail for a reason of this node's own", async () => {
    const away = unavailable("part_unavailable", "a shard is away");
    await expect(readListed(() => Promise.reject(away))).rejects.toBe(away);
  });
});

const part = (bucket: number, groups: number[], place: SlotPlace | null = null): AskedSlots => ({
  bucket,
  class: 1,
  groups,
  slots: groups.map((group) => ({ slot: group * 64 + 9, hash: new Uint8Array(32) })),
  place,
});
/** Two pieces of one bucket, as a question has them that had no room for the rest; and another bucket. */
const ASKED = [part(4, [10, 11], { slot: 650, after: null }), part(4, [13]), part(9, [10])];

describe("an answer about slots", () => {
  const slotAt = (bucket: number, slot: number, id = 1): SlotsAnswer["slots"][number] => ({
    bucket,
    class: id,
    slot,
    topics: [],
  });
  const good = [
    slotAt(4, 650),
    slotAt(4, 703),
    slotAt(4, 704),
    slotAt(4, 832),
    slotAt(4, 895),
    slotAt(9, 640),
  ];
  const check = (slots: SlotsAnswer["slots"]) => checkSlots({ slots, next: null }, ASKED);

  test("is good when it lists some of what was asked, in the order of parts and slots", () => {
    fc.assert(fc.property(fc.subarray(good), (slots) => check(slots)));
  });

  test.each([
    ["a slot before the place", slotAt(4, 649)],
    ["a slot of another group", slotAt(4, 768)],
    ["a slot of another bucket", slotAt(5, 650)],
    ["a slot of another class", slotAt(4, 650, 2)],
    ["a slot that no group has", slotAt(9, 704)],
  ])("is refused when it lists %s", (_, slot) => {
    expect(() => check([slot])).toThrow(invalid);
  });

  test("is refused when it lists something twice, or out of order", () => {
    fc.assert(
      fc.property(fc.subarray(good, { minLength: 1 }), fc.nat(), (slots, at) => {
        const i = at % slots.length;
        expect(() => check(slots.toSpliced(i, 0, slots[i] as (typeof slots)[0]))).toThrow(invalid);
        if (slots.length > 1) expect(() => check(slots.toReversed())).toThrow(invalid);
      }),
    );
  });
});

describe("what is left of a question", () => {
  const name = (fill: number) => ({
    topicKey: new Uint8Array(32).fill(fill),
    id: new Uint8Array(40).fill(fill),
  });

  test("begins at the place of the part at which the answer ended, without the slots before it", () => {
    const next = { part: 0, slot: 713, after: name(1) };
    const [first, ...others] = restOf(ASKED, next);
    expect(first).toEqual({
      ...ASKED[0],
      groups: [11],
      slots: [{ slot: 713, hash: new Uint8Array(32) }],
      place: { slot: 713, after: name(1) },
    });
    expect(others).toEqual(ASKED.slice(1));
    expect(restOf(ASKED, { part: 2, slot: 0, after: null })).toEqual([
      { ...ASKED[2], place: { slot: 0, after: null } },
    ]);
  });

  test.each([
    ["at the place at which it began", 0, 650, null],
    ["before it", 0, 649, name(9)],
    ["at no part", 3, 700, null],
  ] as const)("is refused when the answer ended %s", (_, at, slot, after) => {
    expect(() => restOf(ASKED, { part: at, slot, after })).toThrow(invalid);
  });

  test("is refused when nothing of a question without a place was answered", () => {
    expect(() => restOf([part(4, [0])], { part: 0, slot: 0, after: null })).toThrow(invalid);
  });

  test("is less with each answer, whatever the peer says: the places of one part only go forward", () => {
    const nexts = fc.array(
      fc.record({
        part: fc.nat({ max: 3 }),
        slot: fc.integer({ min: 640, max: 720 }),
        after: fc.option(fc.nat({ max: 3 }).map(name), { nil: null }),
      }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(nexts, (all) => {
        let left: readonly AskedSlots[] = ASKED;
        for (const next of all) {
          let rest: AskedSlots[];
          try {
            rest = restOf(left, next);
          } catch {
            continue;
          }
          const [before, after] = [left[0]?.place, rest[0]?.place];
          const isFurther =
            rest.length < left.length ||
            !before ||
            (after && (after.slot > before.slot || isAbove(after, before)));
          expect(isFurther).toBe(true);
          expect(
            rest.every(({ groups, slots }) => slots.every(({ slot }) => groups.includes(slotGroupOf(slot)))),
          ).toBe(true);
          left = rest;
        }
      }),
    );
  });

  function isAbove(a: SlotPlace, b: SlotPlace): boolean {
    if (a.slot !== b.slot || !a.after) return false;
    return !b.after || compareBytes(a.after.topicKey, b.after.topicKey) > 0;
  }
});
