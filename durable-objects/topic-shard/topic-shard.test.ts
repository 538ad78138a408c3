import { reset, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { DEVELOPMENT_GENESIS } from "../../protocol/genesis.ts";
import { MAX_PAGE_BYTES } from "../../protocol/limits.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import type { Env } from "../env.ts";
import { outcomeOf } from "../outcome.ts";
import { shardStub } from "../stubs.ts";
import { envWith, namespaceOf } from "../testing/fake-env.ts";
import { development, envelopeOf, forgeEvent, keyOf, madeUpId } from "../testing/shard-world.ts";
import { readMeta } from "./schema.ts";
import { TopicShard } from "./topic-shard.ts";

const TOPIC = "/xmtp/0/m-shard/proto";
const KEY = keyOf(TOPIC);

afterEach(() => reset());

/** The shard of TOPIC. */
const shard = () => shardStub(env, 2);
const publish = async (...times: number[]): Promise<Bytes[]> => {
  const made = await outcomeOf("shard", shard().publish(times.map((ts) => envelopeOf(TOPIC, ts, `m${ts}`))));
  return made.map(({ id }) => id);
};
const hex = (names: readonly { readonly id: Bytes }[]) => names.map(({ id }) => toHex(id));

describe("the start of a shard", () => {
  /** A shard on the storage of an object that is none yet, under a configuration of its own. */
  const startUnder = async (name: string, parts: Partial<Env>) => {
    const stub = env.NODE_STATE.get(env.NODE_STATE.idFromName(name));
    return runInDurableObject(stub, async (_, state) => {
      const started = new TopicShard(state, envWith(parts));
      await state.blockConcurrencyWhile(async () => {});
      const outcome = await started.heads(utf8(TOPIC), KEY);
      const hasData =
        state.storage.sql.exec("SELECT 1 FROM meta WHERE name = 'shard_count'").toArray().length > 0;
      return {
        code: outcome.ok ? "ok" : outcome.error.code,
        data: outcome.ok ? {} : outcome.error.data,
        hasData,
      };
    });
  };

  test("with data laid out for another number of shards is refused, naming both", async () => {
    expect(await startUnder("shard-1", { SHARDS: "4" })).toMatchObject({ code: "ok", hasData: true });
    expect(await startUnder("shard-1", { SHARDS: "8" })).toMatchObject({
      code: "shard_count_mismatch",
      data: { stored: 4, configured: 8 },
    });
    expect((await startUnder("shard-1", { SHARDS: "4" })).code).toBe("ok");
  });

  test("for the first time, on a node whose other shards are laid out for another number, is refused", async () => {
    await publish(1);
    expect(await startUnder("shard-5", { SHARDS: "8" })).toEqual({
      code: "shard_count_mismatch",
      data: { stored: 4, configured: 8 },
      hasData: false,
    });
    expect((await startUnder("shard-2", { SHARDS: "4" })).code).toBe("ok");
  });

  test("with data of another network is refused", async () => {
    expect((await startUnder("shard-1", {})).code).toBe("ok");
    const other = JSON.stringify({ ...DEVELOPMENT_GENESIS, name: "another" });
    expect((await startUnder("shard-1", { GENESIS: other })).code).toBe("network_mismatch");
    expect((await startUnder("shard-1", {})).code).toBe("ok");
  });

  test("without a configuration is refused, says why, and leaves no data", async () => {
    expect(await startUnder("shard-1", { NODE_KEY: "" })).toEqual({
      code: "misconfigured",
      data: { name: "NODE_KEY" },
      hasData: false,
    });
  });

  test("while the node's state does not answer is tried again at the next call", async () => {
    const stub = env.NODE_STATE.get(env.NODE_STATE.idFromName("shard-1"));
    const away = namespaceOf<Env["NODE_STATE"] extends DurableObjectNamespace<infer T> ? T : never>(() => ({
      registerShards: () => Promise.reject(new Error("away")),
    }));
    const attempt = runInDurableObject(stub, async (_, state) => {
      new TopicShard(state, envWith({ NODE_STATE: away }));
      await state.blockConcurrencyWhile(async () => {});
    });
    await expect(attempt).rejects.toThrow();
    expect((await startUnder("shard-1", {})).code).toBe("ok");
  });

  test("gives a generation of its own to each shard, and keeps it", async () => {
    const generations = [];
    for (const n of [0, 1, 0]) {
      await outcomeOf("shard", shardStub(env, n).publish([envelopeOf(TOPIC, n)]));
      generations.push(
        await runInDurableObject(shardStub(env, n), (_, { storage }) =>
          toHex(new Uint8Array(readMeta(storage.sql, "generation") as ArrayBuffer)),
        ),
      );
    }
    expect(generations[0]).toMatch(/^[0-9a-f]{16}$/);
    expect([generations[2], generations[1] === generations[0]]).toEqual([generations[0], false]);
  });
});

describe("a peer's pull", () => {
  test("names what was delivered after its cursor, in pages, and no more at the end", async () => {
    const ids = await publish(1, 2, 3, 4, 5);
    const first = await outcomeOf("shard", shard().pull(null, 2));
    expect([hex(first.names), first.more, first.restart]).toEqual([ids.slice(0, 2).map(toHex), true, false]);
    const second = await outcomeOf("shard", shard().pull(first.cursor, 3));
    expect([hex(second.names), second.more, second.cursor.position]).toEqual([
      ids.slice(2).map(toHex),
      false,
      5,
    ]);
    const third = await outcomeOf("shard", shard().pull(second.cursor, 3));
    expect(third).toEqual({ ...second, names: [] });
  });

  test("from another life, or from beyond the end, begins anew", async () => {
    const ids = await publish(1, 2);
    const { cursor } = await outcomeOf("shard", shard().pull(null, 9));
    const other = await outcomeOf("shard", shard().pull({ ...cursor, generation: new Uint8Array(8) }, 9));
    expect([hex(other.names), other.restart]).toEqual([ids.map(toHex), true]);
    const beyond = await outcomeOf("shard", shard().pull({ ...cursor, position: 99 }, 9));
    expect([hex(beyond.names), beyond.cursor.position, beyond.restart]).toEqual([ids.map(toHex), 2, true]);
  });

  test("does not name what waits for its parents, until it is delivered", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: Date.now() - 1_000, network: development });
    const child = forgeEvent({
      topic: TOPIC,
      ts: 2,
      timeMs: Date.now() - 500,
      links: [parent.id],
      network: development,
    });
    await shard().ingest([child], "peer", []);
    expect((await outcomeOf("shard", shard().pull(null, 9))).names).toEqual([]);
    expect(await outcomeOf("shard", shard().lacking([{ topicKey: KEY, id: child.id }]))).toEqual([]);
    await shard().ingest([parent], "peer", []);
    expect(hex((await outcomeOf("shard", shard().pull(null, 9))).names)).toEqual(hex([parent, child]));
  });

  test("asks for what is neither stored nor held", async () => {
    const [id] = await publish(1);
    const held = forgeEvent({ topic: TOPIC, timeMs: Date.now() + 300_000, network: development });
    await shard().ingest([held], "peer", []);
    const absent = madeUpId(Date.now());
    const names = [id as Bytes, held.id, absent].map((each) => ({ topicKey: KEY, id: each }));
    expect(hex(await outcomeOf("shard", shard().lacking(names)))).toEqual([toHex(absent)]);
  });
});

