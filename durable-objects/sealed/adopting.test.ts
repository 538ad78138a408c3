import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, compareBytes, concatBytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import type { Signer } from "../../protocol/crypto.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { eventId } from "../../protocol/event-id.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { MAX_INLINE_MESSAGE_BYTES } from "../../protocol/segment-file.ts";
import { platformSigner, suite } from "../platform-suite.ts";
import { ASK, LEAVE, segmentOf, toSegmentEvent } from "../testing/held-segments.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { forgeEvent, keyOf, memberRecord, START_MS, signers, TOPICS } from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import type { ForeignSegment } from "./adopting.ts";

/** A shard on a real SQLite, R2 and D1 takes over what others have in segments. */

beforeEach(() => vi.spyOn(console, "log").mockImplementation(() => {}));
afterEach(() => vi.restoreAllMocks());

const ORIGIN = signers[1] as Signer;

/** Events of one topic, each of which links to the one before. */
function eventsOf(topic: string, count: number, messageOf = (n: number): string | Bytes => `${topic} ${n}`) {
  const events: EncodedEvent[] = [];
  for (let n = 0; n < count; n++) {
    const last = events.at(-1);
    const seq = firstSeqOf(START_MS - HOUR_MS + n * 1_000);
    events.push(
      forgeEvent({ topic, ts: n, message: messageOf(n), seq, links: last ? [last.id] : [], signer: ORIGIN }),
    );
  }
  return events;
}

/** A segment of another node, with events of one class. */
function foreignOf(events: readonly EncodedEvent[]): ForeignSegment {
  const { blocks, messages } = segmentOf(events.map(toSegmentEvent)).files;
  return { blocks, messages };
}

const MANY = 200;
const [M_ONE, CONTACT, PLAIN] = TOPICS;

describe("a segment of another node", () => {
  test("is read here as if each of its events had come by itself, also in the next life", () =>
    onSealingNode(async (node) => {
      const events = eventsOf(M_ONE, MANY);
      for (let at = 0; at < MANY; at += 20) await node.shard.ingest(events.slice(at, at + 20), "peer", []);
      const before = await node.everything();
      await onSealingNode(async (other) => {
        expect(await other.shard.adopt(foreignOf(events), ASK)).toEqual({
          stored: MANY,
          known: 0,
          left: 0,
          leftBy: {},
          refused: [],
          needs: [],
        });
        expect(other.hotRows()).toBe(0);
        expect((await other.files()).length).toBe(2);
        expect(await other.everyKeyIsHeld()).toBe(true);
        expect(await other.everything()).toEqual(before);
        other.restart();
        expect(await other.everything()).toEqual(before);
        expect(await other.shard.scrub()).toMatchObject({ roots: 0, heads: 0, wants: 0 });
      });
    }));

  test("that comes again changes nothing", () =>
    onSealingNode(async (node) => {
      const foreign = foreignOf(eventsOf(M_ONE, MANY));
      await node.shard.adopt(foreign, ASK);
      const [before, files] = [await node.everything(), await node.files()];
      expect(await node.shard.adopt(foreign, ASK)).toMatchObject({ stored: 0, known: MANY });
      expect([await node.everything(), await node.files()]).toEqual([before, files]);
    }));

  test("brings only what is new, and a few events as those that a peer sends", () =>
    onSealingNode(async (node) => {
      const events = eventsOf(M_ONE, MANY);
      await node.shard.ingest(events.slice(0, 190), "peer", []);
      const before = node.hotRows();
      expect(await node.shard.adopt(foreignOf(events), ASK)).toMatchObject({ stored: 10, known: 190 });
      expect(node.hotRows()).toBe(before + 10);
      expect(await node.files()).toEqual([]);
    }));

  test("is gone when its class's duration is over, with its files", () =>
    onSealingNode(async (node) => {
      await node.shard.adopt(foreignOf(eventsOf(M_ONE, MANY)), ASK);
      node.advance(200 * 24 * HOUR_MS);
      await node.handOver();
      for (let rounds = 0; rounds < 3; rounds++) {
        node.advance(HOUR_MS);
        await node.maintain();
      }
      expect(await node.files()).toEqual([]);
      expect(await node.everyKeyIsHeld()).toBe(true);
    }));
});

