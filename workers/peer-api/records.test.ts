import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { platformSigner, suite } from "../../durable-objects/platform-suite.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  memberRecord,
  RECORD_SIGNER,
  START_MS,
  network as shardNetwork,
  signers,
  TOPICS,
} from "../../durable-objects/testing/shard-world.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { toWire } from "../../protocol/event.ts";
import { Network } from "../../protocol/genesis.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { encodePull } from "../../protocol/peer-messages.ts";
import { createRecord, type VerifiedRecord } from "../../protocol/record.ts";
import { encodeRecordsOffer, encodeRecordsQuestion } from "../../protocol/record-messages.ts";
import { MemoryNode, urlOf, World } from "../testing/memory-network.ts";

const [A, B, C, D] = signers as readonly [Signer, Signer, Signer, Signer];
const [TOPIC] = TOPICS;
const MINUTE_MS = 60_000;

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

/** Nodes in a chain, whose genesis names the first of them as members. */
function chain(count: number, members: readonly Signer[] = signers) {
  const network = new Network(
    { ...shardNetwork.genesis, name: "a chain", members: members.map(({ publicKey }) => toHex(publicKey)) },
    suite,
  );
  const world = new World();
  const nodes = Array.from({ length: count }, (_, i) => {
    const peers = [i - 1, i + 1].filter((peer) => peer >= 0 && peer < count);
    return new MemoryNode(world, i, peers, { shardCount: 1 + (i % 2), network });
  });
  const record = (member: Signer, admitted: boolean, from: bigint): VerifiedRecord =>
    createRecord(
      { kind: "member", member: member.publicKey, admitted, from },
      START_MS,
      network,
      RECORD_SIGNER,
      suite,
    );
  return { world, nodes: nodes as [MemoryNode, MemoryNode, ...MemoryNode[]], network, record };
}

const add = (node: MemoryNode, ...records: readonly VerifiedRecord[]) => node.records.takeRecords(records);
const digestOf = (node: MemoryNode) => toHex(node.records.set.digest);
async function give(
  node: MemoryNode,
  event: Parameters<typeof toWire>[0] & { readonly fields: { readonly topic: Bytes } },
) {
  const topicKey = suite.sha256(event.fields.topic);
  for (const [shard] of groupByShard([{ topicKey }], node.shards.length))
    return node.shards[shard]?.ingest([toWire(event)], "test", []);
  return undefined;
}

/** A round with each peer, as each minute. */
async function rounds(world: World, nodes: readonly MemoryNode[], count = 1): Promise<void> {
  for (let i = 0; i < count; i++) {
    for (const node of nodes) for (const link of node.links.values()) await link.sync().catch(() => {});
    await world.pass(MINUTE_MS);
  }
}

describe("records", () => {
  test("go from node to node by anti-entropy, both ways, and then the check is one request again", async () => {
    const { world, nodes, record } = chain(3);
    const [first, , last] = nodes as unknown as [MemoryNode, MemoryNode, MemoryNode];
    await add(first, record(D, false, 5n));
    await add(last, record(D, true, 9n), record(C, false, firstSeqOf(START_MS + 1_000 * MINUTE_MS)));
    await rounds(world, nodes, 2);
    expect(new Set(nodes.map(digestOf)).size).toBe(1);
    expect(first.records.set.size).toBe(3);
    for (const node of nodes)
      for (const shard of node.shards) expect(toHex(shard.recordsDigest)).toBe(digestOf(first));
    const before = world.log.length;
    for (const node of nodes)
      for (const link of node.links.values()) expect((await link.sync()).outcome).toBe("same");
    expect(world.log.length - before).toBe(4);
  });

  test("more than one page go over, both ways", async () => {
    const { world, nodes, record } = chain(2);
    const [a, b] = nodes;
    const many = Array.from({ length: 1_400 }, (_, i) => record(D, i % 2 === 0, BigInt(i)));
    await add(a, ...many.slice(0, 700));
    await add(b, ...many.slice(650));
    await rounds(world, [a]);
    expect(a.records.set.size).toBe(1_400);
    expect(digestOf(b)).toBe(digestOf(a));
  });
});

describe("an origin that is not known", () => {
  test("has its events held, and they come in when its record does", async () => {
    const { world, nodes, network, record } = chain(2, [A, B]);
    const [a, b] = nodes;
    const event = forgeEvent({ topic: TOPIC, signer: C, network, timeMs: START_MS - 1 });
    expect(await give(a, event)).toMatchObject({ held: 1, stored: 0 });
    await add(a, record(C, true, 0n));
    await world.pass(100);
    expect(await a.ids()).toEqual([toHex(event.id)]);
    await rounds(world, nodes, 25);
    expect(await b.ids()).toEqual(await a.ids());
  });

  test("is no peer before its record, and is one after", async () => {
    const { world, nodes, record } = chain(2, [A, B]);
    const [a] = nodes;
    const ask = () => a.service.handle("/peer/v1/pull", encodePull({ cursors: [] }), C.publicKey);
    await expect(ask()).rejects.toMatchObject({ code: "not_a_member", httpStatus: 403 });
    await add(a, record(C, true, firstSeqOf(START_MS)));
    await world.pass(10_000);
    expect((await ask()).length).toBeGreaterThan(0);
    await add(a, record(C, false, firstSeqOf(START_MS + 1)));
    await world.pass(10_000);
    await expect(ask()).rejects.toMatchObject({ code: "not_a_member" });
  });
});

