import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, equalBytes, toHex } from "../../protocol/bytes.ts";
import { decodeBlock } from "../../protocol/event.ts";
import { seqOfId } from "../../protocol/event-id.ts";
import { firstSeqOf, nextSeq } from "../../protocol/hybrid-clock.ts";
import {
  MAX_AHEAD_HELD_MS,
  MAX_AHEAD_LINKED_MS,
  MAX_AHEAD_STORED_MS,
  MAX_LINKS,
} from "../../protocol/limits.ts";
import { RecordSet } from "../../protocol/record-set.ts";
import { expiresAtMs } from "../../protocol/retention.ts";
import { judgeEvent } from "../../protocol/validity.ts";
import { suite } from "../platform-suite.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { dump } from "../testing/shard-traces.ts";
import {
  envelopeOf,
  forgeEvent,
  madeUpId,
  Node,
  network,
  onStorage,
  START_MS,
  SUBJECT,
  signers,
} from "../testing/shard-world.ts";
import { OWN, PENDING_BASE } from "./shard-store.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const TOPIC = "/xmtp/0/m-publish/proto";
const PLAIN = "plain";
const EPHEMERAL = "/xmtp/0/mE-publish/proto";
const fresh = () => new Node(new MemoryShardStore());
const linksOf = (event: { readonly block: Uint8Array }) => decodeBlock(event.block).links;

describe("an envelope published twice", () => {
  const twice = (node: Node, firstMs: number, secondMs: number) =>
    [firstMs, secondMs].map((nowMs) => node.run((core) => core.publish(envelopeOf(PLAIN, 5, "m"), nowMs)));

  test("is one event", () => {
    const node = fresh();
    const [first, second] = twice(node, START_MS, START_MS + 86_400_000);
    expect([first?.isDuplicate, second?.isDuplicate]).toEqual([false, true]);
    expect(second?.id).toEqual(first?.id);
    expect(node.eventsOf(PLAIN)).toHaveLength(1);
  });

  test("is one event also within one transaction, and when it came from a peer before", () => {
    const node = fresh();
    const ids = node.run((core) => [1, 2].map(() => core.publish(envelopeOf(PLAIN, 5, "m"), START_MS).id));
    expect(ids[0]).toEqual(ids[1]);
    const foreign = forgeEvent({ topic: PLAIN, ts: 6, message: "m" });
    node.ingest(foreign, START_MS);
    expect(node.publish(PLAIN, 6, "m", START_MS).id).toEqual(foreign.id);
    expect(node.eventsOf(PLAIN)).toHaveLength(2);
  });

  test("is another event once the first has expired, and when topic, time or message differ", () => {
    const node = fresh();
    const expiry = expiresAtMs(network.classOf(envelopeOf(PLAIN, 5).topic), firstSeqOf(START_MS)) as number;
    const [first, before] = twice(node, START_MS, expiry - 1);
    expect(before?.id).toEqual(first?.id);
    const [again] = twice(node, expiry, expiry);
    expect(again?.isDuplicate).toBe(false);
    for (const [topic, ts, message] of [
      [PLAIN, 4, "m"],
      [PLAIN, 5, "n"],
      [TOPIC, 5, "m"],
    ] as const)
      expect(node.run((core) => core.publish(envelopeOf(topic, ts, message), expiry)).isDuplicate).toBe(
        false,
      );
  });
});

describe("seq", () => {
  test("grows with every event, above every link, the least that the rule allows, whatever the clock does", () => {
    const steps = fc.array(
      fc.record({
        backMs: fc.oneof(fc.constant(0), fc.integer({ min: -30_000, max: 30_000 })),
        peerAheadMs: fc.option(fc.nat({ max: 60_000 })),
        restart: fc.boolean(),
      }),
      { maxLength: 30 },
    );
    const property = fc.property(steps, (each) => {
      const node = fresh();
      let last = 0n;
      for (const [i, { backMs, peerAheadMs, restart }] of each.entries()) {
        const nowMs = START_MS + 60_000 + i - backMs;
        if (peerAheadMs !== null)
          node.ingest(forgeEvent({ topic: TOPIC, ts: i, timeMs: nowMs + peerAheadMs }), nowMs);
        if (restart) node.core = node.freshCore();
        if (node.core.own.aheadMs(nowMs) > MAX_AHEAD_LINKED_MS) continue;
        const event = node.publish(TOPIC, i, "own", nowMs);
        const seq = seqOfId(event.id);
        const greatestLink = linksOf(event).at(-1);
        const greatestParent = greatestLink ? seqOfId(greatestLink) : 0n;
        expect(seq).toBe(nextSeq({ nowMs, greatestParent, last, shard: 0 }));
        expect(seq > last && seq > greatestParent).toBe(true);
        last = seq;
      }
    });
    fc.assert(property, { numRuns: 60 });
  });

  test("more than 60 s ahead of the clock: the node refuses, with the distance, and nothing changes", () => {
    const node = fresh();
    node.publish(TOPIC, 1, "m", START_MS);
    const behindMs = START_MS - MAX_AHEAD_LINKED_MS;
    node.publish(TOPIC, 2, "m", behindMs);
    const before = dump(node.store);
    const refused = () => node.publish(TOPIC, 3, "m", behindMs - 1);
    expect(refused).toThrow(expect.objectContaining({ code: "clock_behind", data: { aheadMs: 60_001 } }));
    expect(dump(node.store)).toEqual(before);
  });

  test("of a transaction that failed is never used again", () => {
    const node = fresh();
    const lost: bigint[] = [];
    const fail = () =>
      node.run((core) => {
        lost.push(seqOfId(core.publish(envelopeOf(TOPIC, 1, "lost"), START_MS).id));
        throw new Error("disk");
      });
    expect(fail).toThrow("disk");
    expect(seqOfId(node.publish(TOPIC, 2, "kept", START_MS).id)).toBeGreaterThan(lost[0] as bigint);
  });

  test("goes on above own events that come back from a peer, as after a rolled-back disk", () => {
    const node = fresh();
    const seq = firstSeqOf(START_MS + 30_000);
    node.ingest(forgeEvent({ topic: TOPIC, signer: SUBJECT, seq }), START_MS);
    expect(node.get(TOPIC, node.core.own.last?.id as Bytes).flags & OWN).toBe(OWN);
    expect(node.freshCore().own.last).toEqual(node.core.own.last);
    expect(seqOfId(node.publish(PLAIN, 1, "other topic", START_MS).id)).toBeGreaterThan(seq);
  });
});

