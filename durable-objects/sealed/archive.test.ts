import { env } from "cloudflare:workers";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex, utf8 } from "../../protocol/bytes.ts";
import { suite } from "../platform-suite.ts";
import { ManualClock } from "../testing/manual-clock.ts";
import { MemoryArchive } from "../testing/memory-archive.ts";
import { freshPlace, largeMessage, sealableEvents, writtenOf } from "../testing/sealing-scene.ts";
import { FAULT_KINDS, StorageFaults, withFaults } from "../testing/storage-faults.ts";
import { type Archive, LEFT_ALONE_MS } from "./archive.ts";
import { blocksKey, largeKey, messagesKey, segmentsPrefix } from "./archive-keys.ts";
import { R2Archive } from "./r2-archive.ts";
import { STORAGE_DEADLINE_MS } from "./storage-calls.ts";

interface Scene {
  readonly archive: Archive;
  readonly clock: ManualClock;
  /** All calls, as the storage gets them. */
  readonly faults: StorageFaults;
  /** Puts other bytes in a file's place, behind the archive's back. */
  damage(key: string, bytes: Bytes): Promise<void>;
}

const KINDS = ["R2", "memory"] as const;

function sceneOf(kind: (typeof KINDS)[number]): Scene {
  const clock = new ManualClock(Date.now());
  const faults = new StorageFaults();
  faults.onHang = () => void clock.step(clock.nowMs() + STORAGE_DEADLINE_MS);
  if (kind === "R2")
    return {
      archive: new R2Archive(withFaults(env.BUCKET, faults), suite, clock),
      clock,
      faults,
      damage: async (key, bytes) => void (await env.BUCKET.put(key, bytes)),
    };
  const archive = new MemoryArchive(suite, clock, faults);
  const damage = async (key: string, bytes: Bytes) =>
    void archive.objects.set(key, { bytes, uploadedMs: clock.nowMs() });
  return { archive, clock, faults, damage };
}

const written = writtenOf(
  sealableEvents([{ seq: 1n }, { seq: 2n, topic: "other" }, { seq: 3n, message: largeMessage(3) }]),
);
const { root } = written.segment;
const large = { digest: suite.sha256(largeMessage(3)), bytes: largeMessage(3) };
const puts = (faults: StorageFaults) => faults.calls.filter((name) => name === "put").length;
const failureOf = (call: Promise<unknown>): Promise<{ code?: string; data?: unknown }> =>
  call.then(
    () => ({ code: "ok" }),
    (error: unknown) => error as { code?: string; data?: unknown },
  );
const flipped = (bytes: Bytes, at = bytes.length >> 1): Bytes => {
  const other = bytes.slice();
  other[at] = (other[at] as number) ^ 1;
  return other;
};

