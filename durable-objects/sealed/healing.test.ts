import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, fromHex, toHex, utf8 } from "../../protocol/bytes.ts";
import type { EncodedEvent } from "../../protocol/event.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { ASK, segmentOf, toSegmentEvent } from "../testing/held-segments.ts";
import { HOUR_MS, onSealingNode, type SealingNode } from "../testing/sealing-node.ts";
import { forgeEvent, keyOf, START_MS, TOPICS } from "../testing/shard-world.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import { RETRY_AFTER_MS } from "./damage-notes.ts";
import { VERIFY_PERIOD_MS, verificationBefore } from "./verifying.ts";

/** A shard on a real SQLite, R2 and D1, whose files are damaged: it finds that, serves none of it, and mends it with what peers have. */

const TOPIC = TOPICS[2];
const COUNT = 130;
const LARGE = "x".repeat(70_000);

let logged: string[] = [];
beforeEach(() => {
  logged = [];
  const note = (line: unknown) => void logged.push(String(line));
  for (const level of ["log", "warn", "error"] as const) vi.spyOn(console, level).mockImplementation(note);
});
afterEach(() => vi.restoreAllMocks());
const said = (what: string): boolean => logged.some((line) => line.includes(`"${what}"`));

const events: readonly EncodedEvent[] = Array.from({ length: COUNT }, (_, n) =>
  forgeEvent({
    topic: TOPIC,
    ts: n,
    seq: firstSeqOf(START_MS - HOUR_MS + n),
    message: n === 77 ? LARGE : `message ${n}`,
  }),
);

interface Scene {
  readonly node: SealingNode;
  readonly keys: { readonly blocks: string; readonly messages: string; readonly large: string };
  /** As they were. */
  readonly files: ReadonlyMap<string, Bytes>;
  /** What a client reads, or the code of the error. */
  read(): Promise<number | string>;
}

async function bytesOf(key: string): Promise<Bytes> {
  const object = await env.BUCKET.get(key);
  return new Uint8Array((await object?.arrayBuffer()) ?? new ArrayBuffer());
}

