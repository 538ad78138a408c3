import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { FIRST_SUSPENSION_MS } from "../../durable-objects/node-state/penalty.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { keyOf, madeUpId, TOPICS } from "../../durable-objects/testing/shard-world.ts";
import { groupByShard } from "../../durable-objects/topic-shard/shard-api.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import { unavailable } from "../../protocol/errors.ts";
import { encodePage, encodePullAnswer, type PeerPath } from "../../protocol/peer-messages.ts";
import { recordsDigest } from "../../protocol/record-set.ts";
import { SLOT_MS } from "../../protocol/retention.ts";
import { encodeCompareAnswer, encodeRootsAnswer } from "../../protocol/sync-codec.ts";
import { newestAsOf } from "../../protocol/sync-range.ts";
import { codeOf, Scene } from "../testing/conduct-scene.ts";

/** What nodes make of each other's breaches, in memory: `a` is honest, `b` does what a test says, `c` is honest. */

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

describe("a peer that answers what breaks a rule", () => {
  const forged = (scene: Scene) => Array.from({ length: 9 }, (_, i) => scene.bad(`forged ${i}`));
  const named = (scene: Scene, events: number) =>
    encodePullAnswer([
      {
        cursor: { shard: 0, generation: new Uint8Array(8), position: 0 },
        names: Array.from({ length: events }, (_, i) => ({
          topicKey: keyOf(TOPICS[0]),
          id: scene.named(i).id,
        })),
        more: false,
        restart: false,
      },
    ]);

  test("is asked and told nothing more after the fourth, until its time has passed", async () => {
    const scene = new Scene();
    scene.answer((path) => {
      if (path === "/peer/v1/pull") return named(scene, 3);
      return path === "/peer/v1/want" ? encodePage({ events: forged(scene), more: false }) : undefined;
    });
    const link = scene.a.links.get(scene.b.url);
    for (let i = 0; i < 6; i++) await link?.pull();
    expect(await scene.record()).toEqual({ b: { strikes: 4, breaches: { signature: 36 } } });
    scene.log.length = 0;
    await scene.a.publish("one", "two", "three");
    await link?.round();
    expect(await codeOf(link?.sync() ?? Promise.resolve())).toBe("peer_suspended");
    await scene.pass(FIRST_SUSPENSION_MS - 1);
    expect(scene.requestsTo(scene.b)).toEqual([]);
    expect((await scene.c.ids()).length).toBe(3);
    expect(await link?.state()).toMatchObject({ downSinceMs: null, pausedUntilMs: null });
    await scene.pass(1);
    await link?.pull();
    expect(scene.requestsTo(scene.b)).toEqual(["/peer/v1/pull", "/peer/v1/want"]);
  });

  test("ends one run with it: the answers of a run are strikes, one each", async () => {
    const scene = new Scene();
    scene.answer((path) => {
      if (path === "/peer/v1/pull") return named(scene, 8);
      // One event at a time, the one that was wanted, and another that nobody signed.
      if (path !== "/peer/v1/want") return undefined;
      const asked = scene.requestsTo(scene.b).filter((each) => each === "/peer/v1/want").length - 1;
      return encodePage({ events: [scene.bad("forged"), scene.named(asked)], more: true });
    });
    await scene.a.links.get(scene.b.url)?.pull();
    expect(await scene.record()).toMatchObject({ b: { strikes: 4 } });
    expect(scene.requestsTo(scene.b)).toHaveLength(5);
  });

  test.each<[string, PeerPath, (scene: Scene) => Bytes, string]>([
    ["with no CBOR", "/peer/v1/pull", () => Uint8Array.of(0xff), "cbor_malformed"],
    ["in another form", "/peer/v1/pull", () => encodeCbor({}), "peer_body_invalid"],
    [
      "with an empty page that goes on",
      "/peer/v1/want",
      () => encodePage({ events: [], more: true }),
      "peer_page_invalid",
    ],
    [
      "with blocks that cannot be read",
      "/peer/v1/want",
      (scene) => encodePage({ events: [{ ...scene.event("1"), block: Uint8Array.of(0x80) }], more: false }),
      "unreadable",
    ],
    ["to a push in another form", "/peer/v1/push", () => encodeCbor([]), "peer_body_invalid"],
    ["to anti-entropy as of another slot", "/peer/v1/sync/compare", () => compared(9), "peer_answer_invalid"],
  ])("gets one strike for an answer %s", async (_, at, make, rule) => {
    const scene = new Scene();
    await scene.pass(2 * SLOT_MS);
    scene.answer((path) => {
      if (path === at) return make(scene);
      return path === "/peer/v1/pull" ? named(scene, 1) : undefined;
    });
    const link = scene.a.links.get(scene.b.url);
    if (at.includes("sync")) expect(await codeOf(link?.sync() ?? Promise.resolve())).toBe(rule);
    else if (at.includes("push")) await scene.a.publish("one");
    else await link?.pull();
    await scene.pass(50);
    expect(await scene.record()).toEqual({ b: { strikes: 1, breaches: { [rule]: 1 } } });
  });

  test("gets one strike for an answer that lists a class that the network has not", async () => {
    const scene = new Scene();
    await scene.a.publish("one");
    await scene.pass(3 * SLOT_MS);
    const unknown = encodeRootsAnswer({
      listings: [{ bucket: 1, class: 77, kind: "ids", topics: [] }],
      next: null,
    });
    scene.answer((path) => {
      if (path === "/peer/v1/sync/compare") return compared(newestAsOf(scene.nowMs), 9_999);
      return path === "/peer/v1/sync/roots" ? unknown : undefined;
    });
    const link = scene.a.links.get(scene.b.url);
    expect(await codeOf(link?.sync() ?? Promise.resolve())).toBe("peer_answer_invalid");
    expect(await scene.record()).toEqual({ b: { strikes: 1, breaches: { peer_answer_invalid: 1 } } });
  });

  test("is blamed too for the parents that it sends a shard", async () => {
    const scene = new Scene();
    const elsewhere = TOPICS.find((topic) => shardOf(topic) !== shardOf(TOPICS[0])) ?? "";
    scene.answer((path) =>
      path === "/peer/v1/want"
        ? encodePage({ events: [scene.bad("1"), scene.event("2", { topic: elsewhere })], more: false })
        : undefined,
    );
    const child = scene.event("child", { links: [madeUpId(scene.nowMs - 9_000)] });
    await scene.push([child], scene.c);
    await scene.pass(60_000);
    const { b } = await scene.record();
    expect(b?.strikes).toBeGreaterThan(0);
    expect(b?.breaches).toEqual({ signature: b?.strikes, shard: b?.strikes });
  });

  const shardOf = (topic: string) => [...groupByShard([{ topicKey: keyOf(topic) }], 4).keys()][0];
  /** Differs everywhere, with a sketch of which nothing can be told. */
  const compared = (asOf: number, count = 1) =>
    encodeCompareAnswer({
      kind: "different",
      asOf,
      records: recordsDigest([], suite),
      count,
      tags: new Uint8Array(64 * 4),
      cells: new Uint8Array(32 * 16).fill(7),
    });
});

