import { expect, test } from "vitest";
import { suite } from "../../durable-objects/platform-suite.ts";
import { network } from "../../durable-objects/testing/shard-world.ts";
import { decodeSlotsAnswer, encodeSlots } from "../../protocol/sync-codec.ts";
import type { AskedSlots } from "../../protocol/sync-messages.ts";
import { SyncService, type SyncServicePorts } from "./sync-service.ts";

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
