import { publicVerif, Token } from "@cloudflare/privacypass-ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BlankStamp, blindBatch, stampEnvelope } from "../client/blind-batch.ts";
import { toHex } from "../protocol/bytes.ts";
import { encodeToken, modulusOf } from "../protocol/privacy-pass.ts";
import type { IssuerKey } from "../protocol/stamp.ts";
import { TestKey } from "../protocol/testing/wallet.ts";
import { Admin } from "./support/admin.ts";
import { readIssuer } from "./support/issuer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { suite } from "./support/peer.ts";
import { Buyer, boundTo, type Offered, publishAt, stamped } from "./support/stamps.ts";
import { Subscription } from "./support/subscription.ts";
import { until } from "./support/until.ts";

/** Stamps bought from a real node and spent there, with no word about who buys. */

let network: TestNetwork;
let node: TestNode;
let other: TestNode;
let issuer: IssuerKey;
let stamps: BlankStamp[];

const stampedAt = (stamp: BlankStamp, topic: string, ts: number, message: string) =>
  stamped(network.rules, node, stamp, envelope(topic, ts, message));
const publish = (envelopes: readonly Offered[], at = node, headers: Record<string, string> = {}) =>
  publishAt(at, envelopes, headers);

const take = (): BlankStamp => {
  const stamp = stamps.pop();
  if (!stamp) throw new Error("no stamp is left");
  return stamp;
};

beforeAll(async () => {
  network = await startNetwork(2, { admission: "wallet,stamp" });
  [node, other] = [network.node(0), network.node(1)];
  issuer = await readIssuer(node);
  stamps = await new Buyer("alice").stamps(node);
});
afterAll(() => network.stop());

describe("a stamp", () => {
  test("admits its envelope, and that again, as one event", async () => {
    const topic = "/xmtp/0/m-stamped/proto";
    const sent = stampedAt(take(), topic, 1, "hello");
    for (let i = 0; i < 3; i++) expect(await publish([sent])).toEqual([200, null]);
    expect(await node.queryAll(topic)).toEqual([envelope(topic, 1, "hello")]);
  });

  test("is a token of Privacy Pass, as its library sees it", async () => {
    const token = Token.deserialize(publicVerif.BLIND_RSA, encodeToken(take().token));
    const origin = new publicVerif.Origin(publicVerif.BlindRSAMode.PSS);
    const n = Buffer.from(issuer.publicKey.slice(81, 337)).toString("base64url");
    const key = await crypto.subtle.importKey(
      "jwk",
      { kty: "RSA", alg: "PS384", n, e: "AQAB" },
      { name: "RSA-PSS", hash: "SHA-384" },
      true,
      ["verify"],
    );
    expect(await origin.verify(token, key)).toBe(true);
  });

  test("stands in the header of a publish of one envelope, too", async () => {
    const topic = "/xmtp/0/m-header/proto";
    const sent = envelope(topic, 1, "hello");
    const stamp = stampEnvelope(take(), boundTo(network.rules, node, sent));
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url");
    const Authorization = `PrivateToken token="${text(encodeToken(stamp.token))}", key="${text(stamp.publicKey)}", signature="${text(stamp.signature)}"`;
    expect(await publish([envelope(topic, 1, "hello")], node, { Authorization })).toEqual([200, null]);
    expect(
      await publish([envelope(topic, 1, "hello"), envelope(topic, 2, "two")], node, { Authorization }),
    ).toEqual([400, "stamp_malformed"]);
    expect(await node.queryAll(topic)).toHaveLength(1);
  });

  test("is good for nothing else", async () => {
    const topic = "/xmtp/0/m-else/proto";
    const stamp = take();
    const { stamp: text } = stampedAt(stamp, topic, 1, "hello");
    for (const changed of [
      envelope(topic, 2, "hello"),
      envelope(topic, 1, "hallo"),
      envelope("another", 1, "hello"),
    ])
      expect(await publish([{ ...changed, stamp: text }])).toEqual([403, "stamp_invalid"]);
    expect(await publish([{ ...envelope(topic, 1, "hello"), stamp: text }], other)).toEqual([
      403,
      "stamp_key_unknown",
    ]);
    const bytes = Buffer.from(text, "base64");
    const longer = Buffer.concat([bytes, Buffer.from([0])]).toString("base64");
    expect(await publish([{ ...envelope(topic, 1, "hello"), stamp: longer }])).toEqual([
      400,
      "stamp_malformed",
    ]);
    for (const at of [10, 40, 70, 100, 353, 360, 400]) {
      const changed = Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte))).toString("base64");
      const [status] = await publish([{ ...envelope(topic, 1, "hello"), stamp: changed }]);
      expect([at, status]).toEqual([at, 403]);
    }
    expect(await node.queryAll(topic)).toEqual([]);
    expect(await publish([{ ...envelope(topic, 1, "hello"), stamp: text }])).toEqual([200, null]);
  });

  test("is spent once: of fifty different envelopes at once, over all shards, one is stored", async () => {
    const stamp = take();
    const topics = Array.from({ length: 50 }, (_, i) => `/xmtp/0/m-double-${i}/proto`);
    const answers = await Promise.all(topics.map((topic) => publish([stampedAt(stamp, topic, 1, "double")])));
    const good = answers.filter(([status]) => status === 200);
    expect(good).toHaveLength(1);
    for (const answer of answers) if (answer[0] !== 200) expect(answer).toEqual([403, "stamp_spent"]);
    const stored = await Promise.all(topics.map((topic) => node.queryAll(topic)));
    expect(stored.flat()).toHaveLength(1);
  });

  test("on one envelope sent fifty times at once is one event", async () => {
    const topic = "/xmtp/0/m-fifty/proto";
    const sent = stampedAt(take(), topic, 1, "fifty");
    const answers = await Promise.all(Array.from({ length: 50 }, () => publish([sent])));
    for (const answer of answers) expect(answer).toEqual([200, null]);
    expect(await node.queryAll(topic)).toHaveLength(1);
  });

  test("on one ephemeral envelope sent fifty times at once is relayed once", async () => {
    const topic = "/xmtp/0/mE-fifty/proto";
    const subscription = await Subscription.open(node, [topic]);
    const sent = stampedAt(take(), topic, 1, "fifty");
    const answers = await Promise.all(Array.from({ length: 50 }, () => publish([sent])));
    for (const answer of answers) expect(answer).toEqual([200, null]);
    const last = envelope(topic, 2, "the last");
    expect(await publish([stampedAt(take(), topic, 2, "the last")])).toEqual([200, null]);
    await until("the last envelope", () =>
      subscription.envelopes.some(({ timestampNs }) => timestampNs === "2"),
    );
    await subscription.close();
    expect(subscription.envelopes).toEqual([envelope(topic, 1, "fifty"), last]);
  });

  test("stays spent when the node has restarted", async () => {
    const topic = "/xmtp/0/m-restarted/proto";
    const stamp = take();
    const sent = stampedAt(stamp, topic, 1, "first");
    expect(await publish([sent])).toEqual([200, null]);
    await node.stop();
    await node.start();
    expect(await publish([stampedAt(stamp, topic, 2, "second")])).toEqual([403, "stamp_spent"]);
    expect(await publish([sent])).toEqual([200, null]);
    expect(await node.queryAll(topic)).toHaveLength(1);
  });

  test("does not open a wallet's own topics", async () => {
    const topic = `/xmtp/0/contact-${new TestKey("alice").address}/proto`;
    expect(await publish([stampedAt(take(), topic, 1, "x")])).toEqual([403, "topic_restricted"]);
  });

  test("is needed for each envelope", async () => {
    const topic = "/xmtp/0/m-each/proto";
    const first = stampedAt(take(), topic, 1, "one");
    expect(await publish([first, envelope(topic, 2, "two")])).toEqual([400, "stamp_malformed"]);
    expect(await publish([first, stampedAt(take(), topic, 2, "two")])).toEqual([200, null]);
    expect(await node.queryAll(topic)).toHaveLength(2);
  });
});