describe.each(KINDS)("an archive in %s", (kind) => {
  test("gives back a segment's files and large messages as they were", async () => {
    const { archive } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    await archive.putLarge(place, large);
    expect(await archive.readWhole(blocksKey(place, root), written.segment.blocks.digest)).toEqual(
      written.blocks,
    );
    expect(await archive.readWhole(messagesKey(place, root))).toEqual(written.messages);
    expect(await archive.readWhole(largeKey(place, large.digest), large.digest)).toEqual(large.bytes);
  });

  test("has no file of messages where no message is in a file", async () => {
    const { archive } = sceneOf(kind);
    const place = freshPlace();
    const gone = writtenOf(sealableEvents([{ seq: 9n, isDropped: true }]));
    await archive.putSegment(place, gone);
    const { objects } = await archive.list(segmentsPrefix(place), null);
    expect(objects.map(({ key }) => key)).toEqual([blocksKey(place, gone.segment.root)]);
  });

  test("reads parts of files, empty ones too", async () => {
    const { archive } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    const key = blocksKey(place, root);
    const end = written.blocks.length;
    for (const [offset, length] of [
      [0, 1],
      [10, 100],
      [end - 5, 5],
      [7, 0],
      [0, end],
    ] as const)
      expect(await archive.read(key, offset, length)).toEqual(written.blocks.slice(offset, offset + length));
  });

  test("says that a part beyond the end, or of no file, is damage", async () => {
    const { archive } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    const key = blocksKey(place, root);
    const end = written.blocks.length;
    expect(await failureOf(archive.read(key, end - 5, 6))).toMatchObject({
      code: "segment_damaged",
      data: { key, expected: 6, found: 5 },
    });
    expect(await failureOf(archive.read(key, end + 5, 6))).toMatchObject({
      code: "segment_damaged",
      data: { key, expected: 6, found: 0 },
    });
    const other = blocksKey(place, large.digest);
    for (const call of [archive.read(other, 0, 1), archive.readWhole(other)])
      expect(await failureOf(call)).toMatchObject({
        code: "segment_missing",
        httpStatus: 500,
        data: { key: other },
      });
  });

  test("finds a byte that was changed, and names the file and the digests", async () => {
    const { archive, damage } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    const key = blocksKey(place, root);
    await damage(key, flipped(written.blocks));
    expect(await failureOf(archive.readWhole(key, written.segment.blocks.digest))).toMatchObject({
      code: "segment_damaged",
      data: {
        key,
        expected: toHex(written.segment.blocks.digest),
        found: toHex(suite.sha256(flipped(written.blocks))),
      },
    });
  });

  test("leaves what is there, and stores again what is there damaged", async () => {
    const { archive, faults, damage } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    const before = await archive.list(segmentsPrefix(place), null);
    await archive.putSegment(place, written);
    expect(await archive.list(segmentsPrefix(place), null)).toEqual(before);
    const key = blocksKey(place, root);
    for (const bytes of [flipped(written.blocks), utf8("short")]) {
      await damage(key, bytes);
      await archive.putSegment(place, written);
      expect(await archive.readWhole(key)).toEqual(written.blocks);
    }
    expect(faults.calls).toContain("put");
  });

  test("deletes what is there, in more than one call where it is much", async () => {
    const { archive } = sceneOf(kind);
    const place = freshPlace();
    await archive.putSegment(place, written);
    const absent = Array.from({ length: 1_500 }, (_, i) => `${segmentsPrefix(place)}absent-${i}`);
    await archive.delete([...absent, blocksKey(place, root)]);
    const { objects } = await archive.list(segmentsPrefix(place), null);
    expect(objects.map(({ key }) => key)).toEqual([messagesKey(place, root)]);
    await archive.delete([]);
  });

  test("lists all keys of a shard and of no other, in pages that a cursor connects", async () => {
    const { archive, damage, clock } = sceneOf(kind);
    const place = { shardCount: 4, shard: kind === "R2" ? 0 : 1 };
    const keys = Array.from({ length: 1_003 }, (_, i) => `${segmentsPrefix(place)}${1_000 + i}`);
    await Promise.all(keys.map((key) => damage(key, utf8("abc"))));
    await damage(`${segmentsPrefix({ ...place, shard: place.shard + 10 })}x`, utf8("x"));
    const first = await archive.list(segmentsPrefix(place), null);
    expect(first.objects).toHaveLength(1_000);
    const second = await archive.list(segmentsPrefix(place), first.cursor);
    expect([...first.objects, ...second.objects].map(({ key }) => key)).toEqual(keys);
    expect(second.cursor).toBeNull();
    const [object] = first.objects;
    expect(object?.bytes).toBe(3);
    expect(Math.abs((object?.uploadedMs ?? 0) - clock.nowMs())).toBeLessThan(600_000);
  });

  test.each(FAULT_KINDS)(
    "answers each call in time when storage %s, and is whole after a repeat",
    async (fault) => {
      const calls = kind === "R2" ? 6 : 4;
      for (let n = 1; n <= calls; n++) {
        const { archive, faults } = sceneOf(kind);
        const place = freshPlace();
        faults.failAt(n, fault);
        expect(await failureOf(archive.putSegment(place, written))).toMatchObject({
          code: "storage_unavailable",
          httpStatus: 503,
        });
        faults.clear();
        await archive.putSegment(place, written);
        expect(await archive.readWhole(blocksKey(place, root))).toEqual(written.blocks);
        expect(await archive.readWhole(messagesKey(place, root))).toEqual(written.messages);
      }
      const { archive, faults } = sceneOf(kind);
      for (const call of [
        () => archive.read("x", 0, 1),
        () => archive.readWhole("x"),
        () => archive.delete(["x"]),
        () => archive.list("nothing/", null),
      ]) {
        faults.failAt(1, fault);
        expect(await failureOf(call())).toMatchObject({ code: "storage_unavailable" });
      }
    },
  );
});

/** The bucket with one method in another's place. */
const bucketWith = (methods: Partial<Record<keyof R2Bucket, unknown>>): R2Bucket =>
  new Proxy(env.BUCKET, {
    get(target, name) {
      if (name in methods) return Reflect.get(methods, name);
      const method: unknown = Reflect.get(target, name, target);
      return typeof method === "function" ? method.bind(target) : method;
    },
  });

