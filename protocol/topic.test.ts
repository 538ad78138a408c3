import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8 } from "./bytes.ts";
import { PennypostError } from "./errors.ts";
import { bytesOf, suite, topics } from "./testing/arbitraries.ts";
import { BUCKETS, bucketOf, checkTopic, isShardCount, shardOf, topicKey } from "./topic.ts";

const keys = bytesOf(32);
const counts = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

function codeOf(topic: string): string {
  try {
    checkTopic(topic);
    return "good";
  } catch (error) {
    if (!(error instanceof PennypostError)) throw error;
    return error.code;
  }
}

describe("a topic", () => {
  test("is 1 to 300 bytes of well-formed Unicode", () => {
    expect(codeOf("")).toBe("topic_empty");
    expect(codeOf("a".repeat(300))).toBe("good");
    expect(codeOf("a".repeat(301))).toBe("topic_too_long");
    expect(codeOf("é".repeat(150))).toBe("good");
    expect(codeOf("é".repeat(151))).toBe("topic_too_long");
    expect(codeOf("\u{1F600}".repeat(75))).toBe("good");
    expect(codeOf(`${"\u{1F600}".repeat(75)}a`)).toBe("topic_too_long");
    expect(codeOf("a".repeat(10_000_000))).toBe("topic_too_long");
    expect(codeOf(`\uD83D${"a".repeat(300)}`)).toBe("topic_too_long");
    for (const lone of ["\uD83D", "\uDE00", "a\uD83Db", "\uDE00\uD83D"])
      expect(codeOf(lone)).toBe("topic_not_utf8");
  });

  test("gives its UTF-8 bytes unchanged, a leading U+FEFF included", () => {
    fc.assert(
      fc.property(topics, (bytes) => {
        const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
        expect(checkTopic(text)).toEqual(bytes);
      }),
    );
  });

  test("is stored under the SHA-256 of its bytes", () => {
    const topic = utf8("/xmtp/0/m-x/proto");
    expect(topicKey(topic, suite)).toEqual(suite.sha256(topic));
  });
});

describe("buckets and shards", () => {
  test("a bucket is the first 12 bits of the key", () => {
    fc.assert(
      fc.property(keys, (key) => {
        const bits = [...key].map((byte) => byte.toString(2).padStart(8, "0")).join("");
        expect(bucketOf(key)).toBe(Number.parseInt(bits.slice(0, 12), 2));
      }),
    );
  });

  test("a shard is the top bits of the bucket, and owns a run of as many buckets as each other", () => {
    fc.assert(
      fc.property(keys, fc.constantFrom(...counts), (key, count) => {
        expect(shardOf(key, count)).toBe(Math.floor(bucketOf(key) / (BUCKETS / count)));
      }),
    );
  });

  test("shards grow with the buckets; at twice the count a shard is two: 2x and 2x + 1", () => {
    const keyOf = (bucket: number) => Uint8Array.of(bucket >> 4, (bucket & 15) << 4);
    for (const count of counts.slice(0, -1)) {
      const seen = new Set<number>();
      let before = 0;
      for (let bucket = 0; bucket < BUCKETS; bucket++) {
        const shard = shardOf(keyOf(bucket), count);
        expect(shard >= before).toBe(true);
        expect(shardOf(keyOf(bucket), 2 * count) >> 1).toBe(shard);
        before = shard;
        seen.add(shard);
      }
      expect(seen.size).toBe(count);
    }
  });

  test("a shard count is a power of two from 1 to 1,024", () => {
    expect(counts.every(isShardCount)).toBe(true);
    for (const count of [0, -1, 3, 12, 2_048, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
      expect(isShardCount(count)).toBe(false);
  });
});
