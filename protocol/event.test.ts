import * as dagCbor from "@ipld/dag-cbor";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, equalBytes, utf8 } from "./bytes.ts";
import type { Signer } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import {
  createEvent,
  decodeBlock,
  type EventFields,
  encodeBlock,
  envelopeDigest,
  messageOfStoredBlock,
  originOfStoredBlock,
  signedBytes,
} from "./event.ts";
import { digestOfId, eventCid, eventId, messageCid, parseEventCid, seqOfId } from "./event-id.ts";
import { MAX_GRANT_BYTES } from "./limits.ts";
import { bytesOf, encodableEvents, ipldValues, network, signer, suite } from "./testing/arbitraries.ts";

/** The codec asks nothing of signatures, so that these tests need not wait for any. */
const unsigned: Signer = { publicKey: signer.publicKey, sign: () => new Uint8Array(64) };
const blocks = encodableEvents.map((event) => createEvent(event, unsigned, suite));

/** The fields, or the rule that the block breaks; any other error is a failure. */
function decoded(block: Uint8Array): EventFields | string {
  try {
    return decodeBlock(block);
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect(error.httpStatus).toBe(400);
    return String(error.data.rule ?? error.code);
  }
}

/** What holds for every input: it is refused, or it is the one encoding of what it says. */
function expectCanonical(block: Uint8Array): EventFields | string {
  const fields = decoded(block);
  if (typeof fields !== "string") expect(equalBytes(encodeBlock(fields), block)).toBe(true);
  return fields;
}

