import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8 } from "../../protocol/bytes.ts";
import { MESSAGE_APART, MESSAGE_GONE } from "../../protocol/segment-file.ts";
import { eventToSeal, sealEvents } from "../testing/sealed-scene.ts";
import {
  bytesOfParts,
  cutPlaces,
  MAX_OBJECTS_PER_READ,
  MAX_PLACES_PER_READ,
  messageOf,
  type WantedParts,
} from "./sealed-parts.ts";
import type { SealedPlace, Segment } from "./segment.ts";

const TOPIC = utf8("/xmtp/0/m-parts/proto");
const SCENE = sealEvents([eventToSeal(TOPIC, 1n, 2n ** 60n, new Uint8Array(10))]);
const [PLACE] = SCENE.places as [SealedPlace];
const MESSAGES: WantedParts = { parts: "messages", topic: TOPIC };
const BLOCKS: WantedParts = { parts: "blocks" };
const ALL: WantedParts = { parts: "all" };
const IN_FILES: WantedParts = { parts: "inFiles" };

const placeOf = (
  messageLength: number,
  messageAt = 100,
  blockLength = 300,
  segment: Segment = PLACE.segment,
): SealedPlace => ({
  ...PLACE,
  segment,
  entry: { ...PLACE.entry, messageAt, messageLength, blockLength },
});

describe("the bytes of an event's parts", () => {
  test.each([
    ["in the file", placeOf(50), [50, 364, 414, 414]],
    ["an object of its own", placeOf(70_000, MESSAGE_APART), [70_000, 364, 70_364, 364]],
    ["dropped", placeOf(50, MESSAGE_GONE), [0, 364, 364, 364]],
    [
      "dropped with its file",
      placeOf(50, 100, 300, { ...PLACE.segment, messages: null }),
      [0, 364, 364, 364],
    ],
  ])("with a message that is %s", (_, place, expected) => {
    expect([MESSAGES, BLOCKS, ALL, IN_FILES].map((wanted) => bytesOfParts(place, wanted))).toEqual(expected);
  });

  test("stay those of a message of its own when the file of the others is dropped", () => {
    const withoutFile = { ...PLACE.segment, messages: null };
    expect(messageOf(placeOf(70_000, MESSAGE_APART, 300, withoutFile))).toBe("apart");
    expect(messageOf(placeOf(50, 100, 300, withoutFile))).toBe("gone");
  });
});

describe("a list of places", () => {
  test("is cut where a page of its bytes would be, but not before the first", () => {
    const lists = fc.array(fc.tuple(fc.nat(500), fc.constantFrom(MESSAGE_GONE, MESSAGE_APART, 1_000)), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(
        lists,
        fc.nat(5_000),
        fc.constantFrom(MESSAGES, BLOCKS, ALL, IN_FILES),
        (list, maxBytes, wanted) => {
          const places = list.map(([length, at]) => placeOf(length, at));
          const sizes = places.map((place) => bytesOfParts(place, wanted));
          const sumTo = (count: number) => sizes.slice(0, count).reduce((sum, size) => sum + size, 0);
          const cut = cutPlaces(places, wanted, maxBytes);
          expect(cut).toEqual(places.slice(0, cut.length));
          if (cut.length > 1) expect(sumTo(cut.length)).toBeLessThanOrEqual(maxBytes);
          if (cut.length < places.length) expect(sumTo(cut.length + 1)).toBeGreaterThan(maxBytes);
          expect(cut.length).toBeGreaterThanOrEqual(Math.min(1, places.length));
        },
      ),
    );
  });

  test("is cut at the number of events that one reading may bring", () => {
    const places = Array.from({ length: MAX_PLACES_PER_READ + 1 }, () => placeOf(0));
    expect(cutPlaces(places, MESSAGES, 1_000)).toHaveLength(MAX_PLACES_PER_READ);
    expect(cutPlaces(places.slice(1), MESSAGES, 1_000)).toHaveLength(MAX_PLACES_PER_READ);
  });

  test("is cut at the number of objects: two a segment, one a large message", () => {
    const elsewhere = Array.from({ length: 200 }, () => placeOf(1, 100, 300, { ...PLACE.segment }));
    expect(cutPlaces(elsewhere, ALL, 1e9)).toHaveLength(MAX_OBJECTS_PER_READ / 2);
    const large = Array.from({ length: 300 }, () => placeOf(1, MESSAGE_APART));
    expect(cutPlaces(large, ALL, 1e9)).toHaveLength(MAX_OBJECTS_PER_READ - 2);
    for (const wanted of [BLOCKS, IN_FILES]) expect(cutPlaces(large, wanted, 1e9)).toHaveLength(300);
  });
});
