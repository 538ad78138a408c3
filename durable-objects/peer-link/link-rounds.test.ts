import { reset } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { toHex } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { decodeWant, encodePage } from "../../protocol/peer-messages.ts";
import { encodeCompareAnswer, encodeNames } from "../../protocol/sync-codec.ts";
import { shardOf } from "../../protocol/topic.ts";
import { setLogSink } from "../log.ts";
import { nodeConfig } from "../node-config.ts";
import { shardsOf } from "../stubs.ts";
import { keyed, PEER, type Remote, withLink } from "../testing/remote-peer.ts";
import { development, forgeEvent, keyOf, madeUpId, START_MS } from "../testing/shard-world.ts";
import type { PeerLink } from "./peer-link.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const after = (ms: number) => vi.advanceTimersByTimeAsync(ms);

// What fails on purpose is logged.
beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());
beforeEach(() => {
  vi.useFakeTimers({ now: START_MS, toFake: ["Date", "setTimeout", "clearTimeout"] });
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  // Breaches are counted for the peer's key, which all tests share.
  await reset();
});

/** The last words of the paths that were asked since. */
const taken = (remote: Remote) => remote.asked.splice(0).map(({ path }) => path.split("/").at(-1));
const down = () => new Response("no", { status: 503 });
const same = () => new Response(encodeCompareAnswer({ kind: "same", asOf: 1 }));

/** A remote peer whose next answers to a path wait until the test lets them go. */
function hold(remote: Remote, path: string): (() => void)[] {
  const { answer } = remote;
  const held: (() => void)[] = [];
  remote.answer = (asked) =>
    asked.endsWith(path) ? new Promise((resolve) => held.push(() => resolve(answer(asked)))) : answer(asked);
  return held;
}

describe("a round", () => {
  test("is a pull and then anti-entropy; once a day it asks for this node's own newest events before", () =>
    withLink(keyed, async (link, remote, url) => {
      const rounds: unknown[] = [];
      const round = async () => {
        expect(await link.round(url)).toEqual({ ok: true, value: null });
        rounds.push(taken(remote).join(" "));
      };
      for (let minute = 0; minute < 3; minute++) {
        await round();
        await after(MINUTE_MS);
      }
      await after(DAY_MS - 3 * MINUTE_MS - 1);
      await round();
      await after(1);
      await round();
      await round();
      const [plain, withNewest] = ["pull compare", "pull newest compare"];
      expect(rounds).toEqual([withNewest, plain, plain, plain, withNewest, plain]);
    }));

  test("asks for them again when the peer is back after a failure, once", () =>
    withLink(keyed, async (link, remote, url) => {
      await link.round(url);
      const { answer } = remote;
      remote.answer = down;
      await link.round(url);
      expect(taken(remote)).toEqual(["pull", "newest", "compare", "pull"]);
      // The peer fails: it is left alone.
      await link.round(url);
      expect(taken(remote)).toEqual([]);
      remote.answer = answer;
      await after(1_000);
      await link.heard(url, PEER, false);
      await vi.waitFor(() => expect(remote.asked.length).toBeGreaterThanOrEqual(3));
      await link.round(url);
      expect(taken(remote).slice(0, 3)).toEqual(["pull", "newest", "compare"]);
      await link.round(url);
      expect(taken(remote)).toEqual(["pull", "compare"]);
    }));

  test("asks for them the next time when the answer did not come, or was none", () =>
    withLink(keyed, async (link, remote, url) => {
      const { answer } = remote;
      for (const bad of [down, () => new Response(Uint8Array.of(0xff))]) {
        remote.answer = (path) => (path.endsWith("newest") ? bad() : answer(path));
        await link.round(url);
        await after(MINUTE_MS);
      }
      taken(remote);
      remote.answer = answer;
      await link.round(url);
      const paths = taken(remote);
      expect(paths).toContain("newest");
      expect(paths).toContain("compare");
    }));

  test("ends with a pull that fails", () =>
    withLink(keyed, async (link, remote, url) => {
      remote.answer = down;
      await link.round(url);
      expect(taken(remote)).toEqual(["pull"]);
    }));

  test("is one for all who ask for it while it goes on", () =>
    withLink(keyed, async (link, remote, url) => {
      const held = hold(remote, "pull");
      const rounds = [link.round(url), link.round(url)];
      await vi.waitFor(() => expect(held).toHaveLength(1));
      rounds.push(link.round(url));
      held[0]?.();
      await Promise.all(rounds);
      expect(taken(remote)).toEqual(["pull", "newest", "compare"]);
    }));
});

