import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { platformClock } from "../clock.ts";
import type { FeedAnswer, FeedBatch } from "../feed.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, Node, onStorage, START_MS } from "../testing/shard-world.ts";
import { HubFeed } from "./hub-feed.ts";
import { SqlHubNames } from "./sql-hub-names.ts";

const TOPIC = "/xmtp/0/m-feed/proto";
const GENERATION = new Uint8Array(8).fill(7);

/** A hub as a shard sees it: batches that arrived, and an answer that the test gives. */
class FakeHub {
  readonly batches: { from: number; to: number; events: number; ephemeral: number }[] = [];
  answer: (batch: FeedBatch) => FeedAnswer | Promise<FeedAnswer> = ({ to }) => ({
    position: to,
    isListening: true,
  });

  async feed(batch: FeedBatch): Promise<FeedAnswer> {
    const { from, to, events, ephemeral } = batch;
    this.batches.push({ from, to, events: events.length, ephemeral: ephemeral.length });
    return this.answer(batch);
  }

  get ranges(): string[] {
    return this.batches.map(({ from, to }) => `${from}-${to}`);
  }
}

function start(storage: DurableObjectStorage, node: Node, hubs: Record<string, FakeHub>) {
  const life = { generation: GENERATION };
  const feed = new HubFeed({
    hubs: {
      names: new SqlHubNames(storage),
      feed: async (name, batch) => {
        const hub = hubs[name];
        if (!hub) throw new Error(`no hub ${name}`);
        return hub.feed(batch);
      },
    },
    clock: platformClock,
    store: node.store,
    shard: 3,
    generation: () => life.generation,
  });
  let made = 0;
  const publish = (count = 1) => {
    for (let i = 0; i < count; i++) node.publish(TOPIC, made++, "m", START_MS);
    feed.kick();
  };
  return { feed, publish, life };
}

const settle = () => vi.advanceTimersByTimeAsync(0);
const hubNames = ({ sql }: DurableObjectStorage) =>
  sql
    .exec("SELECT name FROM hubs")
    .toArray()
    .map(({ name }) => name);

/** Runs with a shard's storage, a node with three events, and a hub `h`. */
const scene = (
  work: (
    all: { storage: DurableObjectStorage; node: Node; hub: FakeHub } & ReturnType<typeof start>,
  ) => Promise<void>,
) =>
  onStorage(async (storage) => {
    const node = new Node(new MemoryShardStore());
    for (let ts = 1_000; ts < 1_003; ts++) node.publish(TOPIC, ts, "before", START_MS);
    const hub = new FakeHub();
    await work({ storage, node, hub, ...start(storage, node, { h: hub }) });
  });

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a hub that attached", () => {
  test("is fed all that comes after the position that it was told, each batch from where the last ended", () =>
    scene(async ({ feed, publish, hub }) => {
      publish();
      expect(feed.attach("h")).toBe(4);
      await settle();
      expect(hub.batches).toEqual([]);
      publish(2);
      await settle();
      publish();
      await settle();
      expect(hub.ranges).toEqual(["4-6", "6-7"]);
    }));

  test("gets batches of at most 256 events, and of about 1 MB", () =>
    scene(async ({ feed, node, publish, hub }) => {
      feed.attach("h");
      publish(600);
      await settle();
      expect(hub.batches.map(({ events }) => events)).toEqual([256, 256, 88]);
      hub.batches.length = 0;
      for (let ts = 0; ts < 5; ts++) node.publish("large", ts, new Uint8Array(400_000), START_MS);
      feed.kick();
      await settle();
      expect(hub.batches.map(({ events }) => events)).toEqual([2, 2, 1]);
    }));

  test("and missed what has left the shard since is told so, and fed what is there", () =>
    scene(async ({ feed, node, publish, hub }) => {
      feed.attach("h");
      hub.answer = () => {
        throw new Error("down");
      };
      publish(2);
      await settle();
      node.run(() => node.store.partitions.roll(START_MS));
      publish(2);
      node.run((core) => core.dropPartition(1));
      await settle();
      const cut: (boolean | undefined)[] = [];
      hub.batches.length = 0;
      hub.answer = ({ to, isCut }) => {
        cut.push(isCut);
        return { position: to, isListening: true };
      };
      feed.kick();
      await settle();
      expect(hub.ranges).toEqual(["3-5", "5-7"]);
      expect(hub.batches.map(({ events }) => events)).toEqual([0, 2]);
      expect(cut).toEqual([true, undefined]);
    }));

  test("is fed one batch at a time, and what comes meanwhile is the next", () =>
    scene(async ({ feed, publish, hub }) => {
      feed.attach("h");
      const answers: (() => void)[] = [];
      hub.answer = ({ to }) =>
        new Promise((resolve) => answers.push(() => resolve({ position: to, isListening: true })));
      publish();
      publish();
      publish();
      await settle();
      expect(hub.ranges).toEqual(["3-4"]);
      answers.shift()?.();
      await settle();
      expect(hub.ranges).toEqual(["3-4", "4-6"]);
    }));

  test("is fed from where it says that it is, before or after what the shard thought", () =>
    scene(async ({ feed, publish, hub }) => {
      feed.attach("h");
      hub.answer = ({ from, to }) => ({ position: from === 3 ? 1 : to, isListening: true });
      publish();
      await settle();
      expect(hub.ranges).toEqual(["3-4", "1-4"]);
    }));

  test("is known after a restart: asked where it is, and fed from there", () =>
    scene(async ({ storage, node, hub }) => {
      storage.sql.exec("INSERT INTO hubs VALUES ('h')");
      hub.answer = ({ from, to }) => ({ position: from === to ? 1 : to, isListening: true });
      const { feed } = start(storage, node, { h: hub });
      feed.kick();
      await settle();
      expect(hub.batches).toEqual([
        { from: 3, to: 3, events: 0, ephemeral: 0 },
        { from: 1, to: 3, events: 2, ephemeral: 0 },
      ]);
    }));

  test("is asked again while it does not know yet where it is, and misses nothing", () =>
    scene(async ({ storage, node, hub }) => {
      storage.sql.exec("INSERT INTO hubs VALUES ('h')");
      const { feed, publish } = start(storage, node, { h: hub });
      // It attaches, and a question that passes the answer on its way finds a hub without a place.
      expect(feed.attach("h")).toBe(3);
      hub.answer = async (): Promise<FeedAnswer> => {
        hub.answer = ({ from, to }) => ({ position: from === 3 && to === 4 ? 4 : 3, isListening: true });
        return { position: null, isListening: true };
      };
      publish();
      await settle();
      expect(hub.ranges.at(-1)).toBe("3-4");
    }));
});

