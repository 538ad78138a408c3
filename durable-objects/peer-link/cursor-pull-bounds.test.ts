import { reset } from "cloudflare:test";
import { afterEach, describe, expect, test } from "vitest";
import type { Cursor, EventName, PulledShard } from "../../protocol/peer-messages.ts";
import type { FakePeer } from "../testing/fake-peer.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { cursors, make, rowsWritten, scene } from "../testing/pull-scene.ts";
import { keyOf, madeUpId } from "../testing/shard-world.ts";
import { MAX_RUN_MS } from "./run-budget.ts";

/** Where one run with a peer ends, whatever the peer says. */

afterEach(() => reset());

const pullsOf = ({ log }: FakePeer) => log.filter((call) => call === "pull").length;
const nobodyHas = (n: number): EventName => ({
  topicKey: keyOf("plain"),
  id: madeUpId(Date.now() - 9_000, n),
});
const generation = (n: number) => new Uint8Array(8).fill(n);

/** One shard that names this at each place, and always has more. */
function naming(peer: FakePeer, namesAt: (position: number) => EventName[]): void {
  peer.pull = (position) => [
    {
      cursor: { shard: 0, generation: peer.generation, position: position + 1 },
      names: namesAt(position),
      more: true,
      restart: false,
    },
  ];
}

describe("a run with a peer that always has more", () => {
  test("and names nothing ends at once", () =>
    scene(async (peer, run) => {
      naming(peer, () => []);
      expect(await run()).toBe(0);
      expect(peer.log).toEqual(["pull"]);
    }));

  test("and gives none of what it names ends after 8 pulls; the next goes on behind them, as far again", () =>
    scene(async (peer, run, storage) => {
      naming(peer, (position) => [nobodyHas(position)]);
      for (const runs of [1, 2]) {
        expect(await run()).toBe(0);
        expect(pullsOf(peer)).toBe(8 * runs);
        expect(cursors(storage)).toEqual([{ shard: 0, position: 8 * runs }]);
      }
    }));

  test("and gives something of every eighth pull goes on", () =>
    scene(async (peer, run) => {
      peer.events.push(...make(3));
      const names = peer.events.map(peer.name);
      naming(peer, (position) => {
        const name = position % 8 === 7 ? names.shift() : undefined;
        return [name ?? nobodyHas(position)];
      });
      expect(await run()).toBe(3);
      expect(pullsOf(peer)).toBe(3 * 8 + 8);
    }));

  test("and names what is here ends after 256 pulls; the next goes on from there", () =>
    scene(async (peer, run, storage) => {
      peer.events.push(...make(1));
      const names = peer.events.map(peer.name);
      naming(peer, () => names);
      for (const runs of [1, 2]) {
        expect(await run()).toBe(runs === 1 ? 1 : 0);
        expect(pullsOf(peer)).toBe(256 * runs);
        expect(cursors(storage)).toEqual([{ shard: 0, position: 256 * runs }]);
      }
    }));
});

describe("a run with a slow peer", () => {
  /** Each page of events takes so long that five of them are a run's time. */
  const PAGE_MS = MAX_RUN_MS / 5 + 1;

  /** Sends one event in each page, and names so many at a time. */
  function slow(peer: FakePeer, clock: ManualClock, named: number): void {
    peer.events.push(...make(12));
    const { pull, want } = peer;
    peer.pull = (position) => {
      peer.page = named;
      return pull.call(peer, position);
    };
    peer.want = (wanted) => {
      clock.step(clock.nowMs() + PAGE_MS);
      peer.page = 1;
      return want.call(peer, wanted);
    };
  }

  test.each([
    ["one by one: all that came is passed", 1, 5],
    ["all at once: nothing is passed before all of it came", 12, 0],
  ])("ends after 25 s, and the next fetches what is left, named %s", (_, named, passed) => {
    const clock = new ManualClock(0);
    return scene(async (peer, run, storage) => {
      slow(peer, clock, named);
      expect(await run()).toBe(5);
      expect(cursors(storage)).toEqual(passed === 0 ? [] : [{ shard: 0, position: passed }]);
      expect([await run(), await run(), await run()]).toEqual([5, 2, 0]);
      expect(cursors(storage)).toEqual([{ shard: 0, position: 12 }]);
      expect(peer.log.filter((call) => call === "want")).toHaveLength(12);
    }, clock);
  });
});

describe("a run with a peer whose shards begin anew", () => {
  /** Says at each pull where its shards are, and has more. */
  function going(
    peer: FakePeer,
    placesOf: (pull: number) => readonly (Omit<Cursor, "shard"> & { readonly shard?: number })[],
    pulls = Number.POSITIVE_INFINITY,
  ): void {
    peer.events.push(...make(1));
    const names = peer.events.map(peer.name);
    let pull = 0;
    peer.pull = () => {
      const more = pull + 1 < pulls;
      const cursorOf = (place: ReturnType<typeof placesOf>[number]) => ({ shard: 0, ...place });
      return placesOf(pull++).map(
        (place): PulledShard => ({ cursor: cursorOf(place), names, more, restart: true }),
      );
    };
  }

  test.each<[string, number, (pull: number) => readonly Omit<Cursor, "shard">[]]>([
    ["at each pull", 4, (n) => [{ generation: generation(n), position: 1 }]],
    ["by going back and forth", 7, (n) => [{ generation: generation(0), position: 1 + (n % 2) }]],
    ["by being named twice", 1, () => [1, 2].map((n) => ({ generation: generation(0), position: n }))],
  ])("%s ends when it is seen, as a breach, and its cursor is written once", (_, pulls, places) =>
    scene(async (peer, run, storage) => {
      going(peer, places);
      const rows = await rowsWritten(storage, () =>
        expect(run()).rejects.toMatchObject({ code: "peer_answer_invalid" }),
      );
      expect(pullsOf(peer)).toBe(pulls);
      expect(rows).toBe(pulls === 1 ? 0 : 1);
    }),
  );

  test("twice each goes on to its end, also in the run after it", () =>
    scene(async (peer, run, storage) => {
      const shards = [0, 1, 2];
      // In the first run nothing is known before the first pull.
      for (const [life, pulls] of [
        [10, 3],
        [20, 2],
      ] as const) {
        const places = (pull: number) => ({ generation: generation(life + pull), position: pulls - pull });
        going(peer, (pull) => shards.map((shard) => ({ shard, ...places(pull) })), pulls);
        expect(await rowsWritten(storage, run)).toBe(shards.length);
        expect(cursors(storage)).toEqual(shards.map((shard) => ({ shard, position: 1 })));
      }
      expect(pullsOf(peer)).toBe(3 + 2);
    }));
});

test("a run of many pages writes a row for each shard, when it ends", () =>
  scene(async (peer, run, storage) => {
    peer.events.push(...make(60));
    peer.page = 5;
    expect(await rowsWritten(storage, run)).toBe(1);
    expect([pullsOf(peer), cursors(storage)]).toEqual([12, [{ shard: 0, position: 60 }]]);
  }));