describe("links", () => {
  test("are the delivered heads up to 60 s ahead: neither what waits, nor what is too far ahead", () => {
    const node = fresh();
    const far = forgeEvent({ topic: TOPIC, ts: 1, timeMs: START_MS + MAX_AHEAD_LINKED_MS + 1 });
    const near = forgeEvent({ topic: TOPIC, ts: 2, timeMs: START_MS + MAX_AHEAD_LINKED_MS });
    const old = forgeEvent({ topic: TOPIC, ts: 3, timeMs: START_MS - 1_000 });
    const waits = forgeEvent({ topic: TOPIC, ts: 4, timeMs: START_MS, links: [madeUpId(START_MS - 5)] });
    const elsewhere = forgeEvent({ topic: PLAIN, ts: 5, timeMs: START_MS });
    for (const event of [far, near, old, waits, elsewhere]) node.ingest(event, START_MS);
    const event = node.publish(TOPIC, 9, "m", START_MS);
    expect(linksOf(event)).toEqual([old.id, near.id]);
    expect(linksOf(node.publish(TOPIC, 10, "m", START_MS))).toEqual([event.id]);
  });

  test("are the newest 16 where there are more, sorted, and the others stay heads", () => {
    const node = fresh();
    const heads = Array.from({ length: 20 }, (_, i) =>
      forgeEvent({ topic: TOPIC, ts: i, timeMs: START_MS + i }),
    );
    for (const event of [...heads].reverse()) node.ingest(event, START_MS + 50);
    const event = node.publish(TOPIC, 99, "m", START_MS + 50);
    expect(linksOf(event)).toEqual(heads.slice(-MAX_LINKS).map(({ id }) => id));
    expect(node.headsOf(TOPIC)).toEqual([...heads.slice(0, 4), event].map(({ id }) => toHex(id)));
  });

  test("are found behind any number of heads that are too far ahead or not delivered", () => {
    const node = fresh();
    const first = node.publish(TOPIC, 1, "m", START_MS);
    const far = (ts: number) => forgeEvent({ topic: TOPIC, ts, timeMs: START_MS + 110_000 + ts });
    const waiting = (ts: number) =>
      forgeEvent({ topic: TOPIC, ts, timeMs: START_MS + ts, links: [madeUpId(START_MS - 5)] });
    for (let ts = 100; ts < 170; ts++)
      for (const event of [far(ts), waiting(ts)]) node.ingest(event, START_MS);
    expect(linksOf(node.publish(TOPIC, 2, "m", START_MS + 1))).toEqual([first.id]);
  });

  test("name the greatest event once, also when the row of a greater one was lost, so that it is among the other heads", () =>
    onStorage((storage) => {
      const node = new Node(new SqlShardStore(storage));
      for (let n = 0; n < 3; n++)
        node.ingest(forgeEvent({ topic: PLAIN, ts: n, timeMs: START_MS + n }), START_MS);
      const ids = node.eventsOf(PLAIN).map(({ id }) => id);
      storage.sql.exec("DELETE FROM events_1 WHERE position = 3");
      const own = node.publish(PLAIN, 9, "m", START_MS + 10);
      expect(linksOf(own)).toEqual(ids.slice(0, 2));
    }));

  test("an own event is valid for every other node", () => {
    const node = fresh();
    node.ingest(forgeEvent({ topic: TOPIC, timeMs: START_MS + 50_000 }), START_MS);
    const event = node.publish(TOPIC, 9, "m", START_MS);
    expect(
      judgeEvent(event, { network, records: new RecordSet(network, suite), suite, nowMs: START_MS }),
    ).toMatchObject({ kind: "valid" });
  });
});

