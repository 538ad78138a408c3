import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { toWire } from "../../protocol/event.ts";
import { encodePage } from "../../protocol/peer-messages.ts";
import { CELL_BYTES, Sketch } from "../../protocol/sketch.ts";
import {
  decodeCells,
  decodeRoots,
  decodeRootsAnswer,
  decodeSlotsAnswer,
  encodeCellsAnswer,
  encodeFlags,
  encodeRangeAnswer,
  encodeRootsAnswer,
  encodeSlotsAnswer,
} from "../../protocol/sync-codec.ts";
import {
  type BucketClass,
  type BucketListing,
  FIRST_CELLS,
  type SlotsAnswer,
} from "../../protocol/sync-messages.ts";
import { answering, comparing, jammed, type Lie, MOST_REQUESTS, Scene } from "../testing/lying-scene.ts";
import { Pair } from "../testing/node-pair.ts";

// What is refused on purpose is logged.
beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());
beforeEach(() => {
  vi.useFakeTimers({ now: 0, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const listed = (honest: Bytes, change: (listings: readonly BucketListing[]) => readonly BucketListing[]) => {
  const { listings, next } = decodeRootsAnswer(honest);
  return encodeRootsAnswer({ listings: change(listings), next });
};
const slotted = (honest: Bytes, change: (answer: SlotsAnswer) => SlotsAnswer) =>
  encodeSlotsAnswer(change(decodeSlotsAnswer(honest)));
const name = (fill: number) => ({
  topicKey: new Uint8Array(32).fill(fill),
  id: new Uint8Array(40).fill(fill),
});
const emptied = ({ bucket, class: id }: BucketClass): BucketListing => ({
  bucket,
  class: id,
  kind: "ids",
  topics: [],
});
const repeat = <T>(items: readonly T[], times: number): T[] =>
  Array.from({ length: times }, () => items).flat();

describe("a peer that always says that there is a difference, where there is none", () => {
  const lies: [string, Lie, string, number][] = [
    ["and nothing more", comparing({}), "different", 6],
    ["in every bucket group", comparing({ tags: new Uint8Array(256).fill(9) }), "different", 6],
    ["and that it has nothing", comparing({ count: 0 }), "different", 8],
    ["and that it has more than can be", comparing({ count: Number.MAX_SAFE_INTEGER }), "different", 6],
    ["and that its sketch is ours", comparing({ cells: new Uint8Array(512) }), "different", 6],
    ["as of the next slot", comparing({ asOf: 2_000_000_000 }), "peer_answer_invalid", 1],
    ["as of the first slot", comparing({ asOf: 0 }), "peer_answer_invalid", 1],
    ["with fewer cells than asked", answeringCells(-1), "peer_answer_invalid", 2],
    ["with more cells than asked", answeringCells(1), "peer_answer_invalid", 2],
  ];

  function answeringCells(more: number): Lie {
    return comparing({}, (path, honest, body) =>
      path === "cells"
        ? encodeCellsAnswer(new Uint8Array((decodeCells(body).cells + more) * CELL_BYTES))
        : honest,
    );
  }

  test.each(lies)(
    "%s: the run ends after a few questions and moves no body here",
    async (_, lie, expected, most) => {
      const scene = await new Scene().give(
        () => true,
        () => true,
      );
      const before = await scene.pair.a.ids();
      expect(await scene.outcome(lie)).toBe(expected);
      expect(scene.requests).toBeLessThanOrEqual(most);
      expect(await scene.pair.a.ids()).toEqual(before);
      await scene.heal();
    },
  );
});

describe("a peer that lies about its lists", () => {
  const lies: [string, Lie, string][] = [
    [
      "names a bucket as often as there is room",
      answering("roots", (honest) => listed(honest, (all) => repeat(all.slice(0, 1).map(emptied), 8_192))),
      "peer_answer_invalid",
    ],
    [
      "names a bucket that was not asked",
      answering("roots", () =>
        encodeRootsAnswer({ listings: [emptied({ bucket: 4_095, class: 1 })], next: null }),
      ),
      "peer_answer_invalid",
    ],
    [
      "names them backwards",
      answering("roots", (honest) => listed(honest, (all) => all.toReversed())),
      "peer_answer_invalid",
    ],
    [
      "names a class that the network has not",
      answering("roots", (honest) => listed(honest, (all) => all.map((each) => ({ ...each, class: 2 })))),
      "peer_answer_invalid",
    ],
    [
      "goes on where it began",
      answering("roots", (_, body) => encodeRootsAnswer({ listings: [], next: decodeRoots(body).from })),
      "peer_answer_invalid",
    ],
    [
      "goes on for ever, one class after the other, and lists nothing",
      answering("roots", (_, body) => {
        const { bucket, class: id } = decodeRoots(body).from;
        return encodeRootsAnswer({ listings: [], next: { bucket, class: id + 1 } });
      }),
      "peer_body_invalid",
    ],
    [
      "goes on for ever, one bucket after the other, and lists nothing",
      answering("roots", (_, body) => {
        const { bucket } = decodeRoots(body).from;
        return encodeRootsAnswer({ listings: [], next: { bucket: bucket + 1, class: 0 } });
      }),
      "partial",
    ],
    [
      "has a thousand slot groups that nobody else has",
      answering("roots", (honest) =>
        listed(honest, (all) =>
          all.map((each) =>
            each.kind === "ids"
              ? each
              : {
                  ...each,
                  groups: Array.from({ length: 1_000 }, (_, n) => ({
                    group: 100_000 + n,
                    hash: new Uint8Array(32),
                  })),
                },
          ),
        ),
      ),
      "different",
    ],
    [
      "names a slot as often as there is room",
      answering("slots", (honest) =>
        slotted(honest, ({ slots, next }) => {
          const first = slots.slice(0, 1).map((each) => ({ ...each, topics: [] }));
          return { slots: repeat(first, 8_192), next };
        }),
      ),
      "peer_answer_invalid",
    ],
    [
      "names slots that were not asked",
      answering("slots", (honest) =>
        slotted(honest, (answer) => ({
          ...answer,
          slots: answer.slots.map((each) => ({ ...each, slot: each.slot + 1_000_000 })),
        })),
      ),
      "peer_answer_invalid",
    ],
    [
      "goes on with slots where it began",
      answering("slots", () => encodeSlotsAnswer({ slots: [], next: { part: 0, slot: 0, after: null } })),
      "peer_answer_invalid",
    ],
    [
      "goes on with slots at a part that was not asked",
      answering("slots", () => encodeSlotsAnswer({ slots: [], next: { part: 99, slot: 1, after: null } })),
      "peer_answer_invalid",
    ],
    ["goes on with slots for ever, and lists nothing", answering("slots", oneSlotFurther()), "partial"],
    [
      "lists 20,000 events that nobody made",
      answering("roots", (honest) =>
        listed(honest, (all) => {
          const ids = (at: number) => Array.from({ length: 1_000 }, (_, n) => madeUp(at * 1_000 + n));
          const [first] = all;
          const topics = Array.from({ length: 20 }, (_, n) => ({ topicKey: name(n).topicKey, ids: ids(n) }));
          return first ? [{ bucket: first.bucket, class: first.class, kind: "ids", topics }] : [];
        }),
      ),
      "different",
    ],
  ];

  function oneSlotFurther(): (honest: Bytes) => Bytes {
    let slot = 0;
    return () => encodeSlotsAnswer({ slots: [], next: { part: 0, slot: ++slot, after: null } });
  }

  function madeUp(n: number): Bytes {
    const id = new Uint8Array(40).fill(3);
    new DataView(id.buffer).setUint32(4, n);
    return id;
  }

  test.each(lies)(
    "(%s) is left after a bounded number of questions and reads, and healed later",
    async (_, lie, expected) => {
      const scene = await new Scene().give(
        (n) => n % 3 !== 1,
        (n) => n % 3 !== 2,
      );
      expect(await scene.outcome(lie, false)).toBe(expected);
      expect(scene.requests).toBeLessThanOrEqual(MOST_REQUESTS);
      expect(scene.reads).toBeLessThanOrEqual(1_000);
      await scene.heal();
    },
  );
});

describe("a peer that lies about its pages", () => {
  type Told = readonly [lie: Lie, isHere: (n: number) => boolean];
  type Answer = (honest: Bytes, body: Bytes) => Bytes;
  /** All is there and nothing here: a range, page by page. */
  const range = (answer: Answer): Told => [answering("range", answer), () => false];
  /** A few are lacking: they are asked for by symbols. */
  const symbols = (answer: Answer): Told => [answering("symbols", answer), (n) => n > 5];
  /** The sketch cannot be read: they are asked for by names. */
  const want = (answer: Answer): Told => [jammed(answering("want", answer)), (n) => n % 3 > 0];
  const odd = new Pair({ shardCount: 1 }, { shardCount: 1 }).event(1_000, "odd", 3);
  const forged = { ...toWire(odd), signature: new Uint8Array(64) };
  const page = (more: boolean, ...events: ReturnType<typeof toWire>[]) => encodePage({ events, more });
  let pages = 0;

  const lies: [string, Told, string][] = [
    [
      "goes on for ever with empty pages of a range",
      range(() => encodeRangeAnswer({ events: [], next: further(++pages) })),
      "partial",
    ],
    [
      "stays at one place of a range",
      range(() => encodeRangeAnswer({ events: [], next: name(5) })),
      "peer_page_invalid",
    ],
    [
      "goes back in a range",
      range(() => encodeRangeAnswer({ events: [], next: name(200 - ++pages) })),
      "peer_page_invalid",
    ],
    ["has more, and sends nothing, of symbols", symbols(() => page(true)), "peer_page_invalid"],
    [
      "has more, and sends something else, of symbols",
      symbols(() => page(true, forged)),
      "peer_page_invalid",
    ],
    ["sends nothing of symbols", symbols(() => page(false)), "different"],
    ["has more, and sends nothing, of names", want(() => page(true)), "peer_page_invalid"],
    ["has more, and sends something else, of names", want(() => page(true, forged)), "peer_page_invalid"],
    ["sends nothing of names", want(() => page(false)), "different"],
    ["sends forged events", want(() => page(false, forged, forged)), "different"],
  ];

  function further(n: number) {
    const next = name(0);
    new DataView(next.topicKey.buffer).setUint32(0, n);
    return next;
  }

  test.each(lies)("(%s) is left after a bounded number of pages", async (_, [lie, isHere], expected) => {
    pages = 0;
    const scene = await new Scene().give(isHere, () => true);
    expect(await scene.outcome(lie)).toBe(expected);
    expect(scene.requests).toBeLessThanOrEqual(MOST_REQUESTS);
    await scene.heal();
  });

  test("(says that it lacks all, again and again) is sent it once a run", async () => {
    const scene = await new Scene().give(
      () => true,
      (n) => n > 5,
    );
    const all = answering("lacking", () => encodeFlags(Array.from({ length: 2_048 }, () => true)));
    const report = await scene.run(all);
    expect(report).toMatchObject({ outcome: "different", sent: 6 });
    await scene.heal();
  });
});

describe("a peer whose sketch hides what differs", () => {
  const isHere = (n: number) => n > 2 && n % 50 !== 7;
  const isThere = (n: number) => n % 50 !== 8;

  test.each([
    ["says that nothing does", 0],
    ["names events that nobody made", 3],
  ])("(%s) is compared with list by list, in the same run", async (_, madeUp) => {
    const scene = await new Scene().give(isHere, isThere);
    const { asOf } = await scene.pair.a.sync.state();
    const own = Sketch.fromBytes((await scene.pair.a.sync.range(asOf)).sketch);
    for (let n = 0; n < madeUp; n++) own.toggleSymbol(new Uint8Array(12).fill(9 + n));
    const report = await scene.run(comparing({ cells: own.prefix(FIRST_CELLS) }));
    expect(report).toMatchObject({ outcome: "different", received: 9, sent: 6 });
    expect(await scene.pair.a.ids()).toEqual(await scene.pair.b.ids());
  });
});
