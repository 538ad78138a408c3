import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Bytes, toHex, uint64Bytes } from "../../protocol/bytes.ts";
import { setLogSink } from "../log.ts";
import { MemoryEvidenceStore } from "../testing/memory-evidence-store.ts";
import { onStorage } from "../testing/shard-world.ts";
import { Evidence, MAX_ORIGINS, MAX_PROOFS_PER_ORIGIN } from "./evidence.ts";
import type { Equivocation, EvidencePlace } from "./evidence-api.ts";
import { SqlEvidenceStore } from "./sql-evidence-store.ts";

const originOf = (n: number): Bytes => {
  const key = new Uint8Array(32).fill(3);
  new DataView(key.buffer).setUint32(0, n);
  return key;
};
const proofOf = (origin: number, seq: number, fill = 1): Equivocation => ({
  origin: originOf(origin),
  seq: uint64Bytes(BigInt(seq)),
  first: { block: new Uint8Array(9).fill(fill), signature: new Uint8Array(64).fill(fill) },
  second: { block: new Uint8Array(9).fill(fill + 1), signature: new Uint8Array(64).fill(fill + 1) },
});
const textOf = ({ origin, seq, first, second }: Equivocation) =>
  [origin, seq, first.block, first.signature, second.block, second.signature].map(toHex).join(" ");

beforeEach(() => setLogSink(() => {}));
afterEach(() => setLogSink());

async function all(evidence: Evidence, origin: Bytes | null, limit: number): Promise<string[]> {
  const texts: string[] = [];
  for (let after: EvidencePlace | null = null; ; ) {
    const page = await evidence.proofs(origin, after, limit);
    expect(page.proofs.length).toBeLessThanOrEqual(limit);
    texts.push(...page.proofs.map(textOf));
    after = page.proofs.at(-1) ?? null;
    if (!page.more || !after) return texts;
  }
}

describe("proofs", () => {
  test("are kept once for each origin and seq, the first one that came", async () => {
    const evidence = new Evidence(new MemoryEvidenceStore());
    expect(await evidence.keepProofs([proofOf(1, 5), proofOf(1, 5, 8), proofOf(2, 5)])).toBe(2);
    expect(await evidence.keepProofs([proofOf(1, 5, 9), proofOf(1, 4)])).toBe(1);
    expect(await all(evidence, originOf(1), 9)).toEqual([proofOf(1, 4), proofOf(1, 5)].map(textOf));
  });

  test("are at most 100 an origin, of at most 1,024 origins, and what is kept stays, also in the next life", async () => {
    const store = new MemoryEvidenceStore();
    const evidence = new Evidence(store);
    const many = Array.from({ length: MAX_PROOFS_PER_ORIGIN + 50 }, (_, seq) => proofOf(0, seq));
    expect(await evidence.keepProofs(many)).toBe(MAX_PROOFS_PER_ORIGIN);
    const others = Array.from({ length: MAX_ORIGINS + 50 }, (_, n) => proofOf(1 + n, 1));
    expect(await evidence.keepProofs(others)).toBe(MAX_ORIGINS - 1);
    const next = new Evidence(store);
    expect(await next.keepProofs([...many, ...others, proofOf(99_999, 1)])).toBe(0);
    expect(await next.keepProofs([proofOf(5, 2)])).toBe(1);
    expect(await all(next, originOf(0), 7)).toEqual(many.slice(0, MAX_PROOFS_PER_ORIGIN).map(textOf));
  });

  test("are paged in the order of origin and seq, in memory as in SQLite", () =>
    onStorage((storage) =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 9 })), { maxLength: 30 }),
          fc.integer({ min: 1, max: 7 }),
          async (places, limit) => {
            storage.sql.exec("DROP TABLE IF EXISTS evidence");
            const kept = [new MemoryEvidenceStore(), new SqlEvidenceStore(storage)].map(
              (store) => new Evidence(store),
            );
            const proofs = places.map(([origin, seq]) => proofOf(origin, seq));
            const sorted = [...new Set(proofs.map(textOf))].sort();
            for (const evidence of kept) {
              await evidence.keepProofs(proofs);
              expect(await all(evidence, null, limit)).toEqual(sorted);
              const one = toHex(originOf(1));
              expect(await all(evidence, originOf(1), limit)).toEqual(
                sorted.filter((text) => text.startsWith(one)),
              );
            }
          },
        ),
        { numRuns: 30 },
      ),
    ));
});
