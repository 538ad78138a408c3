import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { setLogSink } from "../log.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryConductStore } from "../testing/memory-conduct-store.ts";
import { onStorage, START_MS } from "../testing/shard-world.ts";
import { Conduct, MAX_KEPT_PEERS, MAX_KEPT_RULES, OTHER_RULES, WRITE_AFTER_MS } from "./conduct.ts";
import { type ConductRecord, UNTIL_LIFTED } from "./conduct-api.ts";
import type { ConductStore } from "./conduct-store.ts";
import { FIRST_SUSPENSION_MS, MAX_SUSPENSION_MS } from "./penalty.ts";
import { SqlConductStore } from "./sql-conduct-store.ts";

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

const peerOf = (n: number): Bytes => {
  const key = new Uint8Array(32).fill(7);
  new DataView(key.buffer).setUint32(0, n);
  return key;
};
const [A, B] = [peerOf(1), peerOf(2)];

function counting(store: ConductStore = new MemoryConductStore()) {
  const clock = new ManualClock(START_MS);
  return { clock, store, conduct: new Conduct({ clock, store }) };
}

async function breachTimes(conduct: Conduct, peer: Bytes, times: number): Promise<number> {
  let untilMs = 0;
  for (let i = 0; i < times; i++) untilMs = await conduct.breach(peer, ["signature"]);
  return untilMs;
}

/** Breaches until only the operator can end the suspension. */
async function breachForGood(conduct: Conduct, clock: ManualClock, peer: Bytes): Promise<void> {
  for (let i = 0; i < 12; i++) {
    await conduct.breach(peer, ["signature"]);
    clock.step(clock.nowMs());
    moveTo(clock, clock.nowMs() + MAX_SUSPENSION_MS);
  }
  expect(await conduct.suspendedUntil(peer)).toBe(UNTIL_LIFTED);
}

function moveTo(clock: ManualClock, timeMs: number): void {
  while (clock.step(timeMs));
}

const plain = (records: readonly ConductRecord[]) =>
  records.map(({ peer, breaches, ...rest }) => ({
    peer: toHex(peer),
    breaches: Object.fromEntries(breaches),
    ...rest,
  }));

describe("breaches", () => {
  test("are counted by peer and rule, the peer of the last one first; one request is one strike", async () => {
    const { conduct, clock } = counting();
    await conduct.breach(A, ["signature", "class", "signature"]);
    moveTo(clock, START_MS + 5);
    await conduct.breach(B, ["cbor_malformed"]);
    moveTo(clock, START_MS + 9);
    expect(plain(await conduct.conductRecords())).toEqual([
      {
        peer: toHex(B),
        strikes: 1,
        lastBreachMs: START_MS + 5,
        suspendedUntilMs: 0,
        breaches: { cbor_malformed: 1 },
      },
      {
        peer: toHex(A),
        strikes: 1,
        lastBreachMs: START_MS,
        suspendedUntilMs: 0,
        breaches: { signature: 2, class: 1 },
      },
    ]);
    await conduct.breach(A, ["size"]);
    expect((await conduct.conductRecords()).map(({ peer }) => toHex(peer))).toEqual([A, B].map(toHex));
  });

  test("suspend their peer alone, and are counted on while it is suspended", async () => {
    const { conduct, clock } = counting();
    expect(await breachTimes(conduct, A, 3)).toBe(0);
    expect(await conduct.breach(A, ["class"])).toBe(START_MS + FIRST_SUSPENSION_MS);
    expect(await breachTimes(conduct, A, 50)).toBe(START_MS + FIRST_SUSPENSION_MS);
    expect(await conduct.suspendedUntil(B)).toBe(0);
    const [record] = plain(await conduct.conductRecords());
    expect(record).toMatchObject({ strikes: 4, breaches: { signature: 53, class: 1 } });
    moveTo(clock, START_MS + FIRST_SUSPENSION_MS);
    expect(await conduct.suspendedUntil(A)).toBe(0);
  });

  test("of more rules than are kept by name are counted together", async () => {
    const { conduct } = counting();
    const rules = Array.from({ length: 100 }, (_, i) => `rule-${i}`);
    await conduct.breach(A, rules);
    await conduct.breach(A, rules);
    const [record] = await conduct.conductRecords();
    expect(record?.breaches.size).toBe(MAX_KEPT_RULES);
    expect(record?.breaches.get(OTHER_RULES)).toBe(2 * (100 - MAX_KEPT_RULES + 1));
  });

  test("of more peers than are kept push out the oldest: first those in no suspension, last those suspended for good", async () => {
    const { conduct, clock, store } = counting();
    await breachForGood(conduct, clock, A);
    await breachTimes(conduct, B, 4);
    for (let n = 10; n < 10 + MAX_KEPT_PEERS - 2; n++) await conduct.breach(peerOf(n), ["class"]);
    await conduct.breach(peerOf(9_000), ["class"]);
    moveTo(clock, clock.nowMs() + WRITE_AFTER_MS);
    for (const records of [await conduct.conductRecords(), store.all()]) {
      const kept = new Set(records.map(({ peer }) => toHex(peer)));
      expect(kept.size).toBe(MAX_KEPT_PEERS);
      expect([A, B, peerOf(10), peerOf(11), peerOf(9_000)].map((peer) => kept.has(toHex(peer)))).toEqual([
        true,
        true,
        false,
        true,
        true,
      ]);
    }
    for (let n = 20_000; n < 20_000 + MAX_KEPT_PEERS - 1; n++) await breachTimes(conduct, peerOf(n), 4);
    expect(await conduct.suspendedUntil(B)).toBe(0);
    await breachTimes(conduct, peerOf(50_000), 4);
    expect(await conduct.suspendedUntil(A)).toBe(UNTIL_LIFTED);
    expect(await conduct.suspendedUntil(peerOf(20_000))).toBe(0);
    expect(await conduct.conductRecords()).toHaveLength(MAX_KEPT_PEERS);
  });
});

