import {
  abortAllDurableObjects,
  evictDurableObject,
  runDurableObjectAlarm,
  runInDurableObject,
} from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { Outcome } from "../outcome.ts";
import { shardStub } from "../stubs.ts";
import { development, envelopeOf, forgeEvent, keyOf, madeUpId, naiveHeads } from "../testing/shard-world.ts";
import { GAP, PENDING_BASE } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const TOPIC = "/xmtp/0/m-restart/proto";

function unwrap<T>(outcome: Outcome<T>): T {
  if (!outcome.ok) throw new Error(`${outcome.error.code}: ${outcome.error.message}`);
  return outcome.value;
}

const stored = (shard: number, topic: string = TOPIC) =>
  runInDurableObject(shardStub(env, shard), (_, { storage }) =>
    new SqlShardStore(storage).causalPage(keyOf(topic), new Uint8Array(40), 1e5, 1e9),
  );

describe("eviction", () => {
  test("loses nothing: events, heads, generation and the order of positions go on", async () => {
    const stub = shardStub(env, 0);
    const ids: string[] = [];
    for (let life = 0; life < 4; life++) {
      for (let i = 0; i < 5; i++) {
        const [made] = unwrap(await shardStub(env, 0).publish([envelopeOf(TOPIC, life * 10 + i)]));
        ids.push(toHex(made?.id as Bytes));
      }
      const before = unwrap(await shardStub(env, 0).pull(null, 100));
      await evictDurableObject(stub);
      expect(unwrap(await shardStub(env, 0).pull(null, 100))).toEqual(before);
      expect(before.names.map(({ id }) => toHex(id))).toEqual(ids);
      expect(unwrap(await shardStub(env, 0).heads(utf8(TOPIC), keyOf(TOPIC))).map(toHex)).toEqual(
        ids.slice(-1),
      );
    }
    expect([...ids].sort()).toEqual(ids);
    const [again] = unwrap(await shardStub(env, 0).publish([envelopeOf(TOPIC, 0)]));
    expect([toHex(again?.id as Bytes), again?.isDuplicate]).toEqual([ids[0], true]);
  });
});

describe("an abort in the middle of writes", () => {
  test("loses nothing that was acknowledged, and leaves nothing half-written", async () => {
    const acknowledged: string[] = [];
    let failed = 0;
    for (let round = 0; round < 12; round++) {
      const jobs = Array.from({ length: 12 }, async (_, i) => {
        const ts = round * 100 + i;
        try {
          const made = unwrap(
            await shardStub(env, 1).publish([envelopeOf(TOPIC, ts), envelopeOf("second", ts)]),
          );
          acknowledged.push(...made.map(({ id }) => toHex(id)));
        } catch {
          failed++;
        }
      });
      // Let the calls get as far as chance has it, a little further each round.
      for (let i = 0; i < round; i++) await Promise.resolve();
      if (round % 3 > 0) await new Promise((resolve) => setTimeout(resolve, round % 4));
      await abortAllDurableObjects();
      await Promise.all(jobs);
    }
    const events = [await stored(1), await stored(1, "second")];
    const ids = events.flat().map(({ id }) => toHex(id));
    expect(acknowledged.filter((id) => !ids.includes(id))).toEqual([]);
    // Both envelopes of a call, or none.
    expect(events[0]?.map(({ timeKey }) => toHex(timeKey.slice(0, 8)))).toEqual(
      events[1]?.map(({ timeKey }) => toHex(timeKey.slice(0, 8))),
    );
    const heads = unwrap(await shardStub(env, 1).heads(utf8(TOPIC), keyOf(TOPIC))).map(toHex);
    expect(heads).toEqual(naiveHeads(events[0] ?? []));
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(failed).toBeGreaterThan(0);
  });
});

describe("an event whose parent is missing", () => {
  /** TOPIC is of shard 2, the other of shard 3. */
  const orphan = (topic = TOPIC) =>
    forgeEvent({
      topic,
      ts: 1,
      timeMs: Date.now() - 10,
      links: [madeUpId(Date.now() - 5_000)],
      network: development,
    });

  const inShard = <T>(shard: number, work: (storage: DurableObjectStorage) => T | Promise<T>) =>
    runInDurableObject(shardStub(env, shard), (_, { storage }) => work(storage));

  test("is delivered by the alarm when it is overdue, as a gap, also after an eviction", async () => {
    unwrap(await shardStub(env, 2).ingest([orphan()], "peer", []));
    await evictDurableObject(shardStub(env, 2));
    const alarm = await inShard(2, (storage) => storage.getAlarm());
    expect(Math.abs((alarm ?? 0) - Date.now() - GAP_DELIVERY_MS)).toBeLessThan(10_000);
    // Too early: it waits, and the alarm is set anew.
    expect(await runDurableObjectAlarm(shardStub(env, 2))).toBe(true);
    expect((await stored(2))[0]?.position).toBeGreaterThan(PENDING_BASE);
    expect(await inShard(2, (storage) => storage.getAlarm())).toBeGreaterThan(Date.now());
    await inShard(2, ({ sql }) => sql.exec("UPDATE events_1 SET stored_ms = stored_ms - 31000").toArray());
    expect(await runDurableObjectAlarm(shardStub(env, 2))).toBe(true);
    expect((await stored(2)).map(({ position, flags }) => [position, flags & 7])).toEqual([[1, GAP]]);
    expect(await inShard(2, (storage) => storage.getAlarm())).toBeNull();
  });

  test("is not left waiting for an alarm that is set for later, and leaves an earlier one", async () => {
    const topic = "/xmtp/0/m-4/proto";
    const alarmAfter = async (setMs: number, ts: number) => {
      await inShard(3, (storage) => storage.setAlarm(setMs));
      const event = forgeEvent({
        topic,
        ts,
        timeMs: Date.now() - 10,
        links: [madeUpId(Date.now() - 5_000)],
        network: development,
      });
      unwrap(await shardStub(env, 3).ingest([event], "peer", []));
      return inShard(3, (storage) => storage.getAlarm());
    };
    expect(await alarmAfter(Date.now() + 3_600_000, 11)).toBeLessThan(Date.now() + 2 * GAP_DELIVERY_MS);
    const earlyMs = Date.now() + GAP_DELIVERY_MS / 2;
    expect(await alarmAfter(earlyMs, 12)).toBe(earlyMs);
  });

  test("has an alarm again after a crash between its storing and the setting of the alarm", async () => {
    unwrap(await shardStub(env, 3).ingest([orphan("/xmtp/0/m-4/proto")], "peer", []));
    await inShard(3, (storage) => storage.deleteAlarm());
    await evictDurableObject(shardStub(env, 3));
    unwrap(await shardStub(env, 3).checkClock());
    expect(await inShard(3, (storage) => storage.getAlarm())).toBeGreaterThan(Date.now());
  });
});