describe("this node's own newest events", () => {
  const own = (n: number): EncodedEvent =>
    forgeEvent({
      topic: `/xmtp/0/m-own-${n}/proto`,
      ts: n,
      timeMs: START_MS - 9_000,
      network: development,
      signer: nodeConfig(env).signer,
    });
  const nameOf = ({ fields, id }: EncodedEvent) => ({
    topicKey: keyOf(new TextDecoder().decode(fields.topic)),
    id,
  });

  test("that the peer has and this node has not are fetched and stored", () =>
    withLink(keyed, async (link, remote, url) => {
      const events = [own(1), own(2)];
      const { answer } = remote;
      remote.answer = (path) => {
        if (path.endsWith("newest")) return new Response(encodeNames(events.map(nameOf)));
        if (path.endsWith("want")) return new Response(encodePage({ events, more: false }));
        return answer(path);
      };
      await link.round(url);
      expect(taken(remote)).toEqual(["pull", "newest", "want", "compare"]);
      for (const name of events.map(nameOf)) {
        const shard = shardsOf(env).at(shardOf(name.topicKey, 4));
        expect(await shard.lacking([name])).toEqual([]);
      }
    }));

  test("that nobody has are asked for in as many pages as they take, and anti-entropy follows", () =>
    withLink(keyed, async (link, remote, url) => {
      const names = Array.from({ length: 4_096 }, (_, n) => ({
        topicKey: keyOf(`made up ${n % 50}`),
        id: madeUpId(START_MS - 9_000 + n),
      }));
      const { answer } = remote;
      remote.answer = (path) => (path.endsWith("newest") ? new Response(encodeNames(names)) : answer(path));
      await link.round(url);
      const wanted = remote.asked
        .filter(({ path }) => path.endsWith("want"))
        .map(({ body }) => decodeWant(body).wanted);
      expect(wanted.map((each) => each.length)).toEqual([1_024, 1_024, 1_024, 1_024]);
      expect(new Set(wanted.flat().map(({ id }) => toHex(id))).size).toBe(4_096);
      expect(taken(remote).at(-1)).toBe("compare");
    }));
});

describe("anti-entropy", () => {
  const reportOf = async (outcome: ReturnType<PeerLink["sync"]>) => {
    const answer = await outcome;
    if (!answer.ok) throw new Error(answer.error.code);
    return answer.value;
  };

  test("runs once at a time: who asks meanwhile has the same report, and who asks after it a new one", () =>
    withLink(keyed, async (link, remote, url) => {
      const held = hold(remote, "compare");
      const runs = [link.sync(url), link.sync(url), link.round(url)] as const;
      await vi.waitFor(() =>
        expect([held.length, remote.paths.includes("/peer/v1/newest")]).toEqual([1, true]),
      );
      held[0]?.();
      const [first, second] = await Promise.all(runs);
      expect(first).toEqual(second);
      expect(first).toMatchObject({ ok: true, value: { outcome: "same", requests: 1, asOf: 1 } });
      expect(taken(remote).filter((path) => path === "compare")).toHaveLength(1);
      const third = link.sync(url);
      await vi.waitFor(() => expect(held).toHaveLength(2));
      held[1]?.();
      expect(await reportOf(third)).toMatchObject({ outcome: "same" });
      expect(taken(remote)).toEqual(["compare"]);
    }));

  test("that failed is begun anew by the next who asks, once the peer is not left alone any more", () =>
    withLink(keyed, async (link, remote, url) => {
      const { answer } = remote;
      remote.answer = down;
      expect(await link.sync(url)).toMatchObject({ ok: false, error: { code: "peer_refused" } });
      expect(await link.sync(url)).toMatchObject({ ok: false, error: { code: "peer_paused" } });
      expect(taken(remote)).toEqual(["compare"]);
      remote.answer = answer;
      await after(1_000);
      expect(await reportOf(link.sync(url))).toMatchObject({ outcome: "same" });
    }));

  test.each<[string, () => Response, string]>([
    ["as of a slot that was not asked", () => different(1), "peer_answer_invalid"],
    ["with what is no answer", () => new Response(Uint8Array.of(0x80)), "peer_answer_malformed"],
    ["with no CBOR", () => new Response(Uint8Array.of(0xff)), "peer_answer_malformed"],
  ])("with a peer that answers %s ends with a typed error", (_, bad, code) =>
    withLink(keyed, async (link, remote, url) => {
      remote.answer = bad;
      expect(await link.sync(url)).toMatchObject({ ok: false, error: { code } });
      expect(taken(remote)).toEqual(["compare"]);
      remote.answer = same;
      expect(await reportOf(link.sync(url))).toMatchObject({ outcome: "same" });
    }),
  );

  const different = (asOf: number) =>
    new Response(
      encodeCompareAnswer({
        kind: "different",
        asOf,
        records: new Uint8Array(32),
        count: 5,
        tags: new Uint8Array(256),
        cells: new Uint8Array(512),
      }),
    );
});
