import { beforeEach, describe, expect, test } from "vitest";
import type { SealedKey } from "../../durable-objects/issuer/issuer-key-store.ts";
import { suite } from "../../durable-objects/platform-suite.ts";
import { ManualClock } from "../../durable-objects/testing/manual-clock.ts";
import { development, SUBJECT } from "../../durable-objects/testing/shard-world.ts";
import { type Bytes, fromHex } from "../../protocol/bytes.ts";
import { unavailable } from "../../protocol/errors.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { keyIdOf } from "../../protocol/privacy-pass.ts";
import { createRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import issuerKeys from "../../protocol/testing/issuer-keys.json" with { type: "json" };
import { ASKED_AGAIN_MS, StampKeys } from "./stamp-keys.ts";

const START_MS = Date.UTC(2026, 10, 23);
const DAY_MS = 86_400_000;
const HOST = "node.test";
const [first, second] = issuerKeys.keys.map(({ publicKey }) => new Uint8Array(fromHex(publicKey))) as [
  Bytes,
  Bytes,
];

const sealedKey = (publicKey: Bytes, fromMs: number, toMs: number): SealedKey => {
  const challenge = stampChallenge(HOST, development.id, suite);
  const fact = {
    kind: "issuer" as const,
    publicKey,
    challenge,
    from: firstSeqOf(fromMs),
    to: firstSeqOf(toMs),
  };
  const { block, signature } = createRecord(fact, fromMs, development, SUBJECT, suite);
  return { record: { block, signature }, sealed: Uint8Array.of(1) };
};

class Scene {
  readonly clock = new ManualClock(START_MS);
  held = [sealedKey(first, START_MS - 300_000, START_MS + 30 * DAY_MS)];
  asked = 0;
  isAway = false;
  readonly keys = new StampKeys({
    issuer: {
      stampKeys: async () => {
        this.asked++;
        if (this.isAway) throw unavailable("part_unavailable", "node state does not answer");
        return this.held;
      },
    },
    origin: SUBJECT.publicKey,
    clock: this.clock,
    suite,
  });

  wait(ms: number): void {
    this.clock.step(this.clock.nowMs() + ms);
  }

  async publicKeys(): Promise<Bytes[]> {
    return (await this.keys.inForce(HOST)).map(({ issuer }) => issuer.publicKey);
  }
}

let scene: Scene;
beforeEach(() => {
  scene = new Scene();
});

describe("the keys as an isolate knows them", () => {
  test("are asked for once a minute", async () => {
    for (let i = 0; i < 5; i++) expect(await scene.publicKeys()).toEqual([first]);
    scene.wait(59_999);
    await scene.publicKeys();
    expect(scene.asked).toBe(1);
    scene.held.push(sealedKey(second, START_MS, START_MS + 29 * DAY_MS));
    scene.wait(1);
    expect(await scene.publicKeys()).toEqual([first, second]);
    expect(scene.asked).toBe(2);
  });

  test("are found by their ids", async () => {
    const found = await scene.keys.withId(HOST, keyIdOf(first, suite));
    expect(found).toMatchObject({
      issuer: { origin: SUBJECT.publicKey, publicKey: first },
      sealed: Uint8Array.of(1),
    });
    expect(await scene.keys.withId(HOST, keyIdOf(second, suite))).toBeUndefined();
    expect(await scene.keys.withId(HOST, keyIdOf(first, suite).subarray(1))).toBeUndefined();
  });

  test("that were made since are asked for when one comes, but not by each that is unknown", async () => {
    await scene.publicKeys();
    scene.held.push(sealedKey(second, START_MS, START_MS + 29 * DAY_MS));
    const find = () => scene.keys.withId(HOST, keyIdOf(second, suite));
    scene.wait(ASKED_AGAIN_MS - 1);
    for (let i = 0; i < 9; i++) expect(await find()).toBeUndefined();
    expect(scene.asked).toBe(1);
    scene.wait(1);
    expect((await find())?.issuer.publicKey).toEqual(second);
    for (let i = 0; i < 9; i++) await scene.keys.withId(HOST, Uint8Array.of(1));
    expect(scene.asked).toBe(2);
  });

  test("are not asked for by each of many while the object is away", async () => {
    await scene.publicKeys();
    scene.isAway = true;
    scene.wait(DAY_MS);
    for (let i = 0; i < 9; i++) expect(await scene.publicKeys()).toEqual([first]);
    expect(scene.asked).toBe(2);
    scene.wait(ASKED_AGAIN_MS);
    await scene.publicKeys();
    expect(scene.asked).toBe(3);
  });

  test("go on where the object that has them is away, while one is in force", async () => {
    await scene.publicKeys();
    scene.isAway = true;
    scene.wait(DAY_MS);
    expect(await scene.publicKeys()).toEqual([first]);
    scene.wait(29 * DAY_MS);
    await expect(scene.publicKeys()).rejects.toMatchObject({ code: "part_unavailable", httpStatus: 503 });
    scene.isAway = false;
    scene.held = [sealedKey(second, scene.clock.nowMs(), scene.clock.nowMs() + DAY_MS)];
    expect(await scene.publicKeys()).toEqual([second]);
  });

  test("that are none are no answer: the next who asks hears of it, too", async () => {
    scene.isAway = true;
    for (let i = 0; i < 2; i++)
      await expect(scene.publicKeys()).rejects.toMatchObject({ code: "part_unavailable" });
    scene.isAway = false;
    expect(await scene.publicKeys()).toEqual([first]);
  });

  test("offer the one to come before it begins, and are not asked for by each while there is none", async () => {
    scene.held.push(sealedKey(second, START_MS + 60_000, START_MS + 31 * DAY_MS));
    const offered = async () => (await scene.keys.offered(HOST)).map(({ issuer }) => issuer.publicKey);
    expect(await offered()).toEqual([first, second]);
    expect(await scene.publicKeys()).toEqual([first]);
    expect(await scene.keys.withId(HOST, keyIdOf(second, suite))).toBeUndefined();
    scene = new Scene();
    scene.held = [];
    for (let i = 0; i < 9; i++) expect(await offered()).toEqual([]);
    expect(scene.asked).toBe(1);
    scene.held = [sealedKey(first, START_MS, START_MS + DAY_MS)];
    scene.wait(ASKED_AGAIN_MS);
    expect(await offered()).toEqual([first]);
  });

  test("end five minutes early, since a stamp's event may get a later seq, and do not begin early", async () => {
    const endMs = START_MS + 30 * DAY_MS - 300_000;
    scene.held = [...scene.held, sealedKey(second, START_MS + DAY_MS, START_MS + 31 * DAY_MS)];
    scene.wait(DAY_MS - 1);
    expect(await scene.publicKeys()).toEqual([first]);
    scene.wait(1);
    expect(await scene.publicKeys()).toEqual([first, second]);
    scene.clock.step(endMs - 1);
    expect(await scene.publicKeys()).toEqual([first, second]);
    scene.clock.step(endMs);
    expect(await scene.publicKeys()).toEqual([second]);
  });
});
