import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import { UNTIL_LIFTED } from "../../durable-objects/node-state/conduct-api.ts";
import { FIRST_SUSPENSION_MS } from "../../durable-objects/node-state/penalty.ts";
import { keyOf, madeUpId, TOPICS } from "../../durable-objects/testing/shard-world.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { encodeCbor } from "../../protocol/cbor.ts";
import { portableSigner } from "../../protocol/crypto.ts";
import { unavailable } from "../../protocol/errors.ts";
import type { WireEvent } from "../../protocol/event.ts";
import { encodePull, encodePush, PEER_PATHS, type PeerPath } from "../../protocol/peer-messages.ts";
import { pushOf, Scene } from "../testing/conduct-scene.ts";
import type { MemoryNode } from "../testing/memory-network.ts";

/** What nodes make of each other's breaches, in memory: `a` is honest, `b` does what a test says, `c` is honest. */

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

const EMPTY = encodePull({ cursors: [] });

describe("a peer that sends what breaks a rule", () => {
  test("is suspended after the fourth request, whatever it asks then, and nobody else is", async () => {
    const scene = new Scene();
    for (let i = 0; i < 4; i++) {
      expect(await scene.ask("/peer/v1/pull", EMPTY)).toBe("ok");
      expect(await scene.push([scene.bad(`${i}`), scene.bad(`${i}'`), scene.event(`good ${i}`)])).toBe("ok");
    }
    expect(await scene.record()).toEqual({ b: { strikes: 4, breaches: { signature: 8 } } });
    for (const path of PEER_PATHS) {
      const refused = scene.a.service.handle(path, EMPTY, scene.b.signer.publicKey);
      const untilMs = scene.nowMs + FIRST_SUSPENSION_MS;
      await expect(refused).rejects.toMatchObject({
        code: "peer_suspended",
        httpStatus: 403,
        data: { untilMs },
      });
    }
    expect(await scene.push([scene.event("honest, but late")])).toBe("peer_suspended");
    expect(await scene.push([scene.event("by another way")], scene.c)).toBe("ok");
    expect((await scene.a.ids()).length).toBe(5);
    await scene.pass(FIRST_SUSPENSION_MS);
    expect(await scene.push([scene.event("honest")])).toBe("ok");
    expect((await scene.a.ids()).length).toBe(6);
  });

  test("until the operator says so is told no end", async () => {
    const scene = new Scene();
    for (let i = 0; i < 12; i++) {
      expect(await scene.push([scene.bad(`${i}`)])).toBe("ok");
      await scene.pass(3_600_000);
    }
    const refused = scene.a.service.handle("/peer/v1/pull", EMPTY, scene.b.signer.publicKey);
    await expect(refused).rejects.toMatchObject({ code: "peer_suspended", data: {} });
    expect(await scene.a.conduct.suspendedUntil(scene.b.signer.publicKey)).toBe(UNTIL_LIFTED);
  });

  test("does not end a pause of its link by what it is refused", async () => {
    const scene = new Scene();
    for (let i = 0; i < 4; i++) await scene.push([scene.bad(`${i}`)]);
    await scene.pass(10_000);
    scene.log.length = 0;
    for (let i = 0; i < 5; i++) {
      expect(await scene.ask("/peer/v1/pull", EMPTY)).toBe("peer_suspended");
      await scene.pass(6_000);
    }
    expect(scene.requestsTo(scene.b)).toEqual([]);
  });

  const body = (value: unknown) => encodeCbor(value);
  test.each<[string, (scene: Scene) => [PeerPath, Bytes], Record<string, number>]>([
    ["no CBOR", () => ["/peer/v1/pull", Uint8Array.of(0xff)], { cbor_malformed: 1 }],
    ["another form", () => ["/peer/v1/want", body({})], { peer_body_invalid: 1 }],
    ["no question of anti-entropy", () => ["/peer/v1/sync/compare", body([1])], { peer_body_invalid: 1 }],
    ["too much CBOR", () => ["/peer/v1/push", new Uint8Array(3 * 1024 * 1024)], { cbor_too_large: 1 }],
    [
      "events that break rules",
      (scene) => [
        "/peer/v1/push",
        pushOf([
          scene.bad("1"),
          scene.event("2", { classId: 9 }),
          { ...scene.event("3"), message: Uint8Array.of(1, 2) },
        ]),
      ],
      { signature: 1, class: 1, size: 1 },
    ],
    [
      "blocks that cannot be read",
      (scene) => ["/peer/v1/push", pushOf([{ ...scene.event("1"), block: Uint8Array.of(0x80) }])],
      { unreadable: 1 },
    ],
    [
      "ephemeral events that break rules",
      (scene) => {
        const event = scene.event("1", { topic: "/xmtp/0/mE-x/proto", classId: 9 });
        const unreadable = { ...event, block: Uint8Array.of(0x80) };
        const ephemeral = [event, unreadable].map((each) => ({ hops: 1, event: each }));
        return ["/peer/v1/push", encodePush({ runs: [], ephemeral })];
      },
      { class: 1, unreadable: 1 },
    ],
  ])("gets one strike for a request with %s", async (_, make, breaches) => {
    const scene = new Scene();
    await scene.ask(...make(scene));
    expect(await scene.record()).toEqual({ b: { strikes: 1, breaches } });
  });
});

describe("nothing is held against a peer", () => {
  const laterVersion = (event: WireEvent): WireEvent => {
    const block = encodeCbor({ v: 2 });
    return { ...event, block };
  };
  const foreign = portableSigner(new Uint8Array(32).fill(0x99));

  test.each<[string, (scene: Scene) => WireEvent[]]>([
    ["ahead of the clock", (scene) => [scene.event("1", { timeMs: scene.nowMs + 300_000 })]],
    ["far ahead of it", (scene) => [scene.event("1", { timeMs: scene.nowMs + 3_600_000 })]],
    ["expired", (scene) => [scene.event("1", { timeMs: scene.nowMs - 100 * 86_400_000 })]],
    ["of a later version", (scene) => [laterVersion(scene.event("1"))]],
    ["of an origin that is not known here", (scene) => [scene.event("1", { signer: foreign })]],
    ["known already", (scene) => [scene.event("1"), scene.event("1")]],
    [
      "with parents that nobody has",
      (scene) => [scene.event("1", { links: [madeUpId(scene.nowMs - 9_000)] })],
    ],
    [
      "that equivocate, in one topic and in two",
      (scene) => {
        const { seq } = scene.event("1").fields;
        return TOPICS.flatMap((topic, i) => [
          scene.event(`a${i}`, { topic, seq }),
          scene.event(`b${i}`, { topic, seq }),
        ]);
      },
    ],
  ])("for events %s", async (_, make) => {
    const scene = new Scene();
    for (let i = 0; i < 30; i++) expect(await scene.push(make(scene))).toBe("ok");
    expect(await scene.record()).toEqual({});
  });

  test("for what it was not asked by a member, or that fails here", async () => {
    const scene = new Scene();
    const stranger = { ...scene.b, signer: foreign } as MemoryNode;
    expect(await scene.push([scene.bad("1")], stranger)).toBe("not_a_member");
    const [shard] = scene.a.shards;
    if (shard) shard.want = () => Promise.reject(unavailable("cbor_malformed", "this node's own fault"));
    const body = encodeCbor([[[keyOf(TOPICS[0]), new Uint8Array(40)]], false, []]);
    for (let i = 0; i < 9; i++) await scene.ask("/peer/v1/want", body);
    expect(await scene.record()).toEqual({});
  });
});
