import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeCbor } from "./cbor.ts";
import { PennypostError } from "./errors.ts";
import { MAX_MESSAGE_BYTES, MAX_PEER_BODY_BYTES, MAX_WANTED_IDS } from "./limits.ts";
import {
  decodePage,
  decodePull,
  decodePullAnswer,
  decodePush,
  decodePushAnswer,
  decodeWant,
  encodePage,
  encodePull,
  encodePullAnswer,
  encodePush,
  encodePushAnswer,
  encodeWant,
} from "./peer-messages.ts";

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((each) => new Uint8Array(each));
const name = fc.record({ topicKey: bytes(32), id: bytes(40) });
const whole = fc.record({
  block: fc.uint8Array({ maxLength: 200 }).map((each) => new Uint8Array(each)),
  signature: bytes(64),
  message: fc.uint8Array({ maxLength: 200 }).map((each) => new Uint8Array(each)),
});
const wire = fc
  .tuple(whole, fc.boolean())
  .map(([event, isGone]) => (isGone ? { ...event, message: null } : event));
const cursor = fc.record({
  shard: fc.integer({ min: 0, max: 1023 }),
  generation: bytes(8),
  position: fc.nat(),
});
const few = <T>(each: fc.Arbitrary<T>) => fc.array(each, { maxLength: 5 });

const same = (read: unknown, written: unknown): void => {
  expect(read).toEqual(written);
};

describe("every body reads back as it was written", () => {
  test("push", () => {
    const push = fc.record({
      runs: few(fc.record({ previous: fc.option(name, { nil: null }), events: few(wire) })),
      ephemeral: few(fc.record({ hops: fc.integer({ min: 0, max: 1 }), event: whole })),
    });
    fc.assert(fc.property(push, (body) => same(decodePush(encodePush(body)), body)));
    const answer = fc.record({ lacking: fc.boolean(), refused: fc.nat() });
    fc.assert(fc.property(answer, (body) => same(decodePushAnswer(encodePushAnswer(body)), body)));
  });

  test("pull", () => {
    fc.assert(fc.property(few(cursor), (cursors) => same(decodePull(encodePull({ cursors })), { cursors })));
    const shard = fc.record({ cursor, names: few(name), more: fc.boolean(), restart: fc.boolean() });
    fc.assert(fc.property(few(shard), (shards) => same(decodePullAnswer(encodePullAnswer(shards)), shards)));
  });

  test("want", () => {
    const want = fc.record({ wanted: few(name), ancestors: fc.boolean(), have: few(name) });
    fc.assert(fc.property(want, (body) => same(decodeWant(encodeWant(body)), body)));
    const page = fc.record({ events: few(wire), more: fc.boolean() });
    fc.assert(fc.property(page, (body) => same(decodePage(encodePage(body)), body)));
  });
});

describe("what is not such a body is refused with a typed error", () => {
  const decoders = [decodePush, decodePushAnswer, decodePull, decodePullAnswer, decodeWant, decodePage];
  const refuse = (body: Uint8Array, decode: (bytes: Uint8Array) => unknown) => {
    let thrown: unknown;
    try {
      decode(body);
    } catch (error) {
      thrown = error;
    }
    expect(thrown === undefined || thrown instanceof PennypostError).toBe(true);
    return thrown !== undefined;
  };

  test("an ephemeral event without its message, or an event whose message is no bytes", () => {
    const event = { block: new Uint8Array(9), signature: new Uint8Array(64), message: null };
    expect(
      decodePush(encodePush({ runs: [{ previous: null, events: [event] }], ephemeral: [] })),
    ).toBeDefined();
    expect(refuse(encodePush({ runs: [], ephemeral: [{ hops: 1, event }] }), decodePush)).toBe(true);
    for (const message of [undefined, 0, false, "", []].map((each) => each ?? "x"))
      expect(refuse(encodeCbor([[[event.block, event.signature, message]], false]), decodePage)).toBe(true);
  });

  test("arbitrary bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (body) => {
        for (const decode of decoders) refuse(body, decode);
      }),
    );
  });

  test("a body over the limit", () => {
    for (const decode of decoders) expect(refuse(new Uint8Array(MAX_PEER_BODY_BYTES + 1), decode)).toBe(true);
  });

  const key = new Uint8Array(32);
  const id = new Uint8Array(40);
  test.each([
    [
      "a want of too many",
      encodeCbor([Array.from({ length: MAX_WANTED_IDS + 1 }, () => [key, id]), false, []]),
      decodeWant,
    ],
    ["an id of 39 bytes", encodeCbor([[[key, id.subarray(1)]], false, []]), decodeWant],
    ["a negative position", encodeCbor([[[0, new Uint8Array(8), -1]]]), decodePull],
    ["a shard that no node has", encodeCbor([[[1024, new Uint8Array(8), 0]]]), decodePull],
    ["a position that is no integer", encodeCbor([[[0, new Uint8Array(8), 0.5]]]), decodePull],
    ["a map for a list", encodeCbor({ runs: [] }), decodePush],
    [
      "a message over its limit",
      encodeCbor([[[new Uint8Array(9), new Uint8Array(64), new Uint8Array(MAX_MESSAGE_BYTES + 1)]], false]),
      decodePage,
    ],
    [
      "a signature of 63 bytes",
      encodeCbor([[[new Uint8Array(9), new Uint8Array(63), key]], false]),
      decodePage,
    ],
    ["too many hops", encodeCbor([[], [[2, [key, new Uint8Array(64), key]]]]), decodePush],
  ])("%s", (_name, body, decode) => {
    expect(refuse(body, decode)).toBe(true);
  });
});
