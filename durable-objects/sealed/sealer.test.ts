import { env } from "cloudflare:workers";
import { CarReader } from "@ipld/car";
import { beforeEach, describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { readMessages, readSegment } from "../../protocol/segment-file.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryArchive } from "../testing/memory-archive.ts";
import { MemoryCatalogue } from "../testing/memory-catalogue.ts";
import { freshPlace, largeMessage, NET, sealableEvent, sealableEvents } from "../testing/sealing-scene.ts";
import { FAULT_KINDS, type FaultKind, StorageFaults, withFaults } from "../testing/storage-faults.ts";
import { type Archive, R2Archive } from "./archive.ts";
import {
  blocksKey,
  largeKey,
  largePrefix,
  messagesKey,
  type ShardPlace,
  segmentsPrefix,
} from "./archive-keys.ts";
import type { Catalogue } from "./catalogue.ts";
import { D1Catalogue } from "./d1-catalogue.ts";
import {
  type ClassEvents,
  MAX_LARGE_PER_RUN,
  MAX_SEGMENTS_PER_RUN,
  type SealParts,
  SealRun,
  TRUSTED_MS,
} from "./sealer.ts";
import type { SealableEvent, SealedSegment } from "./segment-builder.ts";
import { STORAGE_DEADLINE_MS } from "./storage-calls.ts";

const LIMITS = { contentBytes: 2 ** 23, events: 3 };
const events = {
  1: sealableEvents([
    ...[1n, 2n, 3n, 4n].map((seq) => ({ seq, topic: `t${seq % 2n}` })),
    { seq: 5n, message: largeMessage(5) },
  ]),
  2: sealableEvents([{ seq: 6n, class: 2 }]),
};
const classOf = (retention: number, some: readonly SealableEvent[]): ClassEvents => ({
  class: retention,
  pages: () => some.map((event) => [event]),
});
const CLASSES = [classOf(1, events[1]), classOf(2, events[2])];

/** What a shard did last: its segments, and how often it was asked to commit. */
class FakeShard {
  commits: (readonly SealedSegment[])[] = [];
  readonly commit = (segments: readonly SealedSegment[]): void => void this.commits.push(segments);
}

interface Scene {
  readonly place: ShardPlace;
  readonly clock: ManualClock;
  readonly faults: StorageFaults;
  readonly shard: FakeShard;
  readonly archive: Archive;
  readonly catalogue: Catalogue;
  /** A run of a new life, some of whose parts are others. */
  newRun(others?: Partial<SealParts>): SealRun;
}

function sceneOf(kind: "platform" | "memory" = "platform"): Scene {
  const clock = new ManualClock(Date.now());
  const faults = new StorageFaults();
  faults.onHang = () => void clock.step(clock.nowMs() + STORAGE_DEADLINE_MS);
  const isReal = kind === "platform";
  const archive = isReal
    ? new R2Archive(withFaults(env.BUCKET, faults), suite, clock)
    : new MemoryArchive(suite, clock, faults);
  const catalogue = isReal
    ? new D1Catalogue(withFaults(env.DB, faults), clock)
    : new MemoryCatalogue(clock, faults);
  const place = freshPlace();
  const shard = new FakeShard();
  const { commit } = shard;
  const parts = { place, net: NET, archive, catalogue, clock, suite, limits: LIMITS, commit };
  return {
    place,
    clock,
    faults,
    shard,
    archive,
    catalogue,
    newRun: (others) => new SealRun({ ...parts, ...others }),
  };
}

const failureOf = (call: Promise<unknown>): Promise<{ code?: string; message?: string }> =>
  call.then(
    () => ({ code: "ok" }),
    (error: unknown) => error as { code?: string },
  );

const TOO_LARGE = { code: "seal_too_large", httpStatus: 429 };

/** Everything that is stored for a shard: keys of objects, and roots in the catalogue. */
async function storedOf({ archive, catalogue, place }: Scene) {
  const pages = await Promise.all(
    [segmentsPrefix(place), largePrefix(place)].map((prefix) => archive.list(prefix, null)),
  );
  const rows = await catalogue.ofShard(place, null, 100);
  return {
    keys: pages.flatMap(({ objects }) => objects.map(({ key }) => key)).sort(),
    roots: rows.map(({ root }) => toHex(root)),
  };
}

/** What should be stored for segments, and nothing else. */
const expectedOf = (place: ShardPlace, segments: readonly SealedSegment[]) => ({
  keys: segments
    .flatMap(({ segment, large }) => [
      blocksKey(place, segment.root),
      ...(segment.messages ? [messagesKey(place, segment.root)] : []),
      ...large.map((digest) => largeKey(place, digest)),
    ])
    .sort(),
  roots: segments.map(({ segment }) => toHex(segment.root)).sort(),
});

beforeEach(async () => {
  await env.DB.batch([env.DB.prepare("DELETE FROM segments"), env.DB.prepare("DELETE FROM segment_topics")]);
});

describe.each(["platform", "memory"] as const)("a run over %s storage", (kind) => {
  test("stores and catalogues all, then has the shard commit once", async () => {
    const scene = sceneOf(kind);
    const sealed = await scene.newRun().run(CLASSES);
    const [segments, ...more] = scene.shard.commits;
    expect(more).toEqual([]);
    expect(segments?.map(({ segment }) => [segment.class, segment.count])).toEqual([
      [1, 3],
      [1, 2],
      [2, 1],
    ]);
    expect(await storedOf(scene)).toEqual(expectedOf(scene.place, segments ?? []));
    const bytes = (await scene.catalogue.totals()).reduce((sum, total) => sum + total.bytes, 0);
    expect(sealed).toEqual({ segments: 3, events: 6, bytes });
  });

  test("gives back from its files what went in", async () => {
    const scene = sceneOf(kind);
    await scene.newRun().run(CLASSES);
    const blocks: string[] = [];
    const messages = new Map<string, string>();
    for (const { segment, large, runs } of scene.shard.commits.flat()) {
      const { root, ...files } = segment;
      const file = await scene.archive.readWhole(blocksKey(scene.place, root), files.blocks.digest);
      const content = readSegment(file, suite);
      expect(content.runs).toEqual(runs);
      for await (const { cid, bytes } of (await CarReader.fromBytes(file)).blocks())
        expect(toHex(suite.sha256(bytes))).toBe(toHex(cid.multihash.digest));
      blocks.push(...content.events.map(({ block }) => toHex(block)));
      const apart = await Promise.all(
        large.map((digest) => scene.archive.readWhole(largeKey(scene.place, digest), digest)),
      );
      const inFile = files.messages
        ? readMessages(await scene.archive.readWhole(messagesKey(scene.place, root)), suite).values()
        : [];
      for (const message of [...inFile, ...apart]) messages.set(toHex(suite.sha256(message)), toHex(message));
    }
    const all = [...events[1], ...events[2]];
    expect(blocks).toEqual(all.map(({ block }) => toHex(block)));
    for (const { message } of all)
      expect(messages.get(toHex(suite.sha256(message as Bytes)))).toBe(toHex(message as Bytes));
  });

  const lives = ["the same life", "a new life"] as const;
  const cases = FAULT_KINDS.flatMap((fault) => lives.map((life) => [fault, life] as const));
  test.each<readonly [FaultKind, (typeof lives)[number]]>(cases)(
    "that fails where storage %s, at any call, is completed by a run in %s, with one set of objects",
    async (fault, life) => {
      const reference = sceneOf(kind);
      await reference.newRun().run(CLASSES);
      const calls = reference.faults.calls.length;
      expect(calls).toBe(kind === "platform" ? 24 : 17);
      const roots = expectedOf(reference.place, reference.shard.commits.flat()).roots;
      for (let n = 1; n <= calls; n++) {
        const scene = sceneOf(kind);
        const first = scene.newRun();
        scene.faults.failAt(n, fault);
        expect(await failureOf(first.run(CLASSES))).toMatchObject({ code: "storage_unavailable" });
        expect(scene.shard.commits).toEqual([]);
        scene.faults.clear();
        await (life === "a new life" ? scene.newRun() : first).run(CLASSES);
        const [segments] = scene.shard.commits;
        expect(segments).toEqual(reference.shard.commits[0]);
        const stored = await storedOf(scene);
        expect(stored).toEqual(expectedOf(scene.place, segments ?? []));
        expect(stored.roots).toEqual(roots);
      }
    },
  );
});

describe("a run", () => {
  test("that repeats what was stored writes no file again; in the same life it asks for nothing", async () => {
    const scene = sceneOf();
    let isAway = true;
    const failing = scene.newRun({
      commit: (segments) => {
        if (isAway) throw new Error("disk I/O error");
        scene.shard.commit(segments);
      },
    });
    expect(await failureOf(failing.run(CLASSES))).toMatchObject({ message: "disk I/O error" });
    scene.faults.clear();
    await scene.newRun().run(CLASSES);
    expect(scene.faults.calls).not.toContain("put");
    isAway = false;
    scene.faults.clear();
    await failing.run(CLASSES);
    expect(scene.faults.calls).toEqual([]);
    expect(scene.shard.commits).toHaveLength(2);
  });

  test("looks again at what it stored long ago", async () => {
    const scene = sceneOf("memory");
    const run = scene.newRun();
    scene.faults.failAt(17, "throws before");
    expect(await failureOf(run.run(CLASSES))).toMatchObject({ code: "storage_unavailable" });
    (scene.archive as MemoryArchive).objects.clear();
    scene.faults.clear();
    scene.clock.step(scene.clock.nowMs() + TRUSTED_MS);
    await run.run(CLASSES);
    expect(await storedOf(scene)).toEqual(expectedOf(scene.place, scene.shard.commits.flat()));
  });

  test("of other events than the last leaves what the last stored to the sweep, and commits to its own", async () => {
    const scene = sceneOf("memory");
    scene.faults.failAt(17, "throws before");
    expect(await failureOf(scene.newRun().run(CLASSES))).toMatchObject({ code: "storage_unavailable" });
    scene.faults.clear();
    const late = sealableEvents([
      { seq: 6n, class: 2 },
      { seq: 7n, class: 2 },
    ]);
    await scene.newRun().run([classOf(1, events[1]), classOf(2, late)]);
    const own = expectedOf(scene.place, scene.shard.commits.flat());
    const stored = await storedOf(scene);
    expect(stored.keys).toEqual(expect.arrayContaining(own.keys));
    expect(stored.keys.length).toBe(own.keys.length + 2);
    expect(stored.roots).toEqual(own.roots);
  });

  test("of no events commits to nothing", async () => {
    const scene = sceneOf("memory");
    expect(await scene.newRun().run([])).toEqual({ segments: 0, events: 0, bytes: 0 });
    expect(await scene.newRun().run([classOf(1, [])])).toEqual({ segments: 0, events: 0, bytes: 0 });
    expect(scene.shard.commits).toEqual([]);
    expect(scene.faults.calls).toEqual([]);
  });

  test("does not run twice at a time", async () => {
    const scene = sceneOf("memory");
    const run = scene.newRun();
    const first = run.run(CLASSES);
    expect(await failureOf(run.run(CLASSES))).toMatchObject({ code: "seal_running", httpStatus: 409 });
    await first;
    await run.run(CLASSES);
    expect(scene.shard.commits).toHaveLength(2);
  });

  test("of a damaged event commits to nothing", async () => {
    const scene = sceneOf("memory");
    const [one, two] = events[1];
    if (!one || !two) throw new Error("two events");
    const damaged = { ...two, message: one.message };
    expect(await failureOf(scene.newRun().run([classOf(1, [one, damaged])]))).toMatchObject({
      code: "event_damaged",
    });
    expect(scene.shard.commits).toEqual([]);
  });

  test("of more segments than it can hold is refused", async () => {
    const scene = sceneOf("memory");
    const many = (count: number) =>
      sealableEvents(Array.from({ length: count }, (_, i) => ({ seq: BigInt(i) })));
    const most = LIMITS.events * MAX_SEGMENTS_PER_RUN;
    await scene.newRun().run([classOf(1, many(most))]);
    expect(scene.shard.commits[0]).toHaveLength(MAX_SEGMENTS_PER_RUN);
    expect(await failureOf(scene.newRun().run([classOf(1, many(most + 1))]))).toMatchObject(TOO_LARGE);
    expect(scene.shard.commits).toHaveLength(1);
  });

  test("of more large messages than it can store is refused", async () => {
    const scene = sceneOf("memory");
    let stored = 0;
    const archive = Object.assign(Object.create(scene.archive) as Archive, {
      putLarge: async () => {
        stored++;
      },
      putSegment: async () => {},
    });
    const manyLarge = (count: number): ClassEvents => ({
      class: 1,
      *pages() {
        const message = largeMessage(0);
        for (let i = 0; i < count; i++) {
          new DataView(message.buffer).setUint32(0, i);
          yield [sealableEvent({ seq: BigInt(i), message })];
        }
      },
    });
    const run = scene.newRun({ archive, limits: { contentBytes: 2 ** 23, events: 700 } });
    await run.run([manyLarge(MAX_LARGE_PER_RUN)]);
    expect(stored).toBe(MAX_LARGE_PER_RUN);
    expect(await failureOf(run.run([manyLarge(MAX_LARGE_PER_RUN + 1)]))).toMatchObject(TOO_LARGE);
    expect(stored).toBe(2 * MAX_LARGE_PER_RUN);
    expect(scene.shard.commits).toHaveLength(1);
  });

  test("finds a file that R2 changed, and commits to nothing", async () => {
    const scene = sceneOf();
    const bucket = new Proxy(env.BUCKET, {
      get(target, name) {
        const method: unknown = Reflect.get(target, name, target);
        if (name !== "put") return typeof method === "function" ? method.bind(target) : method;
        return (key: string, bytes: Bytes) => {
          const other = bytes.slice();
          other[20] = (other[20] as number) ^ 1;
          return target.put(key, other);
        };
      },
    });
    const run = scene.newRun({ archive: new R2Archive(bucket, suite, scene.clock) });
    expect(await failureOf(run.run(CLASSES))).toMatchObject({ code: "segment_damaged" });
    expect(scene.shard.commits).toEqual([]);
    expect((await storedOf(scene)).roots).toEqual([]);
  });
});
