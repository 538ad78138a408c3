import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../protocol/bytes.ts";
import { decodeBlock, type EncodedEvent, toWire } from "../protocol/event.ts";
import { firstSeqOf } from "../protocol/hybrid-clock.ts";
import { encodeGrant } from "../protocol/stamp.ts";
import { TestIssuer } from "../protocol/testing/test-issuer.ts";
import { Admin } from "./support/admin.ts";
import type { TestNode } from "./support/network.ts";
import { type EventJson, envelope, lineOf } from "./support/node-client.ts";
import { suite } from "./support/peer.ts";
import { memberRecord, offerRecords, recordIds, signRecord } from "./support/records.ts";
import { expectSameReplicas, untilEventsAre } from "./support/replicas.ts";
import { DAY_MS, FREE, recorder, STAMPED, START_MS, StampScene, signers } from "./support/stamp-scene.ts";
import { boundTo, publishAt } from "./support/stamps.ts";
import { until } from "./support/until.ts";

/** A network that asks for stamps in some topics: how events with stamps come to all its nodes, early and late. */

const { gone, hostile } = signers;
let scene: StampScene;
let nodes: readonly TestNode[];
let node: TestNode;

beforeAll(async () => {
  scene = await StampScene.start(3);
  ({ nodes, node } = scene);
});
afterAll(() => scene.network.stop());

const grantOf = ({ block }: EventJson) => decodeBlock(Uint8Array.from(Buffer.from(block, "base64"))).grant;

describe("a client's publish", () => {
  test("with a stamp is on all nodes by push, with the stamp as its grant", async () => {
    const sent = await scene.publish(STAMPED, 1, "by push");
    await untilEventsAre(nodes, [STAMPED], 1);
    expect(await expectSameReplicas(nodes, [STAMPED])).toEqual([lineOf(sent)]);
    for (const each of nodes)
      expect((await each.events(STAMPED)).map((event) => grantOf(event)?.length)).toEqual([386]);
  });

  test("with a stamp is by pull at a node that was away", async () => {
    const away = scene.network.node(2);
    await away.stop();
    await scene.publish(STAMPED, 2, "by pull");
    await away.start();
    expect(await away.queryAll(STAMPED)).toHaveLength(1);
    await away.runScheduled();
    await untilEventsAre(nodes, [STAMPED], 2);
    await expectSameReplicas(nodes, [STAMPED]);
  });

  test("by a wallet alone is refused there, and elsewhere is an event without a grant", async () => {
    const byWallet = { Authorization: scene.buyer.token };
    const before = await scene.everything();
    const [asked, free] = [envelope(STAMPED, 3, "by wallet"), envelope(FREE, 3, "by wallet")];
    expect(await publishAt(node, [asked], byWallet)).toEqual([403, "stamp_required"]);
    expect(await publishAt(node, [free, asked], byWallet)).toEqual([403, "stamp_required"]);
    expect(await publishAt(node, [asked])).toEqual([401, "wallet_token_missing"]);
    expect(await scene.everything()).toEqual(before);
    expect(await publishAt(node, [free], byWallet)).toEqual([200, null]);
    // A stamp opens it as well, and nobody is told.
    await scene.publish(FREE, 4, "by stamp");
    await scene.untilEventsAre(FREE, 2);
    expect((await node.events(FREE)).map(grantOf)).toEqual([undefined, undefined]);
    await expectSameReplicas(nodes, [FREE]);
  });

  test("whose stamp somebody on the way copied is good at its own node still, and the copy for nothing", async () => {
    const other = scene.network.node(1);
    const onItsWay = scene.stamp(envelope(STAMPED, 5, "on its way"));
    const before = await scene.everything();
    expect(await publishAt(other, [onItsWay])).toEqual([403, "stamp_key_unknown"]);
    for (const changed of [
      envelope(STAMPED, 6, "on its way"),
      envelope(STAMPED, 5, "mine"),
      envelope(FREE, 5, "on its way"),
    ])
      expect(await publishAt(node, [{ ...changed, stamp: onItsWay.stamp }])).toEqual([403, "stamp_invalid"]);
    expect(await scene.everything()).toEqual(before);
    expect(await publishAt(node, [onItsWay])).toEqual([200, null]);
    await scene.untilEventsAre(STAMPED, 3);
  });
});

