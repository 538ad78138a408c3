import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex, utf8 } from "../../../protocol/bytes.ts";
import { decodeBlock, type EncodedEvent } from "../../../protocol/event.ts";
import { seqOfId } from "../../../protocol/event-id.ts";
import { expiryLine, SLOT_MS } from "../../../protocol/retention.ts";
import { shardOf } from "../../../protocol/topic.ts";
import { MemoryShardStore } from "../../testing/memory-shard-store.ts";
import { rowsRead } from "../../testing/rows-read.ts";
import {
  forgeEvent,
  keyOf,
  madeUpId,
  naiveHeads,
  network,
  onStorage,
  START_MS,
  wipe,
} from "../../testing/shard-world.ts";
import { TREE_START_MS, TreeNode, treeNetwork } from "../../testing/tree-node.ts";
import { headsOf } from "../heads.ts";
import type { UnmetNote } from "../link-store.ts";
import type { ShardStore, StoredEvent } from "../shard-store.ts";
import { SqlShardStore } from "../sql-shard-store.ts";
import { LinkedIds } from "./linked-ids.ts";
import { SCRUB_LIMITS } from "./scrub-limits.ts";
import type { ScrubReport } from "./shard-scrub.ts";
import { TopicScrub } from "./topic-scrub.ts";

/** Two of one shard of very many, so that there are few buckets to read. */
const SHARDS = 1_024;
const SHARD = shardOf(keyOf("kept-0"), SHARDS);
const isNear = (topic: string) => shardOf(keyOf(topic), SHARDS) === SHARD;
const SHORT = Array.from({ length: 20_000 }, (_, n) => `short-${n}`).find(isNear) as string;
const TOPICS = ["kept-0", SHORT];
/** So that a few events take many steps and walks. */
const SMALL = {
  idsPerStep: 4_096,
  rowsPerStep: 1,
  eventsPerRead: 2,
  headsPerRead: 3,
  linkedIds: 3,
  walks: 1_000,
};
const NO_NOTE: UnmetNote = { parent: new Uint8Array(), child: new Uint8Array() };

interface Step {
  readonly kind: "publish" | "arrive" | "withhold" | "release";
  readonly topic: number;
  readonly agoSlots: number;
  readonly links: readonly number[];
}
interface Damage {
  readonly kind: "head" | "no head" | "note" | "note of another" | "no note" | "no row";
  readonly topic: number;
  readonly which: number;
}

const anyTopic = fc.nat({ max: TOPICS.length - 1 });
const steps = (limits: { minLength: number; maxLength: number }): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record({
      kind: fc.constantFrom("publish", "arrive", "arrive", "withhold", "release"),
      topic: anyTopic,
      agoSlots: fc.nat({ max: 9 }),
      links: fc.array(fc.nat({ max: 200 }), { maxLength: 4 }),
    }),
    { ...limits, size: "max" },
  );
const damages: fc.Arbitrary<Damage[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("head", "no head", "note", "note of another", "no note", "no row"),
    topic: anyTopic,
    which: fc.nat({ max: 200 }),
  }),
  { maxLength: 12 },
);

/** A shard whose events link to each other in any way, also to some that come later or never. */
class Linked extends TreeNode {
  readonly #known: Bytes[][] = TOPICS.map((_, n) => [madeUpId(TREE_START_MS - 2 * SLOT_MS, n)]);
  readonly #withheld: EncodedEvent[] = [];
  #made = 0;

  constructor(store: ShardStore) {
    super(store, { shard: SHARD, shardCount: SHARDS, scrubLimits: SMALL });
  }

