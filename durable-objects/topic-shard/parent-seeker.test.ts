import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { WireEvent } from "../../protocol/event.ts";
import type { EventPage, WantBody } from "../../protocol/peer-messages.ts";
import { platformClock } from "../clock.ts";
import type { Links } from "../peer-link/link-api.ts";
import { fixedPeers } from "../peers/peer-source.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, keyOf, madeUpId, Node, START_MS, signers, TOPICS } from "../testing/shard-world.ts";
import { answerWant } from "./ancestors.ts";
import { ParentSeeker } from "./parent-seeker.ts";

const TOPIC = TOPICS[0];
const MINUTE_MS = 60_000;

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS });
});
afterEach(() => {
  vi.useRealTimers();
});

interface Question {
  readonly url: string;
  readonly atMs: number;
  readonly want: WantBody;
}

/** A shard that lacks parents, and peers that answer as `answer` says. */
function startSeeker(
  answer: (url: string, want: WantBody) => EventPage,
  peers = ["http://a.test", "http://b.test"],
) {
  const node = new Node(new MemoryShardStore());
  const questions: Question[] = [];
  const blamed: { readonly url: string; readonly rules: readonly string[] }[] = [];
  const links: Links = {
    of: (url) => ({
      push: async () => 0,
      want: async (want) => {
        questions.push({ url, atMs: Date.now() - START_MS, want });
        return answer(url, want);
      },
      refused: async (rules) => {
        blamed.push({ url, rules });
        return null;
      },
    }),
  };
  const ingest = async (events: readonly WireEvent[]) => {
    const ingested = events.map((event) => node.ingest(event, Date.now()));
    const stored = ingested.filter(({ kind }) => kind === "stored").length;
    if (stored > 0) seeker.seekSoon();
    return { stored, refused: ingested.flatMap((each) => (each.kind === "refused" ? [each.rule] : [])) };
  };
  const seeker: ParentSeeker = new ParentSeeker({
    peers: fixedPeers(peers.map((url) => ({ url }))),
    links,
    clock: platformClock,
    store: node.store,
    ingest,
  });
  return { node, seeker, questions, blamed, ingest };
}

const nothing = (): EventPage => ({ events: [], more: false });
const orphan = (ts: number, ...links: Bytes[]) =>
  forgeEvent({ topic: TOPIC, ts, timeMs: START_MS + 9, links });
const wantedOf = ({ want }: Question) => want.wanted.map(({ id }) => toHex(id));

