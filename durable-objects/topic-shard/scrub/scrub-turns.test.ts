import { expect, test, vi } from "vitest";
import { HeldShard, settle } from "../../testing/held-shard.ts";
import { envelopeOf, START_MS, TOPICS } from "../../testing/shard-world.ts";
import { ShardScrub } from "./shard-scrub.ts";

/** Writes that wait for a shard's writer at most. */
const MAX_WAITING = 4_096;

/** A scrub that begins while the writer's queue is full. */
async function scrubBehindACrowd(node: HeldShard) {
  await node.shard.start();
  node.hold();
  const publish = (n: number) => node.shard.publish([envelopeOf(TOPICS[0], n)]);
  const published = [publish(0)];
  await settle();
  for (let n = 1; n <= MAX_WAITING; n++) published.push(publish(n));
  await expect(publish(0)).rejects.toMatchObject({ code: "shard_overloaded" });
  const scrub = node.shard.scrub().catch((error) => error);
  return { scrub, published: Promise.all(published) };
}

test("a scrub waits while too much else waits for the writer", async () => {
  const node = new HeldShard(START_MS);
  const { scrub, published } = await scrubBehindACrowd(node);
  await node.passTo(START_MS + 10_000);
  node.release();
  await published;
  await node.passTo(START_MS + 20_000);
  expect(await scrub).toMatchObject({ isWhole: true });
});

test("a scrub gives up after a minute, and the next one runs", async () => {
  const node = new HeldShard(START_MS);
  const { scrub, published } = await scrubBehindACrowd(node);
  await node.passTo(START_MS + 60_000);
  expect(await scrub).toMatchObject({ code: "shard_overloaded", httpStatus: 429 });
  const told = vi.spyOn(ShardScrub.prototype, "noteStored");
  node.release();
  await published;
  // Nobody keeps on telling it what is stored.
  expect(told).not.toHaveBeenCalled();
  told.mockRestore();
  expect(await node.shard.scrub()).toMatchObject({ isWhole: true });
});
