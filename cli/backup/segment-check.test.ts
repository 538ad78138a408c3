import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { factsOf } from "./safe-files.ts";
import { checkSegment, readEvents } from "./segment-check.ts";
import { flipped, madeEvent, madeSegment } from "./testing/made-events.ts";

const LARGE = new Uint8Array(70_000).fill(1);
const events = [...[1, 2, 3].map((n) => madeEvent(n)), madeEvent(4, "other"), madeEvent(5, "other", LARGE)];
const { files, segment } = madeSegment(events);
const { blocks, messages } = files;
if (!messages) throw new Error("it has messages");
const root = toHex(files.root);

/** What is thrown, if it is an error that an export bears. */
function thrownBy(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof PennypostError) return error.code;
    throw error;
  }
  return "nothing";
}

describe("a segment", () => {
  test("is what the manifest says of it", () => {
    expect(checkSegment(root, blocks, messages)).toEqual({
      root,
      ...{ class: segment.class, from: segment.from, to: segment.to, events: events.length },
      ...{ blocks: factsOf(blocks), messages: factsOf(messages) },
      large: [toHex(events[4]?.fields.msg as Uint8Array)],
    });
  });

  test("gives its events, with the messages that its file has", () => {
    const read = [...readEvents(root, blocks, messages)];
    const expected = events.map((event) => [
      toHex(event.block),
      event.message === LARGE ? null : event.message,
    ]);
    const byBlock = (a: readonly unknown[], b: readonly unknown[]) =>
      String(a[0]).localeCompare(String(b[0]));
    expect(read.map(({ block, message }) => [toHex(block), message]).sort(byBlock)).toEqual(
      expected.sort(byBlock),
    );
    expect([...readEvents(root, blocks, null)].every(({ message }) => message === null)).toBe(true);
  });

  test("whose file has any changed byte is found", () => {
    fc.assert(
      fc.property(fc.nat(blocks.length - 1), (at) => {
        expect(thrownBy(() => checkSegment(root, flipped(blocks, at), messages))).not.toBe("nothing");
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.nat(messages.length - 1), (at) => {
        const changed = flipped(messages, at);
        expect(thrownBy(() => checkSegment(root, blocks, changed))).not.toBe("nothing");
      }),
      { numRuns: 500 },
    );
  });

  test("whose file ends early, is empty, or is another one's is found", () => {
    fc.assert(
      fc.property(fc.nat(blocks.length - 1), (end) => {
        expect(thrownBy(() => checkSegment(root, blocks.slice(0, end), messages))).not.toBe("nothing");
      }),
    );
    fc.assert(
      fc.property(fc.nat(messages.length - 1), (end) => {
        const cut = messages.slice(0, end);
        expect(thrownBy(() => checkSegment(root, blocks, cut))).not.toBe("nothing");
      }),
    );
    const other = madeSegment([madeEvent(9)]).files;
    expect(thrownBy(() => checkSegment(root, other.blocks, other.messages))).toBe("export_damaged");
    expect(thrownBy(() => checkSegment(root, blocks, other.messages))).toBe("export_damaged");
  });

  test("may have lost its messages", () => {
    expect(checkSegment(root, blocks, null)).toMatchObject({ messages: null, events: events.length });
  });
});
