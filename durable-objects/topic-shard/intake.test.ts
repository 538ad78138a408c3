import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { shardOf } from "../../protocol/topic.ts";
import type { VerifiedEvent } from "../../protocol/validity.ts";
import { platformClock } from "../clock.ts";
import { suite } from "../platform-suite.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, keyOf, Node, START_MS, TOPICS } from "../testing/shard-world.ts";
import { Intake } from "./intake.ts";
import { WriterLoop } from "./writer-loop.ts";

const TOPIC = TOPICS[0];
const ahead = (ms: number, ts = 1) => forgeEvent({ topic: TOPIC, ts, timeMs: START_MS + ms });
const ephemeral = (ts: number) => forgeEvent({ topic: "/xmtp/0/mE-x/proto", ts });

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS });
});
afterEach(() => {
  vi.useRealTimers();
});

function start(shardCount = 1) {
  const node = new Node(new MemoryShardStore());
  const relayed: string[] = [];
  const disk = { isFull: false, groups: 0, stored: 0 };
  const writer = new WriterLoop({
    transaction: (work) => {
      disk.groups++;
      if (disk.isFull) throw unavailable("write_failed", "full");
      node.store.transaction(work);
    },
    sync: async () => {},
    rolledBack: () => node.core.reload(),
    committed: () => {},
  });
  const intake = new Intake({
    core: node.core,
    store: node.store,
    writer,
    clock: platformClock,
    suite,
    shardCount,
    shard: 0,
    relay: (event: VerifiedEvent, hops) => relayed.push(`${Number(event.fields.ts)}/${hops}`),
    stored: async () => {
      disk.stored++;
    },
  });
  return { node, intake, relayed, disk };
}

test("says what became of each event, stores the valid ones in one group, and no other", async () => {
  const { node, intake, disk } = start();
  const good = [1, 2].map((ts) => forgeEvent({ topic: TOPIC, ts }));
  const [first] = good;
  if (!first) throw new Error("no event");
  const bad = [
    { ...first, signature: new Uint8Array(64) },
    { ...first, message: new Uint8Array(3) },
    { ...first, block: Uint8Array.of(1, 2, 3) },
  ];
  const summary = await intake.ingest([...good, first, ...bad, ahead(130_000), ahead(700_000)], "peer");
  expect(summary).toEqual({
    stored: 2,
    known: 1,
    held: 1,
    dropped: 1,
    refused: ["signature", "size", expect.any(String)],
    hasPrevious: true,
  });
  expect([node.eventsOf(TOPIC).length, disk.groups, disk.stored]).toEqual([2, 1, 1]);
  expect(await intake.ingest([first], "peer")).toMatchObject({ stored: 0, known: 1 });
  expect(disk.stored).toBe(1);
});

test("says whether the events named as previous are here, those of this very call included", async () => {
  const { intake } = start();
  const event = forgeEvent({ topic: TOPIC });
  const previous = [{ topicKey: keyOf(TOPIC), id: event.id }];
  expect((await intake.ingest([], "peer", previous)).hasPrevious).toBe(false);
  expect((await intake.ingest([event], "peer", previous)).hasPrevious).toBe(true);
  expect((await intake.ingest([], "peer", previous)).hasPrevious).toBe(true);
  expect((await intake.ingest([], "peer", [{ ...event, topicKey: keyOf(TOPICS[1]) }])).hasPrevious).toBe(
    false,
  );
});

test("holds what is too far ahead, and stores it when its time has come", async () => {
  const { node, intake } = start();
  const event = ahead(125_000);
  await intake.ingest([event], "peer");
  expect([intake.isHeld(event.id), node.eventsOf(TOPIC).length]).toEqual([true, 0]);
  await vi.advanceTimersByTimeAsync(4_999);
  expect(node.eventsOf(TOPIC)).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(11_000);
  expect([intake.isHeld(event.id), node.eventsOf(TOPIC).map(({ id }) => toHex(id))]).toEqual([
    false,
    [toHex(event.id)],
  ]);
  expect(vi.getTimerCount()).toBe(0);
});

test("drops what a peer has no room for, and forgets held events when the disk fails, without harm", async () => {
  const { node, intake, disk } = start();
  const many = Array.from({ length: 1_010 }, (_, ts) => ahead(125_000, ts));
  expect(await intake.ingest(many, "peer")).toMatchObject({ held: 1_000, dropped: 10 });
  disk.isFull = true;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(node.eventsOf(TOPIC)).toHaveLength(0);
  disk.isFull = false;
  expect(await intake.ingest(many.slice(0, 1), "peer")).toMatchObject({ stored: 1 });
});

test("a failing disk fails the call", async () => {
  const { intake, disk } = start();
  disk.isFull = true;
  await expect(intake.ingest([forgeEvent({ topic: TOPIC })], "peer")).rejects.toMatchObject({
    code: "write_failed",
  });
});

test("relays an ephemeral event once, in whatever way it comes, and passes none on that came as a stored one", async () => {
  const { intake, relayed, node } = start();
  await intake.ingest([ephemeral(1), ephemeral(1), ephemeral(2)], "peer");
  const judged = node.core.judge(ephemeral(3), START_MS);
  if (judged.kind === "ephemeral") for (const hops of [1, 0]) intake.relay(judged.event, hops);
  await intake.ingest([ephemeral(3)], "other peer");
  expect(relayed).toEqual(["1/0", "2/0", "3/1"]);
});

test("refuses an event that belongs to another shard, however valid", async () => {
  const { node, intake, relayed } = start(1_024);
  const events = TOPICS.map((topic) => forgeEvent({ topic, ts: 1 }));
  const here = events.filter((_, i) => shardOf(keyOf(TOPICS[i] ?? ""), 1_024) === 0);
  const { stored, refused } = await intake.ingest(events, "peer");
  expect([stored, refused.length, relayed]).toEqual([here.length, events.length - here.length, []]);
  expect(refused.every((rule) => rule === "shard")).toBe(true);
  expect(node.eventsOf(TOPIC)).toHaveLength(0);
});
