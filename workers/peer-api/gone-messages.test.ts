import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { forgeEvent, keyOf, signers, TOPICS } from "../../durable-objects/testing/shard-world.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { toHex } from "../../protocol/bytes.ts";
import { toWire, type WireEvent } from "../../protocol/event.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { MemoryNode, settle } from "../testing/memory-network.ts";
import { StrippingWorld } from "../testing/stripping-world.ts";

/** Events that some nodes send without their messages: who gets what, and what is compared. */

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

const [A, B, C] = [0, 1, 2] as const;
type Whole = ReturnType<typeof forgeEvent>;

/** Three nodes that all know each other; nothing is pushed or pulled by itself but what they publish. */
class Trio {
  readonly world = new StrippingWorld();
  readonly nodes: MemoryNode[];

  constructor() {
    this.nodes = [A, B, C].map(
      (name) =>
        new MemoryNode(
          this.world,
          name,
          [A, B, C].filter((each) => each !== name),
          { shardCount: 2 },
        ),
    );
  }

  node(name: number): MemoryNode {
    return this.nodes[name] as MemoryNode;
  }

  /** A chain of events in each topic, of a fourth member, some slots ago. */
  events(count: number): Whole[] {
    const last = new Map<string, Whole>();
    return Array.from({ length: count }, (_, n) => {
      const topic = TOPICS[n % 3] as string;
      const links = last.has(topic) ? [(last.get(topic) as Whole).id] : [];
      const timeMs = this.world.clock.nowMs() - 9 * SLOT_MS + n;
      const event = forgeEvent({
        topic,
        ts: n,
        message: `m${n}`,
        timeMs,
        links,
        signer: signers[3] as never,
      });
      last.set(topic, event);
      return event;
    });
  }

  async give(name: number, events: readonly (WireEvent & Pick<Whole, "fields">)[]): Promise<void> {
    const named = events.map((event) => ({
      ...event,
      topicKey: keyOf(new TextDecoder().decode(event.fields.topic)),
    }));
    for (const [shard, group] of groupByShard(named, 2))
      expect((await this.node(name).shards[shard]?.ingest(group.map(toWire), "test", []))?.refused).toEqual(
        [],
      );
  }

  async pull(name: number, from: number): Promise<void> {
    await this.node(name).links.get(this.node(from).url)?.pull();
    await this.world.pass(2_000);
  }

  async sync(name: number, from: number) {
    const report = await this.node(name).links.get(this.node(from).url)?.sync();
    await this.world.pass(2_000);
    return report;
  }

  /** The messages that a node has, and how many it lacks. */
  async has(name: number): Promise<{ messages: string[]; gone: number; told: string[] }> {
    const events = this.node(name).stores.flatMap((store) => store.deliveredAfter(0, 1e6, 1e9));
    const told = events.flatMap(({ message }) => (message ? [new TextDecoder().decode(message)] : []));
    return { messages: [...told].sort(), gone: events.length - told.length, told };
  }

  /** What nodes make of each other. */
  async blamed(): Promise<number> {
    let breaches = 0;
    for (const { conduct } of this.nodes)
      for (const { publicKey } of signers) breaches += (await conduct.suspendedUntil(publicKey)) > 0 ? 1 : 0;
    return breaches;
  }
}

const textsOf = (events: readonly Whole[]) =>
  events.map(({ message }) => new TextDecoder().decode(message)).sort();

describe("a peer that answers no message at all", () => {
  test("keeps none from who has an honest peer, by pull, anti-entropy or push, and is not blamed", async () => {
    for (const way of ["pull", "sync"] as const) {
      const trio = new Trio();
      const events = trio.events(30);
      await trio.give(B, events);
      await trio.give(C, events);
      trio.world.stripping.add(trio.node(B).url);
      await trio[way](A, B);
      const { messages, gone, told } = await trio.has(A);
      expect([messages, gone]).toEqual([textsOf(events), 0]);
      // The honest peer was asked before the events were delivered: each topic's in their order.
      for (const topic of [0, 1, 2]) {
        const own = told.filter((text) => Number(text.slice(1)) % 3 === topic);
        expect(own).toEqual(events.filter((_, n) => n % 3 === topic).map((_, n) => `m${3 * n + topic}`));
      }
      expect(await trio.blamed()).toBe(0);
    }
    const trio = new Trio();
    trio.world.stripping.add(trio.node(B).url);
    // It publishes what nobody else has: the event is known to all, and its message to nobody.
    await trio.node(B).publish("one", "two", "three");
    await trio.world.pass(60_000);
    expect([await trio.has(A), await trio.blamed()]).toMatchObject([{ messages: [], gone: 3 }, 0]);
  });

  test("erases no message that is here, and moves nothing that is known", async () => {
    const trio = new Trio();
    const events = trio.events(12);
    for (const name of [A, B]) await trio.give(name, events);
    trio.world.stripping.add(trio.node(B).url);
    await trio.give(
      A,
      events.map((event) => ({ ...event, message: null })),
    );
    await trio.pull(A, B);
    expect(await trio.sync(A, B)).toMatchObject({ outcome: "same", requests: 1, received: 0, sent: 0 });
    expect(await trio.has(A)).toMatchObject({ messages: textsOf(events), gone: 0 });
  });
});

