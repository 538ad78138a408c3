import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../../protocol/bytes.ts";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { keyOf, madeUpId, naiveHeads, onStorage, wipe } from "../../testing/shard-world.ts";
import { loseSketches, TREE_TOPICS, TreeNode } from "../../testing/tree-node.ts";
import { headsOf } from "../heads.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import type { ScrubLimits } from "./scrub-limits.ts";
import type { ScrubReport } from "./shard-scrub.ts";

/** A shard with some history, in SQLite, of which a part is damaged behind its back. */
class Damaged extends TreeNode {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage, scrubLimits: Partial<ScrubLimits> = {}) {
    wipe(storage);
    super(new SqlShardStore(storage), { shard: 0, shardCount: 1, scrubLimits });
    this.#storage = storage;
  }

  live(steps: readonly number[]): void {
    for (const [n, step] of steps.entries()) {
      const topic = TREE_TOPICS[step % TREE_TOPICS.length] as string;
      this.nowMs += 13;
      if (step % 3 === 0) this.arrive(topic, n, 1 + (step % 40));
      else this.publish(topic, n);
      if (step % 7 === 0) this.nowMs += SLOT_MS;
      if (step % 11 === 0) this.handOver();
    }
    this.nowMs += 2 * SLOT_MS;
    this.handOver();
  }

  sql(query: string, ...bindings: SqlStorageValue[]): number {
    return this.#storage.sql.exec(query, ...bindings).rowsWritten;
  }

  /** Runs a scrub to its end; `between` is called between two steps. */
  scrub(between: () => void = () => {}): ScrubReport {
    const scrub = this.core.beginScrub();
    while (this.run(() => this.core.stepScrub(scrub, this.nowMs))) between();
    return scrub.report;
  }

  stored(topic: string) {
    const key = keyOf(topic);
    return this.store.tree
      .eventsOfTopics({ from: new Uint8Array(), to: null }, null, 1e6, 1e9)
      .filter(({ topicKey }) => toHex(topicKey) === toHex(key));
  }

  /** Roots, sketches and heads are those of what is stored. */
  checkAll(): void {
    this.check(this.handOver());
    for (const topic of TREE_TOPICS)
      expect(headsOf(this.store, keyOf(topic)).map(toHex)).toEqual(naiveHeads(this.stored(topic)).sort());
  }
}

const NO_BYTES = new Uint8Array();
const NOTHING = { roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true };
const histories = fc.array(fc.nat({ max: 1_000 }), { minLength: 20, maxLength: 80, size: "max" });

