import { describe, expect, test } from "vitest";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { type Bytes, utf8 } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { EvmAddress } from "../../protocol/evm-address.ts";
import { formatProof, type ProvenRequest, signProof } from "../../protocol/identity-proof.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../../protocol/testing/wallet.ts";
import type { Decision, OfferedEnvelope } from "./policy.ts";
import { WalletPolicy } from "./wallet-policy.ts";
import { type ContractCheck, WalletTokens } from "./wallet-tokens.ts";

const NOW_MS = Date.UTC(2026, 10, 23);
const HOUR_MS = 3_600_000;
const alice = new TestKey("alice");
const bob = new TestKey("bob");
const [node, otherNode] = [1, 2].map((n) => platformSigner(new Uint8Array(32).fill(n)).publicKey) as [
  Bytes,
  Bytes,
];
const REQUEST = { method: "POST", path: "/message/v1/publish", body: utf8('{"envelopes":[]}') };

const envelope = (topicText: string): OfferedEnvelope => ({
  topic: utf8(topicText),
  ts: 1n,
  message: utf8("m"),
});

class Scene {
  readonly clock = new ManualClock(NOW_MS);
  readonly policy: WalletPolicy;

  constructor(contractSigned?: ContractCheck, requiresProof = false) {
    const { clock } = this;
    const tokens = new WalletTokens({ suite, clock, ...(contractSigned ? { contractSigned } : {}) });
    const asksForStamp = (topic: Uint8Array) => new TextDecoder().decode(topic).startsWith("stamped/");
    this.policy = new WalletPolicy({ tokens, asksForStamp, node, requiresProof, clock, suite });
  }

  token(wallet = alice, changes: Parameters<typeof tokenParts>[1] = {}): string {
    return bearer(tokenBytes(tokenParts(this.clock.nowMs(), { wallet, ...changes })));
  }

  /** With a proof of the identity key, if one is given. */
  decideWith(
    authorization: string | null,
    proof: string | null,
    topics: readonly string[],
  ): Promise<Decision> {
    const headers: Readonly<Record<string, string | null>> = {
      Authorization: authorization,
      "Pennypost-Proof": proof,
    };
    return this.policy.decide({
      envelopes: topics.map(envelope),
      host: "node.test",
      request: REQUEST,
      header: (name) => headers[name] ?? null,
      charge: async () => {},
    });
  }

  decide(authorization: string | null, ...topics: readonly string[]): Promise<Decision> {
    return this.decideWith(authorization, null, topics);
  }

  async code(header: string | null, ...topics: readonly string[]): Promise<unknown> {
    const decision = await this.decide(header, ...topics);
    if (decision.kind === "granted") return decision.admission.wallet;
    const { code, httpStatus } = decision.error;
    return [code, httpStatus, decision.isAddressed];
  }
}

describe("a wallet's token", () => {
  test("admits to every topic that is no other wallet's", async () => {
    const scene = new Scene();
    const topics = [
      "/xmtp/0/m-x/proto",
      "weather",
      `/xmtp/0/contact-${alice.address}/proto`,
      `/xmtp/0/invite-${bob.address}/proto`,
    ];
    expect(await scene.code(scene.token(), ...topics)).toBe(alice.address);
    expect(await scene.code(scene.token(), `/xmtp/0/privatestore-${alice.address}/key_bundle/proto`)).toBe(
      alice.address,
    );
    expect(await scene.code(scene.token())).toBe(alice.address);
  });

  test.each(["contact", "privatestore"])(
    "writes no other wallet's %s, in whatever case, also among others",
    async (name) => {
      const scene = new Scene();
      const restricted = ["topic_restricted", 403, true];
      expect(await scene.code(scene.token(), `/xmtp/0/${name}-${bob.address}/proto`)).toEqual(restricted);
      expect(await scene.code(scene.token(), "weather", `/xmtp/0/${name}-${bob.address}/proto`)).toEqual(
        restricted,
      );
      expect(await scene.code(scene.token(), `/xmtp/0/${name}-${alice.address.toLowerCase()}/proto`)).toEqual(
        restricted,
      );
      expect(await scene.code(scene.token(), `/xmtp/0/${name}-/proto`)).toEqual(restricted);
    },
  );

  test("does not do where the network asks for stamps", async () => {
    const scene = new Scene();
    expect(await scene.code(scene.token(), "weather", "stamped/x")).toEqual(["stamp_required", 403, true]);
    expect(scene.policy.mayGrant([envelope("weather"), envelope("stamped/x")])).toBe(false);
    expect(scene.policy.mayGrant([envelope("weather")])).toBe(true);
  });

  test("is good for an hour, also when it is known", async () => {
    const scene = new Scene();
    const token = scene.token();
    for (const ms of [0, 1, HOUR_MS]) {
      scene.clock.step(NOW_MS + ms);
      expect(await scene.code(token, "weather")).toBe(alice.address);
    }
    scene.clock.step(NOW_MS + HOUR_MS + 1);
    expect(await scene.code(token, "weather")).toEqual(["wallet_token_invalid", 401, true]);
  });

  test("from the future is refused until it is near", async () => {
    const scene = new Scene();
    const createdNs = BigInt(NOW_MS + 301_000) * 1_000_000n;
    const token = scene.token(alice, { createdNs });
    expect(await scene.code(token, "weather")).toEqual(["wallet_token_invalid", 401, true]);
    scene.clock.step(NOW_MS + 1_000);
    expect(await scene.code(token, "weather")).toBe(alice.address);
  });
});

