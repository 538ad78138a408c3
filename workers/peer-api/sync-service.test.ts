import { expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { forgeEvent, network } from "../../durable-objects/testing/shard-world.ts";
import { toWire } from "../../protocol/event.ts";
import type { EventName } from "../../protocol/peer-messages.ts";
import { decodeRangeAnswer, decodeSlotsAnswer, encodeRange, encodeSlots } from "../../protocol/sync-codec.ts";
import type { AskedSlots } from "../../protocol/sync-messages.ts";
import { SyncService, type SyncServicePorts } from "./sync-service.ts";

const EVENT = toWire(forgeEvent({ topic: "x" }));

/** A service whose one shard looks at so many rows for each part of a question about slots, and finds nothing. */
function serviceOver(rows: number) {
  const asked: number[] = [];
  const shard = {
    async listDifferingSlots({ bucket }: AskedSlots, _asOf: number, left: number) {
      asked.push(bucket);
      return { slots: [], next: null, left, rows };
    },
  };
  const ports = { network, suite, shards: { count: 1, at: () => shard }, sync: { range: async () => null } };
  return { asked, service: new SyncService(ports as unknown as SyncServicePorts) };
}

const id = network.genesis.classes[0]?.id ?? 0;
const parts = [5, 6, 7, 8].map((bucket) => ({ bucket, class: id, groups: [1], slots: [], place: null }));
const answerOf = async (service: SyncService) =>
  decodeSlotsAnswer(await service.read("/peer/v1/sync/slots", encodeSlots({ asOf: 100, parts }))());

test("an answer about slots ends with the part for which too much was looked at, and goes on with the next", async () => {
  const { asked, service } = serviceOver(70_000);
  expect(await answerOf(service)).toEqual({ slots: [], next: { part: 2, slot: 0, after: null } });
  expect(asked).toEqual([5, 6]);
});

test("an answer about slots has all parts when little was looked at", async () => {
  const { asked, service } = serviceOver(40_000);
  expect(await answerOf(service)).toEqual({ slots: [], next: null });
  expect(asked).toEqual([5, 6, 7, 8]);
});

test("a page of a range asks 64 shards at most, and the next goes on behind those that had nothing", async () => {
  const asked: number[] = [];
  const at = (shard: number) => ({
    listRange: async () => {
      asked.push(shard);
      return { events: shard === 200 ? [EVENT] : [], next: null };
    },
  });
  const ports = { network, suite, shards: { count: 1_024, at }, sync: { range: async () => null } };
  const service = new SyncService(ports as unknown as SyncServicePorts);
  let [pages, events] = [0, 0];
  for (let after: EventName | null = null; pages < 99; pages++) {
    const question = encodeRange({ asOf: 100, class: null, fromBucket: 0, toBucket: 4_096, after });
    const before = asked.length;
    const answer = decodeRangeAnswer(await service.read("/peer/v1/sync/range", question)());
    expect(asked.length - before).toBeLessThanOrEqual(64);
    events += answer.events.length;
    if (!answer.next) break;
    after = answer.next;
  }
  expect(events).toBe(1);
  expect(asked).toEqual(Array.from({ length: 1_024 }, (_, shard) => shard));
});
