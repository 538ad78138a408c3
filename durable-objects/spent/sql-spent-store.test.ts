import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Bytes, toHex } from "../../protocol/bytes.ts";
import { Faults } from "../testing/faults.ts";
import { SqlSpentStore } from "./sql-spent-store.ts";

const bytes = (fill: number, length = 32): Bytes => new Uint8Array(length).fill(fill);

/** What the store must say, by its definition alone. */
class Model {
  readonly #spent = new Map<number, { readonly envelope: number; event: number | null }>();

  spend(nonce: number, envelope: number): string {
    const known = this.#spent.get(nonce);
    if (!known) this.#spent.set(nonce, { envelope, event: null });
    if (!known) return "fresh";
    return known.envelope === envelope ? `same ${known.event}` : "other";
  }

  stored(nonce: number, event: number): void {
    const known = this.#spent.get(nonce);
    if (known) known.event ??= event;
  }

  /** How many statements it takes to spend these. */
  statements(pairs: readonly (readonly [number, number])[]): number {
    const known = new Set(this.#spent.keys());
    let count = 0;
    for (const [nonce] of pairs) {
      count += known.has(nonce) ? 1 : 2;
      known.add(nonce);
    }
    return count;
  }
}

function spend(store: SqlSpentStore, pairs: readonly (readonly [number, number])[]): string[] {
  const stamps = pairs.map(([nonce, envelope]) => ({ nonce: bytes(nonce), envelopeDigest: bytes(envelope) }));
  return store.spend(stamps).map((each) => {
    if (each.kind !== "same") return each.kind;
    return `same ${each.eventId === null ? null : Number(`0x${toHex(each.eventId).slice(0, 2)}`)}`;
  });
}

const pairs = fc.array(fc.tuple(fc.nat({ max: 2 }), fc.nat({ max: 1 })), { maxLength: 4 });
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("spend" as const),
      pairs,
      failAt: fc.constantFrom(0, 0, 1, 2, 4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("stored" as const),
      nonce: fc.nat({ max: 2 }),
      event: fc.nat({ max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

describe("the set of spent stamps", () => {
  test("says what a map would, through restarts, and a write that fails leaves all of its call unspent", () =>
    runInDurableObject(env.SPENT.get(env.SPENT.newUniqueId()), (_, { storage }) => {
      const faults = new Faults();
      const begin = () => new SqlSpentStore(faults.in(storage));
      let failed = 0;
      fc.assert(
        fc.property(fc.array(step, { size: "max", maxLength: 25 }), (steps) => {
          storage.sql.exec("DELETE FROM spent");
          const model = new Model();
          let store = begin();
          for (const each of steps) {
            if (each.kind === "restart") store = begin();
            else if (each.kind === "stored") {
              store.stored([{ nonce: bytes(each.nonce), eventId: bytes(each.event, 40) }]);
              model.stored(each.nonce, each.event);
            } else if (each.failAt > 0 && each.failAt <= model.statements(each.pairs)) {
              failed++;
              faults.failAt(each.failAt);
              expect(() => spend(store, each.pairs)).toThrow("disk I/O error");
            } else {
              const expected = each.pairs.map(([nonce, envelope]) => model.spend(nonce, envelope));
              expect(spend(store, each.pairs)).toEqual(expected);
            }
          }
        }),
        { numRuns: 200 },
      );
      expect(failed).toBeGreaterThan(20);
    }));
});
