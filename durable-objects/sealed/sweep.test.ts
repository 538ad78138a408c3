import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryArchive } from "../testing/memory-archive.ts";
import { MemoryCatalogue } from "../testing/memory-catalogue.ts";
import { freshPlace, sealableEvents, writtenOf } from "../testing/sealing-scene.ts";
import { FAULT_KINDS } from "../testing/storage-faults.ts";
import { blocksKey, largeKey, messagesKey, segmentsPrefix } from "./archive-keys.ts";
import { entryOf } from "./catalogue.ts";
import type { SegmentFile } from "./segment.ts";
import { STORAGE_DEADLINE_MS } from "./storage-calls.ts";
import {
  type Holdings,
  ORPHAN_AGE_MS,
  orphansOf,
  SWEEP_START,
  SWEPT_ROWS,
  type SweepCursor,
  staleRoots,
  sweepStep,
} from "./sweep.ts";

const place = { shardCount: 16, shard: 3 };
const NOW_MS = 10 * ORPHAN_AGE_MS;
const digests = Array.from({ length: 6 }, (_, i) => new Uint8Array(32).fill(i + 1));
const file: SegmentFile = { bytes: 1, digest: new Uint8Array(32) };

/** A shard that holds to these segments (those in `withoutMessages` have no file of messages) and large messages. */
const holdingsOf = (
  segments: readonly Bytes[],
  large: readonly Bytes[] = [],
  withoutMessages: readonly Bytes[] = [],
): Holdings => {
  const [held, kept, dropped] = [segments, large, withoutMessages].map((some) => new Set(some.map(toHex)));
  return {
    segment: (root) =>
      held?.has(toHex(root)) ? { messages: dropped?.has(toHex(root)) ? null : file } : undefined,
    hasLarge: (digest) => kept?.has(toHex(digest)) ?? false,
  };
};

describe("orphans", () => {
  const object = (key: string, ageMs = ORPHAN_AGE_MS + 1) => ({ key, bytes: 5, uploadedMs: NOW_MS - ageMs });
  const [one, two, three] = digests as [Bytes, Bytes, Bytes];

  test("are what no segment of the shard has", () => {
    const holdings = holdingsOf([one, two], [three], [two]);
    const needed = [
      blocksKey(place, one),
      messagesKey(place, one),
      blocksKey(place, two),
      largeKey(place, three),
    ];
    const orphans = [
      messagesKey(place, two),
      blocksKey(place, three),
      messagesKey(place, three),
      largeKey(place, one),
    ];
    const objects = [...needed, ...orphans].map((key) => object(key));
    expect(orphansOf(place, objects, holdings, NOW_MS)).toEqual(orphans);
  });

  test("are none that are young, come from the future, or are of another shard, layout or part", () => {
    const none = holdingsOf([]);
    const key = blocksKey(place, one);
    for (const ageMs of [ORPHAN_AGE_MS, 0, -5 * ORPHAN_AGE_MS])
      expect(orphansOf(place, [object(key, ageMs)], none, NOW_MS)).toEqual([]);
    const others = [
      blocksKey({ shardCount: 16, shard: 4 }, one),
      blocksKey({ shardCount: 32, shard: 3 }, one),
      `${key}.bak`,
      `${segmentsPrefix(place)}readme`,
      "backup",
    ];
    expect(
      orphansOf(
        place,
        others.map((other) => object(other)),
        none,
        NOW_MS,
      ),
    ).toEqual([]);
  });

  test("and what is needed are all there is, and nothing needed is an orphan", () => {
    const some = fc.subarray(digests);
    fc.assert(
      fc.property(some, some, some, fc.nat(2 * ORPHAN_AGE_MS), (held, large, dropped, ageMs) => {
        const objects = digests
          .flatMap((digest) => [
            blocksKey(place, digest),
            messagesKey(place, digest),
            largeKey(place, digest),
          ])
          .map((key) => object(key, ageMs));
        const orphans = new Set(orphansOf(place, objects, holdingsOf(held, large, dropped), NOW_MS));
        const isOrphan = (key: string, isNeeded: boolean) =>
          expect(orphans.has(key)).toBe(!isNeeded && ageMs > ORPHAN_AGE_MS);
        for (const digest of digests) {
          isOrphan(blocksKey(place, digest), held.includes(digest));
          isOrphan(messagesKey(place, digest), held.includes(digest) && !dropped.includes(digest));
          isOrphan(largeKey(place, digest), large.includes(digest));
        }
      }),
    );
  });

  test("of the catalogue are old rows of segments that the shard does not hold to", () => {
    const entry = (root: Bytes, ageMs: number) => ({
      ...entryOf(writtenOf(sealableEvents([{}])), NOW_MS - ageMs),
      root,
    });
    const entries = [
      entry(one, ORPHAN_AGE_MS + 1),
      entry(two, ORPHAN_AGE_MS + 1),
      entry(three, ORPHAN_AGE_MS),
    ];
    expect(staleRoots(entries, holdingsOf([one]), NOW_MS)).toEqual([two]);
  });
});

