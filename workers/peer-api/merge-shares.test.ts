import { expect, test } from "vitest";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { createEvent } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import type { EventPage } from "../../protocol/peer-messages.ts";
import { mergeShares } from "./merge-shares.ts";

const signer = platformSigner(new Uint8Array(32).fill(3));

function eventAt(ms: number, bytes = 1) {
  const net = new Uint8Array(32);
  const topic = utf8("t");
  const fields = {
    net,
    topic,
    ts: 1n,
    class: 1,
    links: [],
    seq: firstSeqOf(ms),
    message: new Uint8Array(bytes),
  };
  return createEvent(fields, signer, suite);
}

const page = (events: ReturnType<typeof eventAt>[], more = false): EventPage => ({ events, more });
const ids = ({ events }: EventPage) => events.map(({ block }) => toHex(suite.sha256(block)));

test("shares are merged in id order", () => {
  const [a, b, c, d] = [1, 2, 3, 4].map((ms) => eventAt(ms));
  if (!a || !b || !c || !d) throw new Error("four events");
  const merged = mergeShares([page([a, d]), page([b, c])], suite);
  expect(ids(merged)).toEqual(ids(page([a, b, c, d])));
  expect(merged.more).toBe(false);
});

test("nothing is answered from behind the end of a share that was cut", () => {
  const [a, b, c] = [1, 2, 3].map((ms) => eventAt(ms));
  if (!a || !b || !c) throw new Error("three events");
  const merged = mergeShares([page([a], true), page([b, c])], suite);
  expect(ids(merged)).toEqual(ids(page([a])));
  expect(merged.more).toBe(true);
});

test("a merged page ends at 1 MB, but never empty", () => {
  const large = [1, 2, 3].map((ms) => eventAt(ms, 900_000));
  const [a, b, c] = large;
  if (!a || !b || !c) throw new Error("three events");
  const merged = mergeShares([page([a]), page([b]), page([c])], suite);
  expect(merged.events).toHaveLength(1);
  expect(merged.more).toBe(true);
});
