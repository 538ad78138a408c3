import { abortAllDurableObjects, reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { nodeConfig } from "../../durable-objects/node-config.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { shardsOf, spentOf } from "../../durable-objects/stubs.ts";
import { envelopeOf } from "../../durable-objects/testing/shard-world.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, fromHex, toHex } from "../../protocol/bytes.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { authenticatedPart, keyIdOf, modulusOf, type Token } from "../../protocol/privacy-pass.ts";
import {
  encodeStamp,
  type IssuerKey,
  stampChallenge,
  stampedBytes,
  tokenInputOf,
} from "../../protocol/stamp.ts";
import issuerKeys from "../../protocol/testing/issuer-keys.json" with { type: "json" };
import { freshSigner } from "../../protocol/testing/test-issuer.ts";
import type { StampKey } from "../stamps/stamp-keys.ts";
import type { Admission, OfferedEnvelope } from "./policy.ts";
import { StampPolicy } from "./stamp-policy.ts";

/** The objects of a node die in the midst of a stamped publish, with all that was in their memory. */

const TOPIC = "/xmtp/0/m-stamp-crash/proto";

afterEach(() => reset());

const [stored] = issuerKeys.keys as [{ readonly publicKey: string; readonly privateKey: string }];

/** The token of a fixed one-time key. Node's crypto, by which `TestIssuer` signs, does not know the padding in workerd. */
async function tokenOf(issuer: IssuerKey, oneTimeKey: Bytes): Promise<Token> {
  const input = tokenInputOf(issuer, oneTimeKey, suite);
  const pkcs8 = Buffer.from(stored.privateKey.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const algorithm = { name: "RSA-PSS", hash: "SHA-384" };
  const key = await crypto.subtle.importKey("pkcs8", pkcs8, algorithm, false, ["sign"]);
  const signature = await crypto.subtle.sign(
    { name: "RSA-PSS", saltLength: 48 },
    key,
    authenticatedPart(input),
  );
  return { ...input, authenticator: new Uint8Array(signature) };
}

/** A node's policy, and one stamp of a client. */
async function scene() {
  const { network, signer } = nodeConfig(env);
  const issuer: IssuerKey = {
    origin: signer.publicKey,
    publicKey: fromHex(stored.publicKey),
    challenge: stampChallenge("node.test", network.id, suite),
    from: firstSeqOf(Date.now() - 60_000),
    to: firstSeqOf(Date.now() + 86_400_000),
  };
  const { publicKey } = issuer;
  const keyId = keyIdOf(publicKey, suite);
  const record = { block: new Uint8Array(), signature: new Uint8Array() };
  const key: StampKey = { issuer, keyId, modulus: modulusOf(publicKey), record, sealed: new Uint8Array() };
  const policy = new StampPolicy({
    keys: { inForce: async () => [key], withId: async () => key },
    network,
    origin: signer.publicKey,
    suite,
    spentOf: (share) => spentOf(env, share),
  });
  const oneTime = freshSigner(1);
  const token = await tokenOf(issuer, oneTime.publicKey);
  /** An envelope with that stamp on it. */
  const offer = (text: string, ts = 1): OfferedEnvelope => {
    const envelope = envelopeOf(TOPIC, ts, text);
    const { topic, message } = envelope;
    const bound = {
      net: network.id,
      origin: signer.publicKey,
      topic,
      ts: envelope.ts,
      msg: suite.sha256(message),
    };
    const stamp = { token, publicKey: oneTime.publicKey, signature: oneTime.sign(stampedBytes(bound)) };
    return { ...envelope, stamp: encodeStamp(stamp) };
  };
  const decide = (envelope: OfferedEnvelope) =>
    policy.decide({
      envelopes: [envelope],
      host: "node.test",
      request: { method: "POST", path: "/message/v1/publish", body: new Uint8Array() },
      header: () => null,
      charge: async () => undefined,
    });
  return { offer, decide };
}

type Scene = Awaited<ReturnType<typeof scene>>;

async function admitted({ decide }: Scene, envelope: OfferedEnvelope): Promise<Admission> {
  const decision = await decide(envelope);
  if (decision.kind !== "granted") throw decision.error;
  return decision.admission;
}

/** What the publish does once it is admitted. */
async function store(
  envelope: OfferedEnvelope,
): Promise<{ readonly id: Bytes; readonly isDuplicate: boolean }> {
  const whole = envelopeOf(TOPIC, Number(envelope.ts), new TextDecoder().decode(envelope.message));
  const shards = shardsOf(env);
  for (const [shard, group] of groupByShard([whole], shards.count))
    for (const receipt of await shards.at(shard).publish(group)) return receipt;
  throw new Error("an envelope is of some shard");
}

async function storedIds(): Promise<string[]> {
  const shards = shardsOf(env);
  const pulled = await Promise.all(
    Array.from({ length: shards.count }, (_, shard) => shards.at(shard).pull(null, 100)),
  );
  return pulled.flatMap(({ names }) => names.map(({ id }) => toHex(id)));
}

const refusal = { kind: "refused", error: { code: "stamp_spent", httpStatus: 403 } };

describe("a node that dies", () => {
  test("between the row of a stamp and its event takes that envelope again, and no other", async () => {
    const each = await scene();
    const sent = each.offer("sent");
    expect([...((await admitted(each, sent)).stored ?? [])]).toEqual([]);
    await abortAllDurableObjects();
    expect(await storedIds()).toEqual([]);
    expect(await each.decide(each.offer("another"))).toMatchObject(refusal);
    expect(await each.decide(each.offer("sent", 2))).toMatchObject(refusal);
    expect([...((await admitted(each, sent)).stored ?? [])]).toEqual([]);
    const { id } = await store(sent);
    expect(await storedIds()).toEqual([toHex(id)]);
  });

  test("between the event and the word of it makes no second event of the envelope", async () => {
    const each = await scene();
    const sent = each.offer("sent");
    await admitted(each, sent);
    const { id } = await store(sent);
    await abortAllDurableObjects();
    const again = await admitted(each, sent);
    expect([...(again.stored ?? [])]).toEqual([]);
    expect(await store(sent)).toMatchObject({ id, isDuplicate: true });
    await again.settle?.(new Map([[0, id]]));
    await abortAllDurableObjects();
    // From now on no shard is asked.
    expect([...((await admitted(each, sent)).stored ?? [])]).toEqual([0]);
    expect(await each.decide(each.offer("another"))).toMatchObject(refusal);
    expect(await storedIds()).toEqual([toHex(id)]);
  });
});
