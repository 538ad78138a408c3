import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import type { Signer } from "../../protocol/crypto.ts";
import { type EncodedEvent, signedBytes } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { newestAsOf, SETTLE_MS } from "../../protocol/sync-range.ts";
import type { Equivocation } from "../node-state/evidence-api.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { idOfRaw, storedRaw } from "../testing/raw-events.ts";
import { rowsRead } from "../testing/rows-read.ts";
import {
  forgeEvent,
  keyOf,
  Node,
  onStorage,
  START_MS,
  signers,
  TOPICS,
  wipe,
} from "../testing/shard-world.ts";
import { Equivocations, MAX_PENDING_PROOFS } from "./equivocations.ts";
import { ProofReport } from "./proof-report.ts";
import type { ShardStore } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";
import { spanOfSlots } from "./sync-tree/slot-spans.ts";
import { eventsOfSpans } from "./sync-tree/span-walk.ts";

const [A, B] = [signers[1], signers[2]] as [Signer, Signer];
const SETTLED_MS = START_MS + SLOT_MS + SETTLE_MS;

const eventOf = (signer: Signer, n: number, seq: number, topic: string = TOPICS[0]): EncodedEvent =>
  forgeEvent({ signer, topic, message: `m${n}`, seq: firstSeqOf(START_MS) + BigInt(seq) });

class Shard extends Node {
  take(...events: readonly EncodedEvent[]): void {
    for (const event of events) this.ingest(event, START_MS + 1_000);
  }

  settle(atMs = SETTLED_MS): void {
    this.run((core) => core.handOver(newestAsOf(atMs)));
  }

  get proofs(): Equivocation[] {
    return this.core.equivocations.proofs(1_000);
  }
}

const shardOn = (store: ShardStore) => new Shard(store);
const fresh = () => shardOn(new MemoryShardStore());

/** The proofs as anyone reads them; each half is signed by the origin, and the two differ. */
function read(proofs: readonly Equivocation[]) {
  return proofs.map(({ origin, seq, first, second }) => {
    const halves = [first, second].map(({ block, signature }) => {
      const digest = suite.sha256(block);
      expect(suite.verify(origin, signedBytes(digest), signature)).toBe(true);
      return toHex(digest);
    });
    return { origin: toHex(origin), seq: toHex(seq), halves };
  });
}

const pairOf = (signer: Signer, seq: number, events: readonly EncodedEvent[]) => ({
  origin: toHex(signer.publicKey),
  seq: toHex(uint64Bytes(firstSeqOf(START_MS) + BigInt(seq))),
  halves: events.map(({ id }) => toHex(digestOfId(id))).sort(),
});

describe("two events of one origin with one seq", () => {
  test("in one topic are proof at once, whatever came between, and stay stored", () => {
    const shard = fresh();
    const [first, second] = [eventOf(A, 1, 5), eventOf(A, 2, 5)];
    shard.take(first, eventOf(A, 3, 6), eventOf(B, 4, 5));
    expect(shard.proofs).toEqual([]);
    shard.take(second, second);
    expect(read(shard.proofs)).toEqual([pairOf(A, 5, [first, second])]);
    expect(shard.eventsOf(TOPICS[0])).toHaveLength(4);
  });

  test("in two topics are proof when their slot settles", () => {
    const shard = fresh();
    const [first, second] = [eventOf(A, 1, 5, TOPICS[0]), eventOf(A, 2, 5, TOPICS[1])];
    shard.take(first, second, eventOf(B, 3, 5, TOPICS[2]), eventOf(B, 4, 6, TOPICS[1]));
    shard.settle(START_MS);
    expect(shard.proofs).toEqual([]);
    shard.settle();
    expect(read(shard.proofs)).toEqual([pairOf(A, 5, [first, second])]);
  });

  test("are found among those of other origins that have the seq by chance", () => {
    const shard = fresh();
    const [first, second] = [eventOf(A, 1, 5, TOPICS[1]), eventOf(A, 2, 5, TOPICS[2])];
    shard.take(eventOf(B, 3, 5, TOPICS[0]), first, second, eventOf(signers[3] as Signer, 4, 5, TOPICS[2]));
    shard.settle();
    expect(read(shard.proofs)).toEqual([pairOf(A, 5, [first, second])]);
  });

  test("of whose making this node knows nothing are proof against itself, too", () => {
    const shard = fresh();
    const own = shard.publish(TOPICS[0], 1, "own", START_MS);
    const other = forgeEvent({
      signer: shard.signer,
      topic: TOPICS[0],
      message: "other",
      seq: firstSeqOf(START_MS),
    });
    expect(toHex(own.id.slice(0, 8))).toBe(toHex(other.id.slice(0, 8)));
    shard.take(other);
    expect(read(shard.proofs)).toEqual([pairOf(shard.signer, 0, [{ ...other, id: own.id }, other])]);
  });
});

