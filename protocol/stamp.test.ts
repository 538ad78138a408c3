import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, toHex, utf8 } from "./bytes.ts";
import { encodeCbor } from "./cbor.ts";
import { portableSigner, portableSuite } from "./crypto.ts";
import { PennypostError } from "./errors.ts";
import { decodeToken, encodeToken, TOKEN_BYTES } from "./privacy-pass.ts";
import {
  brokenGrantRule,
  brokenTokenRule,
  decodeGrant,
  decodeStamp,
  encodeGrant,
  encodeStamp,
  type IssuerKey,
  isBoundTo,
  type Stamp,
  type StampedEnvelope,
  type StampGrant,
  stampChallenge,
  stampedBytes,
} from "./stamp.ts";
import { freshSigner, TestIssuer } from "./testing/test-issuer.ts";

const suite = portableSuite();
const NET = suite.sha256(utf8("a network"));
const OTHER_NET = suite.sha256(utf8("another network"));
const ORIGIN = portableSigner(new Uint8Array(32).fill(1)).publicKey;
const OTHER_ORIGIN = portableSigner(new Uint8Array(32).fill(2)).publicKey;
const SEQ = 1_000n;

const envelope: StampedEnvelope = {
  net: NET,
  origin: ORIGIN,
  topic: utf8("/xmtp/0/m-1/proto"),
  ts: 17n,
  msg: suite.sha256(utf8("hello")),
};
const issuer = new TestIssuer(ORIGIN, NET, suite, { from: 500n, to: 2_000n });
const stamp = issuer.stamp(envelope, 1);
const grantOf = (each: Stamp): StampGrant => decodeGrant(encodeGrant(each));
const grant = grantOf(stamp);

interface Case {
  readonly grant?: StampGrant;
  readonly envelope?: StampedEnvelope;
  readonly seq?: bigint;
  readonly issuer?: IssuerKey;
}

function brokenBy({ seq = SEQ, issuer: key = issuer.key, ...each }: Case): unknown {
  const some = each.grant ?? grant;
  if (!isBoundTo(some, each.envelope ?? envelope, suite)) return "not bound";
  return brokenGrantRule(some, seq, key, suite)?.data.rule;
}

const flip = (bytes: Bytes, at = 0): Bytes => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

describe("a grant", () => {
  test("verifies, and is 386 bytes", () => {
    expect(brokenBy({})).toBeUndefined();
    expect(encodeGrant(stamp).length).toBe(386);
  });

  test("is good for its own envelope alone", () => {
    const others: StampedEnvelope[] = [
      { ...envelope, topic: utf8("/xmtp/0/m-2/proto") },
      { ...envelope, ts: 18n },
      { ...envelope, msg: suite.sha256(utf8("hello!")) },
      { ...envelope, net: OTHER_NET },
    ];
    for (const each of others) expect(brokenBy({ envelope: each })).toBe("not bound");
  });

  test("is good at its own node alone, even where the other node says the key is its own", () => {
    const elsewhere = { ...envelope, origin: OTHER_ORIGIN };
    expect(brokenBy({ envelope: elsewhere, issuer: { ...issuer.key, origin: OTHER_ORIGIN } })).toBe(
      "not bound",
    );
  });

  test("is of one network: a key of two would answer another challenge", () => {
    const twin = new TestIssuer(ORIGIN, OTHER_NET, suite);
    const there = { ...envelope, net: OTHER_NET };
    expect(brokenBy({ envelope: there, issuer: twin.key, grant: grantOf(issuer.stamp(there, 2)) })).toBe(
      "stamp_token",
    );
    expect(
      brokenBy({ envelope: there, issuer: twin.key, grant: grantOf(twin.stamp(there, 2)) }),
    ).toBeUndefined();
  });

  test("is of one key, in force at the event's seq", () => {
    const other = new TestIssuer(ORIGIN, NET, suite, { index: 1 });
    expect(brokenBy({ issuer: other.key })).toBe("stamp_key");
    const { key } = grantOf(other.stamp(envelope, 1));
    expect(brokenBy({ issuer: other.key, grant: { ...grant, key } })).toBe("stamp_token");
    for (const seq of [500n, 1_999n]) expect(brokenBy({ seq })).toBeUndefined();
    for (const seq of [0n, 499n, 2_000n]) expect(brokenBy({ seq })).toBe("stamp_interval");
  });

  test("breaks when any part is changed", () => {
    expect(brokenBy({ grant: { ...grant, key: flip(grant.key) } })).toBe("stamp_key");
    expect(brokenBy({ grant: { ...grant, publicKey: freshSigner(9).publicKey } })).toBe("not bound");
    for (const at of [0, 32, 63])
      expect(brokenBy({ grant: { ...grant, signature: flip(grant.signature, at) } })).toBe("not bound");
    for (const at of [0, 100, 255])
      expect(brokenBy({ grant: { ...grant, authenticator: flip(grant.authenticator, at) } })).toBe(
        "stamp_token",
      );
  });

  test("cannot be signed by another one-time key", () => {
    const thief = freshSigner(9);
    const stolen = { ...grant, publicKey: thief.publicKey, signature: thief.sign(stampedBytes(envelope)) };
    expect(brokenBy({ grant: stolen })).toBe("stamp_token");
  });
});

