import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createEvent, type WireEvent } from "./event.ts";
import { nameEvents } from "./named-events.ts";
import { newEvents, signer, suite } from "./testing/arbitraries.ts";
import refused from "./vectors/refused.json" with { type: "json" };

const events = newEvents.map((event) => createEvent(event, signer, suite));
const asIs = (event: WireEvent) => event;
const cut = (event: WireEvent): WireEvent => ({ ...event, block: event.block.slice(0, -1) });
/** A block that only later versions can read: `{"v": 2}`. */
const LATER = Uint8Array.of(0xa1, 0x61, 0x76, 0x02);

describe("events that came in", () => {
  test("are named by their topics; what cannot be read is counted, unless a later version made it", () => {
    fc.assert(
      fc.property(events, fc.nat({ max: 3 }), (event, broken) => {
        const all = [event, ...Array<WireEvent>(broken).fill(cut(event)), { ...event, block: LATER }];
        const { named, unreadable } = nameEvents(all, asIs, suite);
        expect(named.map(({ topicKey }) => topicKey)).toEqual([suite.sha256(event.fields.topic)]);
        expect(named[0]?.block).toEqual(event.block);
        expect(unreadable).toBe(broken);
      }),
      { numRuns: 20 },
    );
  });

  test("are named as parts of something larger, too", () => {
    fc.assert(
      fc.property(events, (event) => {
        const { named } = nameEvents([{ hops: 1, event }], (each) => each.event, suite);
        expect(named).toEqual([{ hops: 1, event, topicKey: suite.sha256(event.fields.topic) }]);
      }),
      { numRuns: 5 },
    );
  });

  test("never make it fail", () => {
    const none = { signature: new Uint8Array(64), message: new Uint8Array() };
    for (const { block } of refused.cases)
      nameEvents([{ ...none, block: Uint8Array.from(Buffer.from(block, "hex")) }], asIs, suite);
  });
});
