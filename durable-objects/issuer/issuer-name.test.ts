import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { ISSUER_KEY_BYTES, keyIdOf } from "../../protocol/privacy-pass.ts";
import { createRecord, type IssuerRecord } from "../../protocol/record.ts";
import { stampChallenge } from "../../protocol/stamp.ts";
import { setLogSink } from "../log.ts";
import { suite } from "../platform-suite.ts";
import { DAY_MS, factOf, HOST, IssuerScene, idOf, own, START_MS } from "../testing/issuer-scene.ts";
import { development } from "../testing/shard-world.ts";
import type { SealedKey } from "./issuer-key-store.ts";
import { KEY_MS, NEXT_KEY_MS } from "./issuer-keys.ts";

/** Under which name keys are made, and what becomes of one whose record other nodes would not take. */

let scene: IssuerScene;
beforeEach(() => {
  scene = new IssuerScene();
});

describe("the name in a challenge", () => {
  const ofName = (name: string) => stampChallenge(name, development.id, suite);
  const challenges = async () => (await scene.facts()).map(({ challenge }) => challenge);

  test.each([`${"a".repeat(60)}.`.repeat(5), "a b", "127.0.0.1", "localhost:8787", ""])(
    "is never %j: no key is made for it, and a good host has one made right after",
    async (host) => {
      for (let i = 0; i < 2; i++)
        await expect(scene.keys.keys(host)).rejects.toMatchObject({
          code: "issuer_name_invalid",
          httpStatus: 400,
        });
      expect([scene.made, scene.store.all().length]).toEqual([0, 0]);
      expect(await challenges()).toEqual([ofName(HOST)]);
      // From there on no host matters.
      scene.wait(NEXT_KEY_MS);
      expect((await scene.keys.keys(host)).map((key) => factOf(key).challenge)).toEqual([
        ofName(HOST),
        ofName(HOST),
      ]);
    },
  );

  test("is the host in the form of RFC 9577, and on a local node also one that is not public", async () => {
    await scene.keys.keys("Node.EXAMPLE.:443");
    expect(await challenges()).toEqual([ofName(HOST)]);
    scene = new IssuerScene();
    scene.names = { isLocal: true };
    await scene.life().keys("127.0.0.1:8787");
    expect(await challenges()).toEqual([ofName("127.0.0.1:8787")]);
  });

  test("is the operator's where one is set, also after keys of another: those stay as they are", async () => {
    await scene.facts();
    scene.names = { isLocal: false, issuerName: "own.example" };
    scene.keys = scene.life();
    expect(await challenges()).toEqual([ofName(HOST)]);
    scene.wait(NEXT_KEY_MS);
    expect(await challenges()).toEqual([ofName(HOST), ofName("own.example")]);
    // Its own name is a good one, whatever host it is asked under.
    scene.wait(100 * DAY_MS);
    expect(factOf((await scene.keys.keys("a b"))[0] as SealedKey).challenge).toEqual(ofName("own.example"));
  });
});

describe("a key whose record the network refuses", () => {
  const logged: unknown[] = [];
  beforeEach(() => {
    logged.length = 0;
    setLogSink((level, what, data) => logged.push([level, what, data.rule]));
  });
  afterEach(() => setLogSink());

  /** As a node stored it that did not look at the host. */
  function storeBroken(change: Partial<IssuerRecord>): void {
    const fact: IssuerRecord = {
      kind: "issuer",
      publicKey: scene.keyAt(99).publicKey,
      challenge: stampChallenge(HOST, development.id, suite),
      from: firstSeqOf(START_MS - 300_000),
      to: firstSeqOf(START_MS - 300_000 + KEY_MS),
      ...change,
    };
    const { block, signature } = createRecord(fact, START_MS, development, own, suite);
    scene.store.save({ record: { block, signature }, sealed: Uint8Array.of(1) });
  }

  test.each<[string, Partial<IssuerRecord>]>([
    [
      "record_challenge",
      { challenge: stampChallenge(`${"a".repeat(60)}.`.repeat(5), development.id, suite) },
    ],
    ["record_challenge", { challenge: stampChallenge(HOST, new Uint8Array(32), suite) }],
    ["record_interval", { to: firstSeqOf(START_MS + 32 * DAY_MS) }],
    ["issuer_key_invalid", { publicKey: new Uint8Array(ISSUER_KEY_BYTES) }],
  ])("by %s is not sold with, told or carried on: a new one is made", async (rule, change) => {
    storeBroken(change);
    await scene.keys.publish();
    expect([scene.told, scene.keys.sales()]).toEqual([[], []]);
    const [fact, ...others] = await scene.facts();
    expect([others.length, scene.made]).toEqual([0, 1]);
    expect(fact?.challenge).toEqual(stampChallenge(HOST, development.id, suite));
    expect(idOf(fact as IssuerRecord)).toEqual(keyIdOf(scene.keyAt(0).publicKey, suite));
    expect(logged).toEqual([["error", "issuer_key_refused", rule]]);
    // It is forgotten as every other, when it has ended.
    expect(scene.store.all()).toHaveLength(2);
    scene.wait(40 * DAY_MS);
    await scene.facts();
    expect(scene.store.all()).toHaveLength(1);
  });

  test("when it is handed over is forgotten, and the next who asks has a new one made", async () => {
    scene.refusals.push("record_challenge");
    expect(await scene.keys.keys(HOST)).toEqual([]);
    expect(scene.store.all()).toEqual([]);
    expect(logged).toEqual([["error", "issuer_key_refused", "record_challenge"]]);
    const [fact] = await scene.facts();
    expect(idOf(fact as IssuerRecord)).toEqual(keyIdOf(scene.keyAt(1).publicKey, suite));
    scene.refusals.push("record_interval");
    await scene.life().publish();
    expect(scene.store.all()).toEqual([]);
    expect(logged).toHaveLength(2);
  });
});
