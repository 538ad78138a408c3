import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fromHex } from "../../protocol/bytes.ts";
import { decodePush, decodeWant, encodePage, type PushedRun } from "../../protocol/peer-messages.ts";
import { keyed, OWN, PEER, type Remote, withLink } from "../testing/remote-peer.ts";
import { development, forgeEvent, madeUpId, START_MS } from "../testing/shard-world.ts";

const reallyWait = setTimeout;
const want = { wanted: [], ancestors: false, have: [] };
const run = (...bytes: number[]): PushedRun => ({
  previous: { topicKey: new Uint8Array(32), id: madeUpId(1) },
  events: bytes.map((size, ts) =>
    forgeEvent({ topic: "t", ts, message: new Uint8Array(size), network: development }),
  ),
});
const codeOf = async (outcome: Promise<{ ok: boolean; error?: { code: string } }>) =>
  (await outcome).error?.code ?? "ok";
const after = (ms: number) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers({ now: START_MS, toFake: ["Date", "setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("a peer that is down", () => {
  const failures: [string, () => Response | Promise<Response>][] = [
    ["does not answer", () => Promise.reject(new TypeError("refused"))],
    ["answers with an error", () => new Response("no", { status: 500 })],
    [
      "answers with a redirect",
      () => new Response(null, { status: 302, headers: { location: "http://127.0.0.1/" } }),
    ],
    ["answers for ever", () => new Response(endless())],
    ["stops in the middle of its answer", () => new Response(broken())],
  ];

  test.each(failures)("(%s) is left alone for 1 s, 2 s, 4 s … and five minutes at most", (_, fail) =>
    withLink(keyed, async (link, remote, url) => {
      remote.answer = fail;
      const times: number[] = [];
      while (times.length < 12) {
        const before = remote.asked.length;
        await link.want(url, want);
        if (remote.asked.length > before) times.push(Date.now() - START_MS);
        await after(500);
      }
      const pauses = times.slice(1).map((time, i) => time - (times[i] ?? 0));
      expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map((seconds) => seconds * 1_000));
    }),
  );

  test("costs shards and the minutely pull nothing while it is left alone", () =>
    withLink(keyed, async (link, remote, url) => {
      remote.answer = () => new Response("no", { status: 503 });
      for (let i = 0; i < 5; i++) {
        await link.want(url, want);
        await after(1_000 * 2 ** i);
      }
      await link.want(url, want);
      const before = remote.asked.length;
      const again = await link.push(url, run(1), []);
      expect(again.ok && again.value - Date.now()).toBe(5_000);
      expect(await link.pull(url)).toEqual({ ok: true, value: 0 });
      expect(await codeOf(link.want(url, want))).toBe("peer_paused");
      await after(5_000);
      expect(remote.asked.length).toBe(before);
    }));

  test("is asked at once when it was heard of: a pull and anti-entropy fetch what came meanwhile, and pauses begin small", () =>
    withLink(keyed, async (link, remote, url) => {
      const { answer } = remote;
      remote.answer = () => new Response("no", { status: 503 });
      for (let i = 0; i < 4; i++) {
        await link.want(url, want);
        await after(1_000 * 2 ** i);
      }
      remote.answer = answer;
      remote.asked.length = 0;
      expect(await link.heard(url, OWN, true)).toEqual({ ok: true, value: false });
      expect(remote.paths).toEqual([]);
      expect(await link.heard(url, PEER, false)).toEqual({ ok: true, value: true });
      const round = ["/peer/v1/pull", "/peer/v1/newest", "/peer/v1/sync/compare"];
      await vi.waitFor(() => expect(remote.paths).toEqual(round));
      await link.heard(url, PEER, false);
      await after(10);
      expect(remote.paths).toEqual(round);
      await link.heard(url, PEER, true);
      await vi.waitFor(() => expect(remote.paths).toEqual([...round, "/peer/v1/pull"]));
    }));
});

describe("pushes", () => {
  const pushed = (remote: Remote) =>
    remote.asked.filter(({ path }) => path === "/peer/v1/push").map(({ body }) => decodePush(body));

  test("of all shards are gathered for 25 ms into one request", () =>
    withLink(keyed, async (link, remote, url) => {
      await link.push(url, run(10), []);
      await link.push(url, run(20, 30), []);
      await after(24);
      expect(remote.asked).toEqual([]);
      await after(2);
      expect(pushed(remote).map(({ runs }) => runs.map(({ events }) => events.length))).toEqual([[1, 2]]);
    }));

  test("go in pages of 1 MB, one after the other", () =>
    withLink(keyed, async (link, remote, url) => {
      for (let i = 0; i < 5; i++) await link.push(url, run(400_000), []);
      await after(100);
      expect(pushed(remote).map(({ runs }) => runs.length)).toEqual([2, 2, 1]);
    }));

  test("that fail are dropped, and so is what waits behind them: the peer will pull", () =>
    withLink(keyed, async (link, remote, url) => {
      const { answer } = remote;
      remote.answer = () => new Response("no", { status: 503 });
      for (let i = 0; i < 5; i++) await link.push(url, run(400_000), []);
      await after(100);
      expect(pushed(remote)).toHaveLength(1);
      remote.answer = answer;
      await after(1_000);
      await link.push(url, run(1), []);
      await after(100);
      expect(pushed(remote)).toHaveLength(2);
      expect(pushed(remote)[1]?.runs[0]?.events).toHaveLength(1);
    }));

  test("that find no room make the shard wait a second", () =>
    withLink(keyed, async (link, _, url) => {
      for (let i = 0; i < 8; i++)
        expect(await link.push(url, run(1_000_000), [])).toEqual({ ok: true, value: 0 });
      const full = await link.push(url, run(1_000_000), []);
      expect(full.ok && full.value - Date.now()).toBe(1_000);
    }));
});

describe("requests", () => {
  test("under way to a peer are four at a time", () =>
    withLink(keyed, async (link, remote, url) => {
      const answers: ((response: Response) => void)[] = [];
      remote.answer = () => new Promise((resolve) => answers.push(resolve));
      const wants = Array.from({ length: 9 }, () => link.want(url, want));
      const settle = () => new Promise((resolve) => reallyWait(resolve, 20));
      for (const open of [4, 4, 1]) {
        await settle();
        expect(answers).toHaveLength(open);
        for (const answer of answers.splice(0)) answer(new Response(encodePage({ events: [], more: false })));
      }
      expect(await Promise.all(wants.map(codeOf))).toEqual(Array.from({ length: 9 }, () => "ok"));
    }));

  test("carry what the shard wants, and bring what the peer has", () =>
    withLink(keyed, async (link, remote, url) => {
      const event = forgeEvent({ topic: "t", network: development });
      remote.answer = () => new Response(encodePage({ events: [event], more: true }));
      const name = { topicKey: new Uint8Array(32).fill(4), id: event.id };
      const outcome = await link.want(url, { wanted: [name], ancestors: true, have: [name] });
      expect(decodeWant(remote.asked[0]?.body ?? fromHex(""))).toEqual({
        wanted: [name],
        ancestors: true,
        have: [name],
      });
      expect(outcome.ok && [outcome.value.events.length, outcome.value.more]).toEqual([1, true]);
    }));
});

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(500_000)) });
}

function broken(): ReadableStream<Uint8Array> {
  let pulls = 0;
  return new ReadableStream({
    pull: (controller) =>
      pulls++ === 0 ? controller.enqueue(Uint8Array.of(1)) : controller.error(new Error("cut")),
  });
}