describe("a missing parent", () => {
  test("is asked for after half a second, with what links to it stored, and delivers it", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const child = orphan(2, parent.id);
    const { node, questions, ingest } = startSeeker(() => ({ events: [parent], more: false }));
    await ingest([child]);
    await vi.advanceTimersByTimeAsync(499);
    expect(questions).toEqual([]);
    await vi.advanceTimersByTimeAsync(10);
    expect(questions.map(wantedOf)).toEqual([[toHex(parent.id)]]);
    expect(node.store.lastPosition()).toBe(2);
    await vi.advanceTimersByTimeAsync(120 * MINUTE_MS);
    expect(questions).toHaveLength(1);
  });

  test("that came in the meantime is not asked for", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const { questions, ingest } = startSeeker(nothing);
    await ingest([orphan(2, parent.id)]);
    await vi.advanceTimersByTimeAsync(300);
    await ingest([parent]);
    await vi.advanceTimersByTimeAsync(10 * MINUTE_MS);
    expect(questions).toEqual([]);
  });

  test("that nobody has is asked for six times, at growing pauses, of the peers in turn", async () => {
    const { questions, ingest } = startSeeker(nothing);
    await ingest([orphan(1, madeUpId(START_MS - 9))]);
    await vi.advanceTimersByTimeAsync(300 * MINUTE_MS);
    expect(questions.map(({ url }) => url.slice(7, 8)).join("")).toBe("ababab");
    const pauses = questions.map(({ atMs }, i) => atMs - (questions[i - 1]?.atMs ?? 0));
    for (const [i, least] of [500, 2_000, 10_000, 60_000, 600_000, 3_600_000].entries()) {
      expect(pauses[i]).toBeGreaterThanOrEqual(least);
      expect(pauses[i]).toBeLessThan(least + 1_000);
    }
  });

  test.each(["a.test", "b.test"])("is asked of another peer when %s fails, soon", async (down) => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const { node, questions, ingest } = startSeeker((url) => {
      if (url.includes(down)) throw unavailable("peer_paused", "down");
      return { events: [parent], more: false };
    });
    await ingest([orphan(2, parent.id)]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(node.store.lastPosition()).toBe(2);
    expect(questions.length).toBeLessThanOrEqual(2);
  });

  test("is not given up while no peer answers", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    let isUp = false;
    const { node, questions, ingest } = startSeeker(() => {
      if (!isUp) throw unavailable("peer_paused", "down");
      return { events: [parent], more: false };
    });
    await ingest([orphan(2, parent.id)]);
    await vi.advanceTimersByTimeAsync(300 * MINUTE_MS);
    expect(questions.length).toBeLessThan(12);
    isUp = true;
    await vi.advanceTimersByTimeAsync(60 * MINUTE_MS);
    expect(node.store.lastPosition()).toBe(2);
  });

  test("whose answer breaks rules is held against the peer that gave it, once an answer", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const forged = { ...parent, signature: new Uint8Array(64) };
    const { node, blamed, ingest } = startSeeker((url) => ({
      events: url.includes("a.test") ? [forged, forged] : [parent],
      more: false,
    }));
    await ingest([orphan(2, parent.id)]);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(node.store.lastPosition()).toBe(2);
    expect(blamed.length).toBeLessThanOrEqual(1);
    await ingest([orphan(3, madeUpId(START_MS - 9))]);
    await vi.advanceTimersByTimeAsync(300 * MINUTE_MS);
    for (const each of blamed)
      expect(each).toEqual({ url: "http://a.test", rules: ["signature", "signature"] });
    expect(blamed).not.toEqual([]);
  });

  test("is not asked for where there are no peers", async () => {
    const { questions, ingest } = startSeeker(nothing, []);
    await ingest([orphan(1, madeUpId(START_MS - 9))]);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([questions.length, vi.getTimerCount()]).toEqual([0, 0]);
  });

  test("does not wait for the long pauses of another", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const { questions, ingest } = startSeeker((_, { wanted }) => ({
      events: wanted.some(({ id }) => toHex(id) === toHex(parent.id)) ? [parent] : [],
      more: false,
    }));
    await ingest([orphan(1, madeUpId(START_MS - 9))]);
    await vi.advanceTimersByTimeAsync(30 * MINUTE_MS);
    const before = questions.length;
    const atMs = Date.now() - START_MS;
    await ingest([forgeEvent({ topic: TOPIC, ts: 2, timeMs: Date.now(), links: [parent.id] })]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(questions.slice(before).map(wantedOf)).toEqual([[toHex(parent.id)]]);
    expect(questions[before]?.atMs).toBeLessThan(atMs + 600);
  });

  test("is asked for however many others were made up by one who wants to be in the way", async () => {
    const parent = forgeEvent({ topic: TOPIC, timeMs: START_MS - 1_000 });
    const { node, ingest } = startSeeker((_, { wanted }) => ({
      events: wanted.some(({ id }) => toHex(id) === toHex(parent.id)) ? [parent] : [],
      more: false,
    }));
    // Below the honest parent in the order in which missing ones are listed.
    for (let i = 0; i < 40; i++) {
      const links = Array.from({ length: 16 }, (_, n) => madeUpId(START_MS - 5_000 + i, n));
      await ingest([forgeEvent({ topic: TOPIC, ts: i, timeMs: START_MS + i, links })]);
    }
    await vi.advanceTimersByTimeAsync(100 * MINUTE_MS);
    await ingest([forgeEvent({ topic: TOPIC, ts: 99, timeMs: Date.now(), links: [parent.id] })]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(node.store.positionOf({ topicKey: keyOf(TOPIC), id: parent.id })).toBeDefined();
  });
});

describe("a branch of which nothing is here", () => {
  /** A peer with a topic of 6 MB. */
  function longTopic() {
    const peer = new Node(new MemoryShardStore(), signers[1]);
    const events = Array.from({ length: 60 }, (_, i) =>
      peer.publish(TOPIC, i, new Uint8Array(100_000).fill(i), START_MS - 1_000 + i),
    );
    return { peer, events, ...startSeeker((_, want) => answerWant(peer.store, want)) };
  }

  test("comes over page by page, at once", async () => {
    const { node, events, questions, ingest } = longTopic();
    await ingest(events.slice(-1));
    await vi.advanceTimersByTimeAsync(3_000);
    expect(node.eventsOf(TOPIC)).toHaveLength(60);
    expect(node.store.firstPendingMs()).toBeUndefined();
    expect(questions.length).toBeLessThan(10);
  });

  test("comes over also where more than a page of what lies below it is here already", async () => {
    const { node, peer, events, questions, ingest } = longTopic();
    const forkedAt = events[45]?.id as Bytes;
    const missing = forgeEvent({ topic: TOPIC, ts: 90, timeMs: START_MS, links: [forkedAt] });
    peer.ingest(missing, START_MS);
    for (const event of events) node.ingest(event, START_MS);
    await ingest([orphan(91, missing.id)]);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(node.store.positionOf({ topicKey: keyOf(TOPIC), id: missing.id })).toBeDefined();
    expect(node.store.firstPendingMs()).toBeUndefined();
    expect(questions.length).toBeLessThan(5);
  });

  test("that never ends, of valid events, is left after a bounded number of pages", async () => {
    let made = 0;
    const { questions, ingest } = startSeeker(() => {
      made++;
      return {
        events: [forgeEvent({ topic: TOPIC, ts: made, timeMs: START_MS - 5_000 + made })],
        more: true,
      };
    });
    await ingest([orphan(1, madeUpId(START_MS - 9_000))]);
    await vi.advanceTimersByTimeAsync(300 * MINUTE_MS);
    expect(questions.length).toBeLessThanOrEqual(6 * 64);
  });
});
