import { evictDurableObject, reset, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, describe, expect, test, vi } from "vitest";
import { unavailable } from "../../protocol/errors.ts";
import { shardOf } from "../../protocol/topic.ts";
import { outcomeOf } from "../outcome.ts";
import { HUBS, hubStub, shardStub } from "../stubs.ts";
import { envelopeOf, keyOf } from "../testing/shard-world.ts";
import { quiet, SocketClient } from "../testing/socket-client.ts";
import { writeMeta } from "../topic-shard/schema.ts";
import { Hub } from "./hub.ts";

const SHARDS = 4;
const shardFor = (topic: string) => shardOf(keyOf(topic), SHARDS);
/** Topics of one shard, and one of another. */
const [A, B, C] = [..."abcdefghijklmnopqrstuvwxyz"]
  .map((letter) => `/xmtp/0/m-${letter}/proto`)
  .filter((topic) => shardFor(topic) === 1) as [string, string, string];
const ELSEWHERE = [..."abcdefghijklmnopqrstuvwxyz"]
  .map((letter) => `/xmtp/0/m-${letter}/proto`)
  .find((topic) => shardFor(topic) === 2) as string;

afterEach(() => reset());

const upgrade = { headers: { Upgrade: "websocket" } };
const open = async (hub = 0) => new SocketClient(await hubStub(env, hub).fetch("https://hub.test/", upgrade));
const publish = (topic: string, ...times: number[]) =>
  outcomeOf("shard", shardStub(env, shardFor(topic)).publish(times.map((ts) => envelopeOf(topic, ts, "m"))));
const hibernate = (hub = 0) => evictDurableObject(hubStub(env, hub));
const lists = (hub = 0) =>
  runInDurableObject(hubStub(env, hub), (_, { storage }) =>
    storage.sql.exec("SELECT count(*) AS rows FROM topic_lists").one(),
  );

describe("a socket", () => {
  test("through the Worker: is ready, gets what is published, and answers ping", async () => {
    const socket = new SocketClient(await exports.default.fetch("http://node.test/v1/subscribe", upgrade));
    socket.send("ping");
    await socket.until(() => socket.texts.includes("pong"));
    await socket.subscribe([A]);
    await publish(A, 1, 2);
    await publish(B, 3);
    await publish(A, 1, 4);
    await socket.until(() => socket.seen.length === 3);
    await quiet();
    expect(socket.seen).toEqual([1, 2, 4]);
    socket.send("ping");
    await socket.until(() => socket.texts.filter((text) => text === "pong").length === 2);
  });

  test("that hibernates gets each event once, whichever of hub and shard slept", async () => {
    const socket = await (await open()).subscribe([A, ELSEWHERE]);
    for (let round = 0; round < 6; round++) {
      await publish(A, round * 10);
      await publish(ELSEWHERE, round * 10 + 1);
      await publish(B, round * 10 + 2);
      await socket.until(() => socket.seen.length === 2 * (round + 1));
      if (round % 2 === 0) await hibernate();
      if (round % 3 === 0) await evictDurableObject(shardStub(env, shardFor(A)));
    }
    await quiet();
    expect([...socket.seen].sort((a, b) => a - b)).toEqual([0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51]);
  });

  test("can be resumed from every token that it gave, at any hub: exactly what came after", async () => {
    const first = await (await open()).subscribe([A]);
    const tokens = [first.token];
    for (let ts = 1; ts <= 5; ts++) {
      await publish(A, ts);
      await first.until(() => first.seen.length === ts);
      tokens.push(first.token);
    }
    first.close();
    await publish(A, 6);
    for (const [i, token] of tokens.entries()) {
      const again = await (await open(i % HUBS)).subscribe([A], token);
      await again.until(() => again.seen.length === 6 - i);
      await quiet(20);
      expect(again.seen).toEqual([1, 2, 3, 4, 5, 6].slice(i));
    }
  });

  test("with ten thousand topics hibernates too, and misses none", async () => {
    const topics = Array.from({ length: 9_998 }, (_, n) => `/xmtp/0/m-many-${n}/proto`);
    const socket = await (await open()).subscribe([...topics, A, ELSEWHERE]);
    await hibernate();
    await publish(A, 1);
    await publish(ELSEWHERE, 2);
    await publish(topics[5_000] as string, 3);
    await socket.until(() => socket.seen.length === 3);
    expect(await lists()).toEqual({ rows: 1 });
  });

  test("for all topics gets those of XMTP, live, after hibernation and after a resumption", async () => {
    const socket = await (await open()).subscribe("all");
    const { token } = socket;
    await publish("not of XMTP", 1);
    await publish(A, 2);
    await socket.until(() => socket.seen.length === 1);
    await hibernate();
    await publish("not of XMTP", 3);
    await publish(ELSEWHERE, 4);
    await socket.until(() => socket.seen.length === 2);
    const again = await (await open(1)).subscribe("all", token);
    await again.until(() => again.seen.length === 2);
    await quiet();
    expect([socket.seen, [...again.seen].sort()]).toEqual([
      [2, 4],
      [2, 4],
    ]);
  });

  test("that was closed leaves nothing behind, also when nobody told the hub", async () => {
    const closed = await (await open()).subscribe([A]);
    await (await open()).subscribe([B]);
    closed.close();
    await quiet();
    expect(await lists()).toEqual({ rows: 1 });
    await evictDurableObject(hubStub(env, 0), { webSockets: "close" });
    expect(await lists()).toEqual({ rows: 0 });
    await publish(A, 1);
    await quiet();
    const hubs = await runInDurableObject(shardStub(env, shardFor(A)), (_, { storage }) =>
      storage.sql.exec("SELECT name FROM hubs").toArray(),
    );
    expect(hubs).toEqual([]);
  });
});

