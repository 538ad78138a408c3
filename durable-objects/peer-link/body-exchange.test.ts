import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Bytes, compareBytes, toHex } from "../../protocol/bytes.ts";
import type { EncodedEvent, WireEvent } from "../../protocol/event.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import { MAX_PEER_BODY_BYTES, MAX_PEER_PAGE_BYTES, MAX_WANTED_IDS } from "../../protocol/limits.ts";
import { decodePush, type EventName, encodePage, encodePushAnswer } from "../../protocol/peer-messages.ts";
import { shardOf } from "../../protocol/topic.ts";
import { setLogSink } from "../log.ts";
import { suite } from "../platform-suite.ts";
import { shardsOf } from "../stubs.ts";
import { FakePeer } from "../testing/fake-peer.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { development, forgeEvent, keyOf, madeUpId } from "../testing/shard-world.ts";
import { groupByShard } from "../topic-shard/shard-api.ts";
import { BodyExchange } from "./body-exchange.ts";
import { RunBudget } from "./run-budget.ts";

// Events that are refused on purpose are logged.
beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());
afterEach(() => reset());

const SHARDS = 4;
const TOPICS = Array.from({ length: 12 }, (_, n) => `/xmtp/0/m-${n}/proto`);
const NOW_MS = Date.now();

/** Events of all shards, the later the greater their id. */
const make = (count: number, bytes = 0, from = 0): EncodedEvent[] =>
  Array.from({ length: count }, (_, i) =>
    forgeEvent({
      topic: TOPICS[i % TOPICS.length] ?? "",
      ts: from + i,
      timeMs: NOW_MS - 600_000 + from + i,
      message: new Uint8Array(bytes),
      network: development,
    }),
  );

class Scene {
  readonly peer = new FakePeer();
  readonly refused: string[] = [];
  /** Bodies of pushes, as the peer got them. */
  readonly pushes: Bytes[] = [];
  readonly shards = shardsOf(env);
  readonly exchange = new BodyExchange({
    url: "http://peer.test",
    shards: this.shards,
    suite,
    clock: new ManualClock(0),
    ask: async (path, body, decode) => decode(await this.call(path, body)),
    refused: (rules) => this.refused.push(...rules),
  });
  call = async (path: string, body: Bytes): Promise<Bytes> => {
    if (path !== "/peer/v1/push") return this.peer.call(path, body);
    this.pushes.push(body);
    return encodePushAnswer({ lacking: false, refused: 0 });
  };

  budget(pages = 1_000): RunBudget {
    return new RunBudget(new ManualClock(0), pages);
  }

  async give(events: readonly EncodedEvent[]): Promise<void> {
    const named = events.map((event) => ({
      ...event,
      topicKey: keyOf(new TextDecoder().decode(event.fields.topic)),
    }));
    for (const [shard, group] of groupByShard(named, SHARDS))
      await this.shards.at(shard).ingest(
        group.map(({ block, signature, message }) => ({ block, signature, message })),
        "test",
        [],
      );
  }

  async stored(): Promise<string[]> {
    const pulls = await Promise.all(
      Array.from({ length: SHARDS }, (_, shard) => this.shards.at(shard).pull(null, 10_000)),
    );
    return pulls.flatMap(({ names }) => names.map(({ id }) => toHex(id))).sort();
  }

  names(events: readonly EncodedEvent[]): EventName[] {
    return events.map(this.peer.name);
  }

  get pushed(): WireEvent[][] {
    return this.pushes.map((body) => decodePush(body).runs.flatMap(({ events }) => events));
  }
}

const idsOf = (events: readonly EncodedEvent[]) => events.map(({ id }) => toHex(id)).sort();
const blocksOf = (events: readonly WireEvent[]) => events.map(({ block }) => toHex(block)).sort();