describe("what is counted", () => {
  test("is written down once in ten seconds, and at once where a suspension begins", async () => {
    const store = new MemoryConductStore();
    const { conduct, clock } = counting(store);
    await breachTimes(conduct, A, 3);
    expect(store.writes).toBe(0);
    await conduct.breach(A, ["signature"]);
    expect(store.writes).toBe(1);
    for (let second = 0; second < 60; second++) {
      await breachTimes(conduct, A, 100);
      moveTo(clock, clock.nowMs() + 1_000);
    }
    expect(store.writes).toBeLessThan(8);
    moveTo(clock, clock.nowMs() + WRITE_AFTER_MS);
    expect(clock.timers).toBe(0);
    expect(store.all().find(({ peer }) => toHex(peer) === toHex(A))?.breaches).toEqual({ signature: 6_004 });
  });

  test("is tried again when it cannot be written, and holds meanwhile", async () => {
    const store = new MemoryConductStore();
    const { conduct, clock } = counting(store);
    const save = store.save.bind(store);
    store.save = () => {
      throw new Error("no room");
    };
    expect(await breachTimes(conduct, A, 4)).toBe(START_MS + FIRST_SUSPENSION_MS);
    expect(await conduct.suspendedUntil(A)).toBeGreaterThan(0);
    moveTo(clock, START_MS + WRITE_AFTER_MS);
    store.save = save;
    expect(store.all()).toEqual([]);
    moveTo(clock, START_MS + 2 * WRITE_AFTER_MS);
    expect(store.all()).toHaveLength(1);
  });

  test("is read again by the next life, in memory as in SQLite", () =>
    onStorage((storage) =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({ peer: fc.nat({ max: 6 }), rule: fc.nat({ max: 3 }), waitMs: fc.nat(90_000) }),
            {
              maxLength: 60,
              size: "max",
            },
          ),
          async (steps) => {
            storage.sql.exec("DROP TABLE IF EXISTS conduct");
            const lives = [counting(), counting(new SqlConductStore(storage))];
            const seen: unknown[] = [];
            for (const { clock, store, conduct } of lives) {
              for (const { peer, rule, waitMs } of steps) {
                if (rule === 3) await conduct.resume(peerOf(peer));
                else await conduct.breach(peerOf(peer), [`rule-${rule}`]);
                moveTo(clock, clock.nowMs() + waitMs);
              }
              moveTo(clock, clock.nowMs() + WRITE_AFTER_MS);
              const before = plain(await conduct.conductRecords());
              const next = plain(await new Conduct({ clock, store }).conductRecords());
              expect(byPeer(next)).toEqual(byPeer(before));
              seen.push(before);
            }
            expect(seen[1]).toEqual(seen[0]);
          },
        ),
        { numRuns: 30 },
      ),
    ));
});

const byPeer = <T extends { readonly peer: string }>(records: readonly T[]) =>
  records.toSorted((a, b) => (a.peer < b.peer ? -1 : 1));

describe("the operator", () => {
  test("ends any suspension, after which the strikes begin anew and the counts stay", async () => {
    const { conduct, clock, store } = counting();
    await breachForGood(conduct, clock, A);
    expect(await conduct.resume(A)).toBe(true);
    expect(await conduct.suspendedUntil(A)).toBe(0);
    expect(await new Conduct({ clock, store }).suspendedUntil(A)).toBe(0);
    expect(plain(await conduct.conductRecords())).toMatchObject([
      { strikes: 0, breaches: { signature: 12 } },
    ]);
    expect(await breachTimes(conduct, A, 3)).toBe(0);
    expect(await conduct.resume(A)).toBe(false);
    expect(await conduct.resume(B)).toBeNull();
  });
});

describe("the operator", () => {
  test("suspends who did nothing wrong until it is resumed, also over a restart, and breaches change nothing in that", async () => {
    const { conduct, clock, store } = counting();
    expect(await conduct.suspend(A)).toBe(false);
    expect(await conduct.suspend(A)).toBe(true);
    await breachTimes(conduct, A, 20);
    moveTo(clock, START_MS + 10 * MAX_SUSPENSION_MS);
    const later = new Conduct({ clock, store });
    expect(await later.suspendedUntil(A)).toBe(UNTIL_LIFTED);
    expect(await later.resume(A)).toBe(true);
    expect(await later.suspendedUntil(A)).toBe(0);
    expect(await later.suspendedUntil(B)).toBe(0);
  });
});
