import { describe, expect, test } from "vitest";
import type { ReceivedEvent } from "./received-event.ts";
import { MAX_RECENT, RecentEvents } from "./recent-events.ts";

const event = (id: string, links: string[] = [], gap = false) =>
  ({ id, links, gap }) as unknown as ReceivedEvent;

describe("recent events", () => {
  test("are known by their envelopes, as far back as there is room", () => {
    const recent = new RecentEvents();
    expect([recent.isFirst("a"), recent.isFirst("a")]).toEqual([true, false]);
    for (let i = 0; i < MAX_RECENT; i++) recent.isFirst(`other ${i}`);
    expect(recent.isFirst(`other ${MAX_RECENT - 1}`)).toBe(false);
    expect(recent.isFirst("a")).toBe(true);
  });

  test("are in order when parents come first, come again, or were there before", () => {
    const recent = new RecentEvents();
    const list = [
      event("a"),
      event("b", ["a"]),
      event("a"),
      event("b", ["a"]),
      event("d", ["never seen", "b"]),
    ];
    expect(list.map((each) => recent.isInOrder(each))).toEqual([true, true, true, true, true]);
  });

  test("are out of order when a parent comes behind its child, but for a gap that is told", () => {
    const recent = new RecentEvents();
    const list = [event("b", ["a"]), event("a"), event("d", ["c"], true), event("c"), event("a")];
    expect(list.map((each) => recent.isInOrder(each))).toEqual([true, false, true, true, true]);
  });

  test("of a store that was rebuilt may come in any order", () => {
    const recent = new RecentEvents();
    recent.isInOrder(event("b", ["a"]));
    recent.forgetOrder();
    expect(recent.isInOrder(event("a"))).toBe(true);
  });
});
