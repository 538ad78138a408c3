import { describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, madeUpId, Node, START_MS, signers } from "../testing/shard-world.ts";
import { ECHO, GAP, PENDING_BASE } from "./shard-store.ts";

/** Kept for 30 days, for 90 days, and for ever. */
const [PLAIN, CONVERSATION, CONTACT] = ["plain", "/xmtp/0/m-x/proto", "/xmtp/0/contact-x/proto"];
const DAY_MS = 86_400_000;

const fresh = () => new Node(new MemoryShardStore());
const overdue = (node: Node, nowMs: number, limit = 100) =>
  node.run((core) => core.deliverOverdue(nowMs, limit));
/** Where an event stands: its position, or that it waits, with its marks. */
const placeOf = (node: Node, topic: string, { id }: { id: Uint8Array<ArrayBuffer> }) => {
  const { position, flags } = node.get(topic, id);
  return position >= PENDING_BASE ? "waits" : [position, flags];
};

/** A chain of events in which each links to the one before, the first to one that nobody has. */
function orphans(topic: string, count: number) {
  const chain = [forgeEvent({ topic, ts: 0, timeMs: START_MS - 1_000, links: [madeUpId(START_MS - 2_000)] })];
  for (let ts = 1; ts < count; ts++)
    chain.push(
      forgeEvent({ topic, ts, timeMs: START_MS - 1_000 + ts, links: chain.slice(-1).map(({ id }) => id) }),
    );
  return chain;
}

describe("a parent that is not here", () => {
  test.each([
    [PLAIN, 29, "waits"],
    [PLAIN, 31, [1, 0]],
    [CONVERSATION, 31, "waits"],
    [CONVERSATION, 91, [1, 0]],
    [CONTACT, 10_000, "waits"],
  ] as const)("in %s, %i days old: its child %j", (topic, days, expected) => {
    const node = fresh();
    const child = forgeEvent({ topic, timeMs: START_MS, links: [madeUpId(START_MS - days * DAY_MS)] });
    node.ingest(child, START_MS);
    expect(placeOf(node, topic, child)).toEqual(expected);
    // What expired is not asked for.
    expect(node.store.links.missingParents(9, null)).toHaveLength(expected === "waits" ? 1 : 0);
  });

  test("of another topic is not here, though an event of that id is", () => {
    const node = fresh();
    const elsewhere = forgeEvent({ topic: CONTACT, timeMs: START_MS - 5 });
    const child = forgeEvent({ topic: PLAIN, links: [elsewhere.id] });
    for (const event of [elsewhere, child]) node.ingest(event, START_MS);
    expect(placeOf(node, PLAIN, child)).toBe("waits");
    expect(node.headsOf(CONTACT)).toEqual([toHex(elsewhere.id)]);
  });

  test("holds its child back until it comes, and then all that waited, parents first", () => {
    const node = fresh();
    const parent = forgeEvent({ topic: PLAIN, timeMs: START_MS - 50 });
    const child = forgeEvent({ topic: PLAIN, ts: 2, timeMs: START_MS - 40, links: [parent.id] });
    const grandchild = forgeEvent({
      topic: PLAIN,
      ts: 3,
      timeMs: START_MS - 30,
      links: [parent.id, child.id],
    });
    for (const event of [grandchild, child]) node.ingest(event, START_MS);
    expect([child, grandchild].map((event) => placeOf(node, PLAIN, event))).toEqual(["waits", "waits"]);
    node.ingest(parent, START_MS + 5);
    expect([parent, child, grandchild].map((event) => placeOf(node, PLAIN, event))).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ]);
  });
});