describe("of a segment's events there stay away", () => {
  const good = eventsOf(M_ONE, MANY);
  const withOthers = (others: readonly EncodedEvent[]) => foreignOf([...good, ...others]);
  const at = (ms: number) => ({ topic: M_ONE, seq: firstSeqOf(ms) });
  const damaged = (event: EncodedEvent, part: Partial<EncodedEvent>): EncodedEvent => ({ ...event, ...part });
  const stranger = platformSigner(new Uint8Array(32).fill(7));
  const single = forgeEvent({ ...at(START_MS), message: "single" });
  const withBlock = (block: Bytes): EncodedEvent =>
    damaged(single, { block, id: eventId(single.fields.seq, suite.sha256(block)) });

  test.each<[string, EncodedEvent, readonly string[], Readonly<Record<string, number>>]>([
    [
      "one with another's signature",
      damaged(single, { signature: new Uint8Array(64).fill(1) }),
      ["signature"],
      {},
    ],
    ["one whose class is not the policy's", forgeEvent({ ...at(START_MS), classId: 7 }), ["class"], {}],
    [
      "one that is older than the network",
      forgeEvent({ topic: M_ONE, seq: 1n, message: "old" }),
      ["genesis"],
      {},
    ],
    [
      "one of an origin that nobody has admitted",
      forgeEvent({ ...at(START_MS), signer: stranger }),
      [],
      { "unknown-origin": 1 },
    ],
    ["one from the future", forgeEvent(at(START_MS + HOUR_MS)), [], { "far-ahead": 1 }],
    ["one that is nothing", withBlock(Uint8Array.of(0xf6)), ["form"], {}],
    ["one that is no CBOR", withBlock(utf8("no block")), ["cbor_malformed"], {}],
    [
      "one with bytes behind its end",
      withBlock(concatBytes(single.block, Uint8Array.of(0))),
      ["cbor_malformed"],
      {},
    ],
    ["one whose message is named otherwise", withBlock(encodeCbor({ msg: 1, size: 6 })), ["form"], {}],
  ])("%s", (_, event, refused, leftBy) =>
    onSealingNode(async (node) => {
      const adopted = await node.shard.adopt(withOthers([event]), ASK);
      const left = Object.keys(leftBy).length;
      expect(adopted).toEqual({ stored: MANY, known: 0, left, leftBy, refused, needs: [] });
      expect(await node.shard.lacking([{ topicKey: keyOf(M_ONE), id: event.id }])).toHaveLength(1);
    }),
  );

  test("those whose messages are not in the file", () =>
    onSealingNode(async (node) => {
      const { blocks } = foreignOf(good);
      const messages = foreignOf(good.slice(0, 150)).messages;
      const adopted = await node.shard.adopt({ blocks, messages }, ASK);
      expect(adopted).toMatchObject({ stored: 150, leftBy: { "message-missing": 50 }, refused: [] });
    }));

  test("those that have expired", () =>
    onSealingNode(async (node) => {
      node.advance(100 * 24 * HOUR_MS);
      const late = forgeEvent(at(START_MS + 99 * 24 * HOUR_MS));
      expect(await node.shard.adopt(withOthers([late]), ASK)).toMatchObject({
        stored: 1,
        leftBy: { expired: MANY },
      });
    }));

  test("those of an origin that the records have removed, also when the record comes while files are written", () =>
    onSealingNode(async (node) => {
      const removal = memberRecord(ORIGIN, false, 0n);
      const { faults } = node;
      const run = faults.run.bind(faults);
      let added: Promise<null> | undefined;
      vi.spyOn(faults, "run").mockImplementation(async (name, work) => {
        if (name === "put") added ??= node.shard.addRecords([removal]);
        await added;
        return run(name, work);
      });
      expect(await node.shard.adopt(foreignOf(good), ASK)).toMatchObject({ stored: 0, left: MANY });
      expect((await node.everything()).pages[0]?.[2]).toEqual([]);
    }));
});

test.each<[string, (foreign: ForeignSegment) => ForeignSegment, string]>([
  ["no CAR", () => ({ blocks: utf8("no segment"), messages: null }), "segment_malformed"],
  [
    "a block that is changed",
    ({ blocks, messages }) => ({ blocks: flipped(blocks, 300), messages }),
    "segment_malformed",
  ],
  [
    "a message that is changed",
    ({ blocks, messages }) => ({ blocks, messages: flipped(messages as Bytes, 300) }),
    "segment_malformed",
  ],
  [
    "too many bytes",
    ({ blocks }) => ({ blocks, messages: new Uint8Array(24 * 1024 * 1024) }),
    "segment_too_large",
  ],
])("a file that has %s is refused as a whole, and changes nothing", (_, change, code) =>
  onSealingNode(async (node) => {
    const foreign = change(foreignOf(eventsOf(M_ONE, MANY)));
    await expect(node.shard.adopt(foreign, ASK)).rejects.toMatchObject({ code });
    expect([node.hotRows(), await node.files()]).toEqual([0, []]);
  }),
);

function flipped(bytes: Bytes, at: number): Bytes {
  const copy = bytes.slice();
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}

