import { expect, test } from "vitest";
import { blocksKey, largeKey, messagesKey } from "./object-keys.ts";

test("keys say of which shard, of how many, an object is", () => {
  const prefix = { shardCount: 16, shard: 3 };
  const digest = new Uint8Array(32).fill(0xa5);
  expect([blocksKey(prefix, digest), messagesKey(prefix, digest), largeKey(prefix, digest)]).toEqual([
    `segments/16/3/${"a5".repeat(32)}.blocks.car`,
    `segments/16/3/${"a5".repeat(32)}.messages.car`,
    `large/16/3/${"a5".repeat(32)}`,
  ]);
});