describe("a scrub", () => {
  test("of a healthy shard mends nothing", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(histories, (steps) => {
          const shard = new Damaged(storage);
          shard.live(steps);
          expect(shard.scrub()).toEqual(NOTHING);
          shard.checkAll();
        }),
        { numRuns: 10 },
      );
    }));

  test("finds rows that were lost, so that roots, sketches and heads are those of what is left; and what comes back fits in", () =>
    onStorage((storage) => {
      fc.assert(
        fc.property(histories, fc.integer({ min: 2, max: 9 }), fc.nat({ max: 8 }), (steps, modulus, rest) => {
          const shard = new Damaged(storage);
          shard.live(steps);
          const whole = shard.expected(shard.handOver().asOf);
          const lost = TREE_TOPICS.flatMap((topic) => shard.stored(topic)).filter(
            ({ position }) => position % modulus === rest % modulus,
          );
          for (const { position } of lost) shard.sql("DELETE FROM events_1 WHERE position = ?", position);
          shard.restart();
          shard.scrub();
          shard.checkAll();
          for (const event of lost) shard.run(() => shard.core.ingest(event, shard.nowMs));
          shard.checkAll();
          expect(shard.expected(shard.handOver().asOf)).toEqual(whole);
          expect(shard.scrub()).toEqual(NOTHING);
        }),
        { numRuns: 25 },
      );
    }));

  test.each<[string, (shard: Damaged) => void, Partial<ScrubReport>]>([
    ["roots that are gone", (shard) => shard.sql("DELETE FROM tree WHERE name LIKE 'roots-%'"), {}],
    [
      "roots of nonsense",
      (shard) => shard.sql("UPDATE tree SET value = zeroblob(75) WHERE name LIKE 'roots-%'"),
      {},
    ],
    ["sketches", (shard) => loseSketches(shard.store), { roots: 1 }],
    ["leaves", (shard) => shard.sql("UPDATE slot_groups SET leaves = zeroblob(41)"), {}],
    ["heads that are missing", (shard) => shard.sql("DELETE FROM heads"), {}],
    [
      "heads that are none",
      (shard) => shard.sql("INSERT OR IGNORE INTO heads (topic_key, id) SELECT topic_key, id FROM events"),
      {},
    ],
  ])("mends %s", (_, damage, report) =>
    onStorage((storage) => {
      const shard = new Damaged(storage);
      shard.live(Array.from({ length: 90 }, (_each, n) => n * 5));
      damage(shard);
      shard.restart();
      expect(shard.scrub()).toMatchObject(report);
      shard.checkAll();
      expect(shard.scrub()).toEqual(NOTHING);
    }),
  );

  test("lets others write between its steps, early and late", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage);
      shard.live(Array.from({ length: 60 }, (_each, n) => n * 7));
      let n = 0;
      const report = shard.scrub(() => {
        if (++n > 40) return;
        const topic = TREE_TOPICS[n % TREE_TOPICS.length] as string;
        shard.nowMs += 17;
        if (n % 2) shard.publish(topic, 1_000 + n);
        else shard.arrive(topic, 1_000 + n, n % 9);
      });
      expect(report).toEqual(NOTHING);
      shard.checkAll();
      expect(shard.scrub()).toEqual(NOTHING);
    }));

  test("reads a bucket to its end also when it gets a late event between every two steps", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage, { idsPerStep: 512 });
      for (let n = 0; n < 300; n++) shard.arrive("kept-0", n, 3 + (n % 40));
      shard.handOver();
      let n = 1_000;
      const between = () => {
        shard.arrive("kept-0", ++n, 3 + ((7 * n) % 45));
        shard.handOver();
      };
      expect(shard.scrub(between)).toEqual(NOTHING);
      shard.sql("UPDATE slot_groups SET leaves = zeroblob(41)");
      loseSketches(shard.store);
      shard.restart();
      expect(shard.scrub(between)).toEqual({ ...NOTHING, roots: 2 });
      shard.checkAll();
      expect(shard.scrub()).toEqual(NOTHING);
    }));

  test("mends a topic that gets an event between every two steps", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage, { rowsPerStep: 4, eventsPerRead: 2 });
      const missing = madeUpId(shard.nowMs - 50 * SLOT_MS);
      shard.arrive("kept-0", 1, 40, [missing]);
      for (let n = 2; n < 60; n++) shard.arrive("kept-0", n, 1 + (n % 39));
      const topicKey = keyOf("kept-0");
      const [lost] = headsOf(shard.store, topicKey) as [Bytes];
      shard.store.links.removeHead(topicKey, lost);
      shard.store.links.addHead(topicKey, madeUpId(shard.nowMs - 20 * SLOT_MS));
      for (const { child } of shard.store.links.unmetAfter(topicKey, { parent: missing, child: NO_BYTES }, 1))
        shard.store.links.removeUnmet(topicKey, missing, child);
      expect(shard.store.links.hasUnmet(topicKey, missing)).toBe(false);
      let n = 0;
      const report = shard.scrub(() => {
        shard.nowMs += 11;
        if (++n % 2) shard.publish("kept-0", 1_000 + n);
        else if (n < 100) shard.arrive("kept-0", 1_000 + n, n % 39);
      });
      expect(n).toBeGreaterThan(20);
      expect(report).toEqual({ ...NOTHING, heads: 2, wants: 1 });
      expect(shard.store.links.hasUnmet(topicKey, missing)).toBe(true);
      shard.checkAll();
      expect(shard.scrub()).toEqual(NOTHING);
    }));

  test("says so when a topic takes too many walks, and mends the others", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage, { linkedIds: 2, walks: 2 });
      for (let n = 0; n < 20; n++) shard.arrive("kept-1", n, 5);
      const far = shard.stored("kept-1").map(({ id }) => id);
      shard.arrive("kept-1", 20, 3, far.slice(0, 10));
      for (let n = 0; n < 5; n++) shard.arrive("kept-0", n, 5);
      for (const id of headsOf(shard.store, keyOf("kept-0")))
        shard.store.links.removeHead(keyOf("kept-0"), id);
      expect(shard.scrub()).toEqual({ ...NOTHING, heads: 4, skippedTopics: 1, isWhole: false });
      shard.checkAll();
    }));

  test("counts roots that it found wrong before a slot settled", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage, { idsPerStep: 64_000 });
      shard.live(Array.from({ length: 60 }, (_each, n) => n * 7));
      shard.sql("UPDATE tree SET value = zeroblob(75) WHERE name LIKE 'roots-%'");
      shard.restart();
      const scrub = shard.core.beginScrub();
      expect(shard.run(() => shard.core.stepScrub(scrub, shard.nowMs))).toBe(true);
      shard.nowMs += SLOT_MS;
      shard.handOver();
      while (shard.run(() => shard.core.stepScrub(scrub, shard.nowMs)));
      expect(scrub.report.roots).toBeGreaterThan(0);
      expect(scrub.report.isWhole).toBe(false);
      shard.checkAll();
    }));

  test("says of what a failed write undid neither that it was mended nor that it is whole", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage, { rowsPerStep: 4, eventsPerRead: 2 });
      for (let n = 0; n < 30; n++) shard.arrive("kept-0", n, 5);
      for (const id of headsOf(shard.store, keyOf("kept-0")))
        shard.store.links.removeHead(keyOf("kept-0"), id);
      const scrub = shard.core.beginScrub();
      const step = () => shard.core.stepScrub(scrub, shard.nowMs);
      while (scrub.report.heads === 0) shard.run(step);
      expect(() =>
        shard.run(() => {
          step();
          throw new Error("no room");
        }),
      ).toThrow();
      expect(shard.run(step)).toBe(false);
      const heads = shard.store.links.extraHeads(keyOf("kept-0"), 100).length;
      expect(scrub.report).toEqual({ ...NOTHING, heads, isWhole: false });
      expect(shard.scrub()).toEqual({ ...NOTHING, heads: 29 - heads });
      shard.checkAll();
    }));

  test("leaves the roots for the next time when a slot settles meanwhile, and ends when a write fails", () =>
    onStorage((storage) => {
      const shard = new Damaged(storage);
      shard.live(Array.from({ length: 60 }, (_each, n) => n * 7));
      const scrub = shard.core.beginScrub();
      shard.nowMs += SLOT_MS;
      shard.handOver();
      while (shard.run(() => shard.core.stepScrub(scrub, shard.nowMs)));
      expect(scrub.report).toMatchObject({ isWhole: false, roots: 0 });
      const again = shard.core.beginScrub();
      expect(() =>
        shard.run(() => {
          throw new Error("no room");
        }),
      ).toThrow();
      expect(shard.run(() => shard.core.stepScrub(again, shard.nowMs))).toBe(false);
      expect(again.report).toEqual({ ...NOTHING, isWhole: false });
      shard.checkAll();
    }));
});
