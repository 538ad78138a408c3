import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import { PennypostError } from "../../protocol/errors.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { FIRST, fresh, idsOf, rootsOf, SECOND, scrubbed, TOPIC } from "../testing/record-scene.ts";
import { absentLinks, dump, type Step, tracesWithRecords, World } from "../testing/shard-traces.ts";
import {
  envelopeOf,
  forgeEvent,
  keyOf,
  madeUpId,
  memberRecord,
  Node,
  naiveHeads,
  onStorage,
  START_MS,
  SUBJECT,
  TOPICS,
  wipe,
} from "../testing/shard-world.ts";
import { ECHO, PENDING_BASE, type ShardStore } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

type Forged = ReturnType<typeof forgeEvent>;

/** All that a store tells, but for the places of pending events: a core that begins anew gives that of one that was taken out again. */
function dumpByOrder(store: ShardStore) {
  const { pending, ends, ...others } = dump(store);
  const inOrder = pending.map((line) => line.slice(line.indexOf(" ")));
  return { ...others, pending: inOrder, ends: [ends[0], ends[2]] };
}

describe("records and events", () => {
  test("in any order leave the same: events, heads, roots; and a scrub finds nothing to mend", () =>
    onStorage((storage) => {
      const orders = fc.array(fc.nat(), { minLength: 80, maxLength: 80 });
      const run = (trace: readonly Step[], order: readonly number[]) => {
        wipe(storage);
        const world = new World();
        const node = new Node(new SqlShardStore(storage));
        for (const step of trace) world.apply(step, [node]);
        const other = fresh();
        other.addRecords(node.core.records.set.list(), world.nowMs);
        const shuffled = world.events.map((event, i) => ({ event, rank: order[i] ?? 0 }));
        for (const { event } of shuffled.sort((a, b) => a.rank - b.rank))
          other.ingest(event.wire, world.nowMs);
        for (const { wire } of world.events) node.ingest(wire, world.nowMs);
        for (const topic of TOPICS) {
          expect(idsOf(node, topic)).toEqual(idsOf(other, topic));
          expect(node.headsOf(topic)).toEqual(other.headsOf(topic));
          expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
        }
        expect(rootsOf(node)).toEqual(rootsOf(other));
        expect(scrubbed(node)).toEqual({ roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true });
      };
      fc.assert(fc.property(tracesWithRecords, orders, run), { numRuns: 25 });
    }));

  test("leave the same in SQLite and in the model after every step, and in a core that begins anew", () =>
    onStorage((storage) => {
      const run = (trace: readonly Step[]) => {
        wipe(storage);
        const world = new World();
        const inSql = new Node(new SqlShardStore(storage));
        const inModel = fresh();
        for (const step of trace) {
          const [bySql, byModel] = world.apply(step, [inSql, inModel]);
          expect(bySql).toEqual(byModel);
          expect(dumpByOrder(inSql.store)).toEqual(dumpByOrder(inModel.store));
          if (step.kind === "record") inModel.core = inModel.freshCore();
        }
        expect(rootsOf(inSql)).toEqual(rootsOf(inModel));
      };
      fc.assert(fc.property(tracesWithRecords, run), { numRuns: 60 });
    }));

  test("leave no event that no record admits, and no note on a parent that was removed", () => {
    fc.assert(
      fc.property(tracesWithRecords, (trace) => {
        const world = new World();
        const node = fresh();
        for (const step of trace) world.apply(step, [node]);
        const { set } = node.core.records;
        for (const event of TOPICS.flatMap((topic) => node.eventsOf(topic))) {
          const known = world.events.find(({ id }) => toHex(id) === toHex(event.id));
          expect(node.core.judge(known?.wire ?? event, world.nowMs).kind).toBe("valid");
          const isDelivered = event.position < PENDING_BASE;
          const waitsFor = absentLinks(node.store, event).filter(
            (id) => !node.store.removed.isRemoved({ topicKey: event.topicKey, id }),
          );
          if (!isDelivered && waitsFor.length === 0) {
            const parents = node.core.judge(event, world.nowMs);
            expect(parents.kind).toBe("valid");
          }
        }
        expect(set.size).toBeLessThanOrEqual(trace.length);
      }),
      { numRuns: 60 },
    );
  });
});

