import { describe, expect, test, vi } from "vitest";
import { equalBytes, toHex } from "../../protocol/bytes.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import type { FeedBatch } from "../feed.ts";
import { Evidence } from "../node-state/evidence.ts";
import { fixedPeers } from "../peers/peer-source.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryEvidenceStore } from "../testing/memory-evidence-store.ts";
import { MemoryHubNames } from "../testing/memory-hub-names.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { memoryTier } from "../testing/memory-tier.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  madeUpId,
  memberRecord,
  network,
  START_MS,
  SUBJECT,
  signers,
  TOPICS,
} from "../testing/shard-world.ts";
import { SCRUB_LIMITS } from "./scrub/scrub-limits.ts";
import { Shard } from "./shard.ts";
import { GAP } from "./shard-store.ts";

const TOPIC = TOPICS[0];
const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

/** What outlives a shard: its store, its hubs' names, and when it is to be woken. */
class Disk {
  readonly clock = new ManualClock(START_MS);
  readonly store = new MemoryShardStore();
  readonly names = new MemoryHubNames();
  readonly wakes: number[] = [];
  readonly fed: FeedBatch[] = [];
  readonly evidence = new Evidence(new MemoryEvidenceStore());
  generations = 0;

  async sync(): Promise<void> {}

  start(): Shard {
    return new Shard({
      config: { signer: SUBJECT, network, shardCount: 1 },
      shard: 0,
      random: (bytes) => {
        this.generations++;
        return new Uint8Array(bytes).fill(2);
      },
      store: this.store,
      tier: memoryTier(this.clock),
      suite,
      clock: this.clock,
      peers: fixedPeers([]),
      links: { of: (url) => expect.fail(`no link to ${url}`) },
      hubs: {
        names: this.names,
        feed: async (_, batch) => {
          this.fed.push(batch);
          return { position: batch.to, isListening: true };
        },
      },
      roots: { changed: async () => null },
      evidence: this.evidence,
      sync: () => this.sync(),
      wakeAt: async (timeMs) => {
        this.wakes.push(timeMs - START_MS);
      },
    });
  }
}

test("has readers begin anew that miss what has left it, and others go on", async () => {
  const disk = new Disk();
  const shard = disk.start();
  const publish = async (from: number) => {
    for (let ts = from; ts < from + 3; ts++) await shard.publish([envelopeOf(TOPIC, ts)]);
  };
  await publish(0);
  const { cursor } = await shard.pull(null, 2);
  const { cursor: end } = await shard.pull(cursor, 10);
  const { store } = disk;
  store.transaction(() => store.partitions.roll(START_MS));
  store.transaction(() => store.partitions.drop(1));
  // Also while there is nothing.
  expect(await shard.pull(end, 10)).toMatchObject({ restart: false, names: [], cursor: { position: 3 } });
  expect(await shard.pull(null, 10)).toMatchObject({ restart: false, names: [], cursor: { position: 3 } });
  await publish(3);
  const again = await shard.pull(cursor, 2);
  expect([again.restart, again.names.length, again.more, again.cursor.position]).toEqual([true, 2, true, 5]);
  expect(await shard.pull(again.cursor, 2)).toMatchObject({
    restart: false,
    more: false,
    cursor: { position: 6 },
  });
  expect((await shard.pull(end, 10)).restart).toBe(false);
  expect((await shard.deliveredAfter(2, null)).isTooFar).toBe(true);
  const caughtUp = await shard.deliveredAfter(3, null);
  expect([caughtUp.isTooFar, caughtUp.events.length]).toEqual([false, 3]);
});

test("begins a generation when a peer has a later event of its own, tells every reader, and issues no seq twice", async () => {
  const disk = new Disk();
  const shard = disk.start();
  await shard.publish([envelopeOf(TOPIC, 1)]);
  await shard.attachHub("hub");
  const { cursor } = await shard.pull(null, 10);
  const other = new Uint8Array(8).fill(2);
  // Of a life of this store that is gone: two events, of which one suffices to begin anew.
  const ahead = START_MS + 30_000;
  const lost = [ahead, ahead + 1].map((timeMs) => forgeEvent({ topic: TOPIC, signer: SUBJECT, timeMs }));
  await shard.ingest(lost, "peer", []);
  const [receipt] = await shard.publish([envelopeOf(TOPIC, 2)]);
  expect(seqOfId(receipt?.id ?? new Uint8Array(40))).toBeGreaterThan(lost[1]?.fields.seq ?? 0n);
  expect(disk.generations).toBe(1);
  await settle();
  const again = await shard.pull(cursor, 10);
  expect([again.restart, again.names.length]).toEqual([true, 4]);
  const told = [
    again.cursor.generation,
    (await shard.attachHub("hub")).generation,
    (await shard.deliveredAfter(0, null)).generation,
    (await shard.deliveredAfter(-1_000_000, null)).generation,
    ...disk.fed.map(({ generation }) => generation),
  ];
  expect(told.length).toBeGreaterThanOrEqual(5);
  expect(told.every((generation) => equalBytes(generation, other))).toBe(true);
});

