import { describe, expect, test } from "vitest";
import { utf8 } from "./bytes.ts";
import { portableSigner, portableSuite } from "./crypto.ts";
import {
  checkReceiver,
  RECEIVER_HEADER,
  REQUEST_WINDOW_S,
  signRequest,
  verifyRequest,
} from "./request-signature.ts";

const suite = portableSuite();
const sender = portableSigner(new Uint8Array(32).fill(1));
const receiver = portableSigner(new Uint8Array(32).fill(2));
const nowMs = 1_800_000_000_000;
const request = { method: "POST", path: "/peer/v1/push", body: utf8("body") };

const sign = () => signRequest(request, receiver.publicKey, { signer: sender, suite, nowMs });

function verify(
  headers: Record<string, string>,
  change: { request?: Partial<typeof request>; nowMs?: number; receiver?: Uint8Array } = {},
) {
  const context = { receiver: change.receiver ?? receiver.publicKey, suite, nowMs: change.nowMs ?? nowMs };
  return verifyRequest({ ...request, ...change.request }, (name) => headers[name] ?? null, context);
}

const refusedWith = (code: string) => expect.objectContaining({ code, httpStatus: 401, grpc: 16 });

describe("a signed request", () => {
  test("names its sender", async () => {
    expect(await verify(sign())).toEqual(sender.publicKey);
  });

  test("is good for 300 s in both directions and no longer", async () => {
    const windowMs = REQUEST_WINDOW_S * 1000;
    expect(await verify(sign(), { nowMs: nowMs + windowMs })).toEqual(sender.publicKey);
    expect(await verify(sign(), { nowMs: nowMs - windowMs })).toEqual(sender.publicKey);
    await expect(verify(sign(), { nowMs: nowMs + windowMs + 1000 })).rejects.toEqual(
      refusedWith("request_signature"),
    );
    await expect(verify(sign(), { nowMs: nowMs - windowMs - 1000 })).rejects.toEqual(
      refusedWith("request_signature"),
    );
  });

  test("is for one receiver", async () => {
    await expect(verify(sign(), { receiver: sender.publicKey })).rejects.toEqual(
      refusedWith("request_receiver"),
    );
    const retargeted = { ...sign(), [RECEIVER_HEADER]: Buffer.from(sender.publicKey).toString("hex") };
    await expect(verify(retargeted, { receiver: sender.publicKey })).rejects.toEqual(
      refusedWith("request_signature"),
    );
  });

  test("covers its method, path and body", async () => {
    await expect(verify(sign(), { request: { method: "PUT" } })).rejects.toEqual(
      refusedWith("request_signature"),
    );
    await expect(verify(sign(), { request: { path: "/peer/v1/pull" } })).rejects.toEqual(
      refusedWith("request_signature"),
    );
    await expect(verify(sign(), { request: { body: utf8("other") } })).rejects.toEqual(
      refusedWith("request_digest"),
    );
  });

  test("has every header", async () => {
    for (const name of ["signature", "signature-input", "content-digest", RECEIVER_HEADER]) {
      const { [name]: _left, ...headers } = sign();
      await expect(verify(headers)).rejects.toEqual(refusedWith("request_unsigned"));
      expect(() => checkReceiver((each) => headers[each] ?? null, receiver.publicKey)).toThrow(
        refusedWith("request_unsigned"),
      );
    }
  });
});

describe("a forged request", () => {
  test("with another key id, tag, algorithm or fewer components", async () => {
    const { "signature-input": input = "", ...rest } = sign();
    const other = Buffer.from(receiver.publicKey).toString("hex");
    const forgeries = [
      input.replace(/keyid="[0-9a-f]+"/, `keyid="${other}"`),
      input.replace(/keyid="[0-9a-f]+"/, 'keyid="x"'),
      input.replace('tag="pennypost-peer"', 'tag="another"'),
      input.replace('alg="ed25519"', 'alg="hmac-sha256"'),
      input.replace('"@path" ', ""),
      input.replace('"content-digest" ', ""),
      "node=();created=1",
      "garbage",
    ];
    for (const forged of forgeries) {
      expect(forged).not.toBe(input);
      await expect(verify({ ...rest, "signature-input": forged })).rejects.toEqual(
        refusedWith("request_signature"),
      );
    }
  });

  test("with an altered signature", async () => {
    const headers = sign();
    const altered = (headers.signature ?? "").replace(
      /:(.)/,
      (_all, first: string) => `:${first === "A" ? "B" : "A"}`,
    );
    await expect(verify({ ...headers, signature: altered })).rejects.toEqual(
      refusedWith("request_signature"),
    );
  });
});