describe("a request without a good token", () => {
  test.each([
    ["none", null, "wallet_token_missing", false],
    ["an empty one", "", "wallet_token_missing", false],
    ["of another scheme", "PrivateToken token=x", "scheme_unknown", false],
    ["of a scheme that begins so", "Bearers x", "scheme_unknown", false],
    ["that is no token, in lower case", "bearer AAAA", "wallet_token_invalid", true],
    ["without a text", "Bearer", "authorization_malformed", true],
    ["that is no token", "Bearer AAAA", "wallet_token_invalid", true],
  ])("is refused: %s", async (_, header, code, isAddressed) => {
    expect(await new Scene().code(header, "weather")).toEqual([code, 401, isAddressed]);
  });

  test("is refused again without being verified again", async () => {
    const scene = new Scene();
    const stolen = scene.token(alice, { address: bob.address });
    const first = await scene.decide(stolen, "weather");
    const second = await scene.decide(stolen, "weather");
    expect(first).toMatchObject({ kind: "refused", error: { code: "wallet_token_invalid" } });
    if (first.kind === "granted" || second.kind === "granted") throw new Error("it was granted");
    expect(second.error).toBe(first.error);
  });
});

describe("a wallet that is a contract", () => {
  const CONTRACT: EvmAddress = bob.address;

  test("is asked whether it signed, where there is a way to ask", async () => {
    const asked: string[] = [];
    const scene = new Scene(async ({ wallet }) => {
      asked.push(wallet);
      return true;
    });
    const token = scene.token(alice, { address: CONTRACT });
    for (let i = 0; i < 2; i++) expect(await scene.code(token, "weather")).toBe(CONTRACT);
    expect(asked).toEqual([CONTRACT]);
    expect(await scene.code(scene.token(), "weather")).toBe(alice.address);
    expect(asked).toHaveLength(1);
  });

  test("that did not sign is refused; one that cannot be asked may come again", async () => {
    const no = new Scene(async () => false);
    expect(await no.code(no.token(alice, { address: CONTRACT }), "weather")).toEqual([
      "wallet_token_invalid",
      401,
      true,
    ]);
    let isAway = true;
    const scene = new Scene(async () => {
      if (isAway) throw unavailable("rpc_unreachable", "the RPC endpoint does not answer");
      return true;
    });
    const token = scene.token(alice, { address: CONTRACT });
    expect(await scene.code(token, "weather")).toEqual(["rpc_unreachable", 503, true]);
    isAway = false;
    expect(await scene.code(token, "weather")).toBe(CONTRACT);
  });
});

describe("a proof of the identity key", () => {
  const identity = new TestKey("identity");
  const proofOf = (changes: Partial<ProvenRequest> = {}, { key = identity, nowMs = NOW_MS } = {}) => {
    const request = { ...REQUEST, node, ...changes };
    const made = { createdS: nowMs / 1_000, nonce: new Uint8Array(16).fill(7) };
    return formatProof(signProof(request, key.secret, made, suite));
  };
  const outcome = async (scene: Scene, proof: string | null): Promise<unknown> => {
    const decision = await scene.decideWith(scene.token(), proof, ["weather"]);
    if (decision.kind === "granted") return "granted";
    const { code, data, httpStatus } = decision.error;
    return [httpStatus, code, data.rule, decision.isAddressed];
  };

  test("is needed where the operator wants it, and is good again for the same publish", async () => {
    const scene = new Scene(undefined, true);
    expect(await outcome(scene, null)).toEqual([401, "proof_missing", undefined, true]);
    expect(await outcome(scene, "")).toEqual([401, "proof_missing", undefined, true]);
    for (let i = 0; i < 2; i++) expect(await outcome(scene, proofOf())).toBe("granted");
  });

  const flipped = proofOf().replace(/s=(.)/, (_, digit) => `s=${digit === "0" ? "1" : "0"}`);
  test.each<[string, string, string]>([
    ["for another node", proofOf({ node: otherNode }), "node"],
    ["over another body", proofOf({ body: utf8("{}") }), "body"],
    ["over another method", proofOf({ method: "PUT" }), "method"],
    ["over another path", proofOf({ path: "/v1/stamps" }), "path"],
    ["of another identity key", proofOf({}, { key: new TestKey("another") }), "identity_key"],
    ["with a changed signature", flipped, "signature"],
    ["that is too old", proofOf({}, { nowMs: NOW_MS - 301_000 }), "time"],
    ["from the future", proofOf({}, { nowMs: NOW_MS + 301_000 }), "time"],
    ["of another form", "t=1", "form"],
  ])("%s is refused, also where none is needed", async (_, proof, rule) => {
    for (const requiresProof of [true, false])
      expect(await outcome(new Scene(undefined, requiresProof), proof)).toEqual([
        401,
        "proof_invalid",
        rule,
        true,
      ]);
  });

  test("does not stand for a token", async () => {
    const scene = new Scene(undefined, true);
    const decision = await scene.decideWith(null, proofOf(), ["weather"]);
    expect(decision).toMatchObject({ kind: "refused", error: { code: "wallet_token_missing" } });
  });
});