test("asks to be woken while an event waits for its parents, also in its next life, and delivers it then", async () => {
  const disk = new Disk();
  const shard = disk.start();
  await shard.start();
  await shard.ingest([forgeEvent({ topic: TOPIC })], "peer", []);
  expect(disk.wakes).toEqual([]);
  const orphan = forgeEvent({ topic: TOPIC, ts: 2, links: [madeUpId(START_MS - 9)] });
  await shard.ingest([orphan], "peer", []);
  expect(disk.wakes).toEqual([GAP_DELIVERY_MS]);
  disk.clock.step(START_MS + 1_000);
  await disk.start().start();
  expect(disk.wakes).toEqual([GAP_DELIVERY_MS, GAP_DELIVERY_MS + 1_000]);
  await shard.wake();
  expect(disk.wakes.at(-1)).toBe(GAP_DELIVERY_MS);
  disk.clock.step(START_MS + GAP_DELIVERY_MS);
  await shard.wake();
  expect(disk.wakes).toHaveLength(3);
  const event = disk.store.get({ topicKey: keyOf(TOPIC), id: orphan.id });
  expect((event?.flags ?? 0) & GAP).toBe(GAP);
});

test("asks to be woken again when its store fails while it delivers what is overdue", async () => {
  const disk = new Disk();
  const shard = disk.start();
  const orphan = forgeEvent({ topic: TOPIC, links: [madeUpId(START_MS - 9)] });
  await shard.ingest([orphan], "peer", []);
  disk.clock.step(START_MS + GAP_DELIVERY_MS);
  const failing = vi.spyOn(disk.store, "deliver").mockImplementation(() => {
    throw new Error("disk I/O error");
  });
  await shard.wake();
  expect(disk.wakes.at(-1)).toBe(GAP_DELIVERY_MS + 5_000);
  failing.mockRestore();
  await shard.wake();
  const event = disk.store.get({ topicKey: keyOf(TOPIC), id: orphan.id });
  expect((event?.flags ?? 0) & GAP).toBe(GAP);
});

test("goes on feeding the hubs of its last life once it is started", async () => {
  const disk = new Disk();
  await disk.start().attachHub("hub");
  const shard = disk.start();
  await settle();
  expect(disk.fed).toEqual([]);
  await shard.start();
  await settle();
  expect(disk.fed).toHaveLength(1);
});

const idsOf = (names: readonly { readonly id: Uint8Array }[]) => names.map(({ id }) => toHex(id)).sort();
const [removed = SUBJECT, other = SUBJECT] = signers.slice(1);

test("a shard takes out what a record removes that comes with the last step of another's", async () => {
  const many = Array.from({ length: SCRUB_LIMITS.rowsPerStep + 1 }, (_, ts) => ({ ts, signer: removed }));
  const events = [{ ts: 0, signer: other }, ...many].map((each) => forgeEvent({ topic: TOPIC, ...each }));
  const disk = new Disk();
  const shard = disk.start();
  await shard.ingest(events, "peer", []);
  await settle();
  const [one, two] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const syncs = vi.spyOn(disk, "sync").mockImplementationOnce(async () => {});
  syncs.mockImplementationOnce(() => one.promise).mockImplementationOnce(() => two.promise);
  await shard.addRecords([memberRecord(removed, false, 0n)]);
  // The first step is on its way to the disk, and then this; behind it wait the second step and the second record, for one group.
  const published = shard.publish([envelopeOf(TOPIC, 9)]);
  await settle();
  one.resolve();
  await settle();
  const second = shard.addRecords([memberRecord(other, false, 0n)]);
  two.resolve();
  await Promise.all([published, second]);
  // The publish alone.
  await vi.waitFor(async () => expect((await shard.pull(null, 10)).names).toHaveLength(1));
});

describe("a shard whose store fails while it takes out a removed member's events", () => {
  const events = [removed, other].map((signer, i) => forgeEvent({ topic: TOPIC, ts: i, signer }));

  async function cutOff(disk: Disk): Promise<Shard> {
    const shard = disk.start();
    await shard.ingest(events, "peer", []);
    const failing = vi.spyOn(disk.store.tree, "blocksBelow").mockImplementation(() => {
      throw new Error("disk I/O error");
    });
    await shard.addRecords([memberRecord(removed, false, 0n)]);
    await settle();
    expect(failing).toHaveBeenCalled();
    failing.mockRestore();
    expect(idsOf((await shard.pull(null, 10)).names)).toEqual(idsOf(events));
    return shard;
  }

  const untilTakenOut = (shard: Shard) =>
    vi.waitFor(async () => expect(idsOf((await shard.pull(null, 10)).names)).toEqual(idsOf(events.slice(1))));

  test("goes on after a pause", async () => {
    const disk = new Disk();
    const shard = await cutOff(disk);
    disk.clock.step(START_MS + 5_000);
    await untilTakenOut(shard);
  });

  test("goes on in its next life", async () => {
    const disk = new Disk();
    await cutOff(disk);
    const next = disk.start();
    await next.start();
    await untilTakenOut(next);
  });
});
