import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, test } from "vitest";
import { toHex, utf8 } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { shardOf } from "../../protocol/topic.ts";
import { shardsOf } from "../stubs.ts";
import type { FakePeer } from "../testing/fake-peer.ts";
import { cursors, make, pullOf, rowsWritten, scene, TOPICS } from "../testing/pull-scene.ts";
import { keyOf, madeUpId } from "../testing/shard-world.ts";

afterEach(() => reset());

const SHARDS = 4;

async function storedHere(): Promise<string[]> {
  const pulls = await Promise.all(
    Array.from({ length: SHARDS }, (_, shard) => shardsOf(env).at(shard).pull(null, 10_000)),
  );
  return pulls.flatMap(({ names }) => names.map(({ id }) => toHex(id))).sort();
}

const idsOf = (events: readonly EncodedEvent[]) => events.map(({ id }) => toHex(id)).sort();

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
      expect(await rowsWritten(storage, run)).toBe(0);
      expect(peer.log).toEqual(["pull"]);
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