describe("the bytes of a grant", () => {
  test("are the parts again", () => {
    expect(grant).toEqual({
      key: stamp.token.keyId.subarray(0, 8),
      publicKey: stamp.publicKey,
      signature: stamp.signature,
      authenticator: stamp.token.authenticator,
    });
  });

  const good = {
    key: new Uint8Array(8),
    pub: new Uint8Array(32),
    sig: new Uint8Array(64),
    auth: new Uint8Array(256),
  };
  test.each<[string, unknown]>([
    ["a field more", { ...good, more: 1 }],
    ["a field less", { key: good.key, pub: good.pub, sig: good.sig }],
    ["a longer field", { ...good, key: new Uint8Array(9) }],
    ["a field of another kind", { ...good, pub: "a".repeat(32) }],
    ["nothing", {}],
    ["a list", [good.key, good.pub, good.sig, good.auth]],
    ["a number", 7],
    ["null", null],
  ])("have no other form: %s", (_, value) => {
    expect(() => decodeGrant(encodeCbor(value))).toThrow(PennypostError);
  });

  test("end where they end", () => {
    expect(() => decodeGrant(concatBytes(encodeCbor(good), Uint8Array.of(0)))).toThrow(PennypostError);
    expect(() => decodeGrant(new Uint8Array())).toThrow(PennypostError);
  });
});

describe("a whole token", () => {
  const ruleOf = (each: Stamp) => brokenTokenRule(each, issuer.key, suite)?.data.rule;

  test("answers its issuer's challenge, by the one-time key", () => {
    expect(ruleOf(stamp)).toBeUndefined();
    expect(encodeToken(stamp.token).length).toBe(TOKEN_BYTES);
    expect(decodeToken(encodeToken(stamp.token))).toEqual(stamp.token);
  });

  test("is refused with another key id, challenge or nonce", () => {
    const { token } = stamp;
    expect(ruleOf({ ...stamp, token: { ...token, keyId: flip(token.keyId, 31) } })).toBe("stamp_key");
    const challengeDigest = suite.sha256(stampChallenge("other.test", NET, suite));
    expect(ruleOf({ ...stamp, token: { ...token, challengeDigest } })).toBe("stamp_challenge");
    expect(ruleOf({ ...stamp, token: { ...token, nonce: flip(token.nonce) } })).toBe("stamp_nonce");
    expect(ruleOf({ ...stamp, publicKey: freshSigner(9).publicKey })).toBe("stamp_nonce");
  });
});

describe("the bytes of a stamp", () => {
  const bytes = encodeStamp(stamp);

  test("are the stamp again", () => {
    expect(bytes.length).toBe(450);
    expect(decodeStamp(bytes)).toEqual(stamp);
  });

  test.each([
    ["a byte more", concatBytes(bytes, Uint8Array.of(0)), "length"],
    ["a byte less", bytes.subarray(1), "length"],
    ["another type", flip(bytes, 1), "type"],
  ])("have one form: %s", (_, other, rule) => {
    let found: unknown;
    try {
      decodeStamp(other);
    } catch (error) {
      found = error instanceof PennypostError ? error.data.rule : error;
    }
    expect(found).toBe(rule);
  });
});

test("the challenge is of a host and a network", () => {
  const challenges = [
    stampChallenge("node.test", NET, suite),
    stampChallenge("node2.test", NET, suite),
    stampChallenge("node.test", OTHER_NET, suite),
  ].map(toHex);
  expect(new Set(challenges).size).toBe(3);
  const [challenge = ""] = challenges;
  expect(challenge.startsWith(`00020009${toHex(utf8("node.test"))}20`)).toBe(true);
  expect(challenge.endsWith("0000")).toBe(true);
});
