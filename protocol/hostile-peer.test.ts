import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toHex, utf8 } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import { decodePush, encodePush } from "./peer-messages.ts";
import { RECEIVER_HEADER, signRequest, verifyRequest } from "./request-signature.ts";
import { bytesOf, characters, otherSigner, signer, suite } from "./testing/arbitraries.ts";

/** Random changes of what a good peer would send: each has a documented answer, and none another error. */

const nowMs = Date.UTC(2026, 6, 1);
const receiver = otherSigner.publicKey;
const request = { method: "POST", path: "/peer/v1/push", body: utf8("body") };
const headers = signRequest(request, receiver, { signer, suite, nowMs });
const sender = toHex(signer.publicKey);

async function answer(changed: Readonly<Record<string, string>>): Promise<string> {
  try {
    return toHex(await verifyRequest(request, (name) => changed[name] ?? null, { receiver, suite, nowMs }));
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    expect(error.httpStatus).toBe(401);
    return error.code;
  }
}

test("a request with any text in its signature headers is its sender's, or is answered 401", async () => {
  const names = fc.constantFrom("signature", "signature-input");
  const syntax = fc.string({ unit: fc.constantFrom(...'node=("@path");=:?1.,a\\') });
  await fc.assert(
    fc.asyncProperty(
      names,
      fc.oneof(fc.string({ unit: characters }), syntax),
      fc.nat(),
      async (name, put, place) => {
        const value = headers[name] ?? "";
        const at = place % value.length;
        for (const made of [put, value.slice(0, at) + put + value.slice(at + 1)]) {
          expect([sender, "request_signature"]).toContain(await answer({ ...headers, [name]: made }));
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a request that leaves out what binds it is answered 401", async () => {
  const input = headers["signature-input"] ?? "";
  const parts = ["@method", "@path", "content-digest", RECEIVER_HEADER].map((name) => `"${name}"`);
  for (const part of [...parts, /;created=\d+/, /;keyid="[^"]*"/, /;tag="[^"]*"/]) {
    const made = input.replace(part, "");
    expect(made).not.toBe(input);
    expect(await answer({ ...headers, "signature-input": made })).toBe("request_signature");
  }
});

test("a push with any byte changed is read, or refused with a PennypostError", () => {
  const wires = fc.record({ block: bytesOf(0, 20), signature: bytesOf(64), message: bytesOf(0, 20) });
  const names = fc.record({ topicKey: bytesOf(32), id: bytesOf(40) });
  const few = { maxLength: 3 };
  const pushes = fc.record({
    runs: fc.array(fc.record({ previous: fc.option(names), events: fc.array(wires, few) }), few),
    ephemeral: fc.array(fc.record({ hops: fc.integer({ min: 0, max: 1 }), event: wires }), few),
  });
  fc.assert(
    fc.property(pushes.map(encodePush), fc.nat(), fc.nat(255), (bytes, place, put) => {
      try {
        decodePush(bytes.with(place % bytes.length, put));
      } catch (error) {
        if (!(error instanceof PennypostError)) throw error;
        expect(["cbor_malformed", "peer_body_invalid"]).toContain(error.code);
      }
    }),
    { numRuns: 500 },
  );
});