describe("what is lacking", () => {
  test("is what no shard has, the oldest first", async () => {
    const scene = new Scene();
    const events = make(30);
    await scene.give(events.filter((_, n) => n % 3 === 0));
    const lacking = await scene.exchange.lacking(scene.names(events).toReversed());
    const expected = events.filter((_, n) => n % 3).sort((a, b) => compareBytes(a.id, b.id));
    expect(lacking.map(({ id }) => toHex(id))).toEqual(expected.map(({ id }) => toHex(id)));
    expect(await scene.exchange.lacking([])).toEqual([]);
  });
});

describe("events are fetched", () => {
  test("in pages, the oldest first, and only what is not here", async () => {
    const scene = new Scene();
    scene.peer.events.push(...make(250));
    await scene.give(scene.peer.events.slice(0, 20));
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget())).toBe(230);
    expect(scene.peer.log).toEqual(["want", "want", "want"]);
    expect(await scene.stored()).toEqual(idsOf(scene.peer.events));
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget())).toBe(0);
    expect([scene.peer.log.length, scene.refused]).toEqual([3, []]);
  });

  test("at most 1,024 a question, and not again when the peer has them no more", async () => {
    const scene = new Scene();
    const wanted: number[] = [];
    scene.peer.want = (names) => {
      wanted.push(names.length);
      return { events: [], more: false };
    };
    const names = Array.from({ length: 2_500 }, (_, n) => ({
      topicKey: keyOf(TOPICS[n % 12] ?? ""),
      id: madeUpId(NOW_MS - 9_000 + n),
    }));
    expect(await scene.exchange.fetchNamed(names, scene.budget())).toBe(0);
    expect(wanted).toEqual([MAX_WANTED_IDS, MAX_WANTED_IDS, 452]);
  });

  test("as long as the budget lasts; the rest is left", async () => {
    const scene = new Scene();
    scene.peer.events.push(...make(250));
    const budget = scene.budget(2);
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), budget)).toBe(200);
    expect([scene.peer.log.length, budget.isCut]).toEqual([2, true]);
  });

  test("one by one from a peer that gives no more at a time, each asked for once", async () => {
    const scene = new Scene();
    scene.peer.page = 1;
    scene.peer.events.push(...make(20));
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget())).toBe(20);
    expect(scene.peer.log.length).toBe(20);
  });

  const others = make(3, 0, 1_000);
  test.each<[string, (events: EncodedEvent[]) => { events: WireEvent[]; more: boolean }]>([
    ["nothing", () => ({ events: [], more: true })],
    ["others", () => ({ events: others, more: true })],
    [
      "what is no event",
      () => ({ events: [{ ...others[0], block: Uint8Array.of(1) } as WireEvent], more: true }),
    ],
  ])("not for ever from a peer that says there is more and sends %s", async (_, answer) => {
    const scene = new Scene();
    scene.peer.events.push(...make(20));
    scene.peer.want = () => answer(scene.peer.events);
    const fetching = scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget());
    await expect(fetching).rejects.toMatchObject({ code: "peer_page_invalid" });
    expect(scene.peer.log).toEqual(["want"]);
  });

  test("by the first that was wanted again and again: each answer settles one at least", async () => {
    const scene = new Scene();
    scene.peer.events.push(...make(20));
    const sorted = scene.peer.events.toSorted((a, b) => compareBytes(a.id, b.id));
    scene.peer.want = (wanted) => ({
      events: sorted.filter(({ id }) => toHex(id) === toHex(wanted[0]?.id ?? id)).slice(0, 1),
      more: true,
    });
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget())).toBe(20);
    expect(scene.peer.log.length).toBe(20);
  });

  test("and judged: nothing refused is stored, and the rules are told, also of what cannot be read", async () => {
    const scene = new Scene();
    const [good, wrong, cut] = make(3) as [EncodedEvent, EncodedEvent, EncodedEvent];
    const page = [
      good,
      { ...wrong, signature: new Uint8Array(64) },
      { ...cut, message: new Uint8Array(9) },
      { block: Uint8Array.of(0xa0), signature: new Uint8Array(64), message: new Uint8Array() },
    ];
    expect(await scene.exchange.ingest(page)).toBe(1);
    expect(await scene.stored()).toEqual(idsOf([good]));
    expect(scene.refused.toSorted()).toEqual(["signature", "size", "unreadable"]);
  });

  test("with what nobody asked for: it is stored when it is valid", async () => {
    const scene = new Scene();
    scene.peer.events.push(...make(2));
    scene.peer.want = () => ({ events: others, more: false });
    expect(await scene.exchange.fetchNamed(scene.names(scene.peer.events), scene.budget())).toBe(3);
    expect(await scene.stored()).toEqual(idsOf(others));
  });
});