describe("an archive in R2", () => {
  test("stores nothing twice: a repeat costs no write", async () => {
    const { archive, faults } = sceneOf("R2");
    const place = freshPlace();
    await archive.putSegment(place, written);
    await archive.putLarge(place, large);
    expect(puts(faults)).toBe(3);
    await archive.putSegment(place, written);
    await archive.putLarge(place, large);
    expect(puts(faults)).toBe(3);
  });

  test("stores again what lay there for long, so that no sweep takes it", async () => {
    const { archive, faults, clock } = sceneOf("R2");
    const place = freshPlace();
    await archive.putLarge(place, large);
    clock.step(clock.nowMs() + LEFT_ALONE_MS / 2);
    await archive.putLarge(place, large);
    expect(puts(faults)).toBe(1);
    clock.step(clock.nowMs() + LEFT_ALONE_MS / 2 + 600_000);
    await archive.putLarge(place, large);
    expect(puts(faults)).toBe(2);
  });

  test("has R2 check the digest of what it gets", async () => {
    const put = (key: string, bytes: Bytes, options: R2PutOptions) =>
      env.BUCKET.put(key, flipped(bytes), options);
    const archive = new R2Archive(bucketWith({ put }), suite, new ManualClock(Date.now()));
    const place = freshPlace();
    expect(await failureOf(archive.putLarge(place, large))).toMatchObject({ code: "storage_unavailable" });
    expect(await env.BUCKET.head(largeKey(place, large.digest))).toBeNull();
  });

  test("reads back what it stored, and finds a byte that R2 changed", async () => {
    const put = (key: string, bytes: Bytes) => env.BUCKET.put(key, flipped(bytes));
    const archive = new R2Archive(bucketWith({ put }), suite, new ManualClock(Date.now()));
    const place = freshPlace();
    expect(await failureOf(archive.putSegment(place, written))).toMatchObject({
      code: "segment_damaged",
      data: { key: messagesKey(place, root), expected: toHex(written.segment.messages?.digest ?? root) },
    });
  });

  test("reads back also what was there, since a head's word is not the bytes", async () => {
    const place = freshPlace();
    const key = largeKey(place, large.digest);
    await env.BUCKET.put(key, large.bytes, { sha256: large.digest });
    let reads = 0;
    const get = async (name: string) => {
      reads++;
      if (reads > 1) return env.BUCKET.get(name);
      return { size: 3, arrayBuffer: async () => utf8("bad").buffer };
    };
    const faults = new StorageFaults();
    const archive = new R2Archive(
      withFaults(bucketWith({ get }), faults),
      suite,
      new ManualClock(Date.now()),
    );
    await archive.putLarge(place, large);
    expect(faults.calls).toEqual(["head", "get", "put", "get"]);
  });

  test("takes no whole file that is longer than any of its own, and none of another length than R2 says", async () => {
    let isCancelled = false;
    const cancel = async () => {
      isCancelled = true;
    };
    for (const [size, found] of [
      [2 ** 30, 2 ** 30],
      [4, 3],
    ]) {
      const get = async () => ({ size, body: { cancel }, arrayBuffer: async () => utf8("abc").buffer });
      const archive = new R2Archive(bucketWith({ get }), suite, new ManualClock(Date.now()));
      expect(await failureOf(archive.readWhole("x"))).toMatchObject({
        code: "segment_damaged",
        data: { found },
      });
    }
    expect(isCancelled).toBe(true);
  });

  test("fails when a body never ends", async () => {
    const clock = new ManualClock(Date.now());
    const get = async () => ({
      size: 3,
      arrayBuffer: () => {
        queueMicrotask(() => clock.step(clock.nowMs() + STORAGE_DEADLINE_MS));
        return new Promise(() => {});
      },
    });
    const archive = new R2Archive(bucketWith({ get }), suite, clock);
    for (const call of [() => archive.readWhole("x"), () => archive.read("x", 0, 3)])
      expect(await failureOf(call())).toMatchObject({ code: "storage_unavailable" });
  });

  test("follows no list that does not go on", async () => {
    const list = async () => ({ objects: [], truncated: true, cursor: "x", delimitedPrefixes: [] });
    const archive = new R2Archive(bucketWith({ list }), suite, new ManualClock(Date.now()));
    expect(await failureOf(archive.list("segments/", null))).toMatchObject({ code: "storage_unavailable" });
  });
});
