import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { concatBytes, toHex } from "../protocol/bytes.ts";
import { encodeCbor } from "../protocol/cbor.ts";
import type { WireEvent } from "../protocol/event.ts";
import { encodePage, encodePull, encodePullAnswer, encodePush } from "../protocol/peer-messages.ts";
import { Admin } from "./support/admin.ts";
import { HostilePeer } from "./support/hostile-peer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./support/network.ts";
import { envelope } from "./support/node-client.ts";
import { TestPeer } from "./support/peer.ts";
import { expectHealthy, expectRefusal, REFUSALS } from "./support/refusals.ts";
import { untilEventsAre } from "./support/replicas.ts";
import { until } from "./support/until.ts";

/** What a real node does with a peer that breaks rules, and with those that do not. */

const TOPIC = "/xmtp/0/m-misbehaviour/proto";
const EMPTY = encodePull({ cursors: [] });

let network: TestNetwork;
let node: TestNode;
let admin: Admin;

async function start(count: number, strangers: readonly HostilePeer[] = []): Promise<void> {
  network = await startNetwork(count, { shards: 4, strangers: strangers.map(({ address }) => address) });
  node = network.node(0);
  admin = new Admin(node);
}
afterEach(() => network.stop());

const unsigned = (event: WireEvent): WireEvent => ({ ...event, signature: new Uint8Array(64) });
const keyOf = ({ signer }: { readonly signer: TestPeer["signer"] }) => toHex(signer.publicKey);
const codeOf = async (response: Promise<Response>) => {
  const answer = await response;
  await answer.arrayBuffer();
  return answer.headers.get("pennypost-error");
};

describe("a peer that pushes what breaks a rule", () => {
  beforeEach(() => start(2));

  test("is suspended after the fourth time, its honest events too, until the operator resumes it; an honest peer is not", async () => {
    const peer = new TestPeer(node);
    for (let i = 0; i < 4; i++) {
      const answer = await peer.pushEvents(unsigned(peer.event(TOPIC)), peer.event(TOPIC));
      expect(answer).toEqual({ lacking: false, refused: 1 });
    }
    const refused = await peer.send("/peer/v1/push", encodePush({ runs: [], ephemeral: [] }));
    expect(refused.headers.get("pennypost-error")).toBe("peer_suspended");
    expect(await expectRefusal(refused, REFUSALS.denied)).toMatch(/suspended until 2\d{3}-/);
    const late = peer.event(TOPIC);
    await expect(peer.pushEvents(late)).rejects.toThrow("403");
    expect((await node.events(TOPIC)).map(({ id }) => id)).not.toContain(toHex(late.id));

    const conduct = await admin.conductOf(keyOf(peer));
    expect(conduct).toMatchObject({ strikes: 4, suspended: true, breaches: { signature: 4 } });
    expect((conduct?.suspendedUntilMs ?? 0) - (conduct?.lastBreachMs ?? 0)).toBe(60_000);
    // What it sent right is here, and goes on between honest nodes.
    await network.node(1).publish(envelope(TOPIC, 1, "from an honest peer"));
    await untilEventsAre([node], [TOPIC], 5);
    await new TestPeer(node).pushEvents(peer.event(TOPIC));

    expect(await admin.resume(keyOf(peer))).toMatchObject({ wasSuspended: true });
    expect(await peer.pushEvents(late)).toEqual({ lacking: false, refused: 0 });
    expect(await admin.conductOf(keyOf(peer))).toMatchObject({ strikes: 0, suspended: false });
    await expectHealthy(node);
  });

  test("is still suspended when the node has been started again", async () => {
    const peer = new TestPeer(node);
    for (let i = 0; i < 4; i++) await peer.pushEvents(unsigned(peer.event(TOPIC)));
    await node.stop();
    await node.start();
    expect(await codeOf(peer.send("/peer/v1/pull", EMPTY))).toBe("peer_suspended");
    expect(await admin.conductOf(keyOf(peer))).toMatchObject({ suspended: true, breaches: { signature: 4 } });
    await expectHealthy(node);
  });

  test.each<[string, Uint8Array<ArrayBuffer>, string]>([
    ["no CBOR", Uint8Array.of(0xff, 0xff), "cbor_malformed"],
    [
      "a list of 2^64-1 items, by its own word",
      Uint8Array.of(0x9b, ...Array(8).fill(0xff)),
      "cbor_malformed",
    ],
    ["bytes after the end", concatBytes(EMPTY, Uint8Array.of(0)), "cbor_malformed"],
    ["another form", encodeCbor({ cursors: 1 }), "peer_body_invalid"],
  ])("as a body of %s, signed, leaves the node healthy, and is counted", async (_, body, rule) => {
    const peer = new TestPeer(node);
    expect(await codeOf(peer.send("/peer/v1/pull", body))).toBe(rule);
    expect(await admin.conductOf(keyOf(peer))).toMatchObject({ strikes: 1, breaches: { [rule]: 1 } });
    await expectHealthy(node);
  });

  test("in another's name is nobody's breach", async () => {
    const peer = new TestPeer(node);
    for (let i = 0; i < 9; i++) {
      const tampering = { signedBody: EMPTY };
      expect(await codeOf(peer.send("/peer/v1/pull", Uint8Array.of(0xff), tampering))).toBe("request_digest");
    }
    expect(await admin.conductOf(keyOf(peer))).toBeUndefined();
    expect(await codeOf(peer.send("/peer/v1/pull", EMPTY))).toBeNull();
  });
});

describe("a peer that answers what breaks a rule", () => {
  test("is asked and told nothing more, until the operator resumes it; and no run with it can be made", async () => {
    const [hostile] = (await HostilePeer.reserve(1)) as [HostilePeer];
    await start(2, [hostile]);
    const forger = hostile.sender(node);
    const forged = () => unsigned(forger.event(TOPIC));
    const name = { topicKey: new Uint8Array(32), id: new Uint8Array(40) };
    const cursor = { shard: 0, generation: new Uint8Array(8), position: 0 };
    await hostile.open({
      "/peer/v1/pull": () => encodePullAnswer([{ cursor, names: [name], more: false, restart: false }]),
      "/peer/v1/want": () => encodePage({ events: [forged(), forged()], more: false }),
    });
    try {
      for (let i = 0; i < 6; i++) await node.runScheduled();
      const conduct = await admin.conductOf(hostile.key);
      expect(conduct).toMatchObject({ strikes: 4, suspended: true, breaches: { signature: 8 } });
      const before = hostile.questions.length;
      await node.publish(envelope(TOPIC, 1, "for honest peers"));
      await untilEventsAre([network.node(1)], [TOPIC], 1);
      await node.runScheduled();
      const run = await admin.request("POST", `/admin/sync?peer=${hostile.key}`);
      expect(run.headers.get("pennypost-error")).toBe("peer_suspended");
      await expectRefusal(run, REFUSALS.denied);
      expect(hostile.questions).toHaveLength(before);

      hostile.script = {};
      await admin.resume(hostile.key);
      const sync = () => admin.sync(hostile.key);
      expect((await until("a run after the suspension", sync)).report.outcome).toBe("same");
      expect(hostile.questions.length).toBeGreaterThan(before);
    } finally {
      await hostile.close();
    }
    await expectHealthy(node);
  });
});