/** A shard that holds one segment, and has one peer that has all of its events. */
const onSealed = (work: (scene: Scene) => Promise<void>) =>
  onSealingNode(async (node) => {
    node.peers = [events];
    const { blocks, messages } = segmentOf(events.map(toSegmentEvent)).files;
    await node.shard.keepLarge(utf8(LARGE));
    await node.shard.adopt({ blocks, messages }, ASK);
    const keyOfFile = async (part: string) =>
      (await node.files()).find((key) => key.includes(part)) as string;
    const keys = {
      blocks: await keyOfFile(".blocks."),
      messages: await keyOfFile(".messages."),
      large: await keyOfFile("large/"),
    };
    const files = new Map<string, Bytes>();
    for (const key of Object.values(keys)) files.set(key, await bytesOf(key));
    const read = async () => {
      try {
        const page = await node.shard.eventsByCause(utf8(TOPIC), keyOf(TOPIC), null, 1_000);
        return page.events.length;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    await work({ node, keys, files, read });
  });

async function expectMended({ node, files, read }: Scene): Promise<void> {
  for (const [key, bytes] of files) expect(toHex(await bytesOf(key))).toBe(toHex(bytes));
  expect(await read()).toBe(COUNT);
  expect(await node.everyKeyIsHeld()).toBe(true);
}

const flip = (bytes: Bytes, at: number): Bytes => {
  const flipped = bytes.slice();
  const place = at < 0 ? bytes.length + at : at;
  flipped[place] = (flipped[place] as number) ^ 1;
  return flipped;
};

type Damage = (scene: Scene) => Promise<unknown>;
const put = (kind: "blocks" | "messages" | "large", change: (bytes: Bytes) => Bytes): Damage => {
  return ({ keys, files }) => env.BUCKET.put(keys[kind], change(files.get(keys[kind]) as Bytes));
};
const damages: readonly [string, Damage][] = [
  ["a byte of a block is another", put("blocks", (bytes) => flip(bytes, 400))],
  ["a byte of a message is another", put("messages", (bytes) => flip(bytes, 400))],
  ["a byte of the index at its end is another", put("blocks", (bytes) => flip(bytes, -2_000))],
  ["a byte of a large message is another", put("large", (bytes) => flip(bytes, 400))],
  ["a file is cut", put("blocks", (bytes) => bytes.slice(0, 10_000))],
  ["a file is empty", put("messages", () => new Uint8Array())],
  ["both files are gone", ({ keys }) => env.BUCKET.delete([keys.blocks, keys.messages])],
  ["a large message is gone", ({ keys }) => env.BUCKET.delete(keys.large)],
  ["everything is gone", ({ keys }) => env.BUCKET.delete([keys.blocks, keys.messages, keys.large])],
];

describe("when", () => {
  test.each(damages)("%s, that is found by who reads, and mended", (_, damage) =>
    onSealed(async (scene) => {
      await damage(scene);
      // What is damaged between the blocks and messages hurts no reader: the shard finds it by itself.
      const first = await scene.read();
      if (first === COUNT) toVerification(scene);
      else expect([first, said("segment_damaged")]).toEqual(["segment_damaged", true]);
      for (let turns = 0; turns < 2; turns++) {
        await scene.node.maintain();
        await scene.read();
      }
      expect(said("segment_healed")).toBe(true);
      await expectMended(scene);
    }),
  );

  test.each(damages.filter(([name]) => !name.includes("large")))(
    "%s and nobody reads it, the shard finds it in turn",
    (_, damage) =>
      onSealed(async (scene) => {
        await scene.node.maintain();
        await damage(scene);
        expect(await scene.node.maintain()).toMatchObject({ healed: 0 });
        toVerification(scene);
        expect(await scene.node.maintain()).toMatchObject({ healed: 1 });
        expect(await scene.node.maintain()).toMatchObject({ healed: 0 });
        await scene.read();
        await scene.node.maintain();
        await expectMended(scene);
      }),
  );
});

/** To the time at which the shard reads the files by itself. */
function toVerification({ node, keys }: Scene): void {
  const root = fromHex(keys.blocks.split("/").at(-1)?.slice(0, 64) ?? "");
  const nowMs = node.clock.nowMs();
  node.advance(verificationBefore(root, nowMs) + VERIFY_PERIOD_MS - nowMs);
}

const damageBoth: Damage = async (scene) => {
  await put("blocks", (bytes) => flip(bytes, 400))(scene);
  await put("messages", (bytes) => flip(bytes, 400))(scene);
};

test("what one peer has not another one may have, and lies are no help", () =>
  onSealed(async (scene) => {
    const lies = events.map((event) => ({ ...event, signature: new Uint8Array(64), message: utf8("a lie") }));
    scene.node.peers = [[], events.slice(0, 5), lies.slice(0, 2), events];
    await env.BUCKET.delete([scene.keys.blocks, scene.keys.messages]);
    await scene.read();
    await scene.node.maintain();
    await expectMended(scene);
  }));

test("what no peer has stays damaged, is not served, and is asked for again after an hour", () =>
  onSealed(async (scene) => {
    const { node } = scene;
    node.peers = [events.slice(5)];
    await env.BUCKET.delete([scene.keys.blocks]);
    await scene.read();
    expect(await node.maintain()).toMatchObject({ healed: 0, failed: null });
    expect(said("segment_not_healed")).toBe(true);
    expect(await scene.read()).toBe("segment_damaged");
    node.peers = [events];
    expect(await node.maintain()).toMatchObject({ healed: 0 });
    node.advance(RETRY_AFTER_MS);
    expect(await node.maintain()).toMatchObject({ healed: 1 });
    await expectMended(scene);
  }));

test("a node without peers mends what the other file, or the right rest, tells", () =>
  onSealed(async (scene) => {
    scene.node.peers = [];
    await put("blocks", (bytes) => flip(bytes, -2_000))(scene);
    toVerification(scene);
    expect(await scene.node.maintain()).toMatchObject({ healed: 1 });
    await expectMended(scene);
  }));

test.each(FAULT_KINDS)(
  "mending that is cut, as a call %s, is made again",
  async (kind) => {
    for (let call = 1; ; call++) {
      let calls = 0;
      await onSealed(async (scene) => {
        const { node } = scene;
        await node.maintain();
        await damageBoth(scene);
        await scene.read();
        node.faults.failAt(call, kind);
        await node.maintain();
        calls = node.faults.calls.length;
        node.faults.clear();
        node.restart();
        node.advance(RETRY_AFTER_MS);
        for (let turns = 0; turns < 3; turns++) {
          await node.maintain();
          await scene.read();
          node.advance(RETRY_AFTER_MS);
        }
        await expectMended(scene);
      });
      if (calls < call) return;
    }
  },
  120_000,
);
