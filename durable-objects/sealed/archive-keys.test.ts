import { describe, expect, test } from "vitest";
import {
  archivedName,
  blocksKey,
  largeKey,
  largePrefix,
  messagesKey,
  segmentsPrefix,
} from "./archive-keys.ts";

const place = { shardCount: 16, shard: 3 };
const digest = new Uint8Array(32).fill(0xab);
const hex = "ab".repeat(32);

describe("a key of the archive", () => {
  test("has the shard and the content's name", () => {
    expect(blocksKey(place, digest)).toBe(`segments/16/3/${hex}.blocks.car`);
    expect(messagesKey(place, digest)).toBe(`segments/16/3/${hex}.messages.car`);
    expect(largeKey(place, digest)).toBe(`large/16/3/${hex}`);
    expect([segmentsPrefix(place), largePrefix(place)]).toEqual(["segments/16/3/", "large/16/3/"]);
  });

  test("says what it names", () => {
    expect(archivedName(place, blocksKey(place, digest))).toEqual({ kind: "blocks", digest });
    expect(archivedName(place, messagesKey(place, digest))).toEqual({ kind: "messages", digest });
    expect(archivedName(place, largeKey(place, digest))).toEqual({ kind: "large", digest });
  });

  test.each([
    blocksKey({ shardCount: 16, shard: 31 }, digest),
    blocksKey({ shardCount: 8, shard: 3 }, digest),
    largeKey({ shardCount: 16, shard: 33 }, digest),
    `segments/16/3/${hex}`,
    `segments/16/3/${hex}.blocks.car.tmp`,
    `segments/16/3/x${hex}.blocks.car`,
    `segments/16/3/${hex.toUpperCase()}.blocks.car`,
    `segments/16/3/${hex}.other.car`,
    `large/16/3/${hex}.blocks.car`,
    `large/16/3/${hex}00`,
    `other/16/3/${hex}`,
    "",
  ])("of another shard or layout names nothing: %s", (key) => {
    expect(archivedName(place, key)).toBeUndefined();
  });
});
