import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import type { PushBody, PushedRun } from "../../protocol/peer-messages.ts";
import { platformClock } from "../clock.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, Node, START_MS } from "../testing/shard-world.ts";
import { PushFeed } from "./push-feed.ts";

const TOPIC = "/xmtp/0/m-push/proto";
const [A, B] = ["http://a.test", "http://b.test"] as const;

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS });
});
afterEach(() => {
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);

/** A shard with links to two peers, which take runs as `take` says: 0, or until when they pause. */
function start(node = new Node(new MemoryShardStore())) {
  const runs: { url: string; previous: string | null; messages: string[]; hops: number[]; bytes: number }[] =
    [];
  const link = { take: (_: string): number | Promise<number> => 0 };
  const push = async (url: string, run: PushedRun, ephemeral: PushBody["ephemeral"]): Promise<number> => {
    const previous = run.previous && messageOf(node, run.previous.id);
    const messages = run.events.map(({ message }) => Buffer.from(message).toString());
    const bytes = run.events.reduce((sum, event) => sum + bytesOfWire(event), 0);
    runs.push({ url, previous, messages, hops: ephemeral.map(({ hops }) => hops), bytes });
    return link.take(url);
  };
  const world: { peers: readonly { readonly url: string }[] } = { peers: [A, B].map((url) => ({ url })) };
  const parts = {
    peers: { known: () => world.peers, current: async () => world.peers },
    links: {
      of: (url: string) => ({
        push: (run: PushedRun, ephemeral: PushBody["ephemeral"]) => push(url, run, ephemeral),
        want: async () => ({ events: [], more: false }),
        refused: async () => null,
      }),
    },
    clock: platformClock,
    store: node.store,
  };
  const feed = new PushFeed(parts, node.core.own.last);
  let made = 0;
  const publish = (message = `m${++made}`) => {
    node.publish(TOPIC, made, message, Date.now());
    feed.kick();
  };
  const sentTo = (url: string) => runs.filter((run) => run.url === url);
  return { node, runs, link, feed, publish, sentTo, world };
}

function messageOf(node: Node, id: Uint8Array): string {
  const event = node.eventsOf(TOPIC).find((each) => toHex(each.id) === toHex(id));
  return event ? Buffer.from(event.message).toString() : "?";
}

describe("own events", () => {
  test("go to every peer, each run naming the own event before it", async () => {
    const { publish, sentTo } = start();
    publish();
    await settle();
    publish();
    await settle();
    for (const url of [A, B]) {
      expect(sentTo(url).map(({ previous, messages }) => [previous, messages])).toEqual([
        [null, ["m1"]],
        ["m1", ["m2"]],
      ]);
    }
  });

  test("that come while a run is on its way are the next run", async () => {
    const { publish, sentTo, link } = start();
    let answer: (value: number) => void = () => {};
    link.take = () => new Promise((resolve) => (answer = resolve));
    publish();
    await settle();
    for (let i = 0; i < 3; i++) publish();
    await settle();
    expect(sentTo(B)).toHaveLength(1);
    link.take = () => 0;
    answer(0);
    await settle();
    expect(sentTo(B).map(({ messages }) => messages)).toEqual([["m1"], ["m2", "m3", "m4"]]);
  });

  test("before this life of the shard are not pushed, but named as previous", async () => {
    const node = new Node(new MemoryShardStore());
    node.publish(TOPIC, 99, "before", START_MS);
    const { publish, sentTo } = start(node);
    publish("after");
    await settle();
    expect(sentTo(A).map(({ previous, messages }) => [previous, messages])).toEqual([["before", ["after"]]]);
  });

  test("alone are pushed: what others made is not passed on", async () => {
    const { node, feed, publish, sentTo } = start();
    for (let ts = 0; ts < 300; ts++)
      node.ingest(
        forgeEvent({ topic: TOPIC, ts, message: "foreign", timeMs: START_MS + ts }),
        START_MS + 300,
      );
    feed.kick();
    await settle();
    expect(sentTo(A)).toEqual([]);
    publish();
    await settle();
    expect(sentTo(A).map(({ messages }) => messages)).toEqual([["m1"]]);
  });

  test("go in runs of 512 KB, or one event", async () => {
    const { node, feed, sentTo } = start();
    for (let ts = 0; ts < 7; ts++)
      node.publish(TOPIC, ts, new Uint8Array(ts < 6 ? 200_000 : 900_000), START_MS);
    feed.kick();
    await settle();
    expect(sentTo(A).map(({ messages }) => messages.length)).toEqual([2, 2, 2, 1]);
    for (const { bytes } of sentTo(A).slice(0, 3)) expect(bytes).toBeLessThanOrEqual(512 * 1024);
  });
});

describe("a link that pauses or fails", () => {
  test("is not called before its time; then the run names what was left out, so that the peer pulls", async () => {
    const { publish, sentTo, link } = start();
    link.take = (url) => (url === A ? START_MS + 5_000 : 0);
    publish();
    await settle();
    publish();
    publish();
    await settle();
    expect(sentTo(A).map(({ messages }) => messages)).toEqual([["m1"]]);
    expect(sentTo(B).flatMap(({ messages }) => messages)).toEqual(["m1", "m2", "m3"]);
    link.take = () => 0;
    await vi.advanceTimersByTimeAsync(5_001);
    publish();
    await settle();
    expect(sentTo(A).at(-1)).toMatchObject({ previous: "m3", messages: ["m4"] });
  });

  test("costs a second of silence when it cannot be reached", async () => {
    const { publish, sentTo, link } = start();
    link.take = () => {
      throw new Error("the link is gone");
    };
    publish();
    await settle();
    publish();
    await settle();
    expect(sentTo(A)).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1_001);
    publish();
    await settle();
    expect(sentTo(A).map(({ messages }) => messages)).toEqual([["m1"], ["m3"]]);
  });
});