describe("reads", () => {
  const old = () =>
    forgeEvent({
      topic: "plain",
      ts: 1,
      timeMs: Date.now() - 30 * 86_400_000 + SLOT_MS / 4,
      network: development,
    });

  test("in causal order go on after a cursor, and say when there is more", async () => {
    const ids = (await publish(1, 2, 3)).map(toHex);
    const read = async (after: Bytes | null, limit: number) =>
      outcomeOf("shard", shard().eventsByCause(utf8(TOPIC), KEY, after, limit));
    const first = await read(null, 2);
    expect([hex(first.events), first.isFull]).toEqual([ids.slice(0, 2), true]);
    const rest = await read(first.events[1]?.id as Bytes, 2);
    expect([hex(rest.events), rest.isFull]).toEqual([ids.slice(2), false]);
    expect((await read(null, 3)).isFull).toBe(false);
  });

  test("hide what expired: queries, heads, events by CID, and what subscribers missed", async () => {
    const event = old();
    const key = keyOf("plain");
    const seen = async () => {
      const query = {
        topic: utf8("plain"),
        topicKey: key,
        startNs: 0n,
        endNs: 0n,
        isDescending: false,
        limit: 9,
        after: null,
        maxBytes: MAX_PAGE_BYTES,
      };
      const caughtUp = await outcomeOf("shard", shard().deliveredAfter(0, null));
      return [
        (await outcomeOf("shard", shard().query(query))).json.length,
        (await outcomeOf("shard", shard().eventsByCause(utf8("plain"), key, null, 9))).events.length,
        (await outcomeOf("shard", shard().heads(utf8("plain"), key))).length,
        (await outcomeOf("shard", shard().event(event.id.slice(8)))) ? 1 : 0,
        caughtUp.events.length,
      ];
    };
    await shard().ingest([event], "peer", []);
    expect(await seen()).toEqual([1, 1, 1, 1, 1]);
    // As if its time had come: the same event, of a seq that lies two slots earlier.
    await runInDurableObject(shard(), (_, { storage }) => {
      const id = event.id.slice();
      const seq = new DataView(id.buffer).getBigUint64(0) - (BigInt(2 * SLOT_MS) << 21n);
      new DataView(id.buffer).setBigUint64(0, seq);
      storage.sql.exec("UPDATE events_1 SET id = ?", id);
    });
    expect(await seen()).toEqual([0, 0, 0, 0, 0]);
  });

  test("for a subscriber that resumes: its topics only, and restart when it is too far behind", async () => {
    await publish(1, 2);
    await outcomeOf("shard", shard().publish([envelopeOf("plain", 3)]));
    const read = async (position: number, keys: Bytes[] | null) => {
      const set = keys && new Set(keys.map(toHex));
      const {
        events,
        position: upTo,
        isTooFar,
      } = await outcomeOf("shard", shard().deliveredAfter(position, set));
      return [events.map((event) => event.position), upTo, isTooFar];
    };
    expect(await read(0, null)).toEqual([[1, 2, 3], 3, false]);
    expect(await read(1, [KEY])).toEqual([[2], 3, false]);
    expect(await read(1, [keyOf("plain")])).toEqual([[3], 3, false]);
    expect(await read(3, null)).toEqual([[], 3, false]);
    await runInDurableObject(shard(), (_, { storage }) =>
      storage.sql.exec("UPDATE events_1 SET position = position + 100000"),
    );
    expect(await read(2, null)).toEqual([[], 2, true]);
    expect((await read(3, null))[2]).toBe(false);
  });
});

describe("the node's state", () => {
  test("keeps the first number of shards that it was told", async () => {
    const state = () => env.NODE_STATE.get(env.NODE_STATE.idFromName("counts"));
    expect(await state().registerShards(8)).toEqual({ ok: true, value: 8 });
    expect(await state().registerShards(8)).toEqual({ ok: true, value: 8 });
    expect(await state().registerShards(16)).toMatchObject({
      ok: false,
      error: { code: "shard_count_mismatch" },
    });
    expect(await state().registerShards(8)).toEqual({ ok: true, value: 8 });
  });
});
