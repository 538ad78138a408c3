import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  forgeEvent,
  keyOf,
  madeUpId,
  START_MS,
  signers,
  TOPICS,
} from "../../durable-objects/testing/shard-world.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import { decodePushAnswer, encodePull, encodePush } from "../../protocol/peer-messages.ts";
import { MemoryNode, World } from "../testing/memory-network.ts";

/** Two nodes that are each other's peers, with different numbers of shards. */
function twoNodes() {
  const world = new World();
  return {
    world,
    a: new MemoryNode(world, 0, [1], { shardCount: 4 }),
    b: new MemoryNode(world, 1, [0], { shardCount: 2 }),
  };
}

// What the platform offers is not there: a class that asks for it would stand still, or live in another time.
beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

describe("two nodes", () => {
  test("hand on what is published, and a later push that fills no gap is answered by a pull", async () => {
    const { world, a, b } = twoNodes();
    await a.publish("one", "two", "three");
    await world.pass(100);
    expect(await b.ids()).toEqual(await a.ids());
    expect(world.log).toHaveLength(1);
    world.isCut = true;
    await a.publish("four", "five", "six");
    await world.pass(2_000);
    world.isCut = false;
    await a.publish("seven", "eight", "nine");
    await world.pass(100);
    expect((await b.ids()).length).toBe(9);
    expect(await b.ids()).toEqual(await a.ids());
    expect(world.log.filter((line) => line.includes(`${b.url} ${a.url}/peer/v1/pull`))).toHaveLength(1);
  });

  test("do the same at the same time, byte for byte, when all around them is the same", async () => {
    const play = async () => {
      const { world, a, b } = twoNodes();
      for (let i = 0; i < 5; i++) {
        world.isCut = i === 2;
        await a.publish(`a${i}`, `a${i}`);
        await b.publish(`b${i}`, `b${i}`, `b${i}`);
        await world.pass(700);
      }
      await world.pass(60_000);
      expect(await a.ids()).toEqual(await b.ids());
      return world.log;
    };
    const first = await play();
    expect(first.length).toBeGreaterThan(5);
    expect(await play()).toEqual(first);
  });

  test("ask each other for a missing parent, and deliver without it after 30 s", async () => {
    const { world, a, b } = twoNodes();
    const child = forgeEvent({ topic: TOPICS[0], links: [madeUpId(START_MS - 9)], timeMs: START_MS });
    const shard =
      groupByShard([{ topicKey: keyOf(TOPICS[0]) }], 4)
        .keys()
        .next().value ?? 0;
    await a.shards[shard]?.ingest([child], b.url, []);
    await world.pass(GAP_DELIVERY_MS - 1);
    expect(world.log.filter((line) => line.includes("node-1/peer/v1/want"))).toHaveLength(3);
    expect(await a.ids()).toEqual([]);
    await world.pass(1);
    expect(await a.ids()).toEqual([toHex(child.id)]);
  });
});

describe("a request", () => {
  const code = (work: Promise<Bytes>) => work.then(() => "ok").catch((error) => error.code);

  test("of this node itself, or of no member, is refused", async () => {
    const { a } = twoNodes();
    const pull = encodePull({ cursors: [] });
    const ask = (key: Bytes) => code(a.service.handle("/peer/v1/pull", pull, key));
    expect(await ask(a.signer.publicKey)).toBe("not_a_member");
    expect(await ask(new Uint8Array(32).fill(9))).toBe("not_a_member");
    expect(await ask((signers[3] as Signer).publicKey)).toBe("ok");
  });

  test("with a body that breaks a rule is refused, and its sender is not heard", async () => {
    const { world, a, b } = twoNodes();
    world.isCut = true;
    await a.publish("makes the link pause");
    await world.pass(50);
    world.isCut = false;
    const ask = (body: Bytes) => code(a.service.handle("/peer/v1/push", body, b.signer.publicKey));
    expect(await ask(Uint8Array.of(0xff))).not.toBe("ok");
    await world.pass(50);
    expect(world.log.some((line) => line.includes("/peer/v1/pull"))).toBe(false);
    expect(await ask(encodePush({ runs: [], ephemeral: [] }))).toBe("ok");
    await world.pass(50);
    expect(world.log.some((line) => line.includes("/peer/v1/pull"))).toBe(true);
  });

  test("counts the events that no shard could take, each once", async () => {
    const { a, b } = twoNodes();
    const good = forgeEvent({ topic: TOPICS[0] });
    const broken = [
      { ...good, block: Uint8Array.of(1) },
      { ...good, signature: new Uint8Array(64) },
    ];
    const body = encodePush({ runs: [{ previous: null, events: [good, ...broken] }], ephemeral: [] });
    const answer = await a.service.handle("/peer/v1/push", body, b.signer.publicKey);
    expect(decodePushAnswer(answer)).toEqual({ lacking: false, refused: 2 });
    expect(await a.ids()).toEqual([toHex(good.id)]);
  });
});