test("what shares a seq by chance is looked for in one walk through a bucket, however many topics and seqs it has", () =>
  onStorage((storage) => {
    const store = new SqlShardStore(storage);
    // A thousand topics with two events each; each seq is that of two topics.
    const rows = Array.from({ length: 2_000 }, (_, n) => ({
      ...{ bucket: 7, topic: n % 1_000, slot: 6_400, class: 1 },
      n: Math.floor(n / 2),
    }));
    const { block } = eventOf(A, 1, 5);
    store.transaction(() => {
      for (const [i, row] of rows.entries()) {
        const id = concatBytes(idOfRaw(row).slice(0, 8), suite.sha256(uint64Bytes(BigInt(i))));
        store.insert({ ...storedRaw(row, i + 1), id, block });
      }
    });
    const equivocations = new Equivocations(store);
    const ends = spanOfSlots({ from: 6_400, to: 6_401 });
    for (const { id } of eventsOfSpans(store.tree, 7, [ends])) equivocations.entered(7, id);
    const read = rowsRead(storage, () => store.transaction(() => equivocations.compareEntered()));
    // A few for each event, its outline among them.
    expect(read).toBeLessThan(8 * rows.length);
    expect(equivocations.pending).toBe(MAX_PENDING_PROOFS);
    // Where there is no room for more none are looked for.
    for (const { id } of eventsOfSpans(store.tree, 7, [ends])) equivocations.entered(7, id);
    expect(rowsRead(storage, () => store.transaction(() => equivocations.compareEntered()))).toBe(0);
  }));

describe("what is found", () => {
  test("outlives a restart, is bounded, and goes when it was handed over, the oldest first", () => {
    const shard = fresh();
    for (let seq = 0; seq < MAX_PENDING_PROOFS + 10; seq++)
      shard.take(eventOf(A, 1, seq), eventOf(A, 2, seq));
    expect(shard.core.equivocations.pending).toBe(MAX_PENDING_PROOFS);
    const before = read(shard.proofs);
    shard.core = shard.freshCore();
    expect(read(shard.proofs)).toEqual(before);
    shard.run((core) => core.equivocations.handedOver(3));
    shard.core = shard.freshCore();
    expect(read(shard.proofs)).toEqual(before.slice(3));
  });

  test("is forgotten with the transaction that fails", () => {
    const shard = fresh();
    shard.take(eventOf(A, 1, 5));
    expect(() =>
      shard.run((core) => {
        core.ingest(eventOf(A, 2, 5), START_MS);
        expect(core.equivocations.pending).toBe(1);
        throw new Error("no room");
      }),
    ).toThrow("no room");
    expect(shard.core.equivocations.pending).toBe(0);
  });

  test("is every pair there is, and none that is not, in memory as in SQLite", () =>
    onStorage((storage) => {
      const made = fc.record({
        origin: fc.nat({ max: 1 }),
        seq: fc.nat({ max: 6 }),
        topic: fc.nat({ max: 2 }),
      });
      fc.assert(
        fc.property(fc.array(made, { maxLength: 14, size: "max" }), (all) => {
          wipe(storage);
          const shards = [new MemoryShardStore(), new SqlShardStore(storage)].map(shardOn);
          const events = all.map(({ origin, seq, topic }, n) =>
            eventOf([A, B][origin] as Signer, n, seq, TOPICS[topic]),
          );
          const groups = Map.groupBy(all.keys(), (n) => `${all[n]?.origin} ${all[n]?.seq}`);
          const doubled = [...groups].filter(([, { length }]) => length > 1).map(([name]) => name);
          for (const shard of shards) {
            shard.take(...events);
            shard.settle();
            const found = read(shard.proofs).map(({ origin, seq }) => {
              const number = BigInt(`0x${seq}`) - firstSeqOf(START_MS);
              return `${[A, B].findIndex(({ publicKey }) => toHex(publicKey) === origin)} ${number}`;
            });
            expect([...new Set(found)].sort()).toEqual(doubled.sort());
            for (let seq = 0; seq < 8; seq++)
              expect(idsOf(shard.store, seq)).toEqual(
                events
                  .flatMap(({ id }, n) => (all[n]?.seq === seq && all[n].topic === 0 ? [toHex(id)] : []))
                  .sort(),
              );
          }
        }),
        { numRuns: 40 },
      );
    }));
});

const idsOf = (store: ShardStore, seq: number) =>
  store.idsWithSeq(keyOf(TOPICS[0]), firstSeqOf(START_MS) + BigInt(seq), 99).map(toHex);

describe("a report", () => {
  function reporting(keepProofs: (proofs: readonly Equivocation[]) => Promise<number>) {
    const shard = fresh();
    const clock = new ManualClock(START_MS);
    const report = new ProofReport({
      shard: 0,
      clock,
      evidence: { keepProofs },
      equivocations: shard.core.equivocations,
      readSealed: async () => [],
      write: async (work) => shard.run(work),
    });
    return { shard, clock, report };
  }

  test("hands all over in calls of a bounded size, and is not made where there is nothing", async () => {
    const calls: number[] = [];
    const { shard, report } = reporting(async ({ length }) => calls.push(length));
    await report.send();
    for (let seq = 0; seq < 40; seq++) shard.take(eventOf(A, 1, seq), eventOf(A, 2, seq));
    await Promise.all([report.send(), report.send()]);
    await report.send();
    expect(calls).toEqual([32, 8]);
    expect(shard.freshCore().equivocations.pending).toBe(0);
  });

  test("that is not heard is made again, until it is", async () => {
    let failures = 2;
    const heard: Bytes[] = [];
    const { shard, clock, report } = reporting(async (proofs) => {
      if (failures-- > 0) throw new Error("away");
      heard.push(...proofs.map(({ origin }) => origin));
      return proofs.length;
    });
    shard.take(eventOf(A, 1, 5), eventOf(A, 2, 5));
    await report.send();
    for (let i = 0; i < 2; i++) {
      expect(heard).toEqual([]);
      clock.step(clock.nowMs() + 5_000);
      await new Promise((resolve) => setTimeout(resolve));
    }
    expect(heard).toEqual([A.publicKey]);
    expect(shard.core.equivocations.pending).toBe(0);
  });
});
