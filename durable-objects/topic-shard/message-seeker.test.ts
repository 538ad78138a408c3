import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import type { EventPage, WantBody } from "../../protocol/peer-messages.ts";
import { platformClock } from "../clock.ts";
import { fixedPeers } from "../peers/peer-source.ts";
import { suite } from "../platform-suite.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { forgeEvent, keyOf, Node, START_MS, signers } from "../testing/shard-world.ts";
import { MessageSeeker } from "./message-seeker.ts";
import { PENDING_BASE } from "./shard-store.ts";

const TOPIC = "plain";
const MINUTE_MS = 60_000;
const PEERS = ["a", "b", "c", "d", "e"].map((name) => `http://${name}.test`);

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS });
  vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

type Whole = ReturnType<typeof forgeEvent>;
const bare = (event: WireEvent): WireEvent => ({ ...event, message: null });
const events = (count: number): Whole[] =>
  Array.from({ length: count }, (_, n) =>
    forgeEvent({ topic: TOPIC, ts: n, message: `m${n}`, timeMs: START_MS - 1_000 + n }),
  );

/** A shard with events that came from the first peer without their messages, and peers that answer as `answer` says. */
function start(
  answer: (url: string, want: WantBody) => Promise<EventPage> | EventPage,
  peers: readonly { readonly url: string; readonly key?: Bytes }[] = PEERS.map((url) => ({ url })),
) {
  const node = new Node(new MemoryShardStore());
  const questions: { readonly url: string; readonly wanted: readonly string[] }[] = [];
  const blamed: string[] = [];
  const parts = {
    peers: fixedPeers(peers),
    clock: platformClock,
    store: node.store,
    suite,
    links: {
      of: (url: string) => ({
        push: async () => 0,
        want: async (want: WantBody) => {
          questions.push({ url, wanted: want.wanted.map(({ id }) => toHex(id)) });
          return answer(url, want);
        },
        refused: async (rules: readonly string[]) => {
          blamed.push(url, ...rules);
          return null;
        },
      }),
    },
    ingest: async (wires: readonly WireEvent[]) => {
      const ingested = wires.map((wire) => node.ingest(wire, Date.now()));
      return { refused: ingested.flatMap((each) => (each.kind === "refused" ? [each.rule] : [])) };
    },
    soughtInVain: async (names: Parameters<typeof node.core.soughtInVain>[0]) =>
      node.run((core) => core.soughtInVain(names, Date.now())),
  };
  const seeker = new MessageSeeker(parts);
  const take = (wires: readonly Whole[], sender: string, by = seeker) => {
    for (const wire of wires) node.ingest(bare(wire), Date.now());
    by.seek(
      wires.map(({ id }) => ({ topicKey: keyOf(TOPIC), id })),
      sender,
    );
  };
  const isHere = ({ id }: Whole) => !node.store.isWithoutMessage({ topicKey: keyOf(TOPIC), id });
  const isPassed = ({ id }: Whole) =>
    (node.store.positionOf({ topicKey: keyOf(TOPIC), id }) ?? PENDING_BASE) < PENDING_BASE;
  return { node, seeker, parts, questions, blamed, take, isHere, isPassed };
}

const pageOf = (want: WantBody, all: readonly WireEvent[]): EventPage => {
  const wanted = new Set(want.wanted.map(({ id }) => toHex(digestOfId(id))));
  return { events: all.filter(({ block }) => wanted.has(toHex(suite.sha256(block)))), more: false };
};
const nobodyHas = (all: readonly WireEvent[]) => (_: string, want: WantBody) => pageOf(want, all.map(bare));

