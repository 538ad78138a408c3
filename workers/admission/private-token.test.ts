import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { encodeToken } from "../../protocol/privacy-pass.ts";
import { type Stamp, stampChallenge } from "../../protocol/stamp.ts";
import { privateTokenChallenge, readPrivateToken } from "./private-token.ts";

const filled = (length: number, value: number) => new Uint8Array(length).fill(value);
const STAMP: Stamp = {
  token: {
    nonce: filled(32, 1),
    challengeDigest: filled(32, 2),
    keyId: filled(32, 3),
    authenticator: filled(256, 0xfb),
  },
  publicKey: filled(32, 5),
  signature: filled(64, 6),
};
const padded = (bytes: Uint8Array) =>
  Buffer.from(bytes).toString("base64").replaceAll("+", "-").replaceAll("/", "_");
const bare = (bytes: Uint8Array) => padded(bytes).replaceAll("=", "");

const TOKEN = padded(encodeToken(STAMP.token));
const KEY = padded(STAMP.publicKey);
const SIGNATURE = padded(STAMP.signature);
const HEADER = `PrivateToken token="${TOKEN}", key="${KEY}", signature="${SIGNATURE}"`;

function ruleOf(header: string | null): unknown {
  try {
    return readPrivateToken(header) ? "good" : "none";
  } catch (error) {
    return error instanceof PennypostError ? [error.code, error.httpStatus, error.data.rule] : error;
  }
}

describe("a stamp in the Authorization header", () => {
  test.each<[string, string]>([
    ["as RFC 9577 writes it, padded and quoted", HEADER],
    [
      "without padding",
      `PrivateToken token="${bare(encodeToken(STAMP.token))}", key="${bare(STAMP.publicKey)}", signature="${bare(STAMP.signature)}"`,
    ],
    [
      "without quotes or padding",
      `PrivateToken token=${bare(encodeToken(STAMP.token))},key=${bare(STAMP.publicKey)},signature=${bare(STAMP.signature)}`,
    ],
    ["of a scheme in another case", HEADER.replace("PrivateToken", "privatetoken")],
    ["with names in another case", HEADER.replace("token=", "Token=").replace("key=", "KEY=")],
    ["in another order", `PrivateToken signature="${SIGNATURE}", key="${KEY}", token="${TOKEN}"`],
    ["with white space around the sign", HEADER.replace("key=", "key = ")],
    [
      "with parameters that nobody knows",
      `${HEADER}, max-age=10, extensions="AAAA", extensions="not base64!"`,
    ],
  ])("is read: %s", (_, header) => {
    expect(readPrivateToken(header)).toEqual(STAMP);
  });

  test.each<[string, string | null]>([
    ["no header", null],
    ["an empty one", ""],
    ["another scheme", "Bearer abc"],
    ["the scheme alone", "PrivateToken"],
    ["a scheme that begins so", `PrivateTokens token="${TOKEN}"`],
  ])("is not there: %s", (_, header) => {
    expect(ruleOf(header)).toBe("none");
  });

  test.each<[string, string, string]>([
    ["a part that is missing", `PrivateToken token="${TOKEN}", key="${KEY}"`, "header"],
    ["a part that is empty", HEADER.replace(KEY, ""), "header"],
    ["a part that stands twice", `${HEADER}, key="${KEY}"`, "header"],
    ["a part that stands twice in another case", `${HEADER}, Key="${KEY}"`, "header"],
    ["ordinary base64", HEADER.replace(SIGNATURE, `${SIGNATURE.slice(0, -4)}+/==`), "header"],
    ["padding within", HEADER.replace(KEY, `AA==${KEY}`), "header"],
    ["a quote that does not end", HEADER.slice(0, -1), "header"],
    ["no list", "PrivateToken token", "header"],
    ["an empty element", `${HEADER},`, "header"],
    ["more than 1,024 characters", `${HEADER}, more="${"A".repeat(1_024)}"`, "header"],
    ["a token that is too long", HEADER.replace(TOKEN, padded(filled(355, 0))), "length"],
    ["a token of another type", HEADER.replace(TOKEN, padded(filled(354, 1))), "type"],
  ])("is refused: %s", (_, header, rule) => {
    expect(ruleOf(header)).toEqual(["stamp_malformed", 400, rule]);
  });

  test("of any text is read, refused or not there", () => {
    const texts = fc.oneof(
      fc.string({ maxLength: 60 }),
      fc.string({ maxLength: 60 }).map((text) => `PrivateToken ${text}`),
      fc
        .tuple(fc.nat({ max: HEADER.length }), fc.string({ maxLength: 2 }))
        .map(([at, text]) => HEADER.slice(0, at) + text + HEADER.slice(at + 1)),
    );
    fc.assert(
      fc.property(texts, (text) => {
        const rule = ruleOf(text);
        if (rule !== "none" && rule !== "good")
          expect(rule).toMatchObject(["stamp_malformed", 400, expect.anything()]);
      }),
      { numRuns: 300 },
    );
  });
});

// That a library of Privacy Pass reads it back: test/admission-challenge.test.ts.
describe("the challenge of a refusal", () => {
  test("names challenge and key in padded base64url, whatever their lengths", () => {
    for (const host of ["a.test", "node.test", "node-10.test"]) {
      const challenge = stampChallenge(host, filled(32, 7), suite);
      const publicKey = filled(342, 0xfb);
      expect(privateTokenChallenge({ challenge, publicKey })).toBe(
        `PrivateToken challenge="${padded(challenge)}", token-key="${padded(publicKey)}"`,
      );
      expect(padded(challenge).length % 4).toBe(0);
    }
  });

  test("is the scheme alone while no key is known", () => {
    expect(privateTokenChallenge(undefined)).toBe("PrivateToken");
  });
});
