import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toBase64Url } from "./base64.ts";
import { encodeCbor } from "./cbor.ts";
import { portableSigner, portableSuite } from "./crypto.ts";
import { digestOfSecret, formatInvitation, parseInvitation } from "./invitation.ts";

const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
const key = bytes.map((seed) => portableSigner(new Uint8Array(seed)).publicKey);
const url = fc.webUrl().map((each) => new URL(each).origin);
const SAMPLE = {
  url: "https://node.example.org",
  key: portableSigner(new Uint8Array(32).fill(1)).publicKey,
  networkId: new Uint8Array(32).fill(2),
  secret: new Uint8Array(32).fill(3),
};

describe("an invitation", () => {
  test("is read as it was written, also with blanks around it", () => {
    fc.assert(
      fc.property(fc.record({ url, key, networkId: bytes, secret: bytes }), (invitation) => {
        const copied = Object.fromEntries(
          Object.entries(invitation).map(([name, value]) => [
            name,
            typeof value === "string" ? value : new Uint8Array(value),
          ]),
        );
        expect(parseInvitation(` ${formatInvitation(invitation)}\n`)).toEqual(copied);
      }),
    );
  });

  test("is one word that survives a mail, a shell and a chat", () => {
    expect(formatInvitation(SAMPLE)).toMatch(/^pennypost-invitation:[\w-]{150,200}$/);
  });

  test("that was cut, or is something else, is refused", () => {
    const whole = formatInvitation(SAMPLE);
    const other = (value: unknown) => `pennypost-invitation:${toBase64Url(encodeCbor(value))}`;
    const { key, networkId, secret } = SAMPLE;
    for (const text of [
      "",
      "hello",
      whole.slice(0, -1),
      whole.slice(1),
      `${whole}A`,
      whole.replace(":", ":!"),
      `${whole}${"A".repeat(2_000)}`,
      other([1, SAMPLE.url, new Uint8Array(32), networkId, secret]),
      other([2, SAMPLE.url, key, networkId, secret]),
      other([1, SAMPLE.url, key, networkId, secret.slice(1)]),
      other([1, SAMPLE.url, key, networkId, secret, 1]),
      other({ url: SAMPLE.url }),
    ])
      expect(() => parseInvitation(text), text).toThrow(
        expect.objectContaining({ code: "invitation_malformed", httpStatus: 400 }),
      );
  });

  test("is known again by a digest that says nothing of its secret to who has another", () => {
    const suite = portableSuite();
    const digest = digestOfSecret(SAMPLE.secret, suite);
    expect(digest).toHaveLength(32);
    expect(digest).not.toEqual(suite.sha256(SAMPLE.secret));
  });
});