describe("after 30 s", () => {
  test("what waited is delivered as a gap, to the millisecond, and what it kept waiting after it", () => {
    const node = fresh();
    const chain = orphans(PLAIN, 3);
    for (const [i, event] of chain.entries()) node.ingest(event, START_MS + 10 * i);
    expect(overdue(node, START_MS + GAP_DELIVERY_MS - 1)).toBe(START_MS + GAP_DELIVERY_MS);
    expect(chain.map((event) => placeOf(node, PLAIN, event))).toEqual(["waits", "waits", "waits"]);
    expect(overdue(node, START_MS + GAP_DELIVERY_MS)).toBeUndefined();
    expect(chain.map((event) => placeOf(node, PLAIN, event))).toEqual([
      [1, GAP],
      [2, 0],
      [3, 0],
    ]);
  });

  test("the oldest of those that are overdue goes first, whatever came first", () => {
    const node = fresh();
    const chain = orphans(PLAIN, 4);
    for (const event of [...chain].reverse()) node.ingest(event, START_MS);
    overdue(node, START_MS + GAP_DELIVERY_MS);
    expect(chain.map((event) => placeOf(node, PLAIN, event))).toEqual([
      [1, GAP],
      [2, 0],
      [3, 0],
      [4, 0],
    ]);
  });

  test("so many are delivered at a time, and the answer says when to come again", () => {
    const node = fresh();
    const events = Array.from({ length: 5 }, (_, n) =>
      forgeEvent({ topic: PLAIN, ts: n, timeMs: START_MS - 9 + n, links: [madeUpId(START_MS - 900, n)] }),
    );
    for (const [i, event] of events.entries()) node.ingest(event, START_MS + i);
    const late = START_MS + GAP_DELIVERY_MS + 60;
    expect(overdue(node, late, 2)).toBe(START_MS + 2 + GAP_DELIVERY_MS);
    expect(node.core.position).toBe(2);
    expect(overdue(node, late, 2)).toBe(START_MS + 4 + GAP_DELIVERY_MS);
    expect(overdue(node, late, 2)).toBeUndefined();
    expect(node.core.position).toBe(5);
    expect(overdue(node, late, 2)).toBeUndefined();
  });

  test("a parent that comes late is delivered behind its child, and its child not again", () => {
    const node = fresh();
    const parent = forgeEvent({ topic: PLAIN, timeMs: START_MS - 50 });
    const child = forgeEvent({ topic: PLAIN, ts: 2, timeMs: START_MS, links: [parent.id] });
    node.ingest(child, START_MS);
    overdue(node, START_MS + GAP_DELIVERY_MS);
    expect(node.store.links.missingParents(9, null)).toHaveLength(1);
    node.ingest(parent, START_MS + 40_000);
    expect([child, parent].map((event) => placeOf(node, PLAIN, event))).toEqual([
      [1, GAP],
      [2, 0],
    ]);
    expect(node.store.links.missingParents(9, null)).toEqual([]);
    expect(node.headsOf(PLAIN)).toEqual([toHex(child.id)]);
  });
});

describe("an envelope in two events", () => {
  const twice = (links: Uint8Array<ArrayBuffer>[] = []) =>
    signers
      .slice(1, 3)
      .map((signer, n) =>
        forgeEvent({ topic: PLAIN, ts: 7, message: "same", signer, timeMs: START_MS + n, links }),
      );

  test("is delivered with the first of them; the other is an echo, at whichever time it is delivered", () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const node = fresh();
      const events = twice();
      for (const i of order) node.ingest(events[i] as (typeof events)[number], START_MS + 9);
      const places = order.map((i) => placeOf(node, PLAIN, events[i] as (typeof events)[number]));
      expect(places).toEqual([
        [1, 0],
        [2, ECHO],
      ]);
    }
  });

  test("is no echo of one that still waits; that one is, when it comes", () => {
    const node = fresh();
    const parent = forgeEvent({ topic: PLAIN, timeMs: START_MS - 50 });
    const [waiting] = twice([parent.id]);
    const [, free] = twice();
    if (!waiting || !free) throw new Error("no events");
    for (const event of [waiting, free, parent]) node.ingest(event, START_MS + 9);
    expect([free, parent, waiting].map((event) => placeOf(node, PLAIN, event))).toEqual([
      [1, 0],
      [2, 0],
      [3, ECHO],
    ]);
  });
});
