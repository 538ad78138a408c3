import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../protocol/bytes.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodePush } from "../protocol/peer-messages.ts";
import refused from "../protocol/vectors/refused.json" with { type: "json" };
import { BAD_EVENTS } from "./support/bad-events.ts";
import { guardedNode } from "./support/guarded-node.ts";

/** Events that break a rule, in correctly signed requests to the peer API of a real node. */

const TOPIC = "/xmtp/0/m-bad-events/proto";
const MINUTE_MS = 60_000;
const guarded = guardedNode(TOPIC);

describe("events", () => {
  test.each(BAD_EVENTS)("%s", async (_, bad) => {
    const event = bad(guarded.peer, TOPIC);
    expect(await guarded.peer.pushEvents(event)).toEqual({ lacking: false, refused: 1 });
  });

  test("that are bad do not keep a good one of the same push from being stored", async () => {
    const good = guarded.peer.event(`${TOPIC}/good`);
    const bad = guarded.peer.event(TOPIC, { class: 3 });
    const before = await guarded.peer.storedIds();
    const answer = await guarded.peer.pushEvents(bad, good, { ...bad, block: Uint8Array.of(0x80) });
    expect(answer).toEqual({ lacking: false, refused: 2 });
    expect(await guarded.peer.storedIds()).toEqual([...before, toHex(good.id)].sort());
    await guarded.allow();
  });

  test("that are ahead of the clock are not stored, and not held against the peer", async () => {
    for (const aheadMs of [5 * MINUTE_MS, 60 * MINUTE_MS])
      expect(
        await guarded.peer.pushEvents(guarded.peer.event(TOPIC, { seq: firstSeqOf(Date.now() + aheadMs) })),
      ).toEqual({
        lacking: false,
        refused: 0,
      });
  });

  test.each(refused.cases)("of the vectors: $rule: $description", async (each) => {
    const message =
      "message" in each ? Buffer.from(each.message, "base64") : new Uint8Array(each.patternBytes);
    const wire = {
      block: fromHex(each.block),
      signature: fromHex(each.signature),
      message: Uint8Array.from(message),
    };
    // A block or a signature of an impossible size is refused with the whole request.
    const body = encodePush({ runs: [{ previous: null, events: [wire] }], ephemeral: [] });
    const response = await guarded.peer.send("/peer/v1/push", body);
    expect([200, 400]).toContain(response.status);
  });
});
