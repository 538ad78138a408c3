import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { compareBytes, toHex } from "../../protocol/bytes.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryArchive } from "../testing/memory-archive.ts";
import { MemoryCatalogue } from "../testing/memory-catalogue.ts";
import { MemoryShardStore } from "../testing/memory-shard-store.ts";
import { eventToMerge, type MergedSeed, MergingScene } from "../testing/merging-scene.ts";
import { freshPlace } from "../testing/sealing-scene.ts";
import { onStorage, START_MS, wipe } from "../testing/shard-world.ts";
import { FAULT_KINDS, StorageFaults, withFaults } from "../testing/storage-faults.ts";
import { SqlShardStore } from "../topic-shard/sql-shard-store.ts";
import { blocksKey } from "./archive-keys.ts";
import { D1Catalogue } from "./d1-catalogue.ts";
import { maintain } from "./maintenance.ts";
import type { MergeLimits } from "./merge-policy.ts";
import { R2Archive } from "./r2-archive.ts";
import type { BuilderLimits } from "./segment-builder.ts";
import { STORAGE_DEADLINE_MS } from "./storage-calls.ts";

/** Groups of segments become one, and nobody can tell by what is read. */

const LARGE = "x".repeat(70_000);
/** All that has no later group is of one window, which is past. */
const LIMITS: MergeLimits = { windowSlots: 2 ** 19, bytes: 2 ** 30, groups: 16 };
/** So much later that a window has begun anew. */
const LATER = 2 ** 60;
const SMALL: BuilderLimits = { contentBytes: 2 ** 20, events: 5 };