describe("events whose issuer's key has ended since", () => {
  const TOPIC = "/xmtp/0/m-ended/proto";
  const TOPICS = [TOPIC, STAMPED, FREE];
  const COUNT = 20;
  /** It was in force for 25 days, and has ended 20 days ago. */
  const span = { from: firstSeqOf(START_MS - 45 * DAY_MS), to: firstSeqOf(START_MS - 20 * DAY_MS) };
  const whileItWas = firstSeqOf(START_MS - 30 * DAY_MS);
  let past: EncodedEvent[];
  let issuer: TestIssuer;

  beforeAll(() => {
    const { rules } = scene.network;
    issuer = new TestIssuer(gone.publicKey, rules.id, suite, span);
    past = Array.from({ length: COUNT }, (_, i) => {
      const bound = boundTo(rules, { key: toHex(gone.publicKey) }, envelope(TOPIC, i, `past ${i}`));
      // The last two have one stamp: a double spend by their origin, which every node keeps alike.
      const grant = encodeGrant(issuer.stamp(bound, Math.min(i, COUNT - 2)));
      const seq = whileItWas + BigInt(i) * 1_024n;
      return scene.peerAt(node, gone).event(TOPIC, { ts: BigInt(i), message: utf8(`past ${i}`), grant, seq });
    });
  });

  test("are held until the key's record is there, and come in with it", async () => {
    const [first, second] = nodes as [TestNode, TestNode];
    const before = await scene.everything();
    const answer = await scene.peerAt(second).pushEvents(...past.map(toWire));
    expect(answer).toEqual({ lacking: false, refused: 0 });
    expect(await scene.everything()).toEqual(before);
    const { publicKey, challenge } = issuer.key;
    const fact = { kind: "issuer", publicKey, challenge, ...span } as const;
    // The record comes to another node than the events did.
    expect(await offerRecords(scene.peerAt(first), signRecord(fact, gone, scene.network.rules))).toBe(0);
    await scene.untilEventsAre(TOPIC, COUNT);
    await expectSameReplicas(nodes, [TOPIC]);
  });

  test("come to a node that begins now by anti-entropy alone, and what is fresh by its rounds", async () => {
    const late = scene.network.node(3);
    await late.start();
    // A run may fail after it brought some, while the node starts: the next goes on.
    await until("the events by runs with the first node", async () => {
      await new Admin(late).sync(node.key);
      return (await late.events(TOPIC)).length >= COUNT;
    });
    expect((await late.events(TOPIC)).map(({ id }) => id)).toEqual(past.map(({ id }) => toHex(id)));
    await until("all events at the late node", async () => {
      await late.runScheduled();
      await expectSameReplicas([...nodes, late], TOPICS);
      return true;
    });
    expect(await recordIds(scene.peerAt(late))).toEqual(await recordIds(scene.peerAt(node)));
    for (const { conduct } of (await new Admin(late).peers()).peers) expect(conduct).toBeNull();
  });

  test("stay when a member's removal has every event judged again, and after restarts", async () => {
    const before = await scene.everything();
    const records = await recordIds(scene.peerAt(node));
    const from = firstSeqOf(START_MS);
    const removal = memberRecord(hostile.publicKey, false, from, recorder, scene.network.rules);
    await offerRecords(scene.peerAt(node), removal);
    await scene.untilRecordsAre(records.length + 1);
    expect(await scene.everything()).toEqual(before);
    for (const each of nodes) {
      await each.stop();
      await each.start();
    }
    expect(await scene.everything()).toEqual(before);
    for (const each of nodes)
      expect(await recordIds(scene.peerAt(each))).toEqual([...records, toHex(removal.id)].sort());
    await expectSameReplicas(scene.network.nodes, TOPICS);
  });
});
