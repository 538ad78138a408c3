import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import { bytesOfWire, decodeBlock, type WireEvent } from "../../protocol/event.ts";
import { eventId } from "../../protocol/event-id.ts";
import { MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import type { EventName, EventPage } from "../../protocol/peer-messages.ts";
import { suite } from "../platform-suite.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { traces, World } from "../testing/shard-traces.ts";
import { forgeEvent, keyOf, madeUpId, Node, START_MS, TOPICS } from "../testing/shard-world.ts";
import { answerWant } from "./ancestors.ts";

const TOPIC = TOPICS[0];
const named = (id: Bytes, topic: string = TOPIC): EventName => ({ topicKey: keyOf(topic), id });
const idOf = ({ block }: WireEvent) => eventId(decodeBlock(block).seq, suite.sha256(block));
const idsOf = ({ events }: EventPage) => events.map((event) => toHex(idOf(event)));

/** A topic of `length` events that each link to the one before. */
function chain(length: number, bytes = 0): { node: Node; ids: Bytes[] } {
  const node = new Node(new MemoryShardStore());
  const ids: Bytes[] = [];
  for (let i = 0; i < length; i++)
    ids.push(node.publish(TOPIC, i, new Uint8Array(bytes).fill(i), START_MS + i).id);
  return { node, ids };
}

const hex = (ids: readonly Bytes[]) => ids.map(toHex);

describe("what is wanted by name", () => {
  test("is answered as far as it is here, oldest first, whole and valid", () => {
    const { node, ids } = chain(5);
    const wanted = [ids[4], ids[1], madeUpId(START_MS)].map((id) => named(id as Bytes));
    const page = answerWant(node.store, { wanted, ancestors: false, have: [] });
    expect(idsOf(page)).toEqual(hex([ids[1], ids[4]] as Bytes[]));
    expect(page.more).toBe(false);
    const other = new Node(new MemoryShardStore());
    for (const event of page.events) expect(other.ingest(event, START_MS + 10)).toEqual({ kind: "stored" });
  });

  test("under another topic's name is not here", () => {
    const { node, ids } = chain(1);
    const page = answerWant(node.store, {
      wanted: [named(ids[0] as Bytes, TOPICS[1])],
      ancestors: true,
      have: [],
    });
    expect(page).toEqual({ events: [], more: false });
  });
});

describe("ancestors", () => {
  test("come too, down to what the reader has", () => {
    const { node, ids } = chain(6);
    const ask = (have: Bytes[]) =>
      idsOf(
        answerWant(node.store, {
          wanted: [named(ids[4] as Bytes)],
          ancestors: true,
          have: have.map((id) => named(id)),
        }),
      );
    expect(ask([])).toEqual(hex(ids.slice(0, 5)));
    expect(ask([ids[1] as Bytes])).toEqual(hex(ids.slice(2, 5)));
    expect(ask([ids[4] as Bytes])).toEqual([]);
    expect(ask([madeUpId(START_MS)])).toEqual(hex(ids.slice(0, 5)));
  });

  test("are exactly what can be reached from the wanted, in any graph", () => {
    const property = fc.property(
      traces,
      fc.array(fc.nat(), { maxLength: 3 }),
      fc.array(fc.nat(), { maxLength: 3 }),
      (trace, picks, haves) => {
        const world = new World();
        const node = new Node(new MemoryShardStore());
        for (const step of trace) world.apply(step, [node]);
        const events = TOPICS.flatMap((topic) => node.eventsOf(topic));
        if (events.length === 0) return;
        const pick = (n: number) => events[n % events.length] as (typeof events)[number];
        const have = haves.map(pick);
        const wanted = picks.map(pick);
        const reached = new Set<string>();
        const visit = (name: EventName): void => {
          const event = node.store.get(name);
          if (!event || reached.has(toHex(name.id)) || have.some(({ id }) => compareBytes(id, name.id) === 0))
            return;
          reached.add(toHex(name.id));
          for (const id of decodeBlock(event.block).links) visit({ topicKey: name.topicKey, id });
        };
        wanted.forEach(visit);
        expect(idsOf(answerWant(node.store, { wanted, ancestors: true, have }))).toEqual([...reached].sort());
      },
    );
    fc.assert(property, { numRuns: 60 });
  });
});

describe("a page", () => {
  test("ends at 1 MB, the oldest first: asked again by what is then missing, all comes over", () => {
    const { node, ids } = chain(40, 100_000);
    const reader = new Node(new MemoryShardStore());
    const have: EventName[] = [];
    for (let pages = 1; ; pages++) {
      const page = answerWant(node.store, { wanted: [named(ids[39] as Bytes)], ancestors: true, have });
      const bytes = page.events.reduce((sum, event) => sum + bytesOfWire(event), 0);
      expect(bytes).toBeLessThanOrEqual(MAX_PEER_PAGE_BYTES);
      // No child comes before its parent, so that nothing waits at the reader.
      for (const event of page.events) reader.ingest(event, START_MS + 50);
      expect(reader.store.firstPendingMs()).toBeUndefined();
      have.splice(
        0,
        have.length,
        ...reader.headsOf(TOPIC).map((id) => named(new Uint8Array(Buffer.from(id, "hex")))),
      );
      if (!page.more) {
        expect(pages).toBe(4);
        break;
      }
    }
    expect(hex(reader.eventsOf(TOPIC).map(({ id }) => id))).toEqual(hex(ids));
  });

  test("holds one event at least, however large, and says that there is more", () => {
    const node = new Node(new MemoryShardStore());
    const large = [1, 2].map((ts) =>
      forgeEvent({ topic: TOPIC, ts, timeMs: START_MS + ts, message: new Uint8Array(1_048_000) }),
    );
    for (const event of large) node.ingest(event, START_MS + 5);
    const wanted = large.map(({ id }) => named(id));
    const first = answerWant(node.store, { wanted, ancestors: false, have: [] });
    expect([idsOf(first), first.more]).toEqual([hex([(large[0] as { id: Bytes }).id]), true]);
    const rest = answerWant(node.store, { wanted: wanted.slice(1), ancestors: false, have: [] });
    expect([rest.events.length, rest.more]).toEqual([1, false]);
  });

  test("ends at its number of events, and the walk at its own, newest first", () => {
    const store = new MemoryShardStore();
    const unsigned = { publicKey: new Uint8Array(32), sign: () => new Uint8Array(64) };
    const ids: Bytes[] = [];
    for (let i = 0; i < 10_100; i++) {
      const links = ids.slice(-1);
      const event = forgeEvent({ topic: TOPIC, ts: i, timeMs: START_MS + i, links, signer: unsigned });
      const place = {
        position: i + 1,
        topicKey: keyOf(TOPIC),
        timeKey: event.id,
        class: 1,
        flags: 0,
        storedMs: 0,
      };
      store.insert({ ...event, ...place });
      ids.push(event.id);
    }
    const wanted = [named(ids.at(-1) as Bytes)];
    const page = answerWant(store, { wanted, ancestors: true, have: [] });
    expect([page.events.length, page.more]).toEqual([MAX_PEER_EVENTS, true]);
    // 10,000 were visited, from the wanted one down.
    expect(idsOf(page)[0]).toBe(toHex(ids[100] as Bytes));
  });
});
