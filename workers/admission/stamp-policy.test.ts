import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import type { SpentApi } from "../../durable-objects/spent/spent-api.ts";
import { spentOf } from "../../durable-objects/stubs.ts";
import { equalBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { encodeToken, keyIdOf, modulusOf } from "../../protocol/privacy-pass.ts";
import { decodeGrant, encodeStamp, type Stamp, type StampedEnvelope } from "../../protocol/stamp.ts";
import { TestIssuer } from "../../protocol/testing/test-issuer.ts";
import type { StampKey } from "../stamps/stamp-keys.ts";
import type { Admission, OfferedEnvelope } from "./policy.ts";
import { StampPolicy, shareOf } from "./stamp-policy.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const DAY_MS = 86_400_000;
const network = new Network({ ...DEVELOPMENT_GENESIS, stampPrefixes: ["stamped/"] }, suite);
const ORIGIN = platformSigner(new Uint8Array(32).fill(1)).publicKey;
const OTHER = platformSigner(new Uint8Array(32).fill(2)).publicKey;
const FORCE = { from: firstSeqOf(NOW_MS - DAY_MS), to: firstSeqOf(NOW_MS + DAY_MS) };
const issuer = new TestIssuer(ORIGIN, network.id, suite, FORCE);
const older = new TestIssuer(ORIGIN, network.id, suite, { ...FORCE, index: 1 });

beforeEach(() => vi.useFakeTimers({ now: NOW_MS, toFake: ["Date"] }));
afterEach(() => {
  vi.useRealTimers();
  return reset();
});

const stampKey = ({ key }: TestIssuer): StampKey => ({
  issuer: key,
  keyId: keyIdOf(key.publicKey, suite),
  modulus: modulusOf(key.publicKey),
  record: { block: new Uint8Array(), signature: new Uint8Array() },
  sealed: new Uint8Array(),
});

const envelope = (topicText: string, ts = 1n, text = "m"): OfferedEnvelope => ({
  topic: utf8(topicText),
  ts,
  message: utf8(text),
});
const boundTo = (
  { topic, ts, message }: OfferedEnvelope,
  changes: Partial<StampedEnvelope> = {},
): StampedEnvelope => ({
  net: network.id,
  origin: ORIGIN,
  topic,
  ts,
  msg: suite.sha256(message),
  ...changes,
});
const withStamp = (each: OfferedEnvelope, stamp: Stamp): OfferedEnvelope => ({
  ...each,
  stamp: encodeStamp(stamp),
});
/** An envelope with the stamp of a number. */
const stamped = (topicText: string, n: number, ts = 1n): OfferedEnvelope => {
  const each = envelope(topicText, ts);
  return withStamp(each, issuer.stamp(boundTo(each), n));
};

class Scene {
  keys: readonly StampKey[] = [stampKey(older), stampKey(issuer)];
  /** Calls to the objects that keep what is spent. */
  readonly calls: string[] = [];
  isAway = false;
  readonly policy = new StampPolicy({
    network,
    origin: ORIGIN,
    suite,
    keys: {
      inForce: async () => {
        if (this.isAway) throw unavailable("part_unavailable", "away");
        return this.keys;
      },
      withId: async (_, id) => this.keys.find(({ keyId }) => equalBytes(keyId, id)),
    },
    spentOf: (share) => this.#spentOf(share),
  });

  #spentOf(share: string): SpentApi {
    const real = spentOf(env, share);
    return {
      spend: (stamps, endMs) => {
        this.calls.push(`spend ${stamps.length}`);
        if (this.isAway) throw unavailable("part_unavailable", "away");
        return real.spend(stamps, endMs);
      },
      stored: (stamps) => {
        this.calls.push(`stored ${stamps.length}`);
        return real.stored(stamps);
      },
    };
  }

  decide(envelopes: readonly OfferedEnvelope[], authorization: string | null = null) {
    const header = (name: string) => (name === "Authorization" ? authorization : null);
    const request = { method: "POST", path: "/message/v1/publish", body: new Uint8Array() };
    const charge = async () => undefined;
    return this.policy.decide({ envelopes, host: "node.test", request, header, charge });
  }

  async admission(...envelopes: readonly OfferedEnvelope[]): Promise<Admission> {
    const decision = await this.decide(envelopes);
    if (decision.kind === "granted") return decision.admission;
    throw decision.error;
  }

  async refusal(envelopes: readonly OfferedEnvelope[], authorization: string | null = null) {
    const decision = await this.decide(envelopes, authorization);
    if (decision.kind === "granted") return "granted";
    const { code, httpStatus, data } = decision.error;
    return [code, httpStatus, data.rule, decision.isAddressed];
  }
}

