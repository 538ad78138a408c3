import { describe, expect, test } from "vitest";
import { type Bytes, concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { digestOfId } from "../../protocol/event-id.ts";
import { suite } from "../platform-suite.ts";
import { onStorage, wipe } from "../testing/shard-world.ts";
import { DigestIndex } from "./digest-index.ts";
import { PENDING_BASE } from "./shard-store.ts";
import { SqlHotPartitions } from "./sql-hot-partitions.ts";
import { SqlShardStore } from "./sql-shard-store.ts";

const RUN = 4_096;
const digestOf = (n: number): Bytes => suite.sha256(uint64Bytes(BigInt(n)));

/** Rows as the shard writes them, but empty: the index reads positions and ids alone. */
function insert(
  { sql }: DurableObjectStorage,
  position: number,
  digest: Bytes,
  seq = position,
  table = "events_1",
): void {
  const id = concatBytes(uint64Bytes(BigInt(seq)), digest);
  const key = new Uint8Array(32);
  const columns = "position, topic_key, time_key, id, class, flags, stored_ms, signature, block, message";
  const query = `INSERT INTO ${table} (${columns}) VALUES (?, ?, ?, ?, 1, 0, 0, x'', x'', x'')`;
  sql.exec(query, position, key, key, id);
}

const fill = (storage: DurableObjectStorage, from: number, to: number) => {
  for (let n = from; n <= to; n++) insert(storage, n, digestOf(n));
};
const runs = ({ sql }: DurableObjectStorage) =>
  sql
    .exec("SELECT DISTINCT run FROM digest_runs ORDER BY run")
    .toArray()
    .map(({ run }) => run);

/** Every event is found, with no more than its own position, and what is not there is not. */
function checkAll(storage: DurableObjectStorage, positions: Iterable<number>): void {
  const index = new SqlHotPartitions(storage).digests;
  index.writeRuns();
  for (const n of positions) {
    const found = index.candidates(digestOf(n));
    if (found.length !== 1 || found[0] !== n) expect(found).toEqual([n]);
  }
  for (let n = 1; n < 50; n++) expect(index.candidates(digestOf(-1 - n + 2 ** 32))).toEqual([]);
}

function* range(from: number, to: number, step = 1): Iterable<number> {
  for (let n = from; n <= to; n += step) yield n;
}

describe("digest runs", () => {
  test("leave with the partitions that they cover, but for those that reach into others", () =>
    onStorage((storage) => {
      const { partitions } = new SqlShardStore(storage);
      const put = (from: number, to: number) => {
        const table = partitions.openTable;
        for (let n = from; n <= to; n++) insert(storage, n, digestOf(n), n, table);
      };
      put(1, 100);
      partitions.roll(1);
      put(101, 3 * RUN + 100);
      partitions.roll(2);
      put(3 * RUN + 101, 3 * RUN + 200);
      const index = partitions.digests;
      index.writeRuns();
      partitions.drop(2);
      // The first run has what is left of the first partition; the rest is in no run.
      expect(runs(storage)).toEqual([RUN]);
      const all = (from: number, to: number) =>
        [...range(from, to, 7)].map((n) => index.candidates(digestOf(n)));
      expect(all(1, 100)).toEqual([...range(1, 100, 7)].map((n) => [n]));
      expect(all(RUN + 1, RUN + 100).flat()).toEqual([]);
      expect(all(3 * RUN + 101, 3 * RUN + 200)).toEqual(
        [...range(3 * RUN + 101, 3 * RUN + 200, 7)].map((n) => [n]),
      );
      const store = new SqlShardStore(storage);
      for (const n of [101, 3 * RUN, 3 * RUN + 50]) expect(store.findByDigest(digestOf(n))).toBeUndefined();
      expect(store.findByDigest(digestOf(99))?.position).toBe(99);
      partitions.drop(1);
      expect(runs(storage)).toEqual([]);
      // Nothing is written for what is gone.
      index.writeRuns();
      expect(runs(storage)).toEqual([]);
      put(3 * RUN + 201, 4 * RUN);
      index.writeRuns();
      expect(runs(storage)).toEqual([4 * RUN]);
      expect(all(4 * RUN - 50, 4 * RUN)).toEqual([...range(4 * RUN - 50, 4 * RUN, 7)].map((n) => [n]));
    }));

  test("all positions are found, in two runs and after them, and pending ones too", () =>
    onStorage((storage) => {
      fill(storage, 1, 2 * RUN + 100);
      fill(storage, PENDING_BASE + 1, PENDING_BASE + 20);
      checkAll(storage, range(1, 2 * RUN + 100, 17));
      checkAll(storage, [1, RUN - 1, RUN, RUN + 1, 2 * RUN, 2 * RUN + 1, 2 * RUN + 100]);
      checkAll(storage, range(PENDING_BASE + 1, PENDING_BASE + 20));
      expect(runs(storage)).toEqual([RUN, 2 * RUN]);
    }));

  test("a run is written when its last position is there, not before", () =>
    onStorage((storage) => {
      fill(storage, 1, RUN - 1);
      checkAll(storage, [1, RUN - 1]);
      expect(runs(storage)).toEqual([]);
      insert(storage, RUN, digestOf(RUN));
      checkAll(storage, [1, RUN - 1, RUN]);
      expect(runs(storage)).toEqual([RUN]);
      const rows = storage.sql.exec("SELECT count(*) AS rows FROM digest_runs").one().rows;
      checkAll(storage, [1, RUN]);
      expect(storage.sql.exec("SELECT count(*) AS rows FROM digest_runs").one().rows).toBe(rows);
    }));

  test("a position beyond 2^32 is found: six bytes hold it", () =>
    onStorage((storage) => {
      // As if 2^20 runs had been written and sealed away.
      const base = RUN * 2 ** 20;
      storage.sql.exec("INSERT INTO digest_runs VALUES (0, ?, x'')", base);
      fill(storage, base + 1, base + RUN);
      checkAll(storage, range(base + 1, base + RUN, 97));
      expect(runs(storage)).toEqual([base, base + RUN]);
    }));

  test("digests that share their first 8 bytes are told apart by the id", () =>
    onStorage((storage) => {
      fill(storage, 1, RUN);
      const twin = (n: number) => concatBytes(digestOf(7).subarray(0, 8), new Uint8Array(24).fill(n));
      storage.sql.exec("DELETE FROM events_1 WHERE position IN (100, 200)");
      insert(storage, 100, twin(1));
      insert(storage, 200, twin(2));
      const store = new SqlShardStore(storage);
      for (const [digest, position] of [
        [digestOf(7), 7],
        [twin(1), 100],
        [twin(2), 200],
      ] as const)
        expect(store.findByDigest(digest)?.position).toBe(position);
      expect(store.findByDigest(twin(3))).toBeUndefined();
      expect(digestOfId(store.findByDigest(twin(2))?.id as Bytes)).toEqual(twin(2));
    }));

  test("a run that was written in part counts for nothing: it is written again", () =>
    onStorage((storage) => {
      fill(storage, 1, RUN);
      for (let failing = 1; failing <= 32; failing += 3) {
        storage.sql.exec("DELETE FROM digest_runs");
        const index = new DigestIndex(failingAtWrite(storage.sql, failing), new SqlHotPartitions(storage));
        expect(() => index.writeRuns()).toThrow("disk is full");
        checkAll(storage, range(1, RUN, 211));
      }
      wipe(storage);
    }));
});

/** SQL that fails at its n-th write. */
function failingAtWrite(sql: SqlStorage, n: number): SqlStorage {
  let writes = 0;
  return new Proxy(sql, {
    get: (_, name) => {
      if (name !== "exec") return Reflect.get(sql, name, sql);
      return (query: string, ...bindings: SqlStorageValue[]) => {
        if (query.startsWith("INSERT") && ++writes === n) throw new Error("disk is full");
        return sql.exec(query, ...bindings);
      };
    },
  });
}
