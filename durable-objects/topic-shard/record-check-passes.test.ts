import { describe, expect, test } from "vitest";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { FIRST, idsOf, SECOND, scrubbed, TOPIC } from "../testing/record-scene.ts";
import {
  forgeEvent,
  madeUpId,
  memberRecord,
  Node,
  naiveHeads,
  START_MS,
  SUBJECT,
} from "../testing/shard-world.ts";

describe("a pass that judges again", () => {
  /** More topics and events than one step looks at, of two origins in turn. */
  function filled(): Node {
    const node = new Node(new MemoryShardStore(), SUBJECT, {
      rowsPerStep: 20,
      eventsPerRead: 8,
      headsPerRead: 8,
    });
    for (let i = 0; i < 300; i++) {
      const signer = i % 2 === 0 ? FIRST : SECOND;
      node.ingest(
        forgeEvent({ topic: `topic ${i % 7}`, ts: i, timeMs: START_MS - 1_000 + i, signer }),
        START_MS,
      );
    }
    return node;
  }
  const topics = Array.from({ length: 7 }, (_, i) => `topic ${i}`);

  test("goes on after a restart at any step, and leaves the same", () => {
    const whole = filled();
    whole.addRecords([memberRecord(FIRST, false, 0n)], START_MS);
    const node = filled();
    node.run((core) => core.records.add([memberRecord(FIRST, false, 0n)]));
    let steps = 0;
    do {
      // A life that is too short for one topic would begin it again and again.
      if (steps++ % 12 === 11) node.core = node.freshCore();
      expect(node.core.records.isCheckDue).toBe(true);
      expect(steps).toBeLessThan(1_000);
    } while (node.run((core) => core.stepRecordCheck(START_MS)));
    expect(steps).toBeGreaterThan(5);
    for (const topic of topics) {
      expect(idsOf(node, topic)).toEqual(idsOf(whole, topic));
      expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
    }
    expect(node.freshCore().records.isCheckDue).toBe(false);
    expect(scrubbed(node)).toMatchObject({ roots: 0, heads: 0, wants: 0 });
  });

  test("mends a topic that has lost all its events, also in the next life", () => {
    const limits = { rowsPerStep: 1, eventsPerRead: 1, headsPerRead: 1 };
    for (const steps of [1, 2, 3, 4]) {
      const node = new Node(new MemoryShardStore(), SUBJECT, limits);
      const links = [madeUpId(START_MS - 9_000)];
      node.ingest(
        forgeEvent({ topic: TOPIC, ts: 1, timeMs: START_MS - 1_000, signer: FIRST, links }),
        START_MS,
      );
      expect(node.store.links.missingParents(9, null)).toHaveLength(1);
      node.run((core) => core.records.add([memberRecord(FIRST, false, 0n)]));
      for (let i = 0; i < steps; i++) node.run((core) => core.stepRecordCheck(START_MS));
      node.core = node.freshCore();
      for (let i = 0; node.core.records.isCheckDue && i < 100; i++)
        node.run((core) => core.stepRecordCheck(START_MS));
      expect(node.store.links.missingParents(9, null)).toEqual([]);
      expect(node.headsOf(TOPIC)).toEqual([]);
    }
  });

  test("comes to its end however many records come meanwhile, and another follows", () => {
    const node = filled();
    node.run((core) => core.records.add([memberRecord(FIRST, false, firstSeqOf(START_MS))]));
    for (let i = 1; node.core.records.isCheckDue; i++) {
      expect(i).toBeLessThan(1_000);
      node.run((core) => core.stepRecordCheck(START_MS));
      // Each takes a little more away, long before the pass is through.
      const from = firstSeqOf(START_MS - 10 * i);
      if (i <= 100) node.run((core) => core.records.add([memberRecord(FIRST, false, from)]));
    }
    for (const topic of topics) expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
    const left = topics.flatMap((topic) => node.eventsOf(topic));
    expect(left).toHaveLength(150);
  });

  test("begins anew with a further record, and mends what the first had torn", () => {
    for (const stepsBefore of [1, 2, 3, 4, 5, 6]) {
      const node = filled();
      node.run((core) => core.records.add([memberRecord(FIRST, false, 0n)]));
      for (let i = 0; i < stepsBefore; i++) node.run((core) => core.stepRecordCheck(START_MS));
      node.addRecords([memberRecord(SECOND, false, firstSeqOf(START_MS - 900))], START_MS);
      for (const topic of topics) expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
      expect(scrubbed(node)).toMatchObject({ roots: 0, heads: 0, wants: 0 });
    }
  });

  test("is not begun by a record that takes nothing away", () => {
    const node = filled();
    node.run((core) => core.records.add([memberRecord(FIRST, true, 5n)]));
    expect(node.core.records.isCheckDue).toBe(false);
  });

  test("takes note of what is stored meanwhile", () => {
    const node = filled();
    node.run((core) => core.records.add([memberRecord(FIRST, false, 0n)]));
    let n = 0;
    do {
      node.publish(`topic ${n % 7}`, 1_000 + n, "", START_MS + n);
      n++;
      expect(n).toBeLessThan(1_000);
    } while (node.run((core) => core.stepRecordCheck(START_MS)));
    for (const topic of topics) expect(node.headsOf(topic)).toEqual(naiveHeads(node.eventsOf(topic)));
    expect(scrubbed(node)).toMatchObject({ roots: 0, heads: 0, wants: 0 });
  });
});