describe("a hub to which nobody listens", () => {
  const deaf = (): FeedAnswer => ({ position: null, isListening: false });

  test("is forgotten, also after a restart", () =>
    scene(async ({ storage, feed, publish, hub }) => {
      feed.attach("h");
      expect(hubNames(storage)).toEqual(["h"]);
      hub.answer = deaf;
      publish();
      await settle();
      publish();
      await settle();
      expect([hub.ranges, hubNames(storage)]).toEqual([["3-4"], []]);
    }));

  test("stays when it attached again while its answer was on the way", () =>
    scene(async ({ storage, feed, publish, hub }) => {
      feed.attach("h");
      const answers: ((answer: FeedAnswer) => void)[] = [];
      hub.answer = () => new Promise((resolve) => answers.push(resolve));
      publish();
      await settle();
      expect(feed.attach("h")).toBe(4);
      hub.answer = () => ({ position: 4, isListening: true });
      answers[0]?.(deaf());
      await settle();
      expect(hubNames(storage)).toEqual(["h"]);
      hub.answer = ({ to }) => ({ position: to, isListening: true });
      publish();
      await settle();
      expect(hub.ranges.at(-1)).toBe("4-5");
    }));
});

describe("a hub that does not answer", () => {
  test("is tried again after growing pauses, from the same place, then at the next commit", () =>
    scene(async ({ feed, publish, hub }) => {
      feed.attach("h");
      hub.answer = () => {
        throw new Error("down");
      };
      publish();
      await settle();
      expect(hub.batches).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(99);
      expect(hub.batches).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(201);
      expect(hub.batches).toHaveLength(3);
      await vi.advanceTimersByTimeAsync(600_000);
      expect(hub.batches).toHaveLength(9);
      hub.answer = ({ to }) => ({ position: to, isListening: true });
      publish();
      await settle();
      expect(hub.ranges.at(-1)).toBe("3-5");
    }));

  test("does not hold up another", () =>
    scene(async ({ storage, node }) => {
      const [down, up] = [new FakeHub(), new FakeHub()];
      down.answer = () => new Promise(() => {});
      const { feed, publish } = start(storage, node, { down, up });
      feed.attach("down");
      feed.attach("up");
      publish();
      await settle();
      publish();
      await settle();
      expect([down.ranges, up.ranges]).toEqual([["3-4"], ["3-4", "4-5"]]);
    }));
});

describe("ephemeral events", () => {
  const ephemeral = (node: Node, ts: number) => {
    const judged = node.core.judge(forgeEvent({ topic: "/xmtp/0/mE-x/proto", ts }), START_MS);
    if (judged.kind !== "ephemeral") throw new Error(judged.kind);
    return judged.event;
  };

  test("go beside the others to every hub, once, and move no position", () =>
    scene(async ({ feed, node, publish, hub }) => {
      feed.attach("h");
      feed.relay([ephemeral(node, 1), ephemeral(node, 2)]);
      await settle();
      publish();
      await settle();
      expect(hub.batches).toEqual([
        { from: 3, to: 3, events: 0, ephemeral: 2 },
        { from: 3, to: 4, events: 1, ephemeral: 0 },
      ]);
    }));

  test("that wait for a hub are the newest 256", () =>
    scene(async ({ feed, node, publish, hub }) => {
      feed.attach("h");
      let release: () => void = () => {};
      hub.answer = () =>
        new Promise((resolve) => (release = () => resolve({ position: 4, isListening: true })));
      publish();
      await settle();
      const event = ephemeral(node, 1);
      feed.relay(Array.from({ length: 1_100 }, () => event));
      hub.answer = ({ to }) => ({ position: to, isListening: true });
      release();
      await settle();
      expect(hub.batches.reduce((sum, batch) => sum + batch.ephemeral, 0)).toBe(256);
    }));
});