describe("a stamp", () => {
  test("admits its envelope as nobody's, and an event carries it only where the network asks for one", async () => {
    const scene = new Scene();
    const admission = await scene.admission(stamped("weather", 1), stamped("stamped/x", 2));
    expect(admission).toMatchObject({ policy: "stamp", wallet: null });
    expect([...(admission.stored ?? [])]).toEqual([]);
    expect([...(admission.grants ?? []).keys()]).toEqual([1]);
    const grant = decodeGrant(admission.grants?.get(1) ?? new Uint8Array());
    const expected = issuer.stamp(boundTo(envelope("stamped/x")), 2);
    expect(toHex(grant.authenticator)).toBe(toHex(expected.token.authenticator));
    expect(toHex(grant.publicKey)).toBe(toHex(expected.publicKey));
  });

  test("of the key before the newest is good, too", async () => {
    const each = envelope("weather");
    const scene = new Scene();
    expect(await scene.refusal([withStamp(each, older.stamp(boundTo(each), 1))])).toBe("granted");
    scene.keys = [stampKey(issuer)];
    expect(await scene.refusal([withStamp(each, older.stamp(boundTo(each), 2))])).toEqual([
      "stamp_key_unknown",
      403,
      "stamp_key",
      true,
    ]);
  });

  test.each<[string, Partial<StampedEnvelope>]>([
    ["network", { net: new Uint8Array(32) }],
    ["node", { origin: OTHER }],
    ["topic", { topic: utf8("whether") }],
    ["time", { ts: 2n }],
    ["message", { msg: suite.sha256(utf8("n")) }],
  ])("bound to another %s is refused, and stays unspent", async (_, changes) => {
    const scene = new Scene();
    const each = envelope("weather");
    const stamp = issuer.stamp(boundTo(each, changes), 1);
    expect(await scene.refusal([withStamp(each, stamp)])).toEqual([
      "stamp_invalid",
      403,
      "stamp_signature",
      true,
    ]);
    expect(scene.calls).toEqual([]);
    expect(await scene.refusal([stamped("weather", 1)])).toBe("granted");
  });

  test.each<[string, (stamp: Stamp) => Stamp]>([
    [
      "stamp_challenge",
      ({ token, ...rest }) => ({ ...rest, token: { ...token, challengeDigest: new Uint8Array(32) } }),
    ],
    ["stamp_nonce", ({ token, ...rest }) => ({ ...rest, token: { ...token, nonce: new Uint8Array(32) } })],
    [
      "stamp_token",
      ({ token, ...rest }) => ({
        ...rest,
        token: {
          ...token,
          authenticator: token.authenticator.map((byte, i) => (i === 200 ? byte ^ 1 : byte)),
        },
      }),
    ],
    ["stamp_nonce", (stamp) => ({ ...stamp, publicKey: OTHER })],
    ["stamp_signature", (stamp) => ({ ...stamp, signature: stamp.signature.map((byte) => byte ^ 1) })],
  ])("that breaks %s is refused before any object is asked", async (rule, change) => {
    const scene = new Scene();
    const each = envelope("weather");
    const changed = withStamp(each, change(issuer.stamp(boundTo(each), 1)));
    expect(await scene.refusal([changed])).toEqual(["stamp_invalid", 403, rule, true]);
    expect(await scene.refusal([stamped("weather", 2), changed])).toEqual(["stamp_invalid", 403, rule, true]);
    expect(scene.calls).toEqual([]);
  });
});

