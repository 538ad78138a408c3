import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concatBytes, uint64Bytes } from "../../protocol/bytes.ts";
import { firstSeqOf } from "../../protocol/hybrid-clock.ts";
import { START_MS } from "../testing/shard-world.ts";
import { MAX_TABLE_IDS, SeqTable } from "./seq-table.ts";

const idOf = (seq: bigint) => concatBytes(uint64Bytes(seq), new Uint8Array(32));

describe("a table of seqs", () => {
  test("answers the bucket of the first id with the same seq", () => {
    const seqs = fc.oneof(fc.bigInt(0n, 40n), fc.bigInt(0n, 2n ** 63n - 1n));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(seqs, fc.integer({ min: 0, max: 4_095 })), { maxLength: 200, size: "max" }),
        (added) => {
          const table = new SeqTable();
          const known = new Map<bigint, number>();
          for (const [seq, bucket] of added) {
            expect(table.add(bucket, idOf(seq))).toBe(known.get(seq));
            if (!known.has(seq)) known.set(seq, bucket);
          }
        },
      ),
    );
  });

  test("knows all the seqs of a busy slot, which differ in few bits, and no more than its limit", () => {
    const table = new SeqTable();
    const seqOf = (n: number) => firstSeqOf(START_MS + Math.floor(n / 2)) + BigInt((n % 2) * 1_024 + 7);
    for (let n = 0; n < MAX_TABLE_IDS; n++)
      if (table.add(n % 4_096, idOf(seqOf(n))) !== undefined) expect.fail(`${n} is not new`);
    for (const n of [0, 1, 77_777, MAX_TABLE_IDS - 1]) expect(table.add(5, idOf(seqOf(n)))).toBe(n % 4_096);
    for (let i = 0; i < 2; i++) expect(table.add(5, idOf(seqOf(MAX_TABLE_IDS)))).toBeUndefined();
  });
});