beforeEach(() => {
  for (const name of ["log", "warn"] as const) vi.spyOn(console, name).mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

function memoryScene(limits = SMALL, mergeLimits: MergeLimits = LIMITS) {
  const clock = new ManualClock(START_MS);
  const [archive, catalogue] = [new MemoryArchive(suite, clock), new MemoryCatalogue(clock)];
  const parts = { place: freshPlace(), hot: new MemoryShardStore(), archive, catalogue, clock, limits };
  return { scene: new MergingScene({ ...parts, mergeLimits }), archive };
}

/** Two classes, small and large messages, some dropped, some the same. */
const seed = fc.record({
  topic: fc.constantFrom("a", "b", "c", "/xmtp/0/contact-a", "/xmtp/0/contact-b"),
  seq: fc.nat({ max: 5_000 }),
  ts: fc.bigInt({ min: 0n, max: 9n }),
  message: fc.oneof(
    { weight: 9, arbitrary: fc.string({ maxLength: 30 }) },
    { weight: 1, arbitrary: fc.nat(1).map((n) => LARGE + n) },
  ),
  isDropped: fc.boolean(),
});
const seeds = (most: number) =>
  fc.uniqueArray(seed, { selector: ({ seq }) => seq, minLength: 8, maxLength: most });

/** Each event in one of some groups; and of each class a later group, so that the window of the others is past. */
async function addGroups(scene: MergingScene, some: readonly MergedSeed[], count: number): Promise<void> {
  for (let group = 0; group < count; group++) {
    const own = some.filter((_, i) => (i * 7) % count === group);
    if (own.length > 0) await scene.addGroup(own.map(eventToMerge));
  }
  await scene.addGroup(
    ["a", "/xmtp/0/contact-a"].map((topic) => eventToMerge({ topic, seq: LATER, message: "later" })),
  );
}

/** Takes an event out as the network's records do. */
function takeOut({ store }: MergingScene, which: number, places = [...store.index.segments]): void {
  const segment = places[which % Math.max(1, places.length)];
  if (!segment) return;
  const [topicKey] = store.index.topicsOf(segment, which % segment.topics, 1);
  const id = topicKey && store.greatestSealed(topicKey);
  if (id) store.transaction(() => store.removeSealed({ topicKey, id }));
}

describe("groups that are merged", () => {
  test("read as before, without what records took out; what is not needed any more is deleted", async () => {
    let merged = 0;
    await fc.assert(
      fc.asyncProperty(
        seeds(60),
        fc.integer({ min: 2, max: 6 }),
        fc.array(fc.nat(99), { maxLength: 4 }),
        async (some, count, outs) => {
          const { scene, archive } = memoryScene();
          await addGroups(scene, some, count);
          const large = [...archive.objects].filter(([key]) => key.startsWith("large/"));
          for (const which of outs) takeOut(scene, which);
          const before = await scene.everything();
          const calls = await scene.mergeAll();
          merged += calls.reduce((sum, { mergedGroups }) => sum + mergedGroups, 0);
          expect(await scene.everything()).toEqual(before);
          scene.restart();
          expect(await scene.everything()).toEqual(before);
          // The same objects, not written again.
          for (const [key, object] of large) expect(archive.objects.get(key)).toBe(object);
          await scene.reapAll();
          expect(await scene.everything()).toEqual(before);
          const { stored, needed, catalogued, held } = await scene.keys();
          expect([stored, catalogued]).toEqual([needed, held]);
          for (const group of Map.groupBy(scene.store.index.segments, (each) => each.group).values())
            for (const own of Map.groupBy(group, (each) => each.class).values())
              for (const [i, each] of own.entries())
                if (i > 0)
                  expect(compareBytes(own[i - 1]?.lastName as never, each.firstName)).toBeLessThan(0);
        },
      ),
      { numRuns: 60 },
    );
    expect(merged).toBeGreaterThan(60);
  });

  test("are read as before at each step of which each is a life's last, while events are taken out and expire", async () => {
    const between = fc.oneof(
      { weight: 3, arbitrary: fc.constant({ kind: "restart" as const }) },
      { weight: 2, arbitrary: fc.constant({ kind: "nothing" as const }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("takeOut" as const), which: fc.nat(99) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("expire" as const), which: fc.nat(99) }) },
      { weight: 1, arbitrary: fc.constant({ kind: "reap" as const }) },
    );
    await fc.assert(
      fc.asyncProperty(
        seeds(60),
        fc.integer({ min: 2, max: 6 }),
        fc.array(between, { maxLength: 12 }),
        async (some, count, steps) => {
          const { scene } = memoryScene();
          await addGroups(scene, some, count);
          for (const step of steps) {
            const before = await scene.everything();
            await scene.merging.step();
            expect(await scene.everything()).toEqual(before);
            const { index } = scene.store;
            if (step.kind === "restart") scene.restart();
            if (step.kind === "takeOut") takeOut(scene, step.which);
            if (step.kind === "reap") await scene.reapAll();
            const expired =
              step.kind === "expire" ? index.segments[step.which % index.segments.length] : undefined;
            if (expired) scene.store.transaction(() => index.doom([expired], scene.parts.clock.nowMs()));
          }
          const before = await scene.everything();
          await scene.mergeAll();
          await scene.reapAll();
          const after = await scene.everything();
          expect(after).toEqual(before);
          const { stored, needed, catalogued, held } = await scene.keys();
          // What a step stored before it was told that it is not to be any more is for the sweep.
          expect(stored).toEqual(expect.arrayContaining(needed));
          expect(catalogued).toEqual(expect.arrayContaining(held));
        },
      ),
      { numRuns: 100 },
    );
  });

  test("go on in the next life where they were: a segment is not made twice", async () => {
    const { scene, archive } = memoryScene();
    const some = Array.from({ length: 40 }, (_, seq) => ({ topic: "a", seq, message: `m${seq}` }));
    await addGroups(scene, some, 4);
    const roots: string[] = [];
    for (let steps = 0; steps < 20; steps++) {
      const step = await scene.merging.step();
      if (step.kind === "merged") break;
      expect(step.kind).toBe("rewritten");
      roots.push(toHex(scene.store.index.merge?.outputs.at(-1)?.root as never));
      archive.faults.clear();
      scene.restart();
    }
    expect(roots).toHaveLength(40 / SMALL.events);
    expect(new Set(roots).size).toBe(roots.length);
  });

  test("begin anew when an event is taken out that they have already", async () => {
    const { scene } = memoryScene();
    const some = Array.from({ length: 40 }, (_, seq) => ({ topic: "a", seq, message: `m${seq}` }));
    await addGroups(scene, some, 4);
    await scene.merging.step();
    await scene.merging.step();
    expect(scene.store.index.merge?.outputs).toHaveLength(2);
    const [first] = scene.places();
    const name = { topicKey: first?.topicKey, id: first?.entry.id } as never;
    scene.store.transaction(() => scene.store.removeSealed(name));
    expect(scene.store.index.merge).toBeUndefined();
    expect(scene.store.index.doomed).toHaveLength(2);
    await scene.mergeAll();
    await scene.reapAll();
    // And the later one of each class.
    expect(scene.places()).toHaveLength(40 - 1 + 2);
    expect(scene.store.index.has(name)).toBe(false);
    expect(scene.store.index.segments.every(({ outCount }) => outCount === 0)).toBe(true);
    const { stored, needed } = await scene.keys();
    expect(stored).toEqual(needed);
  });

  test("begin anew when one is taken out while a segment is stored", async () => {
    const { scene, archive } = memoryScene();
    const some = Array.from({ length: 20 }, (_, seq) => ({ topic: "a", seq, message: `m${seq}` }));
    await addGroups(scene, some, 4);
    const [first] = scene.places();
    const name = { topicKey: first?.topicKey, id: first?.entry.id } as never;
    const put = archive.putSegment.bind(archive);
    vi.spyOn(archive, "putSegment").mockImplementationOnce(async (place, written) => {
      scene.store.transaction(() => scene.store.removeSealed(name));
      await put(place, written);
    });
    expect(await scene.merging.step()).toEqual({ kind: "idle" });
    await scene.mergeAll();
    expect(scene.store.index.has(name)).toBe(false);
    expect(scene.places()).toHaveLength(20 - 1 + 2);
  });

  test("are none at all when records took all of their events out", async () => {
    const { scene } = memoryScene();
    await scene.addGroup([eventToMerge({ topic: "a", seq: 1, message: "m" })]);
    await scene.addGroup([eventToMerge({ topic: "a", seq: 2, message: "m" })]);
    for (let n = 0; n < 2; n++) takeOut(scene, 0);
    await scene.addGroup([eventToMerge({ topic: "a", seq: LATER, message: "later" })]);
    expect(await scene.mergeAll()).toMatchObject([{ mergedGroups: 2, rewrittenBytes: 0 }]);
    expect(scene.groups).toBe(1);
  });

  test("a call makes few segments, the next goes on", async () => {
    const { scene } = memoryScene();
    const some = Array.from({ length: 60 }, (_, seq) => ({ topic: "a", seq, message: `m${seq}` }));
    await addGroups(scene, some, 4);
    expect(await maintain([scene.merging])).toMatchObject({ isMore: true, failed: null, mergedGroups: 0 });
    expect(scene.store.index.merge?.outputs).toHaveLength(scene.merging.maxSteps);
    await scene.mergeAll();
    expect(scene.groups).toBe(3);
  });
});

describe("a file that is not what was written", () => {
  const some = Array.from({ length: 40 }, (_, seq) => ({ topic: "a", seq, message: `m${seq}` }));

  test.each(["missing", "changed"])("keeps its group from being merged, and no other: %s", async (how) => {
    const { scene, archive } = memoryScene();
    await addGroups(scene, some, 4);
    const damaged = scene.store.index.segments[3];
    const key = blocksKey(scene.parts.place, damaged?.root as never);
    const object = archive.objects.get(key);
    if (!object) throw new Error("no such file");
    if (how === "missing") archive.objects.delete(key);
    else object.bytes = object.bytes.map((byte) => byte ^ 1);
    const names = scene.places().map(({ entry }) => toHex(entry.id));
    const calls = await scene.mergeAll();
    expect(calls.every(({ failed }) => failed === null)).toBe(true);
    // Three of the four; the damaged one; the later ones of two classes.
    expect(scene.groups).toBe(4);
    expect(scene.places().map(({ entry }) => toHex(entry.id))).toEqual(names);
    expect(scene.store.index.segments.map(({ number }) => number)).toContain(damaged?.number);
    expect(scene.store.index.merge).toBeUndefined();
    archive.objects.set(key, { bytes: object.bytes, uploadedMs: 0 });
  });

  test("is tried again by the next life, and merged when it is right", async () => {
    const { scene, archive } = memoryScene();
    await addGroups(scene, some, 4);
    const key = blocksKey(scene.parts.place, scene.store.index.segments[3]?.root as never);
    const object = archive.objects.get(key);
    archive.objects.delete(key);
    await scene.mergeAll();
    if (object) archive.objects.set(key, object);
    const before = await scene.everything();
    await scene.mergeAll();
    expect(scene.groups).toBe(4);
    scene.restart();
    await scene.mergeAll();
    expect(scene.groups).toBe(3);
    expect(await scene.everything()).toEqual(before);
  });
});

describe("a merge that is cut", () => {
  const some = Array.from({ length: 16 }, (_, i) => ({
    topic: i % 2 ? "a" : "b",
    seq: i,
    message: i % 5 === 0 ? `${LARGE}${i % 2}` : `m${i}`,
  }));

  test.each(FAULT_KINDS)(
    "at each call of R2 and D1 in turn leaves all that is read as it was, and the next run ends it: %s",
    (kind) =>
      onStorage(async (storage) => {
        let cuts = 0;
        for (let call = 1; ; call++) {
          wipe(storage);
          const clock = new ManualClock(START_MS);
          const faults = new StorageFaults();
          faults.onHang = () => void clock.step(clock.nowMs() + STORAGE_DEADLINE_MS);
          const scene = new MergingScene({
            place: freshPlace(),
            hot: new SqlShardStore(storage),
            archive: new R2Archive(withFaults(env.BUCKET, faults), suite, clock),
            catalogue: new D1Catalogue(withFaults(env.DB, faults), clock),
            clock,
            limits: { contentBytes: 2 ** 20, events: 10 },
            mergeLimits: LIMITS,
          });
          await addGroups(scene, some, 4);
          const before = await scene.everything();
          faults.failAt(call, kind);
          const { failed } = await maintain([scene.merging]);
          const isCut = faults.calls.length >= call;
          faults.clear();
          expect(failed).toBe(isCut ? "storage_unavailable" : null);
          if (!isCut) break;
          cuts++;
          expect(await scene.everything()).toEqual(before);
          scene.restart();
          expect(await scene.everything()).toEqual(before);
          await scene.mergeAll();
          expect(scene.groups).toBe(3);
          expect(await scene.everything()).toEqual(before);
          await scene.reapAll();
          expect(await scene.everything()).toEqual(before);
          const { stored, needed, catalogued, held } = await scene.keys();
          expect([stored, catalogued]).toEqual([needed, held]);
        }
        // Two segments of two files, each asked for, put and read back, and their entries; and the reads of four groups' files.
        expect(cuts).toBeGreaterThanOrEqual(2 * (2 * 3 + 1) + 4 * 2);
      }),
  );
});