describe("an honest peer", () => {
  /** Each request meets one of these. */
  const faults = fc.constantFrom("none", "none", "lost", "answer lost", "twice", "late", "busy");

  test("is never blamed, whatever the line between does: loses, repeats, delays, cuts", async () => {
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(faults), async (stream) => {
        const scene = new Scene();
        const send = scene.send.bind(scene);
        const struck = new Set<string>();
        scene.send = async (from, to, path, body) => {
          const fault = stream.next().value;
          struck.add(fault);
          if (fault === "lost") throw unavailable("peer_unreachable", "lost");
          if (fault === "busy") throw unavailable("peer_refused", "429");
          if (fault === "twice") await send(from, to, path, body);
          if (fault === "late") await new Promise<void>((resolve) => scene.clock.after(3_000, resolve));
          const answer = await send(from, to, path, body);
          if (fault === "answer lost") throw unavailable("peer_unreachable", "answer lost");
          return answer;
        };
        const nodes = [scene.a, scene.b, scene.c];
        for (let i = 0; i < 12; i++) {
          for (const [n, node] of nodes.entries())
            await node.publish(`${i} ${n}`, `${i} ${n}'`, `${i} ${n}''`);
          await scene.pass(Math.floor(SLOT_MS / 3));
          for (const node of nodes) for (const link of node.links.values()) void link.round();
          await scene.pass(30_000);
        }
        for (const node of nodes) expect(await node.conduct.conductRecords()).toEqual([]);
        expect(struck.size).toBe(6);
      }),
      { numRuns: 5 },
    );
  });
});
