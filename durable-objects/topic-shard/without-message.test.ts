import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { decodeBlock, isWhole, type WireEvent } from "../../protocol/event.ts";
import { GAP_DELIVERY_MS } from "../../protocol/limits.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import {
  forgeEvent,
  keyOf,
  madeUpId,
  Node,
  onStorage,
  START_MS,
  signers,
  wipe,
} from "../testing/shard-world.ts";
import { ECHO, GAP, GONE, PENDING_BASE, type ShardStore } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

/** Events that come without their messages: when they and their children are delivered, and what fills them in. */

const TOPIC = "plain";
const fresh = () => new Node(new MemoryShardStore());

const chain = (count: number) => {
  const events = [forgeEvent({ topic: TOPIC, ts: 1, message: "m0", timeMs: START_MS - 1_000 })];
  for (let n = 1; n < count; n++) {
    const links = events.slice(-1).map(({ id }) => id);
    events.push(
      forgeEvent({ topic: TOPIC, ts: 1 + n, message: `m${n}`, timeMs: START_MS - 1_000 + n, links }),
    );
  }
  return events;
};
type Whole = ReturnType<typeof chain>[number];
const bare = (event: WireEvent): WireEvent => ({ ...event, message: null });
const nameOf = ({ id }: { readonly id: Bytes }) => ({ topicKey: keyOf(TOPIC), id });
const inVain = (node: Node, events: readonly { readonly id: Bytes }[], nowMs = START_MS) =>
  node.run((core) => core.soughtInVain(events.map(nameOf), nowMs));
const overdue = (node: Node) => node.run((core) => core.deliverOverdue(START_MS + GAP_DELIVERY_MS + 1, 100));
/** What a subscriber is told, in order. */
const told = (store: ShardStore, after = 0) =>
  store
    .deliveredAfter(after, 1_000, 1e9)
    .filter(isWhole)
    .map(({ message }) => new TextDecoder().decode(message));
const ingest = (node: Node, ...wires: readonly WireEvent[]) =>
  wires.map((wire) => node.ingest(wire, START_MS).kind);

describe("an event without its message", () => {
  test("is known and compared, and waits with its children until its message comes", () => {
    const node = fresh();
    const [first, second] = chain(2) as [Whole, Whole];
    expect(ingest(node, bare(first), second)).toEqual(["stored", "stored"]);
    expect(node.store.positionOf(nameOf(first))).toBeGreaterThanOrEqual(PENDING_BASE);
    expect(node.headsOf(TOPIC)).toEqual([toHex(second.id)]);
    expect(told(node.store)).toEqual([]);
    expect(node.store.links.missingParents(9, null)).toEqual([]);
    expect(node.store.isWithoutMessage(nameOf(first))).toBe(true);
    expect(ingest(node, bare(first), first, first, bare(first))).toEqual([
      "known",
      "stored",
      "known",
      "known",
    ]);
    expect(told(node.store)).toEqual(["m0", "m1"]);
    expect(node.get(TOPIC, first.id)).toMatchObject({ flags: 0, message: first.message });
  });

  test("is still waited for when its parent comes, if it was not sought in vain", () => {
    const node = fresh();
    const [first, second, third] = chain(3) as [Whole, Whole, Whole];
    ingest(node, bare(first), bare(second), third, first);
    expect(told(node.store)).toEqual(["m0"]);
    ingest(node, second);
    expect(told(node.store)).toEqual(["m0", "m1", "m2"]);
  });

  test("that nobody has lets its children pass, and nobody is told of it", () => {
    const node = fresh();
    const events = chain(4);
    const [first, second, third, fourth] = events.map((each) => each) as [never, never, never, never];
    ingest(node, bare(first), bare(second), third, fourth);
    // Of a chain the later one waits for the earlier, in whatever order they were sought.
    inVain(node, [second]);
    expect(told(node.store)).toEqual([]);
    inVain(node, [first]);
    expect(told(node.store)).toEqual(["m2", "m3"]);
    expect(node.store.lastPosition()).toBe(4);
    inVain(node, [first, second, third]);
    expect(node.store.lastPosition()).toBe(4);
  });

  test("whose message comes later is told then, once, with what it is to readers", () => {
    const node = fresh();
    const [first, second] = chain(2) as [never, never];
    ingest(node, bare(first), second);
    inVain(node, [first]);
    expect(ingest(node, first, first)).toEqual(["stored", "known"]);
    expect(told(node.store)).toEqual(["m1", "m0"]);
    expect(node.store.namesAfter(0, 9)).toHaveLength(2);
    const [shown] = node.store.timePage(
      {
        topicKey: keyOf(TOPIC),
        from: new Uint8Array(40),
        to: new Uint8Array(40).fill(255),
        isDescending: false,
        leastId: new Uint8Array(40),
      },
      9,
      1e9,
    );
    expect(shown).toMatchObject(nameOf(first));
    expect(node.store.findEnvelope(keyOf(TOPIC), shown?.timeKey as Bytes, new Uint8Array(40))).toEqual(
      shown?.id,
    );
    expect(node.freshCore().position).toBe(3);
  });

  test("is delivered when it is overdue, also where a parent is not here; its message takes no gap with it", () => {
    const node = fresh();
    const orphan = forgeEvent({ topic: TOPIC, message: "late", links: [madeUpId(START_MS - 9_000)] });
    const [first, second] = chain(2) as [never, never];
    ingest(node, bare(orphan), bare(first), second);
    inVain(node, [orphan]);
    overdue(node);
    expect(told(node.store)).toEqual(["m1"]);
    expect(node.store.lastPending()).toBeUndefined();
    ingest(node, orphan, first);
    expect(told(node.store)).toEqual(["m1", "late", "m0"]);
    expect(node.get(TOPIC, orphan.id).flags & (GAP | GONE)).toBe(GAP);
    expect(node.get(TOPIC, chain(1)[0]?.id as Bytes).flags).toBe(0);
  });

  test("of an envelope that was told already, of another event, is an echo once it is whole", () => {
    const node = fresh();
    const [one, other] = [1, 2].map((n) =>
      forgeEvent({ topic: TOPIC, ts: 5, message: "same", timeMs: START_MS - n, signer: signers[n] as never }),
    ) as [never, never];
    ingest(node, bare(one), other);
    inVain(node, [one]);
    expect(node.publish(TOPIC, 5, "same", START_MS).id).toEqual((other as { id: Bytes }).id);
    ingest(node, one);
    expect(node.store.deliveredAfter(0, 9, 1e9).map(({ flags }) => flags & ECHO)).toEqual([0, ECHO]);
  });

  test.each([
    ["with another message", (event: WireEvent) => ({ ...event, message: Uint8Array.of(7, 7) }), "message"],
    ["with one of another length", (event: WireEvent) => ({ ...event, message: Uint8Array.of(7) }), "size"],
    [
      "without its signature",
      (event: WireEvent) => ({ ...bare(event), signature: new Uint8Array(64) }),
      "signature",
    ],
  ])("is not filled in, nor stored, %s", (_, change, rule) => {
    const node = fresh();
    const [event] = chain(1) as [never];
    for (const known of [[], [bare(event)]]) {
      ingest(node, ...known);
      expect(node.ingest(change(event), START_MS)).toMatchObject({ kind: "refused", rule });
    }
    expect(node.store.isWithoutMessage(nameOf(event))).toBe(true);
  });

  test("is no ephemeral one: of those nobody drops a message", () => {
    const event = forgeEvent({ topic: "/xmtp/0/mE-x/proto", message: "m" });
    expect(fresh().ingest(bare(event), START_MS)).toMatchObject({ kind: "refused", rule: "message" });
  });
});