describe("buying stamps", () => {
  test("needs the token, and the identity key's word for this node, this body, once", async () => {
    const bob = new Buyer("bob");
    const { body } = await blindBatch(issuer, suite);
    const answer = async (headers: Record<string, string>, at = node) => {
      const response = await bob.buy(body, at, headers);
      await response.body?.cancel();
      return [response.status, response.headers.get("pennypost-error")];
    };
    // What a hostile node has of a client: its token.
    expect(await answer({ "Pennypost-Proof": "" })).toEqual([401, "proof_missing"]);
    expect(await answer({ Authorization: "" })).toEqual([401, "wallet_token_missing"]);
    expect(await answer({ "Pennypost-Proof": bob.proof(body, other) })).toEqual([401, "proof_invalid"]);
    expect(await answer({ "Pennypost-Proof": bob.proof(new Uint8Array(), node) })).toEqual([
      401,
      "proof_invalid",
    ]);
    expect(await answer({ "Pennypost-Proof": new Buyer("carol").proof(body, node) })).toEqual([
      401,
      "proof_invalid",
    ]);
    const proof = bob.proof(body, node);
    expect(await answer({ "Pennypost-Proof": proof })).toEqual([200, null]);
    expect(await answer({ "Pennypost-Proof": proof })).toEqual([401, "proof_replayed"]);
    await node.stop();
    await node.start();
    expect(await answer({ "Pennypost-Proof": proof })).toEqual([401, "proof_replayed"]);
  });

  test("takes whole batches of a key in force", async () => {
    const bob = new Buyer("bob");
    const { body } = await blindBatch(issuer, suite);
    // One message among a hundred that is the modulus itself: nothing is signed, not those before it either.
    const tooLarge = body.slice();
    tooLarge.set(modulusOf(issuer.publicKey), 50 * 259 + 3);
    for (const wrong of [body.slice(259), new Uint8Array(25_900), new Uint8Array(), tooLarge]) {
      const response = await bob.buy(wrong, node);
      expect([response.status, response.headers.get("pennypost-error")]).toEqual([
        400,
        "stamp_request_invalid",
      ]);
      expect((await response.arrayBuffer()).byteLength).toBeLessThan(256);
    }
  });

  test("leaves the same key after a restart, and its record at both nodes", async () => {
    await node.stop();
    await node.start();
    expect(toHex((await readIssuer(node)).publicKey)).toBe(toHex(issuer.publicKey));
    expect(toHex((await readIssuer(other)).publicKey)).not.toBe(toHex(issuer.publicKey));
  });

  test("is told to the operator: batches, about how many bought, and that they are few", async () => {
    const admin = new Admin(node);
    const before = (await admin.stampSales())[0]?.batches ?? 0;
    expect(before).toBeGreaterThanOrEqual(2);
    const { body } = await blindBatch(issuer, suite);
    const response = await new Buyer("dora").buy(body, node);
    await response.body?.cancel();
    expect(response.status).toBe(200);
    await until("the batch in the count", async () => (await admin.stampSales())[0]?.batches === before + 1);
    const [sales, ...others] = await admin.stampSales();
    expect(others).toEqual([]);
    expect(sales?.keyId).toBe(toHex(suite.sha256(issuer.publicKey)));
    expect(sales?.buyers.about).toBeLessThanOrEqual(before + 1);
    expect(sales?.warning).toContain("hides among so few");
  });
});
