import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { WireEvent } from "../../protocol/event.ts";
import { bytesOfWire } from "../../protocol/event.ts";
import { MAX_PEER_BODY_BYTES, MAX_PEER_EVENTS, MAX_PEER_PAGE_BYTES } from "../../protocol/limits.ts";
import { decodePush, encodePush, type PushedRun } from "../../protocol/peer-messages.ts";
import { madeUpId } from "../testing/shard-world.ts";
import { PushQueue } from "./push-queue.ts";

const MB = 1024 * 1024;
const event = (bytes: number): WireEvent => ({
  block: new Uint8Array(100),
  signature: new Uint8Array(64),
  message: new Uint8Array(Math.max(0, bytes - 100)),
});
const run = (...sizes: number[]): PushedRun => ({
  previous: { topicKey: new Uint8Array(32), id: madeUpId(1) },
  events: sizes.map(event),
});
const sizeOf = (events: readonly WireEvent[]) => events.reduce((sum, event) => sum + bytesOfWire(event), 0);

function takeAll(queue: PushQueue) {
  const pages = [];
  while (!queue.isEmpty) pages.push(queue.take());
  return pages;
}

describe("a queue to a peer", () => {
  test("gives all out once, in order, in pages of 1 MB or one run, which the peer can read", () => {
    const sizes = fc.array(fc.integer({ min: 100, max: 400_000 }), { minLength: 1, maxLength: 4 });
    const items = fc.array(fc.oneof(fc.record({ run: sizes }), fc.record({ ephemeral: sizes })), {
      maxLength: 20,
    });
    const property = fc.property(items, (all) => {
      const queue = new PushQueue();
      const taken: number[] = [];
      const added: number[] = [];
      for (const each of all) {
        const ephemeral =
          "ephemeral" in each ? each.ephemeral.map((size) => ({ hops: 1, event: event(size) })) : [];
        const pushed = "run" in each ? run(...each.run) : run();
        if (queue.add(pushed, ephemeral))
          added.push(...pushed.events.map(({ message }) => message?.length ?? 0));
      }
      for (const page of takeAll(queue)) {
        const parts = [
          ...page.runs.map(({ events }) => events),
          ...page.ephemeral.map((each) => [each.event]),
        ];
        expect(parts.length).toBeGreaterThan(0);
        if (parts.length > 1) expect(sizeOf(parts.flat())).toBeLessThanOrEqual(MAX_PEER_PAGE_BYTES);
        taken.push(...page.runs.flatMap(({ events }) => events).map(({ message }) => message?.length ?? 0));
        expect(decodePush(encodePush(page)).runs.length).toBe(page.runs.length);
      }
      expect(taken).toEqual(added);
    });
    fc.assert(property, { numRuns: 50 });
  });

  test("takes 8 MB, and has room again when something was taken out", () => {
    const queue = new PushQueue();
    const large = run(MB);
    for (let i = 0; i < 8; i++) expect(queue.add(large, [])).toBe(true);
    expect(queue.add(run(1), [])).toBe(false);
    expect(queue.take().runs).toHaveLength(1);
    expect(queue.add(large, [])).toBe(true);
    expect(queue.add(run(100), [])).toBe(false);
    expect(takeAll(queue)).toHaveLength(8);
    queue.add(large, []);
    queue.clear();
    expect(queue.isEmpty).toBe(true);
    for (let i = 0; i < 8; i++) expect(queue.add(large, [])).toBe(true);
  });

  test("takes 1,024 runs, and keeps none without events", () => {
    const queue = new PushQueue();
    for (let i = 0; i < 2_000; i++) expect(queue.add(run(), [])).toBe(true);
    expect(queue.isEmpty).toBe(true);
    for (let i = 0; i < 1_024; i++) expect(queue.add(run(100), [])).toBe(true);
    expect(queue.add(run(100), [])).toBe(false);
    const page = queue.take();
    expect(page.runs).toHaveLength(1_024);
    expect(decodePush(encodePush(page)).runs).toHaveLength(1_024);
  });

  test("gives out no more events at once than a peer takes", () => {
    const queue = new PushQueue();
    const small = Array.from({ length: 1_000 }, () => 110);
    for (let i = 0; i < 9; i++) expect(queue.add(run(...small), [])).toBe(true);
    const pages = takeAll(queue);
    expect(pages.map(({ runs }) => runs.length)).toEqual([4, 4, 1]);
    for (const page of pages) {
      expect(page.runs.flatMap(({ events }) => events).length).toBeLessThanOrEqual(MAX_PEER_EVENTS);
      expect(encodePush(page).length).toBeLessThan(MAX_PEER_BODY_BYTES);
    }
  });
});