describe("a message that one peer does not send", () => {
  test("is asked for from another, and delivered", async () => {
    const all = events(3);
    const { take, questions, isHere, isPassed } = start((_, want) => pageOf(want, all));
    take(all, PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(199);
    expect(questions).toEqual([]);
    await vi.advanceTimersByTimeAsync(10);
    expect(questions).toHaveLength(1);
    expect(questions[0]?.url).not.toBe(PEERS[0]);
    expect(questions[0]?.wanted).toEqual(all.map(({ id }) => toHex(id)));
    expect(all.every((event) => isHere(event) && isPassed(event))).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("that comes in the meantime is not asked for", async () => {
    const [event] = events(1) as [Whole];
    const { node, take, questions, isPassed } = start((_, want) => pageOf(want, []));
    take([event], PEERS[0] as string);
    node.ingest(event, Date.now());
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([questions, isPassed(event)]).toEqual([[], true]);
  });

  test("is asked for from three peers that do not have it, each once, and then passed by", async () => {
    const all = events(2);
    const { take, questions, blamed, isHere, isPassed } = start(nobodyHas(all));
    take(all, PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(new Set(questions.map(({ url }) => url))).not.toContain(PEERS[0]);
    for (const event of all) {
      const asked = questions.filter(({ wanted }) => wanted.includes(toHex(event.id))).map(({ url }) => url);
      expect([asked.length, new Set(asked).size]).toEqual([3, 3]);
    }
    expect(all.some(isHere)).toBe(false);
    expect(all.every(isPassed)).toBe(true);
    expect(blamed).toEqual([]);
  });

  test("is passed by at once where there is no other peer, named by its URL or its key", async () => {
    const [event] = events(1) as [Whole];
    const key = signers[2]?.publicKey as Bytes;
    for (const sender of ["http://a.test", toHex(key)]) {
      const { take, questions, isPassed } = start(nobodyHas([event]), [{ url: "http://a.test", key }]);
      take([event], sender);
      await vi.advanceTimersByTimeAsync(200);
      expect([questions, isPassed(event)]).toEqual([[], true]);
    }
  });

  test("waits until it is overdue where no peer answers, and is asked for no more than once from each", async () => {
    const [event] = events(1) as [Whole];
    const { take, questions, isPassed } = start(() => {
      throw unavailable("peer_unreachable", "down");
    });
    take([event], PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(questions.map(({ url }) => url).sort()).toEqual(PEERS.slice(1));
    expect(isPassed(event)).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is found where one peer answers null, one fails and one has never heard of it", async () => {
    const [event] = events(1) as [Whole];
    const answers = [
      () => ({ events: [bare(event)], more: false }),
      () => ({ events: [], more: false }),
      () => Promise.reject(unavailable("peer_unreachable", "down")),
      () => ({ events: [event], more: false }),
    ];
    let asked = 0;
    const { take, isHere } = start(() => (answers[asked++] as () => EventPage)());
    take([event], PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([asked, isHere(event)]).toEqual([4, true]);
  });

  test("is not taken from what is another, for which the peer is blamed", async () => {
    const [event] = events(1) as [Whole];
    const wrong = { ...event, message: utf8("m9") };
    const { take, isHere, blamed } = start(() => ({ events: [wrong], more: false }));
    take([event], PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([isHere(event), blamed.filter((each) => each === "message").length]).toEqual([false, 3]);
  });
});

describe("the questions", () => {
  test("go on over pages, and end with a peer whose page says that there is more and has none of it", async () => {
    const all = events(10);
    const { take, questions, isHere } = start((_, want) => {
      const { events: found } = pageOf(want, all);
      return { events: found.slice(0, 4), more: found.length > 4 };
    });
    take(all, PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([all.every(isHere), questions.map(({ wanted }) => wanted.length)]).toEqual([true, [10, 6, 2]]);
    const jammed = start(() => ({ events: [], more: true }));
    jammed.take(all, PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(jammed.questions).toHaveLength(3);
    expect(all.every(jammed.isPassed)).toBe(true);
  });

  test("are of at most 1,024 events each, whatever is sought, and all of it ends", async () => {
    const all = events(2_500);
    const { take, questions, isPassed } = start(
      nobodyHas(all),
      PEERS.slice(0, 3).map((url) => ({ url })),
    );
    take(all, PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(5 * MINUTE_MS);
    expect(Math.max(...questions.map(({ wanted }) => wanted.length))).toBeLessThanOrEqual(1_024);
    expect(all.every(isPassed)).toBe(true);
    expect(questions.length).toBeLessThan(20);
  });

  test("of an earlier life are taken up by the next, but of what was sought in vain", async () => {
    const [sought, left] = events(2) as [Whole, Whole];
    const { node, parts, take, questions, isHere } = start((_, want) => pageOf(want, [sought, left]));
    take([sought, left], "", { seek: () => {} } as never);
    node.run((core) => core.soughtInVain([{ topicKey: keyOf(TOPIC), id: left.id }], Date.now()));
    new MessageSeeker(parts).seekPending();
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect(questions.map(({ wanted }) => wanted)).toEqual([[toHex(sought.id)]]);
    expect([isHere(sought), isHere(left)]).toEqual([true, false]);
  });

  test("end when the store fails, and begin anew with what comes next", async () => {
    const [one, two] = events(2) as [Whole, Whole];
    const { node, take, isHere } = start((_, want) => pageOf(want, [two]));
    const broken = vi.spyOn(node.store, "isWithoutMessage").mockImplementation(() => {
      throw new Error("the disk is gone");
    });
    take([one], PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    broken.mockRestore();
    expect(vi.getTimerCount()).toBe(0);
    take([two], PEERS[0] as string);
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    expect([isHere(one), isHere(two)]).toEqual([false, true]);
  });
});
