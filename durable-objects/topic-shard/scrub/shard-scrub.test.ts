import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../../protocol/bytes.ts";
import { SLOT_MS } from "../../../protocol/retention.ts";
import { keyOf, naiveHeads, onStorage, wipe } from "../../testing/shard-world.ts";
import { TREE_TOPICS, TreeNode } from "../../testing/tree-node.ts";
import { headsOf } from "../heads.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import type { ScrubReport } from "./shard-scrub.ts";

/** A shard with some history, in SQLite, of which a part is damaged behind its back. */
class Damaged extends TreeNode {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    wipe(storage);
    super(new SqlShardStore(storage));
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

const NOTHING = { roots: 0, heads: 0, wants: 0, isWhole: true };
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
          const whole = shard.expected(shard.core.handOver(0).asOf);
          const lost = TREE_TOPICS.flatMap((topic) => shard.stored(topic)).filter(
            ({ position }) => position % modulus === rest % modulus,
          );
          for (const { position } of lost) shard.sql("DELETE FROM events WHERE position = ?", position);
          shard.restart();
          shard.scrub();
          shard.checkAll();
          for (const event of lost) shard.run(() => shard.core.ingest(event, shard.nowMs));
          shard.checkAll();
          expect(shard.expected(shard.handOver().asOf)).toEqual(whole);
          expect(shard.scrub()).toEqual(NOTHING);
        }),
        { numRuns: 40 },
      );
    }));

  test.each<[string, (shard: Damaged) => void, Partial<ScrubReport>]>([
    ["roots that are gone", (shard) => shard.sql("DELETE FROM tree WHERE name LIKE 'roots-%'"), {}],
    [
      "roots of nonsense",
      (shard) => shard.sql("UPDATE tree SET value = zeroblob(75) WHERE name LIKE 'roots-%'"),
      {},
    ],
    [
      "sketches",
      (shard) => shard.sql("UPDATE tree SET value = zeroblob(32768) WHERE name LIKE 'sketch-%'"),
      { roots: 1 },
    ],
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
      shard.checkAll();
    }));
});