describe("what a peer sends", () => {
  const stored = (node: Node) => [TOPIC, PLAIN, EPHEMERAL].flatMap((topic) => node.eventsOf(topic)).length;

  test("is known the second time, and changes nothing", () => {
    const node = fresh();
    const event = forgeEvent({ topic: TOPIC });
    expect(node.ingest(event, START_MS)).toEqual({ kind: "stored" });
    const before = dump(node.store);
    expect(node.ingest(event, START_MS + 1)).toEqual({ kind: "known" });
    expect(dump(node.store)).toEqual(before);
  });

  test("is stored as an equivocation when it has the origin and seq of another", () => {
    const node = fresh();
    for (const message of ["a", "b"]) node.ingest(forgeEvent({ topic: TOPIC, message }), START_MS);
    expect(node.eventsOf(TOPIC)).toHaveLength(2);
    expect(node.headsOf(TOPIC)).toHaveLength(2);
  });

  test.each([
    ["held", "too far ahead to store", MAX_AHEAD_STORED_MS + 1],
    ["dropped", "too far ahead to hold", MAX_AHEAD_HELD_MS + 1],
    ["dropped", "expired", -40 * 86_400_000],
  ])("is %s when it is %s, and not stored", (kind, _, aheadMs) => {
    const node = fresh();
    expect(node.ingest(forgeEvent({ topic: PLAIN, timeMs: START_MS + aheadMs }), START_MS)).toMatchObject({
      kind,
    });
    expect(stored(node)).toBe(0);
  });

  test("is refused when its signature is wrong, and not stored", () => {
    const node = fresh();
    const event = forgeEvent({ topic: TOPIC });
    const signature = (signers[2] ?? SUBJECT).sign(event.block);
    expect(node.ingest({ ...event, signature }, START_MS)).toMatchObject({
      kind: "refused",
      rule: "signature",
    });
    expect(stored(node)).toBe(0);
  });
});

describe("ephemeral envelopes", () => {
  test("become events without links that are stored nowhere, each time a new one", () => {
    const node = fresh();
    const made = [1, 2].map(() => node.run((core) => core.publish(envelopeOf(EPHEMERAL, 1, "m"), START_MS)));
    for (const { ephemeral, isDuplicate } of made) {
      expect(isDuplicate).toBe(false);
      expect(ephemeral?.fields.links).toEqual([]);
      expect(ephemeral && node.core.judge(ephemeral, START_MS).kind).toBe("ephemeral");
    }
    expect(equalBytes(made[0]?.id as Bytes, made[1]?.id as Bytes)).toBe(false);
    expect([node.eventsOf(EPHEMERAL).length, node.core.position, node.core.own.last]).toEqual([0, 0, null]);
  });

  test("from peers are handed on, not stored; other events are none", () => {
    const node = fresh();
    const event = forgeEvent({ topic: EPHEMERAL });
    expect(node.ingest(event, START_MS)).toMatchObject({ kind: "ephemeral", event: { id: event.id } });
    expect(node.eventsOf(EPHEMERAL)).toEqual([]);
    expect(node.core.judge(forgeEvent({ topic: TOPIC }), START_MS).kind).toBe("valid");
    expect(node.core.judge({ ...event, signature: new Uint8Array(64) }, START_MS).kind).toBe("refused");
  });
});

describe("the checkpoint", () => {
  test("after many events, what a core reads with it equals what the whole table says", () =>
    onStorage((storage) => {
      const node = new Node(new SqlShardStore(storage));
      for (let i = 0; i < 1_030; i++)
        node.run((core) => core.publish(envelopeOf(i % 2 ? TOPIC : PLAIN, i), START_MS + i));
      node.ingest(forgeEvent({ topic: TOPIC, links: [madeUpId(START_MS - 9)] }), START_MS);
      const saved = node.store.checkpoint();
      const known = () => {
        const core = node.freshCore();
        return [core.position, core.own.last, core.own.aheadMs(START_MS)];
      };
      const expected = [1_030, node.core.own.last, 1_029];
      expect(saved.position).toBe(1_024);
      const { id } = node.store.namesAfter(1_023, 1)[0] ?? {};
      expect(saved.lastOwn?.id).toEqual(id);
      expect(known()).toEqual(expected);
      storage.sql.exec("DELETE FROM meta WHERE name = 'checkpoint'");
      expect(known()).toEqual(expected);
      node.store.saveCheckpoint(saved);
      // Events may be sealed and leave the table; what is written down stays.
      storage.sql.exec("DELETE FROM events_1 WHERE position <= 1024");
      expect(known()).toEqual(expected);
      storage.sql.exec("DELETE FROM events_1 WHERE position < ?", PENDING_BASE);
      expect(known()).toEqual([1_024, saved.lastOwn, 1_023]);
    }));
});