describe("messages that nobody can send", () => {
  test("leave the nodes the same, and come by the next who has them", async () => {
    const trio = new Trio();
    const { world } = trio;
    const events = trio.events(24);
    await trio.give(B, events);
    await trio.give(C, events);
    world.stripping.add(trio.node(B).url);
    world.down.add(trio.node(C).url);
    expect(await trio.sync(A, B)).toMatchObject({ outcome: "different", received: 24, sent: 0 });
    await world.pass(40_000);
    expect(await trio.has(A)).toMatchObject({ messages: [], gone: 24 });
    expect(await trio.node(A).ids()).toEqual(await trio.node(B).ids());
    expect(await trio.sync(A, B)).toMatchObject({ outcome: "same", requests: 1, received: 0, sent: 0 });
    world.down.clear();
    await world.pass(SLOT_MS);
    await trio.pull(A, C);
    expect(await trio.has(A)).toMatchObject({ messages: textsOf(events), gone: 0 });
    expect(await trio.sync(A, C)).toMatchObject({ outcome: "same", received: 0, sent: 0 });
    expect(await trio.sync(B, A)).toMatchObject({ outcome: "same", received: 0, sent: 0 });
  });

  test("are filled in by a push, and by what anti-entropy happens to bring", async () => {
    const trio = new Trio();
    const events = trio.events(6);
    await trio.give(
      A,
      events.map((event) => ({ ...event, message: null })),
    );
    await trio.world.pass(40_000);
    expect(await trio.has(A)).toMatchObject({ messages: [], gone: 6 });
    for (let twice = 0; twice < 2; twice++) await trio.give(A, events);
    expect(await trio.has(A)).toMatchObject({ messages: textsOf(events), gone: 0 });
  });

  test("are passed on as gone, and asked for again from who joins later", async () => {
    const trio = new Trio();
    const events = trio.events(9);
    await trio.give(
      A,
      events.map((event) => ({ ...event, message: null })),
    );
    await trio.world.pass(40_000);
    await trio.sync(B, A);
    await trio.world.pass(40_000);
    expect(await trio.has(B)).toMatchObject({ messages: [], gone: 9 });
    await trio.give(C, events);
    await trio.pull(B, C);
    await trio.pull(A, B);
    expect([await trio.has(A), await trio.has(B)]).toMatchObject([{ gone: 0 }, { gone: 0 }]);
    const before = trio.world.log.length;
    await trio.pull(A, B);
    expect(trio.world.log.slice(before).filter((line) => line.includes("/want"))).toEqual([]);
  });
});

test("in the end all know the same events, and have each message that an honest node had", async () => {
  const holders = fc.array(fc.subarray([A, B, C]), { minLength: 1, maxLength: 20 });
  const rounds = fc.array(fc.tuple(fc.nat(2), fc.nat(2), fc.boolean()), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(holders, fc.subarray([B, C]), rounds, async (held, stripping, order) => {
      const trio = new Trio();
      const events = trio.events(held.length);
      for (const name of [A, B, C])
        await trio.give(
          name,
          events.filter((_, n) => held[n]?.includes(name)),
        );
      for (const name of stripping) trio.world.stripping.add(trio.node(name).url);
      const all: [number, number, boolean][] = [...order];
      for (const name of [A, B, C, A, B, C])
        for (const from of [A, B, C]) all.push([name, from, true], [name, from, false]);
      for (const [name, from, isPull] of all) {
        if (name === from) continue;
        if (isPull) await trio.pull(name, from);
        else await trio.sync(name, from);
      }
      await trio.world.pass(40_000);
      await settle();
      const known = events.filter((_, n) => (held[n]?.length ?? 0) > 0);
      const ids = known.map(({ id }) => toHex(id)).sort();
      for (const node of trio.nodes) expect(await node.ids()).toEqual(ids);
      const honest = [A, B, C].filter((name) => !stripping.includes(name as never));
      const shared = events.filter((_, n) => honest.some((name) => held[n]?.includes(name)));
      for (const name of [A, B, C])
        expect((await trio.has(name)).messages).toEqual(expect.arrayContaining(textsOf(shared)));
      expect(await trio.blamed()).toBe(0);
    }),
    { numRuns: 25 },
  );
});