type Step =
  | { readonly event: number; readonly kind: "bare" | "whole" | "vain" }
  | { readonly event?: never; readonly kind: "restart" | "overdue" };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 9, arbitrary: fc.record({ event: fc.nat(7), kind: fc.constantFrom("bare", "whole", "vain") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("restart", "overdue") }) },
) as fc.Arbitrary<Step>;

/** Events that link to some of those before them. */
const graph = fc.array(fc.array(fc.nat(9), { maxLength: 2 }), { minLength: 8, maxLength: 8 }).map((all) => {
  const events: ReturnType<typeof chain> = [];
  for (const [n, links] of all.entries()) {
    const parents = new Map(
      links.flatMap((each) => (events[each] ? [[each, events[each].id] as const] : [])),
    );
    const timeMs = START_MS - 1_000 + n;
    events.push(forgeEvent({ topic: TOPIC, ts: n, message: `m${n}`, timeMs, links: [...parents.values()] }));
  }
  return events;
});

/** Whatever came of which event and when, a reader is told of each whole one once, and parents first unless they came later. */
function check(store: ShardStore, events: ReturnType<typeof chain>, steps: readonly Step[]): void {
  const node = new Node(store);
  let read = 0;
  const heard: string[] = [];
  const passed = new Set<string>();
  const follow = () => {
    for (const event of store.deliveredAfter(read, 1_000, 1e9)) {
      read = event.position;
      const hex = toHex(event.id);
      const parents = decodeBlock(event.block).links.map(toHex);
      if (!event.message) passed.add(hex);
      else {
        // A parent was told, or had been passed by without its message; or the event itself is late.
        const isInOrder = parents.every((parent) => heard.includes(parent) || passed.has(parent));
        expect(isInOrder || (event.flags & GAP) !== 0).toBe(true);
        heard.push(hex);
      }
    }
  };
  for (const each of steps) {
    if (each.kind === "restart") node.core = node.freshCore();
    else if (each.kind === "overdue") overdue(node);
    else {
      const event = events[each.event ?? 0] as Whole;
      if (each.kind === "vain") inVain(node, [event]);
      else ingest(node, each.kind === "bare" ? bare(event) : event);
    }
    follow();
  }
  ingest(node, ...events);
  follow();
  expect(heard.sort()).toEqual(events.map(({ id }) => toHex(id)).sort());
  const plain = new Node(new MemoryShardStore());
  ingest(plain, ...events);
  expect(node.headsOf(TOPIC)).toEqual(plain.headsOf(TOPIC));
  const rows = ({ store: each }: Node) =>
    each
      .causalPage(keyOf(TOPIC), new Uint8Array(40), 99, 1e9)
      .map(({ id, timeKey, message }) => [id, timeKey, message]);
  expect(rows(node)).toEqual(rows(plain));
  expect(store.goneInIds(keyOf(TOPIC), new Uint8Array(40), new Uint8Array(40).fill(255))).toBe(0);
  expect(store.firstPendingMs()).toBeUndefined();
}

const steps = fc.array(step, { maxLength: 40 });

describe("whatever comes with and without its message, in any order", () => {
  test("each event is told once, and in the end all is as if it had come whole", () => {
    fc.assert(
      fc.property(graph, steps, (events, all) => check(new MemoryShardStore(), events, all)),
      { numRuns: 150 },
    );
  });

  test("the same in SQLite", () =>
    onStorage((storage) => {
      const run = (events: ReturnType<typeof chain>, all: readonly Step[]) => {
        wipe(storage);
        storage.sql.exec("INSERT INTO meta (name, value) VALUES ('generation', ?)", new Uint8Array(8));
        check(new SqlShardStore(storage), events, all);
      };
      fc.assert(fc.property(graph, steps, run), { numRuns: 40 });
    }));
});