describe("ephemeral events", () => {
  const event = forgeEvent({ topic: "/xmtp/0/mE-push/proto" });

  test("go with their hops to every peer, without any run", async () => {
    const { feed, sentTo } = start();
    feed.relay(event, 1);
    await settle();
    expect(sentTo(B)).toEqual([{ url: B, previous: null, messages: [], hops: [1], bytes: 0 }]);
  });

  test("that wait for a link are 256 at most", async () => {
    const { feed, sentTo, link } = start();
    let answer: (value: number) => void = () => {};
    link.take = (url) => (url === A ? new Promise((resolve) => (answer = resolve)) : 0);
    feed.relay(event, 1);
    await settle();
    for (let i = 0; i < 300; i++) feed.relay(event, 0);
    link.take = () => 0;
    answer(0);
    await settle();
    expect(sentTo(A).map(({ hops }) => hops.length)).toEqual([1, 256]);
  });
});

describe("a peer that becomes one while the shard runs", () => {
  test("soon after the start gets all since then", async () => {
    const { publish, sentTo, world } = start();
    world.peers = [];
    publish();
    publish();
    world.peers = [{ url: A }];
    publish();
    await settle();
    expect(sentTo(A).map(({ previous, messages }) => [previous, messages])).toEqual([
      [null, ["m1", "m2", "m3"]],
    ]);
    expect(sentTo(B)).toEqual([]);
  });

  test("much later gets what is new from then on", async () => {
    const { publish, sentTo, world, feed } = start();
    world.peers = [];
    for (let i = 0; i < 300; i++) publish();
    world.peers = [{ url: A }];
    feed.kick();
    publish("new");
    await settle();
    expect(sentTo(A).map(({ previous, messages }) => [previous, messages])).toEqual([[null, ["new"]]]);
  });

  test("and is none any more gets nothing more", async () => {
    const { publish, sentTo, world } = start();
    publish();
    await settle();
    world.peers = [{ url: B }];
    publish();
    await settle();
    expect(sentTo(A)).toHaveLength(1);
    expect(sentTo(B)).toHaveLength(2);
  });
});
