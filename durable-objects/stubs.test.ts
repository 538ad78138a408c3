import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../protocol/bytes.ts";
import { MAX_PAGE_BYTES } from "../protocol/limits.ts";
import { shardOf } from "../protocol/topic.ts";
import type { Env } from "./env.ts";
import { linksOf, shardsOf } from "./stubs.ts";
import { envWith, namespaceOf } from "./testing/fake-env.ts";
import { development, envelopeOf, forgeEvent, keyOf } from "./testing/shard-world.ts";

type ObjectOf<Name extends "TOPIC_SHARD" | "PEER_LINK"> =
  Env[Name] extends DurableObjectNamespace<infer T> ? T : never;

const TOPIC = "/xmtp/0/m-stubs/proto";
const KEY = keyOf(TOPIC);
const URL_OF_NOBODY = "http://nobody.test";

afterEach(() => reset());

describe("a shard", () => {
  test("answers each call, over its Durable Object, with what it would answer here", async () => {
    const { count, at } = shardsOf(env);
    expect(count).toBe(4);
    const shard = at(shardOf(KEY, count));
    const [made] = await shard.publish([envelopeOf(TOPIC, 1, "m")]);
    const id = made?.id ?? new Uint8Array();
    const name = { topicKey: KEY, id };
    const events = [forgeEvent({ topic: TOPIC, ts: 2, timeMs: Date.now(), network: development })];
    expect(await shard.ingest(events, "peer", [name])).toMatchObject({ stored: 1, hasPrevious: true });
    expect(await shard.relay([])).toEqual([]);
    const query = {
      topic: utf8(TOPIC),
      topicKey: KEY,
      startNs: 0n,
      endNs: 0n,
      isDescending: false,
      limit: 9,
      maxBytes: MAX_PAGE_BYTES,
      after: null,
    };
    expect((await shard.query(query)).json).toHaveLength(2);
    expect((await shard.eventsByTime(query)).events).toHaveLength(2);
    expect((await shard.eventsByCause(utf8(TOPIC), KEY, id, 9)).events).toHaveLength(1);
    expect(toHex((await shard.event(id.slice(8)))?.id ?? new Uint8Array())).toBe(toHex(id));
    expect(await shard.heads(utf8(TOPIC), KEY)).toHaveLength(2);
    expect((await shard.pull(null, 1)).more).toBe(true);
    expect(await shard.lacking([name])).toEqual([]);
    expect((await shard.want({ wanted: [name], ancestors: true, have: [] }, 1e6)).events).toHaveLength(1);
    expect((await shard.attachHub("hub-0")).position).toBe(2);
    expect((await shard.deliveredAfter(1, new Set([toHex(KEY)]))).events).toHaveLength(1);
    expect(await shard.checkClock()).toBeNull();
  });

  test("that does not answer throws a typed error", async () => {
    const away = namespaceOf<ObjectOf<"TOPIC_SHARD">>(() => ({
      checkClock: () => Promise.reject(new Error("gone")),
    }));
    const shard = shardsOf(envWith({ TOPIC_SHARD: away })).at(0);
    await expect(shard.checkClock()).rejects.toMatchObject({ code: "part_unavailable", httpStatus: 503 });
  });

  test("gets a new stub for each call, since one that failed stays broken", async () => {
    let stubs = 0;
    const object = namespaceOf<ObjectOf<"TOPIC_SHARD">>(() => {
      const isFirst = ++stubs === 1;
      return {
        checkClock: async () => (isFirst ? Promise.reject(new Error("broken")) : { ok: true, value: null }),
      };
    });
    const shard = shardsOf(envWith({ TOPIC_SHARD: object })).at(0);
    await expect(shard.checkClock()).rejects.toThrow();
    await expect(shard.checkClock()).resolves.toBeNull();
  });
});

describe("a link", () => {
  const link = linksOf(env).of(URL_OF_NOBODY);

  test("answers each call, and throws what the link throws", async () => {
    await expect(link.want({ wanted: [], ancestors: false, have: [] })).rejects.toMatchObject({
      code: "peer_unknown",
    });
    await expect(link.heard(new Uint8Array(32), true)).rejects.toMatchObject({ code: "peer_unknown" });
    expect(await link.pull()).toBe(0);
    // Paused by the failures above.
    expect(await link.push({ previous: null, events: [] }, [])).toBeGreaterThan(Date.now());
  });
});