/** A shard with as many segments, of which it holds to every third; and as many large messages. */
async function scene(count: number) {
  const clock = new ManualClock(NOW_MS);
  const archive = new MemoryArchive(suite, clock);
  const catalogue = new MemoryCatalogue(clock);
  for (const { faults } of [archive, catalogue])
    faults.onHang = () => void clock.step(clock.nowMs() + STORAGE_DEADLINE_MS);
  const own = freshPlace();
  const roots: Bytes[] = [];
  const large: Bytes[] = [];
  for (let i = 0; i < count; i++) {
    const written = writtenOf(sealableEvents([{ seq: BigInt(i) }]));
    const bytes = utf8(`large ${i}`);
    const digest = suite.sha256(bytes);
    await archive.putSegment(own, written);
    await archive.putLarge(own, { digest, bytes });
    await catalogue.add(own, [entryOf(written, clock.nowMs())]);
    roots.push(written.segment.root);
    large.push(digest);
  }
  const isHeld = (_: Bytes, i: number) => i % 3 === 0;
  const held = { roots: roots.filter(isHeld), large: large.filter(isHeld) };
  const parts = { place: own, archive, catalogue, clock, holdings: holdingsOf(held.roots, held.large) };
  return { parts, held, archive, catalogue, clock };
}

type Scene = Awaited<ReturnType<typeof scene>>;

/** Steps until the end; a failed one is repeated. */
async function sweep({ parts }: Scene): Promise<{ steps: number; objects: number; rows: number }> {
  let cursor: SweepCursor | null = SWEEP_START;
  const done = { steps: 0, objects: 0, rows: 0 };
  while (cursor) {
    if (++done.steps > 100) throw new Error("it does not end");
    const step = await sweepStep(cursor, parts).catch(() => undefined);
    if (!step) continue;
    done.objects += step.objects;
    done.rows += step.rows;
    // It is kept between lives.
    cursor = JSON.parse(JSON.stringify(step.next));
  }
  return done;
}

async function expectSwept({ parts, held, archive, catalogue }: Scene): Promise<void> {
  const { place: own } = parts;
  const keys = [
    ...held.roots.flatMap((root) => [blocksKey(own, root), messagesKey(own, root)]),
    ...held.large.map((digest) => largeKey(own, digest)),
  ];
  expect([...archive.objects.keys()].sort()).toEqual(keys.sort());
  const rows = await catalogue.ofShard(own, null, 1_000);
  expect(rows.map(({ root }) => toHex(root))).toEqual(held.roots.map(toHex).sort());
}

describe("a sweep", () => {
  test("takes nothing that is young", async () => {
    const swept = await scene(6);
    const before = swept.archive.objects.size;
    expect(await sweep(swept)).toEqual({ steps: 3, objects: 0, rows: 0 });
    expect(swept.archive.objects.size).toBe(before);
  });

  test("takes all that nobody needs, in steps that go on where the last one ended", async () => {
    const count = 2 * SWEPT_ROWS + 400;
    const swept = await scene(count);
    swept.clock.step(swept.clock.nowMs() + ORPHAN_AGE_MS + 1);
    const gone = count - Math.ceil(count / 3);
    expect(await sweep(swept)).toEqual({ steps: 7 + 2 + 1, objects: 3 * gone, rows: gone });
    await expectSwept(swept);
    expect(await sweep(swept)).toMatchObject({ objects: 0, rows: 0 });
  });

  test("asks the shard what it holds to only when it has the list", async () => {
    const swept = await scene(1);
    swept.clock.step(swept.clock.nowMs() + ORPHAN_AGE_MS + 1);
    const order: string[] = [];
    const holdings: Holdings = {
      segment: () => {
        order.push("holdings");
        return undefined;
      },
      hasLarge: () => true,
    };
    swept.archive.faults.run = async (name, work) => {
      order.push(name);
      return work();
    };
    await sweepStep({ stage: "segments", after: null }, { ...swept.parts, holdings });
    expect(order).toEqual(["list", "holdings", "holdings", "delete"]);
  });

  test.each(FAULT_KINDS)("is completed by a repeat when storage %s, at any call", async (fault) => {
    for (let n = 1; n <= 4; n++)
      for (const which of ["archive", "catalogue"] as const) {
        if (which === "catalogue" && n > 2) continue;
        const swept = await scene(4);
        swept.clock.step(swept.clock.nowMs() + ORPHAN_AGE_MS + 1);
        swept[which].faults.failAt(n, fault);
        expect((await sweep(swept)).steps).toBe(4);
        await expectSwept(swept);
      }
  });
});
