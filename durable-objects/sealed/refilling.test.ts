import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import { type EncodedEvent, toWire, type WireEvent } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { forgeEvent, keyOf, START_MS, TOPICS } from "../testing/shard-world.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { REFILL_EVERY_MS } from "./refilling.ts";
import { SealedIndex } from "./sealed-index.ts";

/** A shard on a real SQLite, R2 and D1 has sealed events whose messages nobody gave it: it asks for them until someone does. */

beforeEach(() => {
  for (const level of ["log", "warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

const TOPIC = TOPICS[0];
const bare = (event: WireEvent): WireEvent => ({ ...toWire(event), message: null });

function chainOf(count: number): EncodedEvent[] {
  const events: EncodedEvent[] = [];
  for (let n = 0; n < count; n++) {
    const last = events.at(-1);
    const seq = firstSeqOf(START_MS - HOUR_MS + n * 1_000);
    events.push(
      forgeEvent({ topic: TOPIC, ts: n, seq, message: `message ${n}`, links: last ? [last.id] : [] }),
    );
  }
  return events;
}

/** A shard that has sealed a chain of six events, two of them without their messages. */
const onSealed = (work: (node: SealingNode, events: readonly EncodedEvent[]) => Promise<void>) =>
  onSealingNode(async (node) => {
    const events = chainOf(6);
    await node.shard.ingest(
      events.map((event, n) => (n === 2 || n === 3 ? bare(event) : toWire(event))),
      "peer",
      [],
    );
    node.advance(60_000);
    await node.shard.wake();
    await node.publishDaily(5);
    expect(node.storage.sql.exec("SELECT 1 FROM events WHERE id = ?", events[2]?.id).toArray()).toEqual([]);
    await work(node, events);
  });

/** The messages of the chain, as clients read them: what is gone they do not see. */
async function messages(node: SealingNode, events: readonly EncodedEvent[]): Promise<(string | null)[]> {
  const page = await node.shard.eventsByCause(utf8(TOPIC), keyOf(TOPIC), null, 1_000);
  const byId = new Map(page.events.map(({ id, message }) => [toHex(id), message]));
  return events.map(({ id }) => {
    const message = byId.get(toHex(id));
    return message ? new TextDecoder().decode(message) : null;
  });
}

const ALL = Array.from({ length: 6 }, (_, n) => `message ${n}`);
const LACKING = ALL.map((message, n) => (n === 2 || n === 3 ? null : message));

const rootsOf = async (node: SealingNode) => {
  const { buckets, range } = await node.everything();
  return [buckets, range];
};

test("what a peer has comes, and nothing else changes, also in the next life", () =>
  onSealed(async (node, events) => {
    expect(await messages(node, events)).toEqual(LACKING);
    const [roots, heads] = [await rootsOf(node), await node.shard.heads(utf8(TOPIC), keyOf(TOPIC))];
    await node.handOver();
    node.peers = [events];
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    expect(await messages(node, events)).toEqual(ALL);
    for (let lives = 0; lives < 2; lives++) {
      expect(await rootsOf(node)).toEqual(roots);
      expect(await node.shard.heads(utf8(TOPIC), keyOf(TOPIC))).toEqual(heads);
      expect(await node.shard.scrub()).toMatchObject({ roots: 0, heads: 0, wants: 0 });
      node.restart();
    }
    // They are sealed again with what came since, and each is there once.
    node.advance(20 * 24 * HOUR_MS);
    for (let turns = 0; turns < 3; turns++) await node.maintain();
    expect(await messages(node, events)).toEqual(ALL);
    expect(
      new Set(
        (await node.shard.eventsByCause(utf8(TOPIC), keyOf(TOPIC), null, 1_000)).events.map(({ id }) =>
          toHex(id),
        ),
      ).size,
    ).toBe(6 + 5 * 6);
  }));

test("a subscriber hears of it then, for the first time", () =>
  onSealed(async (node, events) => {
    const { position } = await node.shard.attachHub("hub");
    node.peers = [events];
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    const heard = await node.shard.deliveredAfter(position, null);
    expect(heard.events.map(({ id }) => toHex(id)).sort()).toEqual(
      [events[2], events[3]].map((event) => toHex(event?.id ?? new Uint8Array())).sort(),
    );
  }));

test("peers that have it without, or with other bytes, are no end of the questions", () =>
  onSealed(async (node, events) => {
    const lies = events.map((event) => ({ ...toWire(event), message: utf8("a lie") }));
    node.peers = [[], events.map(bare), lies, events.slice(0, 3), events];
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    // A lie ends the question of this turn: the next one asks again.
    node.peers = [events.map(bare), events];
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    expect(await messages(node, events)).toEqual(ALL);
  }));

test("what nobody has is asked for every quarter of an hour, and after a day once a day", () =>
  onSealed(async (node, events) => {
    node.peers = [events.map(bare)];
    const want = vi.fn(async () => ({ events: [], more: false }));
    vi.spyOn(node, "linkTo").mockReturnValue({ want, push: async () => 0 } as never);
    node.restart();
    const turns = async (count: number, pauseMs: number) => {
      want.mockClear();
      for (let n = 0; n < count; n++) {
        await node.maintain();
        node.advance(pauseMs);
      }
      return want.mock.calls.length;
    };
    expect(await turns(10, REFILL_EVERY_MS)).toBe(10);
    expect(await turns(10, REFILL_EVERY_MS / 10)).toBe(1);
    await turns(100, REFILL_EVERY_MS);
    expect(await turns(96, REFILL_EVERY_MS)).toBe(1);
  }));

test("what the shard has dropped itself is not asked for", () =>
  onSealed(async (node, events) => {
    const store = new SqlShardStore(node.storage);
    const index = new SealedIndex(store.sealed);
    for (const segment of index.segments)
      store.transaction(() => index.dropMessages(segment, node.clock.nowMs()));
    node.restart();
    node.peers = [events];
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    node.advance(REFILL_EVERY_MS);
    await node.maintain();
    expect(await messages(node, events)).toEqual(
      ALL.map((message, n) => (n === 2 || n === 3 ? message : null)),
    );
  }));