describe("a publish", () => {
  test("needs a stamp for each envelope; with none at all it is addressed to others", async () => {
    const scene = new Scene();
    expect(await scene.refusal([envelope("weather")])).toEqual(["stamp_missing", 401, undefined, false]);
    expect(await scene.refusal([envelope("weather")], "Bearer abc")).toEqual([
      "stamp_missing",
      401,
      undefined,
      false,
    ]);
    expect(await scene.refusal([])).toEqual(["stamp_missing", 401, undefined, false]);
    expect(await scene.refusal([stamped("weather", 1), envelope("weather")])).toEqual([
      "stamp_malformed",
      400,
      "missing",
      true,
    ]);
    expect(scene.calls).toEqual([]);
  });

  test("has its stamp in the header or beside its envelope, not in both, and in the header for one envelope", async () => {
    const scene = new Scene();
    const each = envelope("weather");
    const { token, publicKey, signature } = issuer.stamp(boundTo(each), 1);
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url");
    const header = `PrivateToken token="${text(encodeToken(token))}", key="${text(publicKey)}", signature="${text(signature)}"`;
    const malformed = ["stamp_malformed", 400, "header", true];
    expect(await scene.refusal([stamped("weather", 2)], header)).toEqual(malformed);
    expect(await scene.refusal([each, each], header)).toEqual(malformed);
    expect(await scene.refusal([], header)).toEqual(malformed);
    expect(await scene.refusal([each], "PrivateToken token=x")).toEqual(malformed);
    expect(await scene.refusal([each], header)).toBe("granted");
  });

  test.each(["contact", "privatestore"])(
    "to a wallet's %s is refused whatever the stamp, and spends none",
    async (name) => {
      const scene = new Scene();
      const topic = `/xmtp/0/${name}-0x1111111111111111111111111111111111111111/proto`;
      expect(await scene.refusal([stamped("weather", 1), stamped(topic, 2)])).toEqual([
        "topic_restricted",
        403,
        undefined,
        true,
      ]);
      expect(scene.calls).toEqual([]);
      expect(scene.policy.mayGrant([envelope("weather"), envelope(topic)])).toBe(false);
      expect(scene.policy.mayGrant([envelope("weather"), envelope("stamped/x")])).toBe(true);
    },
  );

  test("asks one object for each key and first half-byte of a nonce", async () => {
    const scene = new Scene();
    const all = Array.from({ length: 40 }, (_, n) => stamped("weather", n));
    await scene.admission(...all);
    const shares = Map.groupBy(all.keys(), (n) => {
      const { token } = issuer.stamp(boundTo(envelope("weather")), n);
      return shareOf(token.keyId, token.nonce);
    });
    expect(scene.calls.toSorted()).toEqual([...shares.values()].map((each) => `spend ${each.length}`).sort());
    expect(shares.size).toBeLessThanOrEqual(16);
    expect(shareOf(new Uint8Array(32).fill(0xab), Uint8Array.of(0xf3))).toBe(`${"ab".repeat(32)}-f`);
  });
});

describe("a spent stamp", () => {
  const ids = new Map([[0, new Uint8Array(40).fill(9)]]);

  test("admits its envelope again: to be stored, until that was told, and then without", async () => {
    const scene = new Scene();
    const sent = stamped("weather", 1);
    for (let i = 0; i < 2; i++) expect((await scene.admission(sent)).stored).toEqual(new Set());
    await (await scene.admission(sent)).settle?.(ids);
    const again = await scene.admission(sent, stamped("weather", 2));
    expect(again.stored).toEqual(new Set([0]));
    scene.calls.length = 0;
    await again.settle?.(new Map());
    expect(scene.calls).toEqual([]);
  });

  test("is refused for another envelope, with all that came beside it", async () => {
    const scene = new Scene();
    await scene.admission(stamped("weather", 1));
    expect(await scene.refusal([stamped("weather", 1, 2n)])).toEqual([
      "stamp_spent",
      403,
      "stamp_spent",
      true,
    ]);
    expect(await scene.refusal([stamped("weather", 2), stamped("weather", 1, 2n)])).toEqual([
      "stamp_spent",
      403,
      "stamp_spent",
      true,
    ]);
    // What came beside it can still be sent as it was.
    expect(await scene.refusal([stamped("weather", 2)])).toBe("granted");
    expect(await scene.refusal([stamped("weather", 1)])).toBe("granted");
  });

  test("twice in one publish is one for the same envelope, and refused for two", async () => {
    const scene = new Scene();
    expect(await scene.refusal([stamped("weather", 1), stamped("weather", 1)])).toBe("granted");
    expect(await scene.refusal([stamped("weather", 2), stamped("weather", 2, 2n)])).toEqual([
      "stamp_spent",
      403,
      "stamp_spent",
      true,
    ]);
  });

  test("cannot be told while its object is away: the publish may come again", async () => {
    const scene = new Scene();
    scene.isAway = true;
    expect(await scene.refusal([stamped("weather", 1)])).toEqual(["part_unavailable", 503, undefined, true]);
    scene.isAway = false;
    expect(await scene.refusal([stamped("weather", 1)])).toBe("granted");
  });
});

describe("what a refusal asks for", () => {
  test("is a token of the newest key in force", async () => {
    const scene = new Scene();
    const text = await scene.policy.challenge("node.test");
    expect(text).toContain(Buffer.from(issuer.key.publicKey).toString("base64url"));
    expect(text).not.toContain(Buffer.from(older.key.publicKey).toString("base64url"));
  });

  test("is the scheme alone while the keys cannot be had", async () => {
    const scene = new Scene();
    scene.keys = [];
    expect(await scene.policy.challenge("node.test")).toBe("PrivateToken");
    scene.isAway = true;
    expect(await scene.policy.challenge("node.test")).toBe("PrivateToken");
  });
});
