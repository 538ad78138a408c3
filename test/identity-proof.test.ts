import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fromHex, utf8 } from "../protocol/bytes.ts";
import { portableSuite } from "../protocol/crypto.ts";
import { formatProof, type ProvenRequest, signProof } from "../protocol/identity-proof.ts";
import { bearer, TestKey, tokenBytes, tokenParts } from "../protocol/testing/wallet.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";

/** A node whose operator wants the identity key's word on each publish: what a stolen token is worth there. */

const suite = portableSuite();
const PATH = "/message/v1/publish";

let network: TestNetwork;
let node: TestNode;
let lenient: TestNetwork;

beforeAll(async () => {
  network = await startNetwork(2, { admission: "wallet", requireIdentityProof: true });
  node = network.node(0);
  lenient = await startNetwork(1, { admission: "wallet" });
});
afterAll(async () => {
  await network?.stop();
  await lenient?.stop();
});

const identity = new TestKey("identity");
const nowS = () => Math.floor(Date.now() / 1_000);

interface Tampering {
  readonly node?: TestNode;
  readonly request?: Partial<ProvenRequest>;
  readonly key?: TestKey;
  readonly aheadS?: number;
}

function proofOf(
  body: string,
  at: TestNode,
  { request = {}, key = identity, aheadS = 0, ...other }: Tampering = {},
) {
  const proven = {
    node: fromHex((other.node ?? at).key),
    method: "POST",
    path: PATH,
    body: utf8(body),
    ...request,
  };
  const made = { createdS: nowS() + aheadS, nonce: crypto.getRandomValues(new Uint8Array(16)) };
  return formatProof(signProof(proven, key.secret, made, suite));
}

async function publish(at: TestNode, body: string, proof: string | undefined) {
  const Authorization = bearer(tokenBytes(tokenParts(Date.now(), { identity })));
  const headers = { Authorization, ...(proof === undefined ? {} : { "Pennypost-Proof": proof }) };
  const response = await at.request(PATH, { method: "POST", body, headers });
  const { message } = (await response.json()) as { message?: string };
  return [response.status, response.headers.get("pennypost-error"), message];
}

const bodyOf = (topic: string) => JSON.stringify({ envelopes: [envelope(topic, 1, "hello")] });
const GRANTED = [200, null, undefined];

describe("a node that wants the identity key's word", () => {
  test("says so", async () => {
    const identityProof = async (each: TestNode) => {
      const info = (await (await each.request("/v1/info")).json()) as { admission: object };
      return info.admission;
    };
    expect(await identityProof(node)).toEqual({
      policies: ["wallet"],
      identityProof: "required",
      contractWallets: false,
    });
    expect(await identityProof(lenient.node(0))).toMatchObject({ identityProof: "optional" });
  });

  test("takes a publish with it, and the same again as the same", async () => {
    const topic = "/xmtp/0/m-proven/proto";
    const body = bodyOf(topic);
    const proof = proofOf(body, node);
    for (let i = 0; i < 3; i++) expect(await publish(node, body, proof)).toEqual(GRANTED);
    expect(await node.queryAll(topic)).toHaveLength(1);
  });

  test("takes none with a token alone; another does", async () => {
    const topic = "/xmtp/0/m-unproven/proto";
    const missing = [401, "proof_missing", "the header Pennypost-Proof is needed"];
    expect(await publish(node, bodyOf(topic), undefined)).toEqual(missing);
    expect(await node.queryAll(topic)).toEqual([]);
    expect(await publish(lenient.node(0), bodyOf(topic), undefined)).toEqual(GRANTED);
  });

  test.each<[string, string, () => Tampering]>([
    ["for another node", "it is for another node", () => ({ node: network.node(1) })],
    ["over another body", "it is over another body", () => ({ request: { body: utf8(bodyOf("another")) } })],
    ["over another method", "it is for another method", () => ({ request: { method: "PUT" } })],
    ["over another path", "it is for another path", () => ({ request: { path: "/v1/stamps" } })],
    [
      "of another identity key",
      "it is by another identity key than the token's",
      () => ({ key: new TestKey("another") }),
    ],
    ["from the past", "its time is more than 300 s away from this node's clock", () => ({ aheadS: -400 })],
    ["from the future", "its time is more than 300 s away from this node's clock", () => ({ aheadS: 400 })],
  ])("takes none with a proof %s, nor does any node", async (_, why, tampering) => {
    const topic = "/xmtp/0/m-tampered/proto";
    const body = bodyOf(topic);
    for (const each of [node, lenient.node(0)]) {
      const proof = proofOf(body, each, tampering());
      const message = `the proof of the identity key: ${why}`;
      expect(await publish(each, body, proof)).toEqual([401, "proof_invalid", message]);
      // Nor without a word of what it is for.
      const [status, code] = await publish(each, body, proof.replace(/, for=.*$/, ""));
      expect([status, code]).toEqual([401, "proof_invalid"]);
      expect(await each.queryAll(topic)).toEqual([]);
    }
  });

  test("takes none whose signature, time or nonce was changed", async () => {
    const topic = "/xmtp/0/m-changed/proto";
    const body = bodyOf(topic);
    const proof = proofOf(body, node);
    const seconds = Number(/t=(\d+)/.exec(proof)?.[1]);
    for (const changed of [
      proof.replace(/s=(.)/, (_, digit) => `s=${digit === "0" ? "1" : "0"}`),
      proof.replace(/n=(.)/, (_, digit) => `n=${digit === "0" ? "1" : "0"}`),
      proof.replace(/t=\d+/, `t=${seconds + 1}`),
    ])
      expect(await publish(node, body, changed)).toEqual([
        401,
        "proof_invalid",
        "the proof of the identity key: it is not signed by the identity key for this request to this node",
      ]);
    expect(await node.queryAll(topic)).toEqual([]);
  });
});