describe("large messages", () => {
  const largeOf = (n: number) => new Uint8Array(MAX_INLINE_MESSAGE_BYTES + 1).fill(n);
  const events = eventsOf(PLAIN, 3, (n) => (n === 1 ? "small" : largeOf(n)));

  test("are asked for, and then the segment is taken with them", () =>
    onSealingNode(async (node) => {
      const foreign = foreignOf(events);
      const asked = await node.shard.adopt(foreign, ASK);
      expect(asked.needs.map(toHex).sort()).toEqual(
        [0, 2].map((n) => toHex(suite.sha256(largeOf(n)))).sort(),
      );
      expect([asked.stored, node.hotRows()]).toEqual([0, 0]);
      for (const n of [0, 2]) await node.shard.keepLarge(largeOf(n));
      expect(await node.shard.adopt(foreign, ASK)).toMatchObject({ stored: 3, needs: [] });
      const page = await node.shard.eventsByCause(utf8(PLAIN), keyOf(PLAIN), null, 10);
      expect(page.events.map(({ message }) => message)).toEqual([largeOf(0), utf8("small"), largeOf(2)]);
      expect(await node.everyKeyIsHeld()).toBe(true);
    }));

  test("that nobody has leave their events away", () =>
    onSealingNode(async (node) => {
      await node.shard.keepLarge(largeOf(0));
      expect(await node.shard.adopt(foreignOf(events), LEAVE)).toMatchObject({
        stored: 2,
        left: 1,
        leftBy: { "message-missing": 1 },
      });
    }));

  test("that are damaged are asked for again", () =>
    onSealingNode(async (node) => {
      await node.shard.keepLarge(largeOf(0));
      await node.shard.keepLarge(largeOf(2));
      const [key] = (await node.files()).filter((each) => each.startsWith("large/"));
      await env.BUCKET.put(key as string, largeOf(9));
      expect((await node.shard.adopt(foreignOf(events), ASK)).needs).toHaveLength(1);
    }));

  test("are not kept when they are small", () =>
    onSealingNode(async (node) => {
      await expect(node.shard.keepLarge(utf8("small"))).rejects.toMatchObject({ code: "message_not_large" });
    }));
});

test("an event that comes by itself while the files are written is not there twice", () =>
  onSealingNode(async (node) => {
    const events = eventsOf(M_ONE, MANY);
    const { faults } = node;
    const run = faults.run.bind(faults);
    let came: Promise<unknown> | undefined;
    vi.spyOn(faults, "run").mockImplementation(async (name, work) => {
      if (name === "put") came ??= node.shard.ingest(events.slice(0, 5), "peer", []);
      await came;
      return run(name, work);
    });
    expect(await node.shard.adopt(foreignOf(events), ASK)).toMatchObject({ stored: MANY - 5, known: 5 });
    const page = await node.shard.eventsByCause(utf8(M_ONE), keyOf(M_ONE), null, 1_000);
    expect(page.events.map(({ id }) => toHex(id))).toEqual(events.map(({ id }) => toHex(id)));
  }));

test("a peer's cursor and a subscription begin anew, and go on behind it", () =>
  onSealingNode(async (node) => {
    await node.shard.ingest(eventsOf(CONTACT, 1), "peer", []);
    const { cursor } = await node.shard.pull(null, 10);
    await node.shard.adopt(foreignOf(eventsOf(M_ONE, MANY)), ASK);
    const again = await node.shard.pull(cursor, 10);
    expect(again).toMatchObject({ restart: true, names: [] });
    expect((await node.shard.deliveredAfter(cursor.position, null)).isTooFar).toBe(true);
    const { position } = await node.shard.attachHub("hub");
    expect((await node.shard.deliveredAfter(position, null)).isTooFar).toBe(false);
    expect(await node.shard.pull(again.cursor, 10)).toMatchObject({ restart: false, more: false });
  }));

/** Lets each storage call of an adoption fail once, and answers how many there are. */
async function withEachFault(kind: (typeof FAULT_KINDS)[number], work: (node: SealingNode) => Promise<void>) {
  for (let call = 1; ; call++) {
    let calls = 0;
    await onSealingNode(async (node) => {
      const foreign = foreignOf(eventsOf(M_ONE, MANY));
      const empty = await node.everything();
      node.faults.failAt(call, kind);
      const failed = await node.shard.adopt(foreign, ASK).then(
        () => false,
        () => true,
      );
      calls = node.faults.calls.length;
      expect(failed).toBe(calls >= call);
      node.faults.clear();
      if (failed) expect(await node.everything()).toEqual(empty);
      node.restart();
      if (failed) expect(await node.everything()).toEqual(empty);
      expect((await node.shard.adopt(foreign, ASK)).stored).toBe(failed ? MANY : 0);
      await work(node);
    });
    if (calls < call) return call - 1;
  }
}

test.each(FAULT_KINDS)(
  "a call to R2 or D1 that %s leaves all as it was, and the next try takes everything",
  async (kind) => {
    const calls = await withEachFault(kind, async (node) => {
      expect(await node.everyKeyIsHeld()).toBe(true);
      const page = await node.shard.eventsByCause(utf8(M_ONE), keyOf(M_ONE), null, 1_000);
      expect(page.events).toHaveLength(MANY);
      expect([...page.events].sort((a, b) => compareBytes(a.id, b.id))).toEqual(page.events);
    });
    expect(calls).toBeGreaterThanOrEqual(5);
  },
  120_000,
);
