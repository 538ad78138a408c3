import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import type { Cursor } from "../../protocol/peer-messages.ts";
import { shardOf } from "../../protocol/topic.ts";
import { platformClock } from "../clock.ts";
import { suite } from "../platform-suite.ts";
import { shardsOf } from "../stubs.ts";
import { FakePeer } from "../testing/fake-peer.ts";
import { development, forgeEvent, keyOf, madeUpId, onStorage } from "../testing/shard-world.ts";
import { AnswerWatch } from "./asking.ts";
import { CursorPull } from "./cursor-pull.ts";
import { SqlCursorStore } from "./sql-cursor-store.ts";

afterEach(() => reset());

const SHARDS = 4;
const TOPICS = ["/xmtp/0/m-one/proto", "/xmtp/0/m-two/proto", "/xmtp/0/m-three/proto", "plain", "and more"];

/** Events of several topics, and so of several shards. */
const make = (count: number, from = 0): EncodedEvent[] =>
  Array.from({ length: count }, (_, i) =>
    forgeEvent({
      topic: TOPICS[i % TOPICS.length] ?? "",
      ts: from + i,
      timeMs: Date.now() - 60_000 + from + i,
      network: development,
    }),
  );

async function storedHere(): Promise<string[]> {
  const pulls = await Promise.all(
    Array.from({ length: SHARDS }, (_, shard) => shardsOf(env).at(shard).pull(null, 10_000)),
  );
  return pulls.flatMap(({ names }) => names.map(({ id }) => toHex(id))).sort();
}

const idsOf = (events: readonly EncodedEvent[]) => events.map(({ id }) => toHex(id)).sort();

const pullOf = (storage: DurableObjectStorage, { call }: FakePeer) => {
  const watch = new AnswerWatch(call, async () => {});
  return new CursorPull({
    url: "http://peer.test",
    cursors: new SqlCursorStore(storage),
    shards: shardsOf(env),
    suite,
    clock: platformClock,
    watch,
    ask: watch.ask,
    refused: watch.refused,
  });
};

/** A link's storage, and a peer. */
const scene = (
  work: (peer: FakePeer, run: () => Promise<number>, storage: DurableObjectStorage) => Promise<void>,
) =>
  onStorage(async (storage) => {
    const peer = new FakePeer();
    const pull = pullOf(storage, peer);
    await work(peer, () => pull.run(), storage);
  });

const cursors = ({ sql }: DurableObjectStorage) => sql.exec("SELECT shard, position FROM cursors").toArray();

describe("an honest peer", () => {
  test("is read page by page to its end, and everything is stored where it belongs", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(250));
      expect(await run()).toBe(250);
      expect(await storedHere()).toEqual(idsOf(peer.events));
      expect(peer.log).toEqual(["pull", "want", "pull", "want", "pull", "want"]);
      expect(cursors(storage)).toEqual([{ shard: 0, position: 250 }]);
      const topic = TOPICS[3] ?? "";
      const shard = shardsOf(env).at(shardOf(keyOf(topic), SHARDS));
      expect(await shard.heads(utf8(topic), keyOf(topic))).toHaveLength(50);
    }));

  test("that has nothing new is asked once, and nothing is written", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(10));
      await run();
      peer.log.length = 0;
      const before = storage.sql.exec("SELECT total_changes() AS changes").one();
      expect(await run()).toBe(0);
      expect([peer.log, storage.sql.exec("SELECT total_changes() AS changes").one()]).toEqual([
        ["pull"],
        before,
      ]);
    }));

  test("is read from where the last life of the link ended", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(10));
      await run();
      peer.events.push(...make(5, 10));
      expect(await pullOf(storage, peer).run()).toBe(5);
      expect(await storedHere()).toEqual(idsOf(peer.events));
    }));

  test("in another life is read from its beginning; what is here is not fetched again", () =>
    scene(async (peer, run) => {
      peer.events.push(...make(10));
      await run();
      peer.generation = new Uint8Array(8).fill(6);
      peer.events.unshift(...make(3, 10));
      peer.log.length = 0;
      expect(await run()).toBe(3);
      expect(peer.log).toEqual(["pull", "want"]);
    }));

  test("whose store was rolled back, and which begins anew twice in one run, is read to its end", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(30));
      peer.page = 10;
      await run();
      let pulls = 0;
      const { pull } = peer;
      // It restarts the reader, and then learns of its loss.
      peer.pull = (position) => {
        peer.generation = new Uint8Array(8).fill(pulls++ < 1 ? 5 : 9);
        return pull.call(peer, pulls === 1 ? 0 : position);
      };
      peer.events.splice(20);
      peer.events.push(...make(5, 30));
      expect(await run()).toBe(5);
      expect(cursors(storage)).toEqual([{ shard: 0, position: 25 }]);
    }));

  test("that is asked again while it is being read is read once more, after that", () =>
    scene(async (peer, run) => {
      peer.events.push(...make(3));
      const first = run();
      peer.events.push(...make(2, 3));
      const second = run();
      expect(await Promise.all([first, second])).toEqual([5, 5]);
      expect(peer.log.filter((call) => call === "pull").length).toBe(2);
      expect(await run()).toBe(0);
    }));
});

describe("a peer that fails half-way", () => {
  test("is read again from behind what was stored", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(150));
      const want = peer.want.bind(peer);
      let calls = 0;
      peer.want = (wanted) => {
        if (++calls === 2) throw new Error("gone");
        return want(wanted);
      };
      await expect(run()).rejects.toThrow("gone");
      expect(cursors(storage)).toEqual([{ shard: 0, position: 100 }]);
      expect(await run()).toBe(50);
      expect(await storedHere()).toEqual(idsOf(peer.events));
    }));
});

