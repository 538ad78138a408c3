import { expect } from "vitest";
import { Reconciliation, type SyncReport } from "../../durable-objects/peer-link/reconciliation.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { forgeEvent, signers } from "../../durable-objects/testing/shard-world.ts";
import type { Shard } from "../../durable-objects/topic-shard/shard.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { toWire } from "../../protocol/event.ts";
import { DEVELOPMENT_GENESIS, Network } from "../../protocol/genesis.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { topicKey } from "../../protocol/topic.ts";
import { MemoryNode, type NodeOptions, settle, World } from "./memory-network.ts";

/** Slots leave the range of one class after a while, and that of the other never. */
const network = new Network(
  {
    ...DEVELOPMENT_GENESIS,
    classes: [
      { id: 1, name: "month", durationMs: 100 * SLOT_MS, priority: 1 },
      { id: 3, name: "permanent", durationMs: null, priority: 3 },
    ],
    prefixes: [
      ["", 1],
      ["kept", 3],
    ],
    members: signers.map(({ publicKey }) => toHex(publicKey)),
  },
  suite,
);

/** Two whole nodes that know of each other, and hold what they are given: nothing is pushed or pulled by itself. */
export class Pair {
  readonly world = new World();
  readonly a: MemoryNode;
  readonly b: MemoryNode;

  constructor(a: Omit<NodeOptions, "network">, b: Omit<NodeOptions, "network">) {
    this.a = new MemoryNode(this.world, 0, [1], { ...a, network });
    this.b = new MemoryNode(this.world, 1, [0], { ...b, network });
  }

  /** An event of a third member, some slots ago. */
  event(n: number, topic: string, agoSlots: number, message = `m${n}`): EncodedEvent {
    const timeMs = this.world.clock.nowMs() - agoSlots * SLOT_MS + n;
    const classId = network.classOf(utf8(topic)).id;
    return forgeEvent({ topic, ts: n, message, network, classId, timeMs, signer: signers[3] as never });
  }

  async give(node: MemoryNode, events: readonly EncodedEvent[]): Promise<void> {
    const named = events.map((event) => ({ ...event, topicKey: topicKey(event.fields.topic, suite) }));
    for (const [shard, group] of groupByShard(named, node.shards.length)) {
      for (let i = 0; i < group.length; i += 1_000) {
        const summary = await node.shards[shard]?.ingest(group.slice(i, i + 1_000).map(toWire), "test", []);
        expect(summary?.refused).toEqual([]);
      }
    }
  }

  async sync(from: MemoryNode, to: MemoryNode): Promise<SyncReport> {
    const link = from.links.get(to.url);
    if (!link) throw new Error("no link");
    const report = await link.sync();
    await settle();
    return report;
  }

  /** A run in which the sketches are not used. */
  async compareLists(from: MemoryNode, to: MemoryNode): Promise<SyncReport> {
    const run = new Reconciliation({
      url: to.url,
      shards: { count: from.shards.length, at: (shard) => from.shards[shard] as Shard },
      suite,
      clock: this.world.clock,
      sync: from.sync,
      records: from.records,
      ask: async (path, body, decode) => decode(await this.world.send(from, to.url, path, body)),
      copySegments: async () => 0,
      refused: (rules) => expect.fail(rules.join()),
    });
    return run.run(false);
  }

  async expectSame(): Promise<void> {
    expect(await this.a.ids()).toEqual(await this.b.ids());
    for (const [from, to] of [
      [this.a, this.b],
      [this.b, this.a],
    ] as const) {
      const before = { ...{ a: this.a.handOvers, b: this.b.handOvers } };
      const report = await this.sync(from, to);
      expect(report).toMatchObject({ outcome: "same", roundTrips: 1, requests: 1, received: 0, sent: 0 });
      expect(report.bytesSent + report.bytesReceived).toBeLessThanOrEqual(100);
      // Neither did a shard have to be asked.
      if (from === this.b) expect({ a: this.a.handOvers, b: this.b.handOvers }).toEqual(before);
    }
  }
}