describe("events are sent", () => {
  test("in pages of all shards, within 1 MB and 4,096 events; what is not here is left out", async () => {
    const scene = new Scene();
    const events = make(60, 50_000);
    await scene.give(events);
    const names = [...scene.names(events), { topicKey: keyOf(TOPICS[0] ?? ""), id: madeUpId(NOW_MS) }];
    expect(await scene.exchange.push(names, scene.budget())).toBe(60);
    expect(blocksOf(scene.pushed.flat())).toEqual(blocksOf(events));
    for (const page of scene.pushed) {
      const bytes = page.reduce((sum, event) => sum + bytesOfWire(event), 0);
      expect(bytes).toBeLessThanOrEqual(MAX_PEER_PAGE_BYTES);
    }
    // 3 MB, of four shards of which each has three quarters of a page.
    expect(scene.pushes.length).toBeLessThanOrEqual(4);
    for (const body of scene.pushes) expect(body.length).toBeLessThanOrEqual(MAX_PEER_BODY_BYTES);
  });

  test("that are few in one request, whatever their shards", async () => {
    const scene = new Scene();
    const events = make(24);
    await scene.give(events);
    const shards = new Set(scene.names(events).map(({ topicKey }) => shardOf(topicKey, SHARDS)));
    expect(shards.size).toBe(SHARDS);
    expect(await scene.exchange.push(scene.names(events), scene.budget())).toBe(24);
    expect(scene.pushes).toHaveLength(1);
  });

  test("that are large one a page", async () => {
    const scene = new Scene();
    const events = make(4, 1_048_214);
    await scene.give(events);
    expect(await scene.exchange.push(scene.names(events), scene.budget())).toBe(4);
    expect(scene.pushed.map((page) => page.length)).toEqual([1, 1, 1, 1]);
    for (const body of scene.pushes) expect(body.length).toBeLessThanOrEqual(MAX_PEER_BODY_BYTES);
  });

  test("as long as the budget lasts, and none costs none", async () => {
    const scene = new Scene();
    const events = make(4, 1_000_000);
    await scene.give(events);
    expect(await scene.exchange.push(scene.names(events), scene.budget(2))).toBe(2);
    expect(scene.pushes).toHaveLength(2);
    const spent = scene.budget(0);
    expect(await scene.exchange.push(scene.names(events.slice(0, 1)), spent)).toBe(0);
    expect([scene.pushes.length, spent.isCut]).toEqual([2, true]);
    const none = scene.budget(0);
    expect(await scene.exchange.push([], none)).toBe(0);
    expect(await scene.exchange.push([{ topicKey: keyOf("x"), id: madeUpId(1) }], none)).toBe(0);
    expect([scene.pushes.length, none.isCut]).toEqual([2, false]);
  });

  test("until the peer answers what is no answer", async () => {
    const scene = new Scene();
    const events = make(2, 1_000_000);
    await scene.give(events);
    scene.call = async () => encodePage({ events: [], more: false });
    const pushing = scene.exchange.push(scene.names(events), scene.budget());
    await expect(pushing).rejects.toMatchObject({ code: "peer_body_invalid" });
  });
});
