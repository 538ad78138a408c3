import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { DAY_MS, exportOf, HOUR_MS, importInto, LongLife, MAX_SKEW_MS } from "../testing/long-life.ts";
import type { MemoryNode } from "../testing/memory-network.ts";

/** What is kept, and what is gone, over months on three nodes whose clocks and cron triggers differ. */

beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());

const HOT_MS = 48 * HOUR_MS;
const sealing = { shardCount: 2, hotMs: HOT_MS };
/** Deletion begins two slots after expiry; a turn, and what the hash tree still compares, come on top. */
const SLOTS_LEFT = 24;

test("over 120 days each node reads what the classes say at each day's end, and nothing is left to move", async () => {
  const life = new LongLife([
    { ...sealing, skewMs: MAX_SKEW_MS },
    { ...sealing, shardCount: 1, skewMs: -MAX_SKEW_MS },
    sealing,
  ]);
  for (let day = 0; day < 120; day++) {
    await life.pass(24, 12);
    await life.settleInSlot();
    await life.check();
  }
  // All but one class have lost what was published first, and files hold the most.
  expect(life.expected().length).toBeLessThan(life.published.length - 1_000);
  for (const node of life.nodes) {
    expect(life.expiredInFiles(node, SLOTS_LEFT)).toBe(0);
    const hot = node.stores.reduce((sum, store) => sum + store.namesAfter(0, 1e6).length, 0);
    expect(hot).toBeLessThan(life.expected().length / 4);
  }
}, 600_000);

describe("what has expired comes back nowhere:", () => {
  /** Three nodes, some days old; the third one is to bring it back. */
  async function scene(third: object = sealing) {
    const life = new LongLife([sealing, { ...sealing, skewMs: MAX_SKEW_MS }, { ...sealing, ...third }]);
    await life.pass(3 * 24, 12);
    const old = life.nodes[2] as MemoryNode;
    return { life, old };
  }
  const first = (life: LongLife) => {
    const event = life.published.find(({ topic }) => topic.startsWith("days"));
    if (!event) throw new Error("nothing of the class was published");
    return event;
  };

  async function expectQuiet(life: LongLife): Promise<void> {
    await life.settleInSlot();
    await life.check();
    await life.expectGone(first(life));
    await life.pass(3, 12);
    await life.settleInSlot();
    await life.check();
  }

  test("with a node that was away over its end", async () => {
    const { life, old } = await scene();
    life.world.away.add(old);
    life.idle.add(old);
    await life.pass(5 * 24, 12);
    life.world.away.delete(old);
    // It has done nothing meanwhile, and deleted nothing.
    const lacking = await Promise.all(old.shards.map((shard) => shard.lacking([first(life)])));
    expect(lacking.some(({ length }) => length === 0)).toBe(true);
    await life.pass(1, 12);
    life.idle.delete(old);
    await expectQuiet(life);
  });

  test("with a node that was restored from an old export", async () => {
    const { life, old } = await scene();
    const exported = await exportOf(old);
    await life.pass(5 * 24, 12);
    const restored = life.replace(2);
    const taken = await importInto(restored, exported);
    expect(taken).toBeGreaterThan(0);
    expect(taken).toBeLessThan(exported.events.length + 1_000);
    await expectQuiet(life);
  });

  test("with a node that deletes nothing, and pushes what it has", async () => {
    const { life, old } = await scene();
    life.idle.add(old);
    await life.pass(5 * 24, 12);
    const kept = (await exportOf(old)).events;
    for (const node of life.nodes.slice(0, 2))
      for (const shard of node.shards) {
        const { stored, refused } = await shard.ingest(kept, "peer", []);
        expect({ stored, refused: new Set(refused) }).toEqual({
          stored: 0,
          refused: new Set(refused.length ? ["shard"] : []),
        });
      }
    await expectQuiet(life);
  });
});

test("a node that is new after two months has what the others read", async () => {
  const life = new LongLife([sealing, sealing, sealing]);
  await life.pass(40 * 24, 12);
  life.replace(1);
  await life.pass(4, 12);
  await life.settleInSlot();
  await life.check();
  expect(life.nowMs).toBeGreaterThan(40 * DAY_MS);
}, 120_000);