describe("a hub that slept", () => {
  test("goes on where it was, not where its sockets last heard something", async () => {
    const idle = await (await open()).subscribe([A]);
    for (let ts = 1; ts <= 8; ts++) await publish(B, ts);
    await quiet(1_500);
    await hibernate();
    const places = await runInDurableObject(hubStub(env, 0), (_, state) =>
      state
        .getWebSockets()
        .map((socket) => [...(socket.deserializeAttachment() as { positions: Float64Array }).positions]),
    );
    expect(places).toEqual([[8]]);
    await publish(A, 9);
    await idle.until(() => idle.seen.length === 1);
  });

  test("does not skip, for one socket, what another that came later need not hear", async () => {
    const early = await (await open()).subscribe([A]);
    // The shard cannot reach the hub for a while: it has news when the second one subscribes.
    const unreachable = unavailable("part_unavailable", "unreachable").toRecord();
    vi.spyOn(Hub.prototype, "feed").mockResolvedValue({ ok: false, error: unreachable });
    await publish(A, 1, 2, 3);
    await (await open()).subscribe([C]);
    vi.restoreAllMocks();
    await hibernate();
    await publish(A, 4);
    await early.until(() => early.seen.length >= 4);
    expect(early.seen).toEqual([1, 2, 3, 4]);
  });
});

describe("a history that is not the subscriber's", () => {
  const newLife = async (topic: string) => {
    await runInDurableObject(shardStub(env, shardFor(topic)), (_, { storage }) =>
      writeMeta(storage.sql, "generation", new Uint8Array(8).fill(9)),
    );
    await evictDurableObject(shardStub(env, shardFor(topic)));
  };

  test("tells a socket to restart when the shard begins a new life, live or asleep", async () => {
    for (const isAsleep of [false, true]) {
      const socket = await (await open()).subscribe([A]);
      await publish(A, isAsleep ? 10 : 1);
      await socket.until(() => socket.seen.length === 1);
      if (isAsleep) await hibernate();
      await runInDurableObject(shardStub(env, shardFor(A)), (_, { storage }) =>
        writeMeta(storage.sql, "generation", new Uint8Array(8).fill(isAsleep ? 7 : 8)),
      );
      await evictDurableObject(shardStub(env, shardFor(A)));
      await publish(A, isAsleep ? 11 : 2);
      await socket.until(() => socket.closeCode !== undefined);
      expect([socket.messages.at(-1)?.type, socket.closeCode, socket.seen.length]).toEqual([
        "restart",
        1000,
        1,
      ]);
    }
  });

  test("tells one that resumes from another life, or from too far back, to restart", async () => {
    const first = await (await open()).subscribe([A]);
    await publish(A, 1);
    await first.until(() => first.seen.length === 1);
    await runInDurableObject(shardStub(env, shardFor(A)), (_, { storage }) => {
      storage.sql.exec("UPDATE events_1 SET position = position + 100001");
    });
    const far = await open(1);
    far.send({ topics: [A], token: first.messages[0]?.token });
    await far.until(() => far.closeCode !== undefined);
    expect(far.messages.at(-1)).toEqual({ type: "restart" });
    await newLife(A);
    const other = await open(2);
    other.send({ topics: [A], token: first.token });
    await other.until(() => other.closeCode !== undefined);
    expect(other.messages).toEqual([{ type: "restart" }]);
    expect(await lists(2)).toEqual({ rows: 0 });
  });
});

describe("a first message that is not a subscription", () => {
  test.each<[string, unknown, string]>([
    ["no JSON", "topics, please", "subscribe_invalid"],
    ["no topics", { topics: [] }, "subscribe_invalid"],
    ["topics that are no list", { topics: "some" }, "subscribe_invalid"],
    ["an empty topic", { topics: [""] }, "topic_empty"],
    ["a topic that is too long", { topics: ["x".repeat(301)] }, "topic_too_long"],
    ["too many topics", { topics: Array.from({ length: 10_001 }, (_, n) => `t${n}`) }, "subscribe_invalid"],
    ["a token of the client's making", { topics: [A], token: "AAAA" }, "token_invalid"],
    ["a token that is no text", { topics: [A], token: 5 }, "subscribe_invalid"],
  ])("(%s) is refused with its reason, and the socket closed", async (_, message, code) => {
    const socket = await open();
    socket.send(message);
    await socket.until(() => socket.closeCode !== undefined);
    expect([socket.messages.at(-1)?.type, socket.messages.at(-1)?.code, socket.closeCode]).toEqual([
      "error",
      code,
      1008,
    ]);
    expect(await lists()).toEqual({ rows: 0 });
  });

  test("a second subscription is refused, and ends the first", async () => {
    const socket = await (await open()).subscribe([A]);
    socket.send({ topics: [B] });
    await socket.until(() => socket.closeCode !== undefined);
    expect(socket.messages.at(-1)?.code).toBe("already_subscribed");
    expect(await lists()).toEqual({ rows: 0 });
  });

  test("that never comes is not waited for longer than 30 s", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const socket = await open();
    await runInDurableObject(hubStub(env, 0), () => vi.advanceTimersByTimeAsync(29_999));
    expect(socket.messages).toEqual([]);
    await runInDurableObject(hubStub(env, 0), () => vi.advanceTimersByTimeAsync(1));
    vi.useRealTimers();
    await socket.until(() => socket.closeCode !== undefined);
    expect(socket.messages.at(-1)?.code).toBe("subscribe_missing");
  });
});
