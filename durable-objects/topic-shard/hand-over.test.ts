import { expect, test } from "vitest";
import { SLOT_MS } from "../../protocol/retention.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { HeldShard, settle } from "../testing/held-shard.ts";
import { envelopeOf, forgeEvent, TOPICS } from "../testing/shard-world.ts";
import { TREE_START_MS } from "../testing/tree-node.ts";

const START_SLOT = Math.floor(TREE_START_MS / SLOT_MS);

test("what a publish changes in the group of a hand-over, behind it, is reported", async () => {
  const node = new HeldShard(START_SLOT * SLOT_MS + 10);
  const { shard, clock } = node;
  await shard.start();
  await shard.publish([envelopeOf(TOPICS[0], 1)]);
  await node.passTo((START_SLOT + 1) * SLOT_MS + 180_000);
  const asOf = newestAsOf(clock.nowMs());
  expect(asOf).toBe(START_SLOT + 1);

  node.hold();
  const again = shard.publish([envelopeOf(TOPICS[0], 1)]);
  const handOver = shard.handOver(asOf);
  const published = shard.publish([envelopeOf(TOPICS[1], 2)]);
  node.release();

  expect((await again)[0]?.isDuplicate).toBe(true);
  expect((await handOver).dueAsOf).toBeGreaterThan(asOf + 1);
  await published;
  await settle();
  expect(node.reported.at(-1)).toBe(asOf + 1);
});

test("a shard that went back with its clock is not brought up to date again by each commit", async () => {
  const node = new HeldShard(TREE_START_MS + 100 * SLOT_MS);
  const { shard, clock } = node;
  await shard.start();
  for (let n = 0; n < 70; n++) {
    const timeMs = TREE_START_MS + (100 - n) * SLOT_MS;
    await shard.ingest([forgeEvent({ topic: TOPICS[0], ts: n, timeMs })], "peer", []);
  }
  await shard.handOver(newestAsOf(clock.nowMs()));
  const backMs = TREE_START_MS + 5 * SLOT_MS;
  await node.passTo(backMs);
  await shard.handOver(newestAsOf(backMs));
  await settle();
  const before = node.transactions;
  for (let n = 0; n < 10; n++) {
    await shard.ingest([forgeEvent({ topic: TOPICS[1], ts: n, timeMs: backMs + n })], "peer", []);
    await settle();
  }
  expect(node.transactions - before).toBe(10);
});