  take({ kind, topic: n, agoSlots, links }: Step): void {
    this.nowMs += 3;
    const topic = TOPICS[n] as string;
    const known = this.#known[n] as Bytes[];
    if (kind === "publish") {
      this.publish(topic, ++this.#made);
      known.push(this.store.greatest(keyOf(topic))?.id as Bytes);
    } else if (kind === "release") {
      const event = this.#withheld.shift();
      if (event) this.run(() => this.core.ingest(event, this.nowMs));
    } else {
      const event = this.#forge(topic, agoSlots, known, links);
      known.push(event.id);
      if (kind === "withhold") this.#withheld.push(event);
      else this.run(() => this.core.ingest(event, this.nowMs));
    }
  }

  #forge(topic: string, agoSlots: number, known: readonly Bytes[], links: readonly number[]): EncodedEvent {
    const timeMs = this.nowMs - agoSlots * SLOT_MS;
    const isOlder = (id: Bytes) =>
      compareBytes(id, madeUpId(timeMs, 0)) < 0 && seqOfId(id) !== seqOfId(madeUpId(timeMs));
    const older = known.filter(isOlder);
    const linked = new Set(links.flatMap((link) => older[link % Math.max(1, older.length)] ?? []));
    const classId = treeNetwork.classOf(utf8(topic)).id;
    return forgeEvent({ topic, ts: ++this.#made, links: [...linked], network: treeNetwork, classId, timeMs });
  }

  stored(topic: string): StoredEvent[] {
    return this.store.causalPage(keyOf(topic), new Uint8Array(40), 1e6, Number.MAX_SAFE_INTEGER);
  }

  /** Spoils what derives from the events, behind the core's back. */
  damage({ kind, topic: n, which }: Damage, loseRow: (position: number) => void): void {
    const topic = TOPICS[n] as string;
    const topicKey = keyOf(topic);
    const events = this.stored(topic);
    const event = events[which % Math.max(1, events.length)];
    const madeUp = madeUpId(this.nowMs - which * 1_000, which);
    const note = this.store.links.unmetAfter(topicKey, NO_NOTE, 1_000)[which % 5];
    if (kind === "head") this.store.links.addHead(topicKey, which % 2 && event ? event.id : madeUp);
    if (kind === "no head")
      for (const id of headsOf(this.store, topicKey)) this.store.links.removeHead(topicKey, id);
    if (kind === "note") this.store.links.addUnmet(topicKey, event?.id ?? madeUp, madeUp);
    if (kind === "note of another" && event) this.store.links.addUnmet(topicKey, madeUp, event.id);
    // That on a parent which is here only keeps a child waiting for less than 30 s.
    if (kind === "no note" && note && !this.store.outline({ topicKey, id: note.parent }))
      this.store.links.removeUnmet(topicKey, note.parent, note.child);
    if (kind === "no row" && event) loseRow(event.position);
  }

  scrub(between: () => void): ScrubReport {
    const scrub = this.core.beginScrub();
    while (this.run(() => this.core.stepScrub(scrub, this.nowMs))) between();
    return scrub.report;
  }

  /** Heads and notes are those that the stored events ask for. */
  checkAll(): void {
    for (const topic of TOPICS) {
      const topicKey = keyOf(topic);
      const events = this.stored(topic);
      const links = new Map(events.map(({ id, block }) => [toHex(id), decodeBlock(block).links.map(toHex)]));
      expect(headsOf(this.store, topicKey).map(toHex)).toEqual(naiveHeads(events));
      for (const { parent, child } of this.store.links.unmetAfter(topicKey, NO_NOTE, 1e6))
        expect(links.get(toHex(child))).toContain(toHex(parent));
      const line = expiryLine(treeNetwork.classOf(utf8(topic)), this.nowMs);
      for (const { block } of events)
        for (const id of decodeBlock(block).links)
          if (seqOfId(id) >= line && !links.has(toHex(id)))
            expect(this.store.links.hasUnmet(topicKey, id)).toBe(true);
    }
  }
}

const NOTHING = { roots: 0, heads: 0, wants: 0, skippedTopics: 0, isWhole: true };
const before = steps({ minLength: 10, maxLength: 50 });
const between = fc.array(steps({ minLength: 0, maxLength: 3 }), { maxLength: 40, size: "max" });

describe("whatever is stored between its steps, a scrub", () => {
  test("mends nothing of what is right", () => {
    fc.assert(
      fc.property(before, between, (history, meanwhile) => {
        const shard = new Linked(new MemoryShardStore());
        for (const step of history) shard.take(step);
        const rest = [...meanwhile];
        expect(shard.scrub(() => (rest.shift() ?? []).forEach((step) => void shard.take(step)))).toEqual(
          NOTHING,
        );
        shard.checkAll();
      }),
      { numRuns: 60 },
    );
  });

  test.each(["SQLite", "memory"])(
    "mends all that was damaged before, rows that were lost among it, in %s",
    (kind) =>
      onStorage((storage) => {
        const loseRow = (position: number) =>
          storage.sql.exec("DELETE FROM events_1 WHERE position = ?", position);
        fc.assert(
          fc.property(before, damages, between, (history, spoilt, meanwhile) => {
            wipe(storage);
            const shard = new Linked(kind === "SQLite" ? new SqlShardStore(storage) : new MemoryShardStore());
            for (const step of history) shard.take(step);
            for (const each of spoilt) shard.damage(each, loseRow);
            const rest = [...meanwhile];
            const report = shard.scrub(() => (rest.shift() ?? []).forEach((step) => void shard.take(step)));
            expect(report).toMatchObject({ skippedTopics: 0, isWhole: true });
            shard.checkAll();
            expect(shard.scrub(() => {})).toEqual(NOTHING);
          }),
          { numRuns: 60 },
        );
      }),
  );
});

const TOPIC = "plain";
const topicKey = keyOf(TOPIC);

/** Puts events with these links into a store, past the core. */
function fill(store: ShardStore, linksOf: readonly ((ids: readonly Bytes[]) => Bytes[])[]): Bytes[] {
  const ids: Bytes[] = [];
  for (const [n, links] of linksOf.entries()) {
    const event = forgeEvent({ topic: TOPIC, ts: n, timeMs: START_MS + n, links: links(ids) });
    const rest = { topicKey, timeKey: new Uint8Array(40), class: 1, flags: 0, storedMs: START_MS };
    store.insert({ ...event, ...rest, position: n + 1, message: new Uint8Array() });
    ids.push(event.id);
  }
  return ids;
}

describe("a scrub holds", () => {
  const limits = { ...SCRUB_LIMITS, eventsPerRead: 8, headsPerRead: 50 };

  function run(storage: DurableObjectStorage, linked: LinkedIds, walks = limits.walks) {
    const store = new SqlShardStore(storage);
    const scrub = new TopicScrub(store, network, topicKey, { linked, limits: { ...limits, walks } });
    let more = true;
    let steps = 0;
    for (; more; steps++)
      // An event, its 16 links looked for among events and notes, by an index each; and the heads.
      expect(
        rowsRead(storage, () => {
          ({ more } = store.transaction(() => scrub.step(START_MS + 10_000)));
        }),
      ).toBeLessThan(limits.eventsPerRead * (1 + 16 * 4) + 2 * limits.headsPerRead + 10);
    return { store, scrub, steps };
  }

  test("nothing of parents that nobody has, however many there are", () =>
    onStorage((storage) => {
      const madeUp = (n: number) => Array.from({ length: 16 }, (_, k) => madeUpId(START_MS - 1 - n, k));
      fill(
        new SqlShardStore(storage),
        Array.from({ length: 150 }, (_, n) => () => madeUp(n)),
      );
      const linked = new LinkedIds(limits.linkedIds);
      const { store, scrub } = run(storage, linked);
      expect(linked.bytes).toBe(0);
      expect([scrub.wants, scrub.heads, scrub.isWhole]).toEqual([150 * 16, 149, true]);
      expect(store.links.missingParents(10_000, null)).toHaveLength(150 * 16);
    }));

  test("a limited number of links to events far below, and walks again for the rest", () =>
    onStorage((storage) => {
      const far = (n: number) => (ids: readonly Bytes[]) => ids.slice(16 * n, 16 * n + 16);
      const roots = Array.from({ length: 330 }, () => () => []);
      const linksOf = [...roots, ...Array.from({ length: 20 }, (_, n) => far(n))];
      const ids = fill(new SqlShardStore(storage), linksOf);
      const linked = new LinkedIds(50);
      const few = run(storage, linked);
      expect(linked.bytes).toBe(44 * 50);
      expect([few.scrub.heads, few.scrub.isWhole]).toEqual([10 + 19, true]);
      expect(headsOf(few.store, topicKey)).toEqual(ids.slice(320));
      const once = run(storage, new LinkedIds(1_000));
      expect([once.scrub.heads, once.scrub.isWhole]).toEqual([0, true]);
      expect(few.steps).toBeGreaterThan(3 * once.steps);
      // With fewer walks some events are left out, and said to be.
      for (const id of ids.slice(320)) once.store.links.removeHead(topicKey, id);
      const cut = run(storage, new LinkedIds(50), 2);
      expect([cut.scrub.heads, cut.scrub.isWhole]).toEqual([10 + 19, false]);
    }));
});