describe("an event's block", () => {
  test("decodes to the fields that it was made from", () => {
    fc.assert(
      fc.property(encodableEvents, (input) => {
        const event = createEvent(input, unsigned, suite);
        const { message, ...rest } = input;
        expect(decodeBlock(event.block)).toEqual({
          ...rest,
          msg: suite.sha256(message),
          size: message.length,
          origin: signer.publicKey,
        });
        expect(decodeBlock(event.block)).toEqual(event.fields);
        expect(seqOfId(event.id)).toBe(input.seq);
        expect(digestOfId(event.id)).toEqual(suite.sha256(event.block));
      }),
      { numRuns: 300 },
    );
  });

  test("with any byte changed is refused, or is another event with another id", () => {
    const change = fc.tuple(blocks, fc.nat(), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(change, ([event, place, mask]) => {
        const at = place % event.block.length;
        const block = event.block.map((byte, i) => (i === at ? byte ^ mask : byte));
        const fields = expectCanonical(block);
        if (typeof fields === "string") return;
        expect(fields).not.toEqual(event.fields);
        expect(eventId(fields.seq, suite.sha256(block))).not.toEqual(event.id);
      }),
      { numRuns: 3_000 },
    );
  });

  test("with any one bit changed is never the same event", () => {
    const links = [eventId(5n, suite.sha256(utf8("parent")))];
    const event = createEvent(
      {
        net: network.id,
        topic: utf8("\uFEFFmarked"),
        ts: 2n ** 60n,
        class: 1,
        links,
        seq: 2n ** 61n,
        message: utf8("m"),
      },
      unsigned,
      suite,
    );
    for (let bit = 0; bit < event.block.length * 8; bit++) {
      const block = event.block.map((byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      expect(expectCanonical(block)).not.toEqual(event.fields);
    }
  });

  test("cut short, or with anything behind it, is refused", () => {
    fc.assert(
      fc.property(blocks, fc.nat(), bytesOf(1, 20), ({ block }, place, more) => {
        expect(decoded(block.subarray(0, place % block.length))).toBeTypeOf("string");
        expect(decoded(concatBytes(block, more))).toBeTypeOf("string");
      }),
    );
  });

  test("may have 8,192 bytes before it is asked what it is", () => {
    const sized = (length: number) => dagCbor.encode(new Uint8Array(length - 3));
    expect(sized(8_192).length).toBe(8_192);
    expect([decoded(sized(8_192)), decoded(sized(8_193))]).toEqual(["form", "block_size"]);
  });

  test("of arbitrary bytes is refused with a PennypostError", () => {
    fc.assert(
      fc.property(bytesOf(0, 400), (bytes) => void expect(decoded(bytes)).toBeTypeOf("string")),
      { numRuns: 2_000 },
    );
  });

  test("with arbitrary values in its fields is refused, or is canonical", () => {
    const names = [
      "v",
      "net",
      "topic",
      "ts",
      "msg",
      "size",
      "class",
      "links",
      "origin",
      "seq",
      "grant",
      "more",
    ];
    const tricks = fc.constantFrom<unknown>(
      new Map(Object.entries({ "/": "a", bytes: "a" })),
      new Map(Object.entries({ "/": 1, bytes: 1, version: 1, code: 0x55 })),
      new Map(
        Object.entries({
          "/": 1,
          bytes: 1,
          version: 1,
          code: 0x55,
          multihash: { code: 0x12, digest: new Uint8Array(32) },
        }),
      ),
      new Map([["__proto__", new Map([["grant", 1]])]]),
      { toString: 1, hasOwnProperty: 1, constructor: null },
      messageCid(new Uint8Array(32)),
      eventCid(new Uint8Array(32)),
      [[1, eventCid(new Uint8Array(32))]],
      [[1, new Map(Object.entries({ "/": 1, bytes: 1, version: 1, code: 0x71 }))]],
    );
    const value = fc.oneof(
      ipldValues,
      tricks,
      fc.tuple(tricks).map(([trick]) => ({ nested: [trick] })),
    );
    fc.assert(
      fc.property(blocks, fc.constantFrom(...names), value, ({ block }, name, replaced) => {
        const fields = new Map(Object.entries(dagCbor.decode<Record<string, unknown>>(block)));
        expectCanonical(encodeLoosely(fields.set(name, replaced)));
      }),
      { numRuns: 1_500 },
    );
  });
});

/** Encodes maps with "/" and "bytes" too, which the library takes for CIDs when they are objects. */
const encodeLoosely = (value: unknown): Bytes => Uint8Array.from(dagCbor.encode(value));

describe("a grant", () => {
  const withGrant = (grant: Bytes) =>
    createEvent(
      {
        net: network.id,
        topic: utf8("t"),
        ts: 0n,
        class: 1,
        links: [],
        seq: 2n ** 61n,
        message: utf8(""),
        grant,
      },
      unsigned,
      suite,
    );
  const sized = (length: number) => dagCbor.encode({ a: new Uint8Array(length - 6) });

  test("may have 4,096 bytes and no more", () => {
    const most = Uint8Array.from(sized(MAX_GRANT_BYTES));
    expect(most.length).toBe(MAX_GRANT_BYTES);
    expect(decodeBlock(withGrant(most).block).grant).toEqual(most);
    const fields = new Map(Object.entries(dagCbor.decode<Record<string, unknown>>(withGrant(most).block)));
    fields.set("grant", { a: new Uint8Array(MAX_GRANT_BYTES - 5) });
    expect(decoded(dagCbor.encode(fields))).toBe("grant");
  });
});

describe("what is derived from an event", () => {
  test("an origin signs the domain tag and the CID in its binary form", () => {
    const digest = suite.sha256(utf8("block"));
    const expected = concatBytes(utf8("pennypost/event/v1\0"), Uint8Array.of(1, 0x71, 0x12, 0x20), digest);
    expect(signedBytes(digest)).toEqual(expected);
  });

  test("the digest of an envelope is SHA-256(topic ‖ message)", () => {
    expect(envelopeDigest(utf8("ab"), utf8("c"), suite)).toEqual(suite.sha256(utf8("abc")));
  });

  test("its block ends with its origin", () => {
    fc.assert(
      fc.property(blocks, ({ block }) => {
        expect(originOfStoredBlock(block)).toEqual(decodeBlock(block).origin);
        const { msg, size } = decodeBlock(block);
        expect(messageOfStoredBlock(block)).toEqual({ msg, size });
      }),
    );
  });

  test("its block says which message is its own", () => {
    fc.assert(
      fc.property(blocks, ({ block }) => {
        expect(messageOfStoredBlock(block).msg).toEqual(decodeBlock(block).msg);
      }),
    );
  });

  test("a CID is read in any of its text forms, and nothing else is", () => {
    fc.assert(
      fc.property(bytesOf(32), (digest) => {
        const cid = eventCid(digest);
        expect(parseEventCid(cid.toString())).toEqual(digest);
        expect(parseEventCid(messageCid(digest).toString())).toBeUndefined();
        expect(parseEventCid(cid.toString().slice(1))).toBeUndefined();
      }),
    );
    for (const text of ["", "b", "Qm", "zzz", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"]) {
      expect(parseEventCid(text)).toBeUndefined();
    }
    fc.assert(fc.property(fc.string(), (text) => void parseEventCid(text)));
  });
});