describe("a member that was removed", () => {
  test("has its later events on no node, whatever came first", async () => {
    const { world, nodes, network, record } = chain(3);
    const early = forgeEvent({ topic: TOPIC, ts: 1, signer: D, network, timeMs: START_MS - 2_000 });
    const late = forgeEvent({
      topic: TOPIC,
      ts: 2,
      signer: D,
      network,
      timeMs: START_MS - 1_000,
      links: [early.id],
    });
    const child = forgeEvent({
      topic: TOPIC,
      ts: 3,
      signer: B,
      network,
      timeMs: START_MS - 500,
      links: [late.id],
    });
    const [first, middle, last] = nodes as unknown as [MemoryNode, MemoryNode, MemoryNode];
    const removal = record(D, false, firstSeqOf(START_MS - 1_500));
    // One has the record first, one the events, and one nothing of either.
    await add(first, removal);
    for (const event of [early, late, child]) {
      await give(first, event);
      await give(last, event);
    }
    await rounds(world, nodes, 25);
    const left = [early, child].map(({ id }) => toHex(id)).sort();
    for (const node of [first, middle, last]) {
      expect(await node.ids()).toEqual(left);
      for (const shard of node.shards) {
        const heads = await shard.heads(envelopeOf(TOPIC, 1).topic, keyOf(TOPIC));
        // The first lost the only event that linked to it.
        if (heads.length > 0) expect(heads.map(toHex)).toEqual(left);
      }
      expect(await node.conduct.conductRecords()).toEqual([]);
    }
    const before = world.log.length;
    for (const node of nodes)
      for (const link of node.links.values()) expect((await link.sync()).outcome).toBe("same");
    expect(world.log.length - before).toBe(4);
  });

  test("publishes no more at its own node", async () => {
    const { world, nodes, record } = chain(2);
    const [a, b] = nodes;
    await b.publish("before");
    await world.pass(100);
    await add(a, record(B, false, firstSeqOf(START_MS + MINUTE_MS)));
    await world.pass(2 * MINUTE_MS);
    await rounds(world, [a]);
    await expect(b.publish("after")).rejects.toMatchObject({ code: "not_a_member", httpStatus: 503 });
    expect(await b.ids()).toEqual(await a.ids());
  });
});

describe("records that break a rule", () => {
  const offer = (node: MemoryNode, records: readonly { block: Bytes; signature: Bytes }[]) =>
    node.service.handle("/peer/v1/records/offer", encodeRecordsOffer(records), B.publicKey);

  test("change nothing, and are a breach by who offers them", async () => {
    const { nodes } = chain(2);
    const [a] = nodes;
    const forged = createRecord(
      { kind: "member", member: C.publicKey, admitted: false, from: 0n },
      START_MS,
      shardNetwork,
      platformSigner(new Uint8Array(32).fill(1)),
      suite,
    );
    await offer(a, [forged]);
    expect(a.records.set.size).toBe(0);
    const [conduct] = await a.conduct.conductRecords();
    expect(conduct?.breaches).toEqual(new Map([["record_network", 1]]));
  });

  test("of the right network and another signer: the good ones beside them are taken", async () => {
    const { nodes, network, record } = chain(2);
    const [a] = nodes;
    const bad = createRecord(
      { kind: "member", member: C.publicKey, admitted: false, from: 0n },
      START_MS,
      network,
      B,
      suite,
    );
    await offer(a, [bad, record(D, false, 3n)]);
    expect(a.records.set.size).toBe(1);
    expect((await a.conduct.conductRecords())[0]?.breaches).toEqual(new Map([["record_signer", 1]]));
  });

  test("come as an answer: a breach by who answers", async () => {
    const { world, nodes, record } = chain(2);
    const [a, b] = nodes;
    await add(b, record(D, false, 3n));
    const forged = memberRecord(C, false, 0n);
    const honest = b.records.compareRecords.bind(b.records);
    b.records.compareRecords = async (question) => ({
      ...(await honest(question)),
      records: [forged],
      next: null,
    });
    await a.links
      .get(urlOf(1))
      ?.sync()
      .catch(() => {});
    await world.pass(100);
    expect(a.records.set.size).toBe(0);
    expect((await a.conduct.conductRecords())[0]?.breaches).toEqual(new Map([["record_network", 1]]));
  });
});

describe("a question about records", () => {
  test("is answered within what was asked", async () => {
    const { nodes, record } = chain(2);
    const [a] = nodes;
    const records = Array.from({ length: 9 }, (_, i) => record(D, true, BigInt(i)));
    const ids = records.map(({ id }) => id).sort((x, y) => (toHex(x) < toHex(y) ? -1 : 1));
    await add(a, ...records);
    const answer = await a.records.compareRecords({
      after: ids[1] as Bytes,
      upTo: ids[6] as Bytes,
      ids: [ids[3] as Bytes],
    });
    expect(answer.records.map(({ block }) => toHex(suite.sha256(block))).sort()).toEqual(
      [2, 4, 5, 6].map((i) => toHex(ids[i] as Bytes)),
    );
    expect(answer).toMatchObject({ lacking: [], next: null });
    const body = encodeRecordsQuestion({ after: null, upTo: null, ids: [new Uint8Array(32)] });
    expect((await a.service.handle("/peer/v1/records", body, B.publicKey)).length).toBeGreaterThan(9 * 100);
  });
});
