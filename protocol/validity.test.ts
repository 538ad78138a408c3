import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, utf8 } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import {
  createEvent,
  encodeBlock,
  envelopeDigest,
  type NewEvent,
  signedBytes,
  type WireEvent,
} from "./event.ts";
import { eventId } from "./event-id.ts";
import { type Genesis, Network } from "./genesis.ts";
import { firstSeqOf, timeOfSeq } from "./hybrid-clock.ts";
import { endOfSlotMs, isEphemeral, SLOT_MS, slotOfSeq } from "./retention.ts";
import { bytesOf, network, newEvents, noRecords, otherSigner, signer, suite } from "./testing/arbitraries.ts";
import { judgeEvent, readSignedEvent } from "./validity.ts";
import { MEMBERS_GENESIS } from "./vectors/arithmetic-vectors.ts";
import { signerOf } from "./vectors/encoding.ts";

/** Each rule that refuses is in vectors/refused.json; here stand the other verdicts, and what holds for all. */

const NOW_MS = Date.UTC(2026, 6, 1);
const DAY_MS = 86_400_000;

function eventAt(timeMs: number, changes: Partial<NewEvent> = {}, by = signer) {
  const topic = changes.topic ?? utf8("/xmtp/0/m-verdicts/proto");
  const fields = {
    net: network.id,
    topic,
    ts: 1n,
    class: network.classOf(topic).id,
    links: [],
    message: utf8("m"),
  };
  return createEvent({ ...fields, seq: firstSeqOf(timeMs) | 3n, ...changes }, by, suite);
}

const judgeAt = (event: WireEvent, nowMs: number, of = network) =>
  judgeEvent(event, { network: of, records: noRecords(of), suite, nowMs });

describe("a valid event", () => {
  test("is what decides, whatever the event: fields, id, class, topic key and digest come with it", () => {
    fc.assert(
      fc.property(newEvents, (input) => {
        const event = createEvent(input, signer, suite);
        const verdict = judgeAt(event, timeOfSeq(input.seq));
        expect(verdict).toEqual({
          kind: "valid",
          event: {
            ...event,
            verified: true,
            retention: network.classOf(input.topic),
            topicKey: suite.sha256(input.topic),
            digest: envelopeDigest(input.topic, input.message, suite),
          },
        });
      }),
      { numRuns: 150 },
    );
  });

  test("may be up to 120 s ahead of the clock, to the millisecond", () => {
    const event = eventAt(NOW_MS + 120_000);
    expect(judgeAt(event, NOW_MS).kind).toBe("valid");
    expect(judgeAt(event, NOW_MS - 1)).toEqual({
      kind: "held",
      reason: "ahead",
      id: event.id,
      seq: event.fields.seq,
    });
  });

  test("of a slot is valid until the slot's end and the duration of the class, to the millisecond", () => {
    const slotEnd = Math.ceil(NOW_MS / SLOT_MS) * SLOT_MS;
    for (const timeMs of [slotEnd - SLOT_MS, slotEnd - 1]) {
      const event = eventAt(timeMs);
      expect(judgeAt(event, slotEnd + 90 * DAY_MS - 1).kind).toBe("valid");
      expect(judgeAt(event, slotEnd + 90 * DAY_MS)).toEqual({
        kind: "dropped",
        reason: "expired",
      });
    }
    const firstOfNext = eventAt(slotEnd, { seq: firstSeqOf(slotEnd) });
    expect(judgeAt(firstOfNext, slotEnd + 90 * DAY_MS).kind).toBe("valid");
  });

  test("of a class that is kept for ever never expires", () => {
    const event = eventAt(NOW_MS, { topic: utf8("/xmtp/0/contact-0x/proto") });
    expect(judgeAt(event, NOW_MS + 10_000 * DAY_MS).kind).toBe("valid");
  });

  test("may link to anything below its seq, known or not", () => {
    const seq = firstSeqOf(NOW_MS);
    const linked = (by: bigint) =>
      eventAt(NOW_MS, { seq, links: [eventId(seq - by, suite.sha256(utf8("x")))] });
    expect(judgeAt(linked(1n), NOW_MS).kind).toBe("valid");
    expect(judgeAt(linked(0n), NOW_MS)).toMatchObject({ kind: "refused", rule: "seq" });
    expect(judgeAt(linked(-1n), NOW_MS)).toMatchObject({ kind: "refused", rule: "seq" });
  });

  test("begins at the genesis, to the seq", () => {
    const first = firstSeqOf(network.genesis.createdMs);
    const at = (seq: bigint) => judgeAt(eventAt(NOW_MS, { seq }), network.genesis.createdMs);
    expect(at(first).kind).toBe("valid");
    expect(at(first - 1n)).toMatchObject({ kind: "refused", rule: "genesis" });
  });
});

