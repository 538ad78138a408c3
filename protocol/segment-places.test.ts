import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, uint64Bytes } from "./bytes.ts";
import { SIGNATURE_BYTES } from "./crypto.ts";
import {
  MAX_INLINE_MESSAGE_BYTES,
  MESSAGE_APART,
  MESSAGE_GONE,
  type SegmentEvent,
  writeSegment,
} from "./segment-file.ts";
import { blockRange, countGone, messageRange, signatureRange } from "./segment-places.ts";
import { PART_ENTRIES, readSealedEntry, type SealedEntry } from "./segment-runs.ts";
import { network, suite } from "./testing/arbitraries.ts";
import { sealedEvents } from "./testing/sealed-events.ts";

const FACTS = { net: network.id, class: 1, from: 1_000, to: 2_000 };
const write = (events: readonly SegmentEvent[]) => writeSegment(FACTS, events, suite);
type Files = ReturnType<typeof write>;

const entryOf = ({ runs }: Files, number: number): SealedEntry =>
  readSealedEntry(runs.ids[Math.floor(number / PART_ENTRIES)] as Bytes, number % PART_ENTRIES);

function blocksEnd(files: Files, count: number): number {
  const { at, length } = blockRange(entryOf(files, count - 1));
  return at + length;
}

const cut = (file: Bytes | null, { at, length }: { at: number; length: number }): Bytes =>
  new Uint8Array((file ?? expect.fail("no such file")).subarray(at, at + length));

const bytesFrom = (value: number, length: number): Bytes =>
  Uint8Array.from({ length }, (_, i) => (value * 31 + i * 7 + (value >> 8)) & 255);

/** What stands in for an event where its content does not matter: 1,100 real ones take a second to sign. */
const STAND_INS: readonly SegmentEvent[] = Array.from({ length: 1_100 }, (_, i) => ({
  topicKey: new Uint8Array(32),
  id: concatBytes(uint64Bytes(BigInt(i)), bytesFrom(i, 32)),
  timeKey: bytesFrom(i + 1, 40),
  origin: new Uint8Array(32),
  msg: new Uint8Array(32),
  size: 0,
  signature: concatBytes(uint64Bytes(BigInt(i)), bytesFrom(i, SIGNATURE_BYTES - 8)),
  block: bytesFrom(i, 1 + (i % 3)),
  message: null,
}));

function expectSignatures(count: number, numbers: Iterable<number>): void {
  const events = STAND_INS.slice(0, count);
  const files = write(events);
  const end = blocksEnd(files, count);
  for (const number of numbers)
    expect(cut(files.blocks, signatureRange(count, end, number)), `${number} of ${count}`).toEqual(
      events[number]?.signature,
    );
}

describe("the place of a signature", () => {
  // A head grows from 2 to 3 bytes with the 4th signature, a varint from 1 to 2 with the 2nd, to 3 with the 256th.
  const around = (border: number) => Array.from({ length: 7 }, (_, i) => border - 3 + i);
  const borders = [4, 256, 512, 516, 768, 1_024, 1_028].flatMap(around);
  test.each([...borders, 1_099, 1_100])("is the one in the file, for each of %i events", (count) => {
    expectSignatures(
      count,
      Array.from({ length: count }, (_, number) => number),
    );
  });

  test("is the one in the file, for any event of any number", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_100 }), fc.nat(), (count, number) =>
        expectSignatures(count, [0, count - 1, number % count]),
      ),
      { numRuns: 100 },
    );
  });

  test.each([-1, 4, 1.5, Number.NaN])("is none for the event %d of 4", (number) => {
    expect(() => signatureRange(4, 100, number)).toThrow(RangeError);
  });
});

describe("the places of an event's parts", () => {
  test("have the bytes that were written", () => {
    fc.assert(
      fc.property(sealedEvents, (events) => {
        const files = write(events);
        for (const [number, event] of events.entries()) {
          const entry = entryOf(files, number);
          expect(cut(files.blocks, blockRange(entry))).toEqual(event.block);
          const signature = signatureRange(events.length, blocksEnd(files, events.length), number);
          expect(cut(files.blocks, signature)).toEqual(event.signature);
          const message = messageRange(entry);
          if (typeof message === "string") expect([message, event.message]).toEqual(["gone", null]);
          else expect(cut(files.messages, message)).toEqual(event.message);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("say of a message that it was dropped, or is an object of its own", () => {
    const [event] = STAND_INS as [SegmentEvent];
    const large = { ...event, size: MAX_INLINE_MESSAGE_BYTES + 1 };
    const entryFor = (written: SegmentEvent) => entryOf(write([written]), 0);
    const gone = entryFor({ ...large, message: null });
    const apart = entryFor({ ...large, message: new Uint8Array(large.size) });
    expect([gone.messageAt, messageRange(gone)]).toEqual([MESSAGE_GONE, "gone"]);
    expect([apart.messageAt, messageRange(apart)]).toEqual([MESSAGE_APART, "apart"]);
  });

  test("say how many messages there are none of, over all parts", () => {
    const gone = STAND_INS.filter((_, i) => i % 5 !== 0);
    const all = STAND_INS.map((event) =>
      gone.includes(event) ? event : { ...event, message: new Uint8Array() },
    );
    expect(countGone(write(all).runs.ids)).toBe(880);
    const large = new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1);
    expect(countGone(write(all.slice(0, 3).map((event) => ({ ...event, message: large }))).runs.ids)).toBe(0);
  });

  test("have no byte of an empty message, which is there", () => {
    const [event] = STAND_INS as [SegmentEvent];
    expect(messageRange(entryOf(write([{ ...event, message: new Uint8Array() }]), 0))).toMatchObject({
      length: 0,
    });
  });
});
