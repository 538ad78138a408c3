import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stampEnvelope } from "../client/blind-batch.ts";
import { type Bytes, fromHex, toHex, utf8 } from "../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import type { Signer } from "../protocol/crypto.ts";
import { decodeBlock, type EncodedEvent, type NewEvent, toWire } from "../protocol/event.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodeGrant, type StampedEnvelope, stampChallenge } from "../protocol/stamp.ts";
import { TestIssuer } from "../protocol/testing/test-issuer.ts";
import { Admin } from "./support/admin.ts";
import { readIssuer } from "./support/issuer.ts";
import type { TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { suite } from "./support/peer.ts";
import { offerRecords, recordIds, signRecord } from "./support/records.ts";
import { DAY_MS, FREE, STAMPED, START_MS, StampScene, signers } from "./support/stamp-scene.ts";
import { boundTo } from "./support/stamps.ts";

/** What a member of the network makes of stamps that it has seen, and of keys of its own: no node stores any of it. */

const { helper, hostile, thief } = signers;
const OTHER_NETWORK = suite.sha256(utf8("another network"));
const SENT = envelope(STAMPED, 100, "to be copied");

let scene: StampScene;
let nodes: readonly TestNode[];
let node: TestNode;
/** The stamp of an event of the first node. */
let grant: Bytes;

beforeAll(async () => {
  scene = await StampScene.start(3);
  ({ nodes, node } = scene);
  await scene.publish(STAMPED, 100, "to be copied");
  const [event] = await node.events(STAMPED);
  const copied = decodeBlock(Uint8Array.from(Buffer.from(event?.block ?? "", "base64"))).grant;
  if (!copied) throw new Error("the event has a stamp");
  grant = copied;
  await scene.rounds();
});
afterAll(() => scene.network.stop());

/** The envelope that was copied, as an event of the signer's own, but for the changes. */
const forge = (signer: Signer, changes: Partial<NewEvent> = {}, topic = STAMPED): EncodedEvent =>
  scene.peerAt(node, signer).event(topic, { ts: 100n, message: utf8("to be copied"), grant, ...changes });

const boundToOriginOf = (signer: Signer, changes: Partial<StampedEnvelope> = {}): StampedEnvelope => ({
  ...boundTo(scene.network.rules, { key: toHex(signer.publicKey) }, SENT),
  ...changes,
});

const withField = (name: string, value: unknown): Bytes =>
  encodeCbor({ ...(decodeCbor(grant, { bytes: 4_096 }) as object), [name]: value });

const push = (at: TestNode, signer: Signer, events: readonly EncodedEvent[]) =>
  scene.peerAt(at, signer).pushEvents(...events.map(toWire));

/** Every node refuses each of the events, holds it against who sent it by this rule, and stores nothing. */
async function expectRefused(signer: Signer, events: readonly EncodedEvent[], rule: string): Promise<void> {
  const before = await scene.everything();
  for (const each of nodes) {
    expect(await push(each, signer, events)).toEqual({ lacking: false, refused: events.length });
    const conduct = await new Admin(each).conductOf(toHex(signer.publicKey));
    expect(conduct).toMatchObject({ strikes: 1, suspended: false, breaches: { [rule]: events.length } });
  }
  await scene.rounds();
  expect(await scene.everything()).toEqual(before);
}

describe("a member", () => {
  test("that copies a stamp onto events of its own is refused by every node", async () => {
    const ofAnotherNetwork = stampEnvelope(
      scene.takeStamp(),
      boundToOriginOf(hostile, { net: OTHER_NETWORK }),
    );
    const none = scene.peerAt(node, hostile).event(STAMPED, { ts: 100n, message: utf8("to be copied") });
    const events = [
      forge(hostile),
      forge(hostile, { ts: 101n }),
      forge(hostile, { message: utf8("mine") }),
      forge(hostile, {}, `${STAMPED}/another`),
      forge(hostile, {}, FREE),
      forge(hostile, { grant: encodeGrant(ofAnotherNetwork) }),
      none,
      ...[
        withField("more", 1),
        withField("auth", new Uint8Array(257)),
        withField("auth", new Uint8Array(255)),
        withField("pub", "a".repeat(32)),
      ].map((changed) => forge(hostile, { grant: changed })),
    ];
    await expectRefused(hostile, events, "grant");
  });

  test("that says another node's key is its own has no use of stamps that were bound to that node", async () => {
    const { publicKey, challenge, from, to } = await readIssuer(node);
    const claim = signRecord({ kind: "issuer", publicKey, challenge, from, to }, thief, scene.network.rules);
    for (const each of nodes) expect(await offerRecords(scene.peerAt(each, thief), claim)).toBe(0);
    await expectRefused(thief, [forge(thief)], "grant");
  });

  test("whose key had not begun, had ended, or did not sign the token has its events on no node, without blame", async () => {
    const { rules } = scene.network;
    const span = { from: firstSeqOf(START_MS - DAY_MS), to: firstSeqOf(START_MS - DAY_MS / 2) };
    const issuer = new TestIssuer(helper.publicKey, rules.id, suite, span);
    // The same key in another network: its tokens from there answer another challenge.
    const there = new TestIssuer(helper.publicKey, OTHER_NETWORK, suite, span);
    const { publicKey, challenge } = issuer.key;
    const record = signRecord({ kind: "issuer", publicKey, challenge, ...span }, helper, rules);
    for (const each of nodes) expect(await offerRecords(scene.peerAt(each), record)).toBe(0);
    const bound = boundToOriginOf(helper);
    const good = encodeGrant(issuer.stamp(bound, 1));
    const stamp = issuer.stamp(bound, 2);
    const authenticator = stamp.token.authenticator.map((byte, i) => (i === 9 ? byte ^ 1 : byte));
    const unsigned = encodeGrant({ ...stamp, token: { ...stamp.token, authenticator } });
    const events = [
      forge(helper, { grant: good, seq: span.from - 1n }),
      forge(helper, { grant: good, seq: span.to }),
      forge(helper, { grant: good }),
      forge(helper, { grant: unsigned, seq: span.from }),
      forge(helper, { grant: encodeGrant(there.stamp(bound, 3)), seq: span.from }),
    ];
    const before = await scene.everything();
    for (const each of nodes) {
      expect(await push(each, helper, events)).toEqual({ lacking: false, refused: 0 });
      expect(await new Admin(each).conductOf(toHex(helper.publicKey))).toBeUndefined();
    }
    await scene.rounds();
    expect(await scene.everything()).toEqual(before);
    // It was the time alone: at the key's first and last seq the same stamp is good.
    const valid = [span.from, span.to - 1n].map((seq) => forge(helper, { grant: good, seq }));
    for (const each of nodes) await push(each, helper, valid);
    const ids = valid.map(({ id }) => toHex(id));
    for (const stored of await scene.everything()) expect(stored).toEqual(expect.arrayContaining(ids));
  });

  test("cannot say of a key that it is one of this network by another's challenge, nor for another member", async () => {
    const { rules } = scene.network;
    const { key } = new TestIssuer(thief.publicKey, rules.id, suite, { index: 1 });
    const span = { from: firstSeqOf(START_MS), to: firstSeqOf(START_MS + DAY_MS) };
    const { publicKey, challenge } = key;
    const elsewhere = stampChallenge("node.test", OTHER_NETWORK, suite);
    const wrong = signRecord({ kind: "issuer", publicKey, challenge: elsewhere, ...span }, thief, rules);
    const good = signRecord({ kind: "issuer", publicKey, challenge, ...span }, thief, rules);
    const other = decodeCbor(good.block, { bytes: 1_024 }) as object;
    const forOther = encodeCbor({ ...other, by: fromHex(node.key) });
    const before = await recordIds(scene.peerAt(node));
    for (const each of nodes) {
      const peer = scene.peerAt(each, thief);
      expect(await offerRecords(peer, wrong, { block: forOther, signature: good.signature })).toBe(2);
      const conduct = await new Admin(each).conductOf(toHex(thief.publicKey));
      expect(conduct?.breaches).toMatchObject({ record_challenge: 1, record_signature: 1 });
      expect(await recordIds(scene.peerAt(each))).toEqual(before);
    }
  });
});