describe("an event without its message", () => {
  test("is judged by all else as the whole one, and has the message's hash in the envelope's place", () => {
    fc.assert(
      fc.property(newEvents, fc.constantFrom(0, -400_000, 400_000, 40 * DAY_MS), (input, aheadMs) => {
        const event = createEvent(input, signer, suite);
        // Before the end of times that a seq can say.
        const nowMs = Math.min(timeOfSeq(input.seq) + aheadMs, 2 ** 42 - 1);
        const [whole, bare] = [judgeAt(event, nowMs), judgeAt({ ...event, message: null }, nowMs)];
        if (isEphemeral(network.classOf(input.topic))) {
          expect(bare).toMatchObject({ kind: "refused", rule: "message" });
        } else if (whole.kind === "valid") {
          const digest = suite.sha256(input.message);
          expect(bare).toEqual({ kind: "valid", event: { ...whole.event, message: null, digest } });
        } else expect(bare).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });

  test("is refused with another signature, as the whole one; read from a node it is what its origin signed", () => {
    const event = eventAt(NOW_MS);
    const bare = { ...event, message: null };
    const signature = eventAt(NOW_MS + 1).signature;
    expect(judgeAt({ ...bare, signature }, NOW_MS)).toMatchObject({ kind: "refused", rule: "signature" });
    expect(readSignedEvent(bare, network.id, suite)).toMatchObject({ id: event.id, message: null });
    const read = (wire: WireEvent) => () => readSignedEvent(wire, network.id, suite);
    expect(read({ ...bare, signature })).toThrow(expect.objectContaining({ code: "event_signature" }));
    expect(read({ ...event, message: utf8("n") })).toThrow(
      expect.objectContaining({ code: "event_message" }),
    );
  });
});

describe("an ephemeral event", () => {
  test("is still relayed for a slot after its own has ended, since it was on its way", () => {
    const slot = slotOfSeq(firstSeqOf(NOW_MS));
    const topic = utf8("/xmtp/0/mE-verdicts/proto");
    const event = eventAt(endOfSlotMs(slot) - 1, { topic, class: network.classOf(topic).id });
    expect(judgeAt(event, endOfSlotMs(slot)).kind).toBe("valid");
    expect(judgeAt(event, endOfSlotMs(slot + 1) - 1).kind).toBe("valid");
    expect(judgeAt(event, endOfSlotMs(slot + 1))).toEqual({ kind: "dropped", reason: "expired" });
  });
});

describe("an event of a later version", () => {
  test("is dropped without blame, whatever else is in it", () => {
    const message = new Uint8Array();
    const signature = new Uint8Array(64);
    for (const fields of [{ v: 2 }, { v: 2, topic: 7, more: [] }]) {
      const wire = { block: encodeCbor(fields), signature, message };
      expect(judgeAt(wire, NOW_MS)).toEqual({ kind: "dropped", reason: "later-version" });
    }
  });
});

describe("an event ahead of the clock", () => {
  test("is held up to 10 min ahead, and dropped beyond, to the millisecond", () => {
    const event = eventAt(NOW_MS + 600_000);
    expect(judgeAt(event, NOW_MS)).toMatchObject({ kind: "held", reason: "ahead" });
    expect(judgeAt(event, NOW_MS - 1)).toEqual({ kind: "dropped", reason: "far-ahead" });
  });

  test("is judged by its millisecond: the counter and the shard do not count", () => {
    const seq = firstSeqOf(NOW_MS + 120_001) - 1n;
    expect(judgeAt(eventAt(NOW_MS, { seq }), NOW_MS).kind).toBe("valid");
    expect(judgeAt(eventAt(NOW_MS, { seq: seq + 1n }), NOW_MS).kind).toBe("held");
  });
});

describe("an unknown origin", () => {
  const members = new Network(MEMBERS_GENESIS, suite);
  const topic = utf8("/xmtp/0/invite-verdicts/proto");
  const at = (timeMs: number, by = signer) =>
    eventAt(timeMs, { net: members.id, topic, class: members.classOf(topic).id }, by);

  test("is held without blame, and members are not", () => {
    const event = at(NOW_MS);
    expect(judgeAt(event, NOW_MS, members)).toEqual({
      kind: "held",
      reason: "unknown-origin",
      id: event.id,
      seq: event.fields.seq,
    });
    expect(judgeAt(at(NOW_MS, signerOf("second origin")), NOW_MS, members).kind).toBe("valid");
  });

  test("with a wrong signature is refused, and ahead of the clock is held as unknown", () => {
    const forged = { ...at(NOW_MS), signature: at(NOW_MS + 1).signature };
    expect(judgeAt(forged, NOW_MS, members)).toMatchObject({ kind: "refused", rule: "signature" });
    expect(judgeAt(at(NOW_MS + 200_000), NOW_MS, members)).toMatchObject({ reason: "unknown-origin" });
    expect(judgeAt(at(NOW_MS + 600_001), NOW_MS, members)).toMatchObject({ reason: "far-ahead" });
  });
});

describe("the order of the rules", () => {
  const broken = { signature: new Uint8Array(64) };

  test("what is dropped is dropped without its signature being asked", () => {
    const event = { ...eventAt(NOW_MS), ...broken };
    expect(judgeAt(event, NOW_MS + 200 * DAY_MS)).toMatchObject({ kind: "dropped", reason: "expired" });
    expect(judgeAt(event, NOW_MS - 600_001)).toMatchObject({ kind: "dropped", reason: "far-ahead" });
    expect(judgeAt(event, NOW_MS)).toMatchObject({ kind: "refused", rule: "signature" });
  });

  test("a breach is refused however old the event is, so that a class can not be feigned", () => {
    const event = eventAt(NOW_MS, { class: 0 });
    for (const nowMs of [NOW_MS, NOW_MS + 200 * DAY_MS, NOW_MS - DAY_MS]) {
      expect(judgeAt(event, nowMs)).toMatchObject({ kind: "refused", rule: "class" });
    }
  });

  test("an ephemeral event may not link, and one of another class with duration 0 neither", () => {
    const links = [eventId(1n, suite.sha256(utf8("x")))];
    const genesis: Genesis = {
      ...network.genesis,
      classes: [...network.genesis.classes, { id: 9, name: "relayed", durationMs: 0, priority: 0 }],
      prefixes: [...network.genesis.prefixes, ["relay/", 9]],
    };
    const relaying = new Network(genesis, suite);
    const event = eventAt(NOW_MS, { net: relaying.id, topic: utf8("relay/x"), class: 9, links });
    expect(judgeAt(event, NOW_MS, relaying)).toMatchObject({ kind: "refused", rule: "links" });
  });
});

describe("what a peer sends", () => {
  const kinds = ["valid", "held", "dropped", "refused"];

  test("of arbitrary bytes is refused, never thrown", () => {
    fc.assert(
      fc.property(bytesOf(0, 100), bytesOf(0, 70), bytesOf(0, 20), (block, signature, message) => {
        expect(judgeAt({ block, signature, message }, NOW_MS).kind).toBe("refused");
      }),
      { numRuns: 1_000 },
    );
  });

  test("with any byte changed, cut or added is refused, at any time that is near", () => {
    const part = fc.constantFrom("block", "signature", "message");
    fc.assert(
      fc.property(newEvents, part, fc.nat(), bytesOf(0, 3), (input, name, place, put) => {
        const event = createEvent(input, signer, suite);
        const bytes = event[name];
        const at = place % (bytes.length + 1);
        const changed = concatBytes(bytes.subarray(0, at), put, bytes.subarray(at + 1));
        const isSame = changed.length === bytes.length && changed.every((byte, i) => byte === bytes[i]);
        const verdict = judgeAt({ ...event, [name]: changed }, timeOfSeq(input.seq));
        if (isSame) expect(verdict.kind).toBe("valid");
        else if (verdict.kind === "dropped") expect(name).toBe("block");
        else expect(verdict.kind).toBe("refused");
      }),
      { numRuns: 400 },
    );
  });

  test("at any time has one of the four verdicts", () => {
    const times = fc.integer({ min: 0, max: 2 ** 42 - 1 });
    fc.assert(
      fc.property(newEvents, times, (input, nowMs) => {
        const event = { ...createEvent(input, { ...signer, sign: () => new Uint8Array(64) }, suite) };
        expect(kinds).toContain(judgeAt(event, nowMs).kind);
      }),
    );
  });

  test("without 64 bytes of signature is refused, whatever the suite says", () => {
    const event = eventAt(NOW_MS);
    const lenient = { ...suite, verify: () => true };
    const context = { network, records: noRecords(network), suite: lenient, nowMs: NOW_MS };
    expect(judgeEvent({ ...event, signature: new Uint8Array(64) }, context).kind).toBe("valid");
    for (const length of [0, 63, 65]) {
      const verdict = judgeEvent({ ...event, signature: new Uint8Array(length) }, context);
      expect(verdict).toMatchObject({ kind: "refused", rule: "signature" });
    }
  });

  test("with an origin that did not sign it is refused", () => {
    const event = eventAt(NOW_MS);
    const block = encodeBlock({ ...event.fields, origin: otherSigner.publicKey });
    expect(judgeAt({ ...event, block }, NOW_MS)).toMatchObject({ kind: "refused", rule: "signature" });
    const resigned = otherSigner.sign(signedBytes(suite.sha256(block)));
    expect(judgeAt({ ...event, block, signature: resigned }, NOW_MS).kind).toBe("valid");
  });
});
