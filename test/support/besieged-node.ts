import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, expect } from "vitest";
import { HostilePeer, type Script } from "./hostile-peer.ts";
import { startNetwork, type TestNetwork, type TestNode } from "./network.ts";
import { type Envelope, lineOf } from "./node-client.ts";
import { Publisher } from "./publisher.ts";
import { expectHealthy } from "./refusals.ts";
import { expectSameReplicas, untilEventsAre } from "./replicas.ts";
import { topicNames } from "./spray.ts";
import { StoredEvents } from "./stored-events.ts";
import { Subscription } from "./subscription.ts";
import { until, within } from "./until.ts";

export const SHARDS = 4;
/** What a node may need at a time beside what it always has; of one Durable Object, the platform allows 128 MB. */
const MAX_GROWTH_BYTES = 200 * 1_024 * 1_024;
/** Of each publisher, so that the honest events are few enough to be judged one by one. */
const PUBLISH_PAUSE_MS = 100;

/** A node with one honest peer and many hostile ones, and what goes on between the honest two all the while. */
export class BesiegedNode {
  readonly node: TestNode;
  readonly honest: TestNode;
  readonly stored: StoredEvents;
  readonly #network: TestNetwork;
  readonly #strangers: HostilePeer[];
  readonly #topics = topicNames("honest", 6);
  readonly #publishers: readonly Publisher[];
  readonly #subscription: Subscription;

  private constructor(network: TestNetwork, strangers: HostilePeer[], subscription: Subscription) {
    this.#network = network;
    this.#strangers = strangers;
    this.#subscription = subscription;
    this.node = network.node(0);
    this.honest = network.node(1);
    this.stored = new StoredEvents(
      this.node,
      network.nodes.map(({ key }) => key),
    );
    this.#publishers = network.nodes.map(
      (node, i) =>
        new Publisher(node, {
          name: `honest ${i}`,
          topics: this.#topics,
          lanes: 1,
          pauseMs: PUBLISH_PAUSE_MS,
        }),
    );
  }

  static async start(strangers: number): Promise<BesiegedNode> {
    const peers = await HostilePeer.reserve(strangers);
    const addresses = peers.map(({ address }) => address);
    const network = await startNetwork(2, { shards: SHARDS, strangers: addresses });
    const subscription = await Subscription.open(network.node(0), topicNames("honest", 6));
    return new BesiegedNode(network, peers, subscription);
  }

  /** One of the node's hostile peers that was not there before. */
  stranger(): HostilePeer {
    const next = this.#strangers.shift();
    if (!next) throw new RangeError("the node was started with too few hostile peers");
    return next;
  }

  /** A hostile peer that answers so, after the node has done all with it that it does each minute. */
  async visit(script: Script, peer = this.stranger()): Promise<HostilePeer> {
    await this.visitAll([[peer, script]]);
    return peer;
  }

  /** The same with several peers at the same time. */
  async visitAll(visits: readonly (readonly [HostilePeer, Script])[]): Promise<void> {
    try {
      await Promise.all(visits.map(([peer, script]) => peer.open(script)));
      await Promise.all(visits.map(([peer]) => peer.lure(this.node)));
      await within("the end of the node's rounds", this.node.runScheduled());
    } finally {
      await Promise.all(visits.map(([peer]) => peer.close()));
    }
  }

  /** What the honest peer's clients were acknowledged so far is here, too. */
  async expectHonestServed(): Promise<void> {
    const acknowledged = this.#publishers.flatMap(({ acknowledged: list }) => list.map(lineOf));
    await until("what the honest peer acknowledged", () => {
      const here = new Set(this.#subscription.envelopes.map(lineOf));
      return acknowledged.every((line) => here.has(line));
    });
  }

  /** All that has to hold after whatever a hostile peer did. */
  async expectWell(): Promise<void> {
    await this.stored.check();
    await expectHealthy(this.node);
    await this.expectHonestServed();
  }

  /**
   * Ends the honest traffic. The two nodes hold the same, and all that was acknowledged; and in the node's files is nothing that
   * must not be there.
   */
  async expectConverged(): Promise<void> {
    await Promise.all(this.#publishers.map((publisher) => publisher.stop()));
    const acknowledged: Envelope[] = this.#publishers.flatMap((publisher) => publisher.acknowledged);
    expect(this.#publishers.map(({ failures }) => failures)).toEqual([0, 0]);
    const { nodes } = this.#network;
    await untilEventsAre(nodes, this.#topics, acknowledged.length);
    const lines = await expectSameReplicas(nodes, this.#topics);
    expect(lines.sort()).toEqual(acknowledged.map(lineOf).sort());
    await this.stored.check();
    await until("all events at the honest peer", async () => {
      await this.honest.runScheduled();
      return this.stored.areAllAt(this.honest);
    });
    await this.node.stop();
    expect(this.stored.checkFiles()).toBeGreaterThan(acknowledged.length);
    await this.node.start();
  }

  /** Does some work, in which the node's workerd must not grow by more than `MAX_GROWTH_BYTES`. */
  async expectBounded<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#memory();
    const result = await work();
    expect(this.#memory().most - before.now).toBeLessThan(MAX_GROWTH_BYTES);
    return result;
  }

  /** Bytes that the node's workerd holds now, and the most since the last call. */
  #memory(): { readonly now: number; readonly most: number } {
    const pid = readFileSync(join(this.node.folder, "workerd.pid"), "utf8").trim();
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const bytesOf = (name: string) =>
      1_024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
    // Begins the count of the most anew (proc_pid_clear_refs(5)).
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
    return { now: bytesOf("VmRSS"), most: bytesOf("VmHWM") };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#publishers.map((publisher) => publisher.stop()));
    await this.#subscription.close();
    await this.#network.stop();
  }
}

/** Starts one before a file's tests; after each of them all is well. */
export function besiegedNode(strangers: number): { readonly now: BesiegedNode } {
  let started: BesiegedNode | undefined;
  const now = () => {
    if (!started) throw new Error("the node is there once the tests run");
    return started;
  };
  beforeAll(async () => {
    const besieged = await BesiegedNode.start(strangers);
    started = besieged;
    return () => besieged.stop();
  });
  afterEach(() => now().expectWell());
  return {
    get now() {
      return now();
    },
  };
}