describe("a peer that lies", () => {
  const honest = make(4);
  const others = make(4, 100);

  test("about there being more, without moving its cursor, is asked once", () =>
    scene(async (peer, run) => {
      peer.pull = () => [
        {
          cursor: { shard: 0, generation: peer.generation, position: 0 },
          names: [],
          more: true,
          restart: false,
        },
      ];
      await run();
      await run();
      expect(peer.log.length).toBeLessThanOrEqual(3);
    }));

  test("about there being more, for ever, with cursors that move and no names, is left at once", () =>
    scene(async (peer, run) => {
      let position = 0;
      peer.pull = () => [
        {
          cursor: { shard: 0, generation: peer.generation, position: ++position },
          names: [],
          more: true,
          restart: false,
        },
      ];
      expect(await run()).toBe(0);
      expect(peer.log).toEqual(["pull"]);
    }));

  test("about what it has, for ever, is left after a few pulls of which nothing came", () =>
    scene(async (peer, run) => {
      peer.pull = (position) => [
        {
          cursor: { shard: 0, generation: peer.generation, position: position + 1 },
          names: [{ topicKey: keyOf("plain"), id: madeUpId(Date.now() - 9_000, position) }],
          more: true,
          restart: false,
        },
      ];
      expect(await run()).toBe(0);
      expect(peer.log.filter((call) => call === "pull")).toHaveLength(8);
    }));

  /** Says each time that its shards are at other places, and has more. */
  const going = (placesOf: (pulls: number) => readonly Pick<Cursor, "generation" | "position">[]) => {
    let pulls = 0;
    return (peer: FakePeer) => {
      peer.events.push(...honest);
      const names = honest.map(peer.name);
      peer.pull = () =>
        placesOf(pulls++).map((place) => ({
          cursor: { shard: 0, ...place },
          names,
          more: true,
          restart: true,
        }));
    };
  };
  const generation = (n: number) => new Uint8Array(8).fill(n);

  test.each<[string, number, (peer: FakePeer) => void]>([
    ["begins anew at each pull", 4, going((n) => [{ generation: generation(n), position: 1 }])],
    ["goes back and forth", 7, going((n) => [{ generation: generation(0), position: 1 + (n % 2) }])],
    ["names a shard twice", 1, going(() => [1, 2].map((n) => ({ generation: generation(0), position: n })))],
  ])("that %s is refused, and its cursor is written once a run", (_, pulls, lie) =>
    scene(async (peer, run, storage) => {
      lie(peer);
      const changes = () => storage.sql.exec<{ n: number }>("SELECT total_changes() AS n").one().n;
      const before = changes();
      await expect(run()).rejects.toMatchObject({ code: "peer_answer_invalid" });
      expect(peer.log.filter((call) => call === "pull")).toHaveLength(pulls);
      expect(changes() - before).toBeLessThanOrEqual(1);
    }),
  );

  test("about what it has is asked for it once a run, and nothing is stored", () =>
    scene(async (peer, run) => {
      const names = Array.from({ length: 50 }, (_, n) => ({
        topicKey: keyOf("plain"),
        id: madeUpId(Date.now() - 9_000, n),
      }));
      peer.pull = (position) => [
        {
          cursor: { shard: 0, generation: peer.generation, position: position + 50 },
          names,
          more: false,
          restart: false,
        },
      ];
      expect(await run()).toBe(0);
      expect([peer.log, await storedHere()]).toEqual([["pull", "want"], []]);
    }));

  test.each<[string, (peer: FakePeer) => void]>([
    [
      "sends what was not asked for",
      (peer) => (peer.want = () => ({ events: [...honest, ...others], more: false })),
    ],
    [
      "sends the newest first",
      (peer) => (peer.want = () => ({ events: [...honest].reverse(), more: false })),
    ],
    [
      "sends one event again and again",
      (peer) => (peer.want = () => ({ events: [...honest, ...honest], more: false })),
    ],
    [
      "sends broken events among good ones",
      (peer) =>
        (peer.want = () => ({
          events: [
            ...honest.map((event) => ({ ...event, message: new Uint8Array(7) })),
            ...honest.map((event) => ({ ...event, signature: new Uint8Array(64) })),
            { block: Uint8Array.of(0xa0), signature: new Uint8Array(64), message: new Uint8Array() },
            ...honest,
          ],
          more: false,
        })),
    ],
  ])("%s: what is valid is stored, nothing else, and the run ends", (_, lie) =>
    scene(async (peer, run) => {
      peer.events.push(...honest);
      lie(peer);
      await run();
      const ids = await storedHere();
      expect(ids).toEqual(expect.arrayContaining(idsOf(honest)));
      expect(idsOf([...honest, ...others])).toEqual(expect.arrayContaining(ids));
      expect(peer.log).toEqual(["pull", "want"]);
    }),
  );

  test.each<[string, EncodedEvent[]]>([
    ["nothing", []],
    ["something else", others],
  ])("that says there is more and sends %s is left, and its cursor stays", (_, events) =>
    scene(async (peer, run, storage) => {
      peer.events.push(...honest);
      peer.want = () => ({ events, more: true });
      await expect(run()).rejects.toMatchObject({ code: "peer_page_invalid" });
      expect([cursors(storage), peer.log]).toEqual([[], ["pull", "want"]]);
    }),
  );

  test("by sending one event a page is read to the end of what it named", () =>
    scene(async (peer, run) => {
      peer.events.push(...honest);
      peer.want = (wanted) => {
        const [first] = peer.events.filter(({ id }) => toHex(id) === toHex(wanted[0]?.id ?? id));
        return { events: first ? [first] : [], more: wanted.length > 1 };
      };
      await run();
      expect(await storedHere()).toEqual(idsOf(honest));
      expect(peer.log).toEqual(["pull", "want", "want", "want", "want"]);
    }));
});
