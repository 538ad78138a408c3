import * as fc from "fast-check";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { setLogSink } from "../../durable-objects/log.ts";
import type { Bytes } from "../../protocol/bytes.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { type Lie, MOST_REQUESTS, Scene } from "../testing/lying-scene.ts";

// What is refused on purpose is logged.
beforeAll(() => setLogSink(() => {}));
afterAll(() => setLogSink());
beforeEach(() => {
  vi.useFakeTimers({ now: 0, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("answers that are changed at random", () => {
  type Change = { readonly at: number; readonly how: string; readonly seed: number };
  const changes = fc.array(
    fc.record({
      at: fc.nat({ max: 12 }),
      how: fc.constantFrom("byte", "cut", "doubled", "removed", "swapped", "number", "former"),
      seed: fc.nat(),
    }),
    { minLength: 1, maxLength: 4 },
  ) as fc.Arbitrary<Change[]>;

  /** Changes one list or number somewhere in an answer. */
  function changedIn(value: unknown, how: string, seed: number): unknown {
    const places: unknown[][] = [];
    const collect = (part: unknown) => {
      if (!Array.isArray(part)) return;
      if (part.length > 0) places.push(part);
      part.forEach(collect);
    };
    collect(value);
    const list = places[seed % Math.max(1, places.length)];
    if (!list) return value;
    const at = (seed >> 3) % list.length;
    if (how === "doubled") list.splice(at, 0, list[at]);
    if (how === "removed") list.splice(at, 1);
    if (how === "swapped") list.reverse();
    if (how === "number" && typeof list[at] === "number") list[at] = seed % 5_000;
    return value;
  }

  function liar(all: readonly Change[]): Lie {
    const former = new Map<string, Bytes>();
    let asked = 0;
    return (path, honest) => {
      const before = former.get(path);
      former.set(path, honest);
      let answer = honest;
      for (const { at, how, seed } of all.filter((each) => each.at === asked)) {
        if (how === "byte" && answer.length > 0) answer = answer.with(seed % answer.length, seed >> 8);
        else if (how === "cut") answer = answer.slice(0, seed % (answer.length + 1));
        else if (how === "former") answer = before ?? answer;
        else {
          const value = decodeCbor(honest, { bytes: 4 * 1024 * 1024 });
          answer = encodeCbor(changedIn(value, how, seed + at));
        }
      }
      asked++;
      return answer;
    };
  }

  test("end a run with a report or a typed error, in bounded questions; nothing is stored that nobody made; and it is healed later", async () => {
    await fc.assert(
      fc.asyncProperty(
        changes,
        fc.boolean(),
        fc.integer({ min: 2, max: 40 }),
        async (all, mayUseSketch, modulus) => {
          const scene = await new Scene(120).give(
            (n) => n % modulus !== 1,
            (n) => n % modulus !== 0,
          );
          await scene.outcome(liar(all), mayUseSketch);
          expect(scene.requests).toBeLessThanOrEqual(MOST_REQUESTS);
          await scene.heal();
        },
      ),
      { numRuns: 60 },
    );
  });
});