describe("a member that is removed", () => {
  /** A fork: the removed one's branch and another's, and an event that joins both. */
  function forked() {
    const root = forgeEvent({ topic: TOPIC, ts: 1, timeMs: START_MS - 5_000, signer: SECOND });
    const bad = forgeEvent({
      topic: TOPIC,
      ts: 2,
      timeMs: START_MS - 4_000,
      signer: FIRST,
      links: [root.id],
    });
    const good = forgeEvent({
      topic: TOPIC,
      ts: 3,
      timeMs: START_MS - 3_000,
      signer: SECOND,
      links: [root.id],
    });
    const join = forgeEvent({
      topic: TOPIC,
      ts: 4,
      timeMs: START_MS - 2_000,
      signer: SECOND,
      links: [bad.id, good.id],
    });
    return { root, bad, good, join };
  }
  const removal = (from: bigint) => memberRecord(FIRST, false, from);

  test("loses its events from that seq on: they leave heads and reads, and what linked to them stays", () => {
    const node = fresh();
    const { root, bad, good, join } = forked();
    for (const event of [root, bad, good]) node.ingest(event, START_MS);
    expect(node.headsOf(TOPIC)).toEqual([bad, good].map(({ id }) => toHex(id)));
    node.addRecords([removal(seqOfId(bad.id))], START_MS);
    expect(idsOf(node, TOPIC)).toEqual([root, good].map(({ id }) => toHex(id)));
    expect(node.headsOf(TOPIC)).toEqual([toHex(good.id)]);
    expect(node.ingest(join, START_MS)).toEqual({ kind: "stored" });
    expect(node.get(TOPIC, join.id).position).toBeLessThan(PENDING_BASE);
    expect(node.store.links.missingParents(9, null)).toEqual([]);
    expect(node.ingest(bad, START_MS)).toEqual({ kind: "dropped", reason: "removed-origin" });
  });

  test("leaves its envelope to the next event that has it: that one comes to readers now", () => {
    const node = fresh();
    const [bad, same, third] = [FIRST, SECOND, SECOND].map((signer, i) =>
      forgeEvent({ topic: TOPIC, ts: 7, timeMs: START_MS - 4_000 + i * 1_000, signer }),
    ) as [Forged, Forged, Forged];
    for (const event of [bad, same, third]) node.ingest(event, START_MS);
    const isEcho = (event: Forged) => (node.get(TOPIC, event.id).flags & ECHO) !== 0;
    expect([bad, same, third].map(isEcho)).toEqual([false, true, true]);
    node.addRecords([removal(0n)], START_MS);
    expect([same, third].map(isEcho)).toEqual([false, true]);
  });

  test("that only repeated an envelope leaves the first event of it as it is", () => {
    const node = fresh();
    const [same, bad, third] = [SECOND, FIRST, SECOND].map((signer, i) =>
      forgeEvent({ topic: TOPIC, ts: 7, timeMs: START_MS - 4_000 + i * 1_000, signer }),
    ) as [Forged, Forged, Forged];
    for (const event of [same, bad, third]) node.ingest(event, START_MS);
    node.addRecords([removal(0n)], START_MS);
    const flags = [same, third].map((event) => node.get(TOPIC, event.id).flags & ECHO);
    expect(flags).toEqual([0, ECHO]);
  });

  test("gives its parents back to the heads", () => {
    const node = fresh();
    const { root, bad } = forked();
    for (const event of [root, bad]) node.ingest(event, START_MS);
    node.addRecords([removal(0n)], START_MS);
    expect(node.headsOf(TOPIC)).toEqual([toHex(root.id)]);
    const next = node.publish(TOPIC, 9, "", START_MS);
    expect(node.headsOf(TOPIC)).toEqual([toHex(next.id)]);
  });

  test("keeps its events before that seq", () => {
    const node = fresh();
    const { root, bad, good } = forked();
    for (const event of [root, bad, good]) node.ingest(event, START_MS);
    node.addRecords([removal(seqOfId(bad.id) + 1n)], START_MS);
    expect(idsOf(node, TOPIC)).toHaveLength(3);
  });

  test("no longer holds back what waits for its events: they count as expired", () => {
    const node = fresh();
    const missing = madeUpId(START_MS - 6_000);
    const bad = forgeEvent({
      topic: TOPIC,
      ts: 2,
      timeMs: START_MS - 4_000,
      signer: FIRST,
      links: [missing],
    });
    const child = forgeEvent({
      topic: TOPIC,
      ts: 3,
      timeMs: START_MS - 3_000,
      signer: SECOND,
      links: [bad.id],
    });
    for (const event of [child, bad]) node.ingest(event, START_MS);
    expect(node.get(TOPIC, child.id).position).toBeGreaterThan(PENDING_BASE);
    node.addRecords([removal(0n)], START_MS);
    expect(node.get(TOPIC, child.id)).toMatchObject({
      position: 1,
      flags: node.get(TOPIC, child.id).flags & ~2,
    });
    expect(node.store.links.missingParents(9, null)).toEqual([]);
  });

  test("and admitted again is taken from then on, and what was removed comes back where a record says so", () => {
    const node = fresh();
    const { root, bad } = forked();
    for (const event of [root, bad]) node.ingest(event, START_MS);
    node.addRecords([removal(0n)], START_MS);
    node.addRecords([memberRecord(FIRST, true, seqOfId(bad.id))], START_MS);
    expect(idsOf(node, TOPIC)).toEqual([toHex(root.id)]);
    expect(node.ingest(bad, START_MS)).toEqual({ kind: "stored" });
    expect(node.store.removed.isRemoved({ topicKey: keyOf(TOPIC), id: bad.id })).toBe(false);
    expect(node.headsOf(TOPIC)).toEqual([toHex(bad.id)]);
  });

  test("has its settled slots taken out of the roots", () => {
    const [with_, without] = [fresh(), fresh()];
    const { root, bad, good } = forked();
    for (const event of [root, bad, good]) with_.ingest(event, START_MS);
    for (const event of [root, good]) without.ingest(event, START_MS);
    const nowMs = START_MS + 3 * SLOT_MS;
    for (const node of [with_, without]) node.run((core) => core.handOver(newestAsOf(nowMs)));
    with_.addRecords([removal(0n)], nowMs);
    expect(with_.core.dueAsOf).toBe(0);
    expect(rootsOf(with_)).toEqual(rootsOf(without));
    expect(scrubbed(with_)).toMatchObject({ roots: 0, heads: 0, wants: 0 });
  });

  test("does not give its positions to others, for those who have read up to them", () => {
    const node = fresh();
    const { root, bad } = forked();
    for (const event of [root, bad]) node.ingest(event, START_MS);
    const { position } = node.core;
    node.addRecords([removal(0n)], START_MS);
    node.core = node.freshCore();
    expect(node.publish(TOPIC, 9, "", START_MS).position).toBe(position + 1);
  });
});

test("a node that is no member publishes nothing", () => {
  const node = fresh();
  node.addRecords([memberRecord(SUBJECT, false, firstSeqOf(START_MS))], START_MS);
  let error: unknown;
  try {
    node.run((core) => core.publish(envelopeOf(TOPIC, 1), START_MS));
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(PennypostError);
  expect(error).toMatchObject({ code: "not_a_member", httpStatus: 503 });
  expect(idsOf(node, TOPIC)).toEqual([]);
});
