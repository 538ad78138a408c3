import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, toHex, utf8 } from "../protocol/bytes.ts";
import { encodeCbor } from "../protocol/cbor.ts";
import type { WireEvent } from "../protocol/event.ts";
import { decodePushAnswer, encodePull, encodePush } from "../protocol/peer-messages.ts";
import { guardedNode } from "./support/guarded-node.ts";
import { newSigner, suite, type Tampering } from "./support/peer.ts";
import { expectRefusal, REFUSALS, type Refusal } from "./support/refusals.ts";

/** Requests to the peer API of a real node that are not signed as they should be, or hold what is no request. */

const TOPIC = "/xmtp/0/m-bad-requests/proto";
const MINUTE_MS = 60_000;
const guarded = guardedNode(TOPIC);

const pushOf = (...events: readonly WireEvent[]): Bytes =>
  encodePush({ runs: [{ previous: null, events }], ephemeral: [] });

describe("requests", () => {
  const empty = encodePull({ cursors: [] });

  test("without a signature", async () => {
    const response = await guarded.node.request("/peer/v1/push", {
      method: "POST",
      body: pushOf(guarded.peer.event(TOPIC)),
    });
    await expectRefusal(response, REFUSALS.unauthenticated);
    expect(response.headers.get("www-authenticate")).not.toBeNull();
  });

  test.each<[string, () => Tampering]>([
    ["signed 10 min ago", () => ({ nowMs: Date.now() - 10 * MINUTE_MS })],
    ["signed 10 min ahead", () => ({ nowMs: Date.now() + 10 * MINUTE_MS })],
    ["signed for another node", () => ({ receiver: newSigner().publicKey })],
    [
      "signed for another node, with the header put right",
      () => ({
        receiver: newSigner().publicKey,
        headers: (headers) => ({ ...headers, "pennypost-to": guarded.node.key }),
      }),
    ],
    ["signed for another path", () => ({ signedPath: "/peer/v1/pull" })],
    ["signed for another method", () => ({ signedMethod: "GET" })],
    ["signed over another body", () => ({ signedBody: empty })],
    [
      "signed over another body, with the digest put right",
      () => {
        const body = pushOf(guarded.peer.event(TOPIC));
        const right = `sha-256=:${Buffer.from(suite.sha256(body)).toString("base64")}:`;
        return { signedBody: empty, headers: (headers) => ({ ...headers, "content-digest": right }) };
      },
    ],
    [
      "with another key's signature",
      () => ({
        headers: ({ "signature-input": input = "", ...headers }) => ({
          ...headers,
          "signature-input": input.replace(/keyid="[^"]*"/, `keyid="${"ab".repeat(32)}"`),
        }),
      }),
    ],
    [
      "with a signature of zeros",
      () => ({
        headers: (headers) => ({ ...headers, signature: `node=:${Buffer.alloc(64).toString("base64")}:` }),
      }),
    ],
    [
      "with a signature that is none",
      () => ({ headers: (headers) => ({ ...headers, signature: "node=???" }) }),
    ],
    [
      "with an input that is none",
      () => ({ headers: (headers) => ({ ...headers, "signature-input": "(" }) }),
    ],
    [
      "that leave the digest out of what is signed",
      () => ({
        headers: ({ "signature-input": input = "", ...headers }) => ({
          ...headers,
          "signature-input": input.replace(' "content-digest"', ""),
        }),
      }),
    ],
  ])("%s", async (_, tampering) => {
    const response = await guarded.peer.send("/peer/v1/push", pushOf(guarded.peer.event(TOPIC)), tampering());
    await expectRefusal(response, REFUSALS.unauthenticated);
  });

  test("that are sent again, word for word, change nothing, and by another's hand neither", async () => {
    const event = guarded.peer.event(`${TOPIC}/replayed`);
    const body = pushOf(event);
    let sent: Record<string, string> = {};
    const keep = (headers: Record<string, string>) => {
      sent = headers;
      return headers;
    };
    expect((await guarded.peer.send("/peer/v1/push", body, { headers: keep })).status).toBe(200);
    const before = await guarded.peer.storedIds();
    expect(before).toContain(toHex(event.id));
    const replay = (path: string, changed = body) =>
      guarded.node.request(path, { method: "POST", headers: sent, body: changed });
    for (let i = 0; i < 3; i++) {
      const answer = decodePushAnswer(new Uint8Array(await (await replay("/peer/v1/push")).arrayBuffer()));
      expect(answer).toEqual({ lacking: false, refused: 0 });
    }
    // Its headers are good for nothing else.
    await expectRefusal(await replay("/peer/v1/want"), REFUSALS.unauthenticated);
    await expectRefusal(await replay("/peer/v1/push", pushOf()), REFUSALS.unauthenticated);
    expect(await guarded.peer.storedIds()).toEqual(before);
    await guarded.allow();
  });

  const PATHS = ["/peer/v1/push", "/peer/v1/pull", "/peer/v1/want"];
  const block = (bytes: number) => [new Uint8Array(bytes), new Uint8Array(64), new Uint8Array()];

  // The message shows that the bytes were looked through before anything was built of them.
  test.each<[string, Uint8Array<ArrayBuffer>, RegExp]>([
    ["lists nested 10,000 deep", new Uint8Array(10_001).fill(0x81, 0, 10_000), /nested deeper than 8/],
    [
      "maps nested 10,000 deep",
      Uint8Array.from(Array(10_000).fill([0xa1, 0x60]).flat()),
      /nested deeper than 8/,
    ],
    [
      "a million empty maps",
      concatBytes(Uint8Array.of(0x9a, 0x00, 0x0f, 0x42, 0x40), new Uint8Array(1_000_000).fill(0xa0)),
      /more than 65536 items/,
    ],
    [
      "a list of 2^64-1 items, by its own word",
      Uint8Array.of(0x9b, ...Array(8).fill(0xff)),
      /container is longer/,
    ],
    [
      "a list of 2^32-1 items, by its own word",
      Uint8Array.of(0x9a, ...Array(4).fill(0xff)),
      /container is longer/,
    ],
    [
      "a map of 2^32-1 entries, by its own word",
      Uint8Array.of(0xba, ...Array(4).fill(0xff)),
      /container is longer/,
    ],
    ["bytes longer than the body", Uint8Array.of(0x81, 0x5a, 0x7f, 0xff, 0xff, 0xff, 1), /string is longer/],
    [
      "a text longer than the body",
      Uint8Array.of(0x81, 0x7b, 0, 0, 0, 1, 0, 0, 0, 0, 0x61),
      /string is longer/,
    ],
    ["a list of an indefinite length", Uint8Array.of(0x9f, 0xff), /indefinite/],
    ["nothing", new Uint8Array(), /ends too early/],
    [
      "bytes after the end",
      concatBytes(encodePull({ cursors: [] }), Uint8Array.of(0)),
      /bytes follow its end/,
    ],
  ])("that hold %s", async (_, body, why) => {
    for (const path of PATHS) {
      const response = await guarded.peer.send(path, body);
      expect(response.headers.get("pennypost-error")).toBe("cbor_malformed");
      expect(await expectRefusal(response, REFUSALS.invalid)).toMatch(why);
    }
  });

  test.each<[string, Uint8Array<ArrayBuffer>, Refusal]>([
    ["no CBOR", utf8("no CBOR at all"), REFUSALS.invalid],
    ["another type", encodeCbor({ runs: [] }), REFUSALS.invalid],
    ["a run that is no pair", encodeCbor([[[]], []]), REFUSALS.invalid],
    ["an event that is no triple", encodeCbor([[[null, [[new Uint8Array(1)]]]], []]), REFUSALS.invalid],
    [
      "a signature of 63 bytes",
      encodeCbor([[[null, [[new Uint8Array(9), new Uint8Array(63), new Uint8Array()]]]], []]),
      REFUSALS.invalid,
    ],
    ["a block of 8,193 bytes", encodeCbor([[[null, [block(8_193)]]], []]), REFUSALS.invalid],
    ["99 hops", encodeCbor([[], [[99, block(9)]]]), REFUSALS.invalid],
    ["3 MB", new Uint8Array(3 * 1024 * 1024), REFUSALS.exhausted],
  ])("that hold %s", async (_, body, refusal) => {
    for (const path of PATHS) await expectRefusal(await guarded.peer.send(path, body), refusal);
  });
});
